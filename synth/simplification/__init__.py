"""The simplest image that still works."""
