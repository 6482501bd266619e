"""`fit --compare` for control: gradients of every candidate, and its predictions of recorded controllers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from encoders import input_geometry, to_images
from protocols.models.compare import compare_readouts
from protocols.models.fit import held_out_of
from protocols.models.pair import load_pair
from protocols.project.key import read_key
from protocols.recordings.dataset import gather
from tests.protocols.helpers.refit_project import answer, copied

if TYPE_CHECKING:
    from tests.protocols.helpers.refit_project import Subject

CANDIDATES = """
[[candidate]]
name = "as fitted"
readout = "ridge"
[[candidate]]
name = "later"
readout = "ridge"
layers = ["blocks.3.0", "blocks.4.0"]
combine = "best"
"""


@pytest.mark.xdist_group("refit")
def test_candidates_are_judged_on_recorded_controllers_as_the_encoder_would_be(
    waiting: tuple[Path, Subject], tmp_path: Path
) -> None:
    project, subject = copied(waiting, tmp_path / "p")
    file = tmp_path / "readouts.toml"
    file.write_text(CANDIDATES)
    round_ = project.round(1)
    answer(round_, subject)
    found = compare_readouts(project, file)
    first, later = found.control
    assert first.name == "as fitted"
    encoder = load_pair(project, 1)[0]  # the same readout of the same layer, fitted to the same photographs
    data = gather(project, [1])
    controllers = {row.source_id for row in read_key(round_.key_path).rows if row.role in ("controller", "graded")}
    rows = [i for i, source in enumerate(data.source_ids) if source in controllers]
    assert rows
    with torch.no_grad():
        predicted = encoder(to_images(data.pixels[rows])).reshape(-1, len(rows), len(found.site_ids)).mean(0).numpy()
    measured = np.stack([data.values[data.image_index == i].mean(0) for i in rows])
    assert first.each is not None
    assert later.each is not None
    assert first.each.images.tolist() == [len(rows)] * len(found.site_ids)
    for u in range(len(found.site_ids)):
        assert first.each.r[u] == pytest.approx(np.corrcoef(predicted[:, u], measured[:, u])[0, 1], abs=1e-3)
        assert first.each.slope[u] == pytest.approx(np.polyfit(predicted[:, u], measured[:, u], 1)[0], rel=1e-2)
    assert first.pooled is not None
    assert first.pooled.images.tolist() == [len(rows) * len(found.site_ids)]
    for score in (first, later):
        assert ((score.geometry.participation > 0) & (score.geometry.participation < 1)).all()
        assert (score.geometry.drop > 0).all()
    kept = data.pixels[: data.natural][~held_out_of(project, data)[: data.natural]]
    few = kept[np.linspace(0, len(kept) - 1, 8).astype(int)]
    same = input_geometry(encoder, to_images(few), sd=encoder.natural_sd)
    np.testing.assert_allclose(first.geometry.participation, same.participation, rtol=0.01)
    means = np.stack([data.values[data.image_index == i].mean(0) for i in range(data.natural)])
    sd = means[~held_out_of(project, data)[: data.natural]].std(0)
    loss = same.drop * encoder.natural_sd.numpy()  # the fit drew other folds, hence slightly other penalties
    np.testing.assert_allclose(first.geometry.drop * sd, loss, rtol=0.05)
    assert [line.split()[0] for line in found.table().splitlines()[-4:-1]] == ["for", "as", "later"]
    record = json.loads((project.fitted / "comparison.json").read_text())
    assert record["control"][0]["each"]["r"] == pytest.approx(first.each.r.tolist())
