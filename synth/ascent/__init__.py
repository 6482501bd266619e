"""Gradient ascent: from an encoder and an objective to images. `ascend` is the door; the loop is `climb_batch`."""
