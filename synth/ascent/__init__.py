"""Gradient ascent: from an encoder and an objective to images. `ascend` starts it; the loop is `climb_batch`."""
