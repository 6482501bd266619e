"""Comparisons of representations: RDMs, CKA, kernel analysis, layers by area. Mainly a library for notebooks."""
