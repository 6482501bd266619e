"""What is served: a project, the views of it, and what they are drawn with. Whoever starts the server brings it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from protocols.arrays import Pixels
from protocols.project.folder import Project

__all__ = ["Contents", "Page", "View"]


class View(Protocol):
    """A view of a project, as `protocols.pages` has them."""

    @property
    def name(self) -> str:
        """Of the view in addresses and in ``stimsynth.views``."""

    @property
    def title(self) -> str:
        """What its tab says."""

    @property
    def build(self) -> Callable[..., dict[str, Any]]:
        """``build(project, **query)`` gives JSON-able data."""


class Page(NamedTuple):
    """A view of the server itself."""

    name: str
    title: str
    build: Callable[..., dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a server shows, and what it allows.

    Attributes
    ----------
    project : Project
    views : sequence of View
        In the order of their tabs, behind the round board.
    scripts, styles : dict of file name to text
        Of the views, in the order in which they are loaded.
    pixels : callable
        ``pixels(project, ids)`` gives uint8 images (H, W, C) by id.
    status : callable
        ``status(project)`` gives what `stimsynth status` says.
    decisions : bool
        Whether decisions may be taken here.
    unblinded : bool
        Whether images of exported rounds may be told apart before they are evaluated.
    who : str
        The name that is proposed to whoever decides.
    """

    project: Project
    views: Sequence[View]
    pixels: Callable[[Project, Iterable[str]], dict[str, Pixels]]
    status: Callable[[Project], dict[str, Any]]
    scripts: Mapping[str, str] = field(default_factory=dict)
    styles: Mapping[str, str] = field(default_factory=dict)
    decisions: bool = False
    unblinded: bool = False
    who: str = ""
