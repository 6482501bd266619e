"""Sites read through the known sites of an earlier recording."""

from __future__ import annotations

import pytest
import torch

from encoders import FitOptions, Recording, fit_encoder
from encoders.metrics import correlation
from encoders.readouts import FactorisedReadout, LinearReadout, MeanReadout
from encoders.solvers import population
from encoders.solvers.member import FitRun, SolverSettings
from tests.encoders.helpers.planted import LAST, perturbed, plant

N, U, FOLDS = 60, 4, 3


class Planted:
    """Maps of two layers, six known sites that read both, and new sites that are mixtures of three of the known ones."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        shapes = {"a": (6, 4, 4), "b": (5, 4, 4)}
        self.features = {layer: torch.randn(N, *shape, generator=generator) for layer, shape in shapes.items()}
        self.known = []
        for layer, shape in shapes.items():
            for seed in range(2):
                readout = FactorisedReadout({layer: shape}, 6, seed=seed)
                readout.calibrate_features(self.features)
                with torch.no_grad():
                    for parameter in readout.parameters():
                        parameter += torch.randn(parameter.shape, generator=generator)
                self.known.append(readout)
        first = MeanReadout([self.known[0], self.known[2]])
        mixture = torch.randn(3, U, generator=generator).double()
        truth = population.predictions(first, self.features)[:, :3] @ mixture
        noise = torch.randn(N, U, generator=generator).double()
        self.targets = truth / truth.std(0) + 0.5 * noise
        self.truth = truth
        self.folds = torch.arange(N) % FOLDS
        self.stored = self.features | {f"rows/{layer}": part.flatten(1) for layer, part in self.features.items()}

    def solve(self, known):
        settings = SolverSettings(pool=7, run=FitRun(known=tuple(known)))
        return population.solve(self.stored, self.targets, self.folds, weights=None, settings=settings)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted()


def test_new_sites_are_predicted_better_through_known_ones_than_by_ridge(planted):
    with_known, alone = planted.solve(planted.known), planted.solve(())
    assert isinstance(alone.readouts[0], LinearReadout)
    assert len(with_known.readouts) == 2
    r = [correlation(fit.left_out.numpy(), planted.truth.numpy()) for fit in (with_known, alone)]
    assert (r[0] > r[1] + 0.2).all()
    assert float(with_known.strength.median()) > 0.5  # share of the known sites in the prior
    explained = 1 - (with_known.left_out - planted.targets).square().sum(0) / (
        planted.targets - planted.targets.mean(0)
    ).square().sum(0)
    torch.testing.assert_close(with_known.cv_r2, explained)


def test_known_readouts_form_one_set_per_fold(planted):
    sets = population.sets_of(planted.known)
    assert len(sets) == 2
    expected = (planted.known[1](planted.features) + planted.known[3](planted.features)) / 2
    torch.testing.assert_close(sets[1](planted.features), expected)
    assert len(population.sets_of(planted.known[:3])) == 1


def test_missing_responses_take_no_part(planted):
    gaps = planted.targets.clone()
    gaps[::5, 0] = torch.nan
    settings = SolverSettings(pool=7, run=FitRun(known=tuple(planted.known)))
    fit = population.solve(planted.stored, gaps, planted.folds, weights=None, settings=settings)
    assert torch.equal(torch.isfinite(fit.left_out), torch.isfinite(gaps))
    assert torch.isfinite(fit.cv_r2).all()


def test_fits_name_what_they_need():
    planted = plant(n=120)
    recording = Recording(
        pixels=planted.images,
        values=planted.targets,
        image_index=range(len(planted.images)),
        site_ids=[f"s{u}" for u in range(6)],
        unit="spikes",
        field_of_view_deg=4.0,
        background=128,
        colour="rgb",
        averages=True,
    )
    uri = planted.encoder.backbone.uri
    layers = list(planted.encoder.backbone.layers)
    options = {"backbone": uri, "weights": "random", "readout": "population", "validator_layers": ("conv_stem",)}
    options |= {"pool": 4}  # as the known encoder
    with pytest.raises(
        ValueError, match="'population' reads the sites of an earlier recording; found no networks_from"
    ):
        fit_encoder(recording, FitOptions(layers=layers, **options))
    earlier = type(planted.encoder)(
        perturbed(planted.encoder.backbone, LAST, 0.1),
        list(planted.encoder.readouts),
        planted.encoder.info,
        natural_mean=planted.encoder.natural_mean,
        natural_sd=planted.encoder.natural_sd,
    )
    with pytest.raises(ValueError, match="which this fit does not; expected its layers"):
        fit_encoder(recording, FitOptions(layers=[layers[-1]], **options), networks_from=earlier)
    with pytest.raises(ValueError, match=r"pool = 4 for its readout 'factorised', this fit pools to 14"):
        fit_encoder(recording, FitOptions(layers=layers, **options | {"pool": None}), networks_from=earlier)
    pair = fit_encoder(recording, FitOptions(layers=layers, **options), networks_from=earlier)
    assert [readout.kind for readout in pair.encoder.readouts] == ["population"] * 2
    assert pair.validator.readouts[0].kind == "linear"
    assert pair.report.settings["networks_from"] == earlier.fingerprint
