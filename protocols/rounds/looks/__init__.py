"""Interim looks: what the remaining blocks of a round show once some of its controllers are decided."""
