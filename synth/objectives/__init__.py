"""What an image should make the sites do: objectives declared by site name, one row an image, higher is better."""

from .core import BoundObjective, Objective, Row, Site, Term, against, cautious, nearest, site_name
from .factories import (
    CATALOGUE,
    discriminate,
    diverse,
    fractions,
    level,
    margin,
    one_hot,
    pattern,
    rate_softmax,
    stretch,
    suppress,
    term,
    within,
)
from .terms import KINDS

__all__ = [
    "CATALOGUE",
    "KINDS",
    "BoundObjective",
    "Objective",
    "Row",
    "Site",
    "Term",
    "against",
    "cautious",
    "discriminate",
    "diverse",
    "fractions",
    "level",
    "margin",
    "nearest",
    "one_hot",
    "pattern",
    "rate_softmax",
    "site_name",
    "stretch",
    "suppress",
    "term",
    "within",
]
