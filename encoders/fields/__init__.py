"""Receptive fields of an encoder's sites: maps in pixels, and their place and size in degrees."""
