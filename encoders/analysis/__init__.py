"""Comparisons of representations (RDMs, CKA, kernels, layers by area), and what sites prefer: words, clusters."""
