"""Fits of readout weights: closed forms and gradient descent, on tensors of features and responses."""
