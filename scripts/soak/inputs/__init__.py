"""Hostile files: whole ones of every kind that is read, what is done to them, and the process that tries to read them."""
