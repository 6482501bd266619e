"""A table of trials written out by hand, for the tests of an evaluation's parts."""

from __future__ import annotations

import numpy as np

from protocols.project.key import Key, KeyRow
from protocols.recordings.trial_table import TrialTable
from protocols.verdict.scores import NaturalScale, Setting


def setting_of(
    values, images, *, key_rows=(), blocks=None, halves=None, unit="spikes", scale=None, baseline=None, **changes
):
    """A setting on a table of these trials; each image's rows in the order given."""
    values, images = np.asarray(values, float), np.asarray(images)
    sites = tuple(f"s{u}" for u in range(values.shape[1]))
    table = TrialTable(
        values=values,
        blocks=np.zeros(len(values), int) if blocks is None else np.asarray(blocks),
        halves=np.arange(len(values)) % 2 if halves is None else np.asarray(halves),
        image_rows={str(i): np.flatnonzero(images == i) for i in np.unique(images)},
        site_ids=sites,
        baseline=baseline,
    )
    scale = scale or NaturalScale(sites, np.zeros(len(sites)), np.ones(len(sites)))
    defaults = {"alpha": 0.05, "permutations": 199, "seed": 0, "temperature": 1.0}
    return Setting(table, Key(tuple(key_rows)), scale, unit, **(defaults | changes))


def reference_row(image, *pairs):
    return KeyRow(image, image, "reference", reference_for=pairs)


def parts_df(a, b):
    """Degrees of freedom of Welch's t, written out."""
    v = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    return sum(v) ** 2 / (v[0] ** 2 / (len(a) - 1) + v[1] ** 2 / (len(b) - 1))
