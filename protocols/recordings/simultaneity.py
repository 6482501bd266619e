"""Which sites were not recorded simultaneously: claims about a population of sites need trials that they share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from protocols.arrays import Floats

from .responses import Responses

LEAST_SHARED = 0.05
CLAIMS = "population claims (one_hot softmax, group test, suppression)"
NAMED = 6


def shared_trials(values: Floats) -> Floats:
    """Share of trials in which both sites of a pair have a response, of those of the less often recorded one.

    Shape (U, U); NaN where one of them has no trial.

    Parameters
    ----------
    values : array of shape (T, U), NaN = missing
    """
    finite = np.isfinite(values).astype(np.float64)  # (T, U)
    together = finite.T @ finite  # (U, U)
    fewer = np.minimum.outer(np.diag(together), np.diag(together))
    return np.divide(together, fewer, out=np.full_like(together, np.nan), where=fewer > 0)


def apart(responses: Responses, sites: Sequence[str]) -> dict[tuple[str, str], str]:
    """Pairs of `sites` that were not recorded simultaneously, and why.

    "trials": they share fewer than 5 % of them; "session": they are of different sessions.

    Averages over repeats have no trials to share: only the site attribute ``session`` is known.
    """
    sites = [s for s in sites if s in responses.site_ids]
    pairs: dict[tuple[str, str], str] = {}
    if responses.averaged_over is None:
        share = shared_trials(responses.usable().sites(tuple(sites)).values)
        pairs = {
            (sites[i], sites[j]): "trials" for i, j in combinations(range(len(sites)), 2) if share[i, j] < LEAST_SHARED
        }
    table = responses.attributes.get("sites", {})
    session = {s: table[s]["session"] for s in sites if table.get(s, {}).get("session") not in (None, "")}
    for pair in combinations([s for s in sites if s in session], 2):
        if str(session[pair[0]]) != str(session[pair[1]]):
            pairs.setdefault(pair, "session")
    return pairs


def simultaneity_notes(responses: Responses, sites: Sequence[str], one_hot_sites: Sequence[str]) -> list[str]:
    """What a reader must know where some of `sites` were not recorded simultaneously; nothing where all were.

    `one_hot_sites`: the site set of the one_hot score, which is computed from complete trials alone.
    """
    sites = [s for s in sites if s in responses.site_ids]
    found = apart(responses, sites)
    if not found:
        return []
    involved = [s for s in sites if any(s in pair for pair in found)]
    pairs = len(sites) * (len(sites) - 1) // 2
    why = {
        "trials": f"share less than {LEAST_SHARED:.0%} of the trials of the less often recorded one",
        "session": "are of different sessions by the site attribute session",
    }
    kinds = [
        f"{len(named)} of {pairs} pairs of sites {text} ({_listed([' with '.join(p) for p in named])})"
        for kind, text in why.items()
        if (named := [pair for pair, k in found.items() if k == kind])
    ]
    notes = [
        f"{CLAIMS} rest on sites that were not recorded simultaneously: {'; '.join(kinds)}; "
        f"{len(involved)} sites concerned: {_listed(involved)}"
    ]
    if responses.averaged_over is None and len(one_hot_sites) > 1:
        values = responses.usable().sites(tuple(one_hot_sites)).values
        complete = int(np.isfinite(values).all(1).sum())
        notes.append(
            f"one_hot uses only trials in which all {len(one_hot_sites)} sites of its set have a response: {complete} "
            f"of {len(values)}; a controller or reference without such a trial is excluded"
        )
    return notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
