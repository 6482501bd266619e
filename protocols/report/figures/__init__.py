"""Figures of the report page: each function makes one matplotlib figure from a report or a round."""
