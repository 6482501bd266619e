"""Rounds in formats that others read: one module per format, and the facts that they ask for."""
