"""Comparisons of representations: RDMs, CKA, kernel analysis, layers by area. A library for notebooks; few commands use it."""
