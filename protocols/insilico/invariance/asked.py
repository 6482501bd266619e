"""What is asked of `stimsynth invariance`: checked before any network is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from protocols.disk.toml import nearest
from protocols.errors import DataError
from protocols.insilico.sites import check_sites, targets_of
from protocols.project.fitted import SiteFit
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages

__all__ = ["COUNTS", "KINDS", "PRESETS", "Asked", "check_asked"]

KINDS = {
    "diverse": "images that all drive a site and differ as much as they can, with the diversity index",
    "levels": "paths from an image towards photographs along which the response stays",
    "metamers": "images with the response pattern of a photograph and other pixels",
}
COUNTS = {"diverse": 10, "levels": 6, "metamers": 4}
"""Images per set; points per path; starts per photograph."""
PRESETS = ("two_sided", "balasubramanian2023")
"""Names of `synth.invariance.levels.PRESETS`, here without torch."""
SOURCES = ("photograph", "controller")
BEST_SITES = 3
GOES_WITH = {
    "diverse": (),
    "levels": ("preset", "one_sided", "source", "smooth", "tolerance", "photographs"),
    "metamers": ("tolerance", "photographs"),
}
"""Options that go with a kind; those of all kinds are not listed."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of the command, None where its default holds.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    sites : tuple of str
        Empty: the best predicted sites; for metamers all that may be controlled.
    count : int or None
        See `COUNTS`.
    photographs : tuple of str, or int, or None
        Ids, or how many are drawn: the targets of paths, the references of metamers.
    source : str or None
        "photograph": the best measured one; "controller": an ascent from it; or the id of a photograph.
    preset : str or None
    one_sided : bool or None
    tolerance : float or None
        Natural SDs.
    smooth : float or None
        Exponent.
    steps : int or None
    seed : int
        Of the photographs that are drawn.
    """

    kind: str
    sites: tuple[str, ...] = ()
    count: int | None = None
    photographs: tuple[str, ...] | int | None = None
    source: str | None = None
    preset: str | None = None
    one_sided: bool | None = None
    tolerance: float | None = None
    smooth: float | None = None
    steps: int | None = None
    seed: int = 0

    @property
    def images(self) -> int:
        """`count`, or its default."""
        return COUNTS[self.kind] if self.count is None else self.count

    def drawn(self, ids: Sequence[str], number: int, *, but: Sequence[str] = ()) -> list[str]:
        """The photographs that are asked for: those named, or all of `ids` but some in an order drawn by the seed."""
        if isinstance(self.photographs, tuple):
            return list(self.photographs)
        left = [name for name in ids if name not in but]
        order = np.random.default_rng([self.seed, number]).permutation(len(left))
        return [left[int(i)] for i in order]

    def photograph_count(self, default: int) -> int:
        """How many photographs are wanted."""
        if self.photographs is None:
            return default
        return self.photographs if isinstance(self.photographs, int) else len(self.photographs)


def check_asked(project: Project, asked: Asked) -> Asked:
    """What is asked, with its sites, or a refusal; nothing here needs a network.

    A project without a fitted encoder passes: opening it refuses (D06).

    Raises
    ------
    DataError
        V41: a site; V31: a photograph; V32: an option.
    """
    _check_options(asked)
    targets = targets_of(project)
    if not targets:
        return asked
    _check_photographs(project, asked, NaturalImages.load(project.data).source_ids)
    return replace(asked, sites=_chosen(asked, targets))


def _chosen(asked: Asked, fitted: Sequence[SiteFit]) -> tuple[str, ...]:
    """The sites that are named, or the best predicted ones."""
    known = [site.site_id for site in fitted]
    check_sites(asked.sites, known)
    if asked.sites:
        return tuple(dict.fromkeys(asked.sites))
    if asked.kind == "metamers":
        return tuple(known)
    best = sorted(fitted, key=lambda site: -(site.held_out_r_nc or 0.0))
    return tuple(site.site_id for site in best[:BEST_SITES])


def _check_photographs(project: Project, asked: Asked, known: Sequence[str]) -> None:
    named = list(asked.photographs) if isinstance(asked.photographs, tuple) else []
    if asked.source not in (None, *SOURCES):
        named.append(str(asked.source))
    for name in named:
        if name not in known:
            near = nearest(name, known)
            raise DataError(
                "--source" if name == asked.source else "--photographs",
                found=repr(name),
                expected="a photograph of the project" + (f"; did you mean {near!r}?" if near else ""),
                cause="a slip of the pen",
                fix="name photographs as the column source_id of data/natural.csv does",
                code="V31",
            )
    wanted = asked.photograph_count(0)
    if wanted > len(known) - 1:
        raise _refused("--photographs", f"{wanted}", f"at most {len(known) - 1} of the {len(known)} photographs")


def _check_options(asked: Asked) -> None:
    """Refuse an unknown kind, an option that does not go with the kind, and a value out of range."""
    if asked.kind not in KINDS:
        raise _refused("--kind", repr(asked.kind), f"one of {', '.join(KINDS)}")
    known = {name for names in GOES_WITH.values() for name in names}
    for name in sorted(known):
        if getattr(asked, name) is not None and name not in GOES_WITH[asked.kind]:
            kinds = " or ".join(kind for kind, names in GOES_WITH.items() if name in names)
            raise _refused(f"--{name.replace('_', '-')}", f"it with --kind {asked.kind}", f"--kind {kinds}")
    if asked.preset is not None and asked.preset not in PRESETS:
        raise _refused("--preset", repr(asked.preset), f"one of {', '.join(PRESETS)}")
    if isinstance(asked.photographs, tuple) and len(set(asked.photographs)) < len(asked.photographs):
        raise _refused("--photographs", ",".join(asked.photographs), "every photograph once")
    rules = (
        ("--count", asked.images, asked.images >= (1 if asked.kind == "metamers" else 2), "at least 2, metamers 1"),
        ("--photographs", asked.photograph_count(1), asked.photograph_count(1) >= 1, "at least one"),
        (
            "--tolerance",
            asked.tolerance,
            (1.0 if asked.tolerance is None else asked.tolerance) > 0,
            "natural SDs above 0",
        ),
        ("--smooth", asked.smooth, 0 <= (asked.smooth or 0.0) <= 4, "an exponent from 0 to 4"),
        ("--steps", asked.steps, (1 if asked.steps is None else asked.steps) >= 1, "at least 1"),
    )
    for option, value, holds, expected in rules:
        if not holds:
            raise _refused(option, str(value), expected)


def _refused(option: str, found: str, expected: str) -> DataError:
    return DataError(
        option,
        found=found,
        expected=expected,
        cause="a slip of the pen, or options that do not go together",
        fix="correct the command; `stimsynth invariance --help` lists its options",
        code="V32",
    )
