"""Decisions about the images of a round: taken before its export, and honoured by it."""
