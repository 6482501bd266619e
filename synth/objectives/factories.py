"""The objectives that users name, one factory each; in natural SDs unless said otherwise; composed with ``+ - * |``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from .core import Objective
from .rows import Row, Site, Term, site_name
from .terms import KINDS, TermFunction

__all__ = [
    "discriminate",
    "diverse",
    "fractions",
    "groups",
    "level",
    "margin",
    "one_hot",
    "pattern",
    "rate_softmax",
    "stretch",
    "suppress",
    "term",
    "within",
]


GROUP_MODES: dict[str, tuple[float, float]] = {
    "both_high": (1.0, 1.0),
    "high_low": (1.0, -1.0),
    "low_high": (-1.0, 1.0),
    "both_low": (-1.0, -1.0),
}
"""What `groups` can ask of two groups: the signs of their mean z (Gifford et al. 2025)."""


def term(kind: str, sites: Iterable[Site] | Site, function: TermFunction, **settings: float) -> Objective:
    """An objective of your own: one row per site, scored by ``function(images, z, columns, settings)``.

    See `synth.objectives.terms` for the shapes.
    """
    if kind in KINDS:
        raise ValueError(f"{kind!r} is the name of an objective of the catalogue; give a term of your own another name")
    return _rows(kind, sites, settings, function=function)


def stretch(sites: Iterable[Site] | Site) -> Objective:
    """Drive a site as high as possible: its response in natural SDs above the natural mean.

    Bashivan, Kar & DiCarlo (2019), "stretch" control, in z units so that sites compare.
    """
    return _rows("stretch", sites)


def suppress(sites: Iterable[Site] | Site) -> Objective:
    """Drive a site as low as possible."""
    return _rows("suppress", sites)


def one_hot(sites: Iterable[Site] | Site, temperature: float = 1.0, among: Sequence[Site] | None = None) -> Objective:
    """Drive a site while all others stay low: log-softmax over sites of z / temperature, at the target.

    Bashivan, Kar & DiCarlo (2019), "one-hot population" control. Softmax depends on the unit: here it is always the
    natural SD. The logarithm keeps a gradient where the target starts low.

    Parameters
    ----------
    sites : the targets, one row each
    temperature : float
        In natural SDs; high: all others count, low: the strongest other.
    among : sequence of sites, or None
        The sites that compete, such as those whose receptive fields overlap; every target must be one. None: all.
    """
    return _rows("one_hot", sites, {"temperature": _positive("temperature", temperature)}, among=among)


def rate_softmax(sites: Iterable[Site] | Site, among: Sequence[Site] | None = None) -> Objective:
    """Softmax, at the target, of responses in the ENCODER'S unit (released code of Bashivan, Kar & DiCarlo 2019).

    Responses are not standardised and no logarithm is taken: sites with large responses win and gradients vanish where
    the target starts low. Use it to compare with published results, and `one_hot` otherwise. See `one_hot` for `among`.
    """
    return _rows("rate_softmax", sites, among=among)


def margin(sites: Iterable[Site] | Site, top: int = 1, among: Sequence[Site] | None = None) -> Objective:
    """Z of the target minus the mean z of the `top` most active other sites; `among` as of `one_hot`."""
    listed = _listed("margin", sites)
    others = math.inf if among is None else len(set(among)) - 1
    if isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= others:
        limit = "at least 1" if among is None else f"1 to {others}, the other sites among those named"
        raise ValueError(f"top {top!r}; expected a whole number, {limit}")
    return _rows("margin", listed, {"top": top}, among=among)


def discriminate(clusters: Iterable[Site | Sequence[Site]], temperature: float = 1.6) -> Objective:
    """Most discriminative stimuli: drive a cluster of sites and no other cluster, one row per cluster.

    ``z_c / t - log(1/C sum_c' exp(z_c' / t))`` with z_c the mean z over the sites of cluster c (Burg et al. 2024; t =
    1.6 in their released example): at most log C.

    Parameters
    ----------
    clusters : iterable of sites or of sequences of sites
        A site alone is a cluster of one.
    temperature : float
    """
    listed = [(c,) if isinstance(c, (str, int)) else tuple(c) for c in clusters]
    members = [site for cluster in listed for site in cluster]
    if len(listed) < 2 or not all(listed) or len(set(members)) != len(members):
        raise ValueError(
            f"clusters {[list(c) for c in listed][:4]}; expected at least two, none empty, every site in one of them"
        )
    settings = {"temperature": _positive("temperature", temperature)}
    values = [float(c) for c, cluster in enumerate(listed) for _ in cluster]
    labels = ["" if len(c) == 1 else f"+{len(c) - 1}" for c in listed]
    rows = [
        _term("discriminate", c[0], settings, among=members, values=values, label=label)
        for c, label in zip(listed, labels, strict=True)
    ]
    return Objective(tuple(Row((t,)) for t in rows))


def groups(
    first: Iterable[Site] | Site,
    second: Iterable[Site] | Site,
    mode: str | Sequence[str] | None = None,
    *,
    temperature: float = 1.0,
) -> Objective:
    """Two groups of sites, such as areas, against or with each other: each driven high or low; one row per mode.

    ``-t log 1/2 sum_g exp(-s_g z_g / t)`` with z_g the mean z over the sites of group g and s_g = 1 where the group is
    to be high, -1 where low: a soft minimum, which counts the group that is farther from what is asked of it. For
    t >> z it is the mean of s_g z_g, half the sum or difference that Gifford et al. (2025, relational neural control)
    rank images by; they add that no image counts in which one group stays on the wrong side of its baseline, which a
    sum alone would let happen. A group counts as one whatever its size.

    Parameters
    ----------
    first, second : sites
        No site in both.
    mode : name in `GROUP_MODES`, or several of them
        None: all four, one row each.
    temperature : float
        In natural SDs.
    """
    groups_ = [_listed("groups", g) for g in (first, second)]
    members = [site for group in groups_ for site in group]
    if len(set(members)) < len(members):
        twice = next(site for site in members if members.count(site) > 1)
        raise ValueError(f"groups with {site_name(twice)} twice; expected every site once, in one of the two groups")
    modes = list(GROUP_MODES) if mode is None else [mode] if isinstance(mode, str) else list(mode)
    unknown = [m for m in modes if m not in GROUP_MODES]
    if unknown or not modes:
        raise ValueError(f"mode {unknown[0] if unknown else modes!r}; expected one of {', '.join(GROUP_MODES)}")
    warmth = _positive("temperature", temperature)
    values = [float(g) for g, group in enumerate(groups_) for _ in group]
    names = [f"{site_name(g[0])}+{len(g) - 1}" if len(g) > 1 else site_name(g[0]) for g in groups_]
    label = names[0].removeprefix(site_name(groups_[0][0])) + f"|{names[1]}"
    rows = []
    for name in modes:
        signs = dict(zip(("first", "second"), GROUP_MODES[name], strict=True))
        settings = {"temperature": warmth, **signs}
        rows.append(_term("groups", members[0], settings, among=members, values=values, label=f"{label}:{name}"))
    return Objective(tuple(Row((t,)) for t in rows))


def level(sites: Iterable[Site] | Site, levels: Sequence[float] | float = 1.0) -> Objective:
    """Bring a site to a given response: minus the squared distance from z = level, one row per site and level.

    A series of levels gives graded images for a tuning curve, or to see whether a site rises with what is predicted for
    it.
    """
    series = [float(levels)] if isinstance(levels, (int, float)) else [float(v) for v in levels]
    _finite("levels", series)
    if not series:
        raise ValueError("levels are empty; expected at least one, in natural SDs from the natural mean")
    return Objective(
        tuple(
            Row((_term("level", site, {"level": value}, label=f"@{value:g}"),))
            for site in _listed("level", sites)
            for value in series
        )
    )


def pattern(wanted: Mapping[Site, float] | Sequence[Site], values: Sequence[float] | float | None = None) -> Objective:
    """A pattern of activity: minus the mean squared distance of the named sites' z from the wanted values; one row.

    Parameters
    ----------
    wanted : dict of site to z, or sequence of sites
        In natural SDs from the natural mean; sites that are not named are free. See `fractions` for shares of the
        natural range.
    values : one z for each of a sequence of sites, or one for all (default 1)
    """
    if isinstance(wanted, Mapping):
        sites, numbers = list(wanted), [float(v) for v in wanted.values()]
    else:
        sites = _listed("pattern", wanted)
        given = 1.0 if values is None else values
        numbers = [float(given)] * len(sites) if isinstance(given, (int, float)) else [float(v) for v in given]
    if not sites or len(set(sites)) != len(sites) or len(numbers) != len(sites):
        raise ValueError(
            f"a pattern of {len(sites)} sites ({len(set(sites))} different) and {len(numbers)} values; expected every "
            "site once, with one value"
        )
    _finite("pattern", numbers)
    first = max(range(len(sites)), key=lambda i: numbers[i])
    others = [f"{site_name(s)}={v:g}" for s, v in zip(sites, numbers, strict=True)]
    return Objective(
        (Row((_term("pattern", sites[first], {}, among=sites, values=numbers, label=f"[{','.join(others)}]"),)),)
    )


def fractions(wanted: Mapping[Site, float], natural_range: Mapping[Site, tuple[float, float]]) -> dict[Site, float]:
    """Z of every site at a share of its natural range, for `pattern` and `level`.

    Parameters
    ----------
    wanted : dict of site to share; 0 = the lower end of the range, 1 = the upper, beyond is allowed
    natural_range : dict of site to (low, high), in z, such as the 1st and 99th percentile over natural images
    """
    missing = [site_name(s) for s in wanted if s not in natural_range]
    if missing:
        raise ValueError(f"no natural range for {', '.join(missing[:5])}; expected (low, high) for every site")
    out = {}
    for site, share in wanted.items():
        low, high = natural_range[site]
        if not low < high:
            raise ValueError(f"natural range of {site_name(site)} is ({low}, {high}); expected low below high")
        out[site] = low + float(share) * (high - low)
    return out


def within(sites: Iterable[Site] | Site, low: float = -3.0, high: float = 3.0) -> Objective:
    """Keep a site inside [low, high] in z: minus the squared distance outside, 0 inside. A term to add to others."""
    if not low < high:
        raise ValueError(f"range from {low} to {high}; expected low below high")
    return _rows("within", sites, {"low": float(low), "high": float(high)})


def diverse(sites: Iterable[Site] | Site, count: int = 2, floor: float = 0.0, *, penalty: float = 1.0) -> Objective:
    """A set of `count` different images that all drive a site: distance to the nearest other image, with a floor on z.

    The constrained form of diverse exciting inputs (Ding et al. 2023): every image keeps z >= floor, such as 0.85 of
    the best image's, by a hinge of slope `penalty` per natural SD. Distance: root mean squared difference of pixel
    values in [0, 1]; start from the best image or let a mask in front of the encoder keep differences inside the
    receptive field. Cadena et al. (2018): ``stretch(sites) + weight * diverse(...)``.

    One row per image; the rows of a set are a group, optimised together and never separated.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise ValueError(f"count {count!r}; expected a whole number of images, at least 2")
    settings = {"floor": float(floor), "penalty": _positive("penalty", penalty)}
    return Objective(
        tuple(
            Row((_term("diverse", site, settings, label=f"#{i}"),), group=f"diverse:{site_name(site)}")
            for site in _listed("diverse", sites)
            for i in range(count)
        )
    )


def _rows(
    kind: str,
    sites: Iterable[Site] | Site,
    settings: Mapping[str, float] | None = None,
    *,
    among: Sequence[Site] | None = None,
    function: TermFunction | None = None,
) -> Objective:
    listed = _listed(kind, sites)
    _check_among(kind, listed, among)
    return Objective(
        tuple(Row((_term(kind, s, settings or {}, among=among or (), function=function),)) for s in listed)
    )


def _term(
    kind: str,
    site: Site,
    settings: Mapping[str, float],
    *,
    among: Sequence[Site] = (),
    values: Sequence[float] = (),
    label: str = "",
    function: TermFunction | None = None,
) -> Term:
    frozen = tuple(sorted((k, float(v)) for k, v in settings.items()))
    bare = Term(
        kind=kind, site=site, weight=1.0, settings=frozen, among=tuple(among), values=tuple(values), label=label
    )
    if function is not None:
        return replace(bare, function=function)
    return replace(bare, function=KINDS[kind].function, raw=KINDS[kind].raw)


def _listed(kind: str, sites: Iterable[Site] | Site) -> list[Site]:
    listed = [sites] if isinstance(sites, (str, int)) else list(sites)
    if not listed:
        raise ValueError(f"{kind} of no sites; expected at least one site name")
    return listed


def _check_among(kind: str, sites: Sequence[Site], among: Sequence[Site] | None) -> None:
    if among is None:
        return
    absent = [site_name(s) for s in sites if s not in among]
    if absent or len(set(among)) < 2:
        raise ValueError(
            f"{kind} among {len(set(among))} sites without {', '.join(absent[:5]) or '(none)'}; expected at least two, "
            "every target among them"
        )
    twice = [site_name(s) for s in dict.fromkeys(among) if list(among).count(s) > 1]
    if twice:
        raise ValueError(
            f"{kind} among sites that name {', '.join(twice[:5])} more than once; expected every site once: one "
            "that is named twice would count twice"
        )


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} {value}; expected a number above 0 (1 = natural SDs as they are)")
    return float(value)


def _finite(name: str, values: Sequence[float]) -> None:
    bad = [v for v in values if not math.isfinite(v)]
    if bad:
        raise ValueError(f"{name} holds {bad[0]}; expected finite numbers, in natural SDs")


CATALOGUE: dict[str, Callable[..., Objective]] = {
    "stretch": stretch,
    "suppress": suppress,
    "one_hot": one_hot,
    "rate_softmax": rate_softmax,
    "margin": margin,
    "discriminate": discriminate,
    "groups": groups,
    "level": level,
    "pattern": pattern,
    "within": within,
    "diverse": diverse,
}
"""Every factory takes a list of sites first, all else has a default; `groups` takes two lists."""
