"""A baseline day and a later round of the same sites with known gains, offsets, identities and drift, for the tests of drift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.project.key import Key, KeyRow, SiteRow
from protocols.recordings.responses import Responses


@dataclass(frozen=True)
class Days:
    """Both recordings; `source_of` names the baseline's images, `true` (images, sites) are the baseline's expected responses."""

    first: Responses
    source_of: dict[str, str]
    now: Responses
    key: Key
    true: np.ndarray
    sites: tuple[str, ...]


def two_days(
    rng,
    *,
    sites=10,
    images=150,
    naturals=20,
    references=3,
    gain=1.0,
    offset=0.0,
    noise=1.5,
    repeats=(8, 16),
    blanks=24,
    slope=0.0,
    columns=None,
    dead=(),
    similarity=0.3,
    shared=0.1,
) -> Days:
    """Gamma-shaped tuning that is correlated over sites, counts of Fano factor about `noise`, shared gain noise of SD `shared`.

    References are the best images of each site by the NOISY baseline. `columns`: site j of the round records what was site columns[j];
    `dead`: sites without signal in the round; `slope`: relative drift over the round; `gain`, `offset`: scalars or one a site.
    """
    names = tuple(f"v4_{i:03d}" for i in range(sites))
    true = 1 + 4 * (
        similarity * rng.gamma(1.5, 1.0, (images, 1)) + (1 - similarity) * rng.gamma(1.5, 1.0, (images, sites))
    )
    everything = np.vstack([true, np.full((1, sites), 0.8)])  # the blank last
    index, values, block = record(rng, everything, repeats[0], blanks, noise, shared)
    ids = np.array([f"src_{i:04d}" for i in range(images)] + ["blank"])
    first = Responses(
        values=values, image_ids=ids[index], site_ids=names, unit="spikes", window_ms=(70.0, 170.0), block=block
    )
    means = first.mean(list(ids[:-1]))
    best = {i: [] for i in range(images)}
    for j, site in enumerate(names):
        for i in np.argsort(-means[:, j], kind="stable")[:references]:
            best[int(i)].append(("stretch", site))
    chosen = [i for i, pairs in best.items() if pairs]
    others = [i for i in range(images) if not best[i]]
    shown = [*chosen, *sorted(rng.permutation(others)[:naturals].tolist())]
    rows = [
        KeyRow(f"r01_{n:04d}", ids[i], "reference" if best[i] else "natural", reference_for=tuple(best[i]))
        for n, i in enumerate(shown)
    ]
    rows.append(KeyRow("r01_9999", "blank", "blank"))
    today = everything[[*shown, images]] * gain + offset
    today = today[:, list(columns) if columns is not None else slice(None)]
    today[:, list(dead)] = 1.0
    index, values, block = record(rng, today, repeats[1], blanks, noise, shared, slope)
    now = Responses(
        values=values,
        image_ids=np.array([r.image_id for r in rows])[index],
        site_ids=names,
        unit="spikes",
        window_ms=(70.0, 170.0),
        block=block,
        onset_s=np.arange(len(index)) * 0.2,
    )
    frozen = tuple(
        SiteRow(
            site_id=s,
            natural_mean=float(true[:, j].mean()),
            natural_sd=float(true[:, j].std()),
            reliability=0.8,
            is_target=True,
        )
        for j, s in enumerate(names)
    )
    source_of = {str(i): str(i) if i != "blank" else "" for i in ids}
    return Days(first=first, source_of=source_of, now=now, key=Key(tuple(rows), frozen), true=true, sites=names)


def record(rng, expected, repeats, blanks, fano, shared, slope=0.0, blocks=4):
    """Trials (index, counts, block) in blocks of fresh random order; the last row of `expected` is the blank."""
    index, block = [], []
    for b in range(blocks):
        shown = np.repeat(np.arange(len(expected)), [repeats // blocks] * (len(expected) - 1) + [blanks // blocks])
        index.append(rng.permutation(shown))
        block.append(np.full(len(shown), b))
    index, block = np.concatenate(index), np.concatenate(block)
    time = np.linspace(-0.5, 0.5, len(index))
    factor = np.exp(shared * rng.normal(size=len(index)) - shared**2 / 2) * (1 + slope * time)
    mean = np.maximum(expected[index] * factor[:, None], 0.01)
    return index, rng.poisson(rng.gamma(mean / (fano - 1), fano - 1)).astype(float), block
