"""Frozen feature networks: images in [0, 1] -> features of named layers."""
