"""Verdicts of rounds that are looked at before their end."""
