"""What an image should make the sites do: objectives declared by site name, one row per image, higher is better."""

from .bound import BoundObjective
from .core import Objective, against, cautious
from .factories import (
    CATALOGUE,
    discriminate,
    diverse,
    fractions,
    groups,
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
from .rows import Row, Site, Term, nearest, site_name
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
    "groups",
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
