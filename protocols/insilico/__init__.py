"""Experiments on a fitted encoder alone: discriminative and invariant images, tuning, pairs, words."""
