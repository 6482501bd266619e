"""Encoder fits beside peers: time and held-out r of ridge regressions, and of the readouts that gradient descent fits."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import bench
from encoders.backbones import backbone
from encoders.metrics import correlation
from encoders.readouts import FactorisedReadout, GaussianReadout
from encoders.solvers.ridge import ridge
from protocols.arrays import Floats, Pixels

from .records import HIMALAYA, NEURALPREDICTORS, SKLEARN, NotRun, Peer, Row, cpu_seconds, interleaved, paired_difference
from .world import as_tensor

LAYER, TEST_EVERY, FOLDS = "blocks.3.0", 5, 5
BATCH, PENALTY, RATE = 100, 0.005, 0.01


@dataclass(frozen=True)
class Data:
    """Feature maps (N, C, h, w) and responses (N, U), float32; every fifth image is held out."""

    maps: Tensor
    responses: Tensor
    about: str

    @property
    def held(self) -> Tensor:
        """Which images no fit sees, (N,)."""
        return torch.arange(len(self.maps)) % TEST_EVERY == 0


def make(images: Pixels, responses: Floats, about: str, *, size: int = 112) -> Data:
    """Features of EfficientNet-Lite0 for the images, uint8 (N, H, W, 3), and standardised responses (N, U)."""
    network = backbone("offline:efficientnet_lite0", [LAYER], input_size=size)
    with torch.inference_mode():
        maps = torch.cat([network(as_tensor(images[i : i + 32]))[LAYER] for i in range(0, len(images), 32)])
    y = torch.from_numpy((responses - responses.mean(0)) / responses.std(0)).float()
    return Data(maps.clone().contiguous(), y, f"{about}, {tuple(maps.shape[1:])} features of Lite0 {LAYER}, float32")


def rows(data: Data, repeats: int) -> Iterator[Row | NotRun]:
    """Ridge with its penalty chosen per site, by the package and by two peers: CPU time and held-out r."""
    x = data.maps.flatten(1)
    x = (x - x[~data.held].mean(0)) / x[~data.held].std(0).clamp_min(1e-3)
    y, alphas = data.responses, torch.logspace(-1, 7, 9).tolist()
    train, folds = ~data.held, torch.arange(int((~data.held).sum())) % FOLDS
    fits: dict[Peer, tuple[Callable[[], Any], Callable[[Any], Floats], str]] = {}
    missing = [m for m in (HIMALAYA.missing("ridge"), SKLEARN.missing("ridge")) if m is not None]
    yield from missing
    if HIMALAYA.name not in {m.peer for m in missing}:
        with_constant = torch.cat([x, torch.full((len(x), 1), 1e2)], 1)  # it has no intercept
        fits[HIMALAYA] = (partial(bench.himalaya, "torch", with_constant[train], y[train], folds, alphas), lambda m: np.asarray(m.predict(with_constant[~train])), "KernelRidgeCV, torch backend, the same folds")  # fmt: skip
    if SKLEARN.name not in {m.peer for m in missing}:
        fits[SKLEARN] = (partial(sklearn_fit, x[train], y[train], alphas), lambda m: np.asarray(m.predict(x[~train].numpy())), "RidgeCV, penalties per site by leave-one-out")  # fmt: skip

    def ours() -> Any:
        return ridge(x[train], y[train], folds=folds, alphas=alphas)

    mine = correlation(ours().predict(x[~train]).numpy(), y[~train].numpy())
    shared = (
        f"ridge, {int(train.sum())} images, {y.shape[1]} sites, {len(alphas)} penalties, {FOLDS} folds ({data.about})"
    )
    for peer, (fit, predict, how) in fits.items():
        theirs = correlation(predict(fit()), y[~train].numpy())
        yield Row(
            group="ridge", peer=peer.name, version=peer.version, what=f"time of the fit: {shared}; {how}", unit="CPU s",
            interval=f"range of {repeats} in turn", better="less", **interleaved(ours, fit, repeats),
        )  # fmt: skip
        yield Row(
            group="ridge", peer=peer.name, version=peer.version, what=f"held-out r, mean over sites: {shared}", unit="r", kind="difference",
            interval="95 %, bootstrap over sites", better="more", **paired_difference(mine, theirs),
        )  # fmt: skip


def sklearn_fit(x: Tensor, y: Tensor, alphas: list[float]) -> Any:
    """scikit-learn's RidgeCV; per-site penalties exist for leave-one-out alone."""
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas, alpha_per_target=True).fit(x.numpy(), y.numpy())


def readout_rows(data: Data, repeats: int, *, epochs: int = 40) -> Iterator[Row | NotRun]:
    """Factorised and Gaussian readouts, both trained by the same steps of Adam under the same penalty on feature weights."""
    if (absent := NEURALPREDICTORS.missing("readout")) is not None:
        yield absent
        return
    maps = data.maps - data.maps[~data.held].mean((0, 2, 3), keepdim=True)
    maps = maps / maps[~data.held].std((0, 2, 3), keepdim=True).clamp_min(1e-3)
    shape, sites = tuple(maps.shape[1:]), data.responses.shape[1]
    train, test, y = maps[~data.held].contiguous(), maps[data.held], data.responses
    for kind in ("factorised", "Gaussian"):
        found: dict[str, list[tuple[float, Floats]]] = {"ours": [], "theirs": []}
        for seed in range(repeats):
            for side in ("theirs", "ours"):
                module, respond, penalty = readout(kind, side, shape, sites, seed)
                seconds = cpu_seconds(
                    partial(trained, module, respond, penalty, train, y[~data.held], epochs=epochs, seed=seed)
                )
                module.eval()
                if isinstance(module, GaussianReadout):
                    module.generator = None  # reads the mean position, as `eval` makes the peer do
                with torch.no_grad():
                    found[side].append((seconds, correlation(respond(test).numpy(), y[data.held].numpy())))
        steps = epochs * -(-len(train) // BATCH)
        time_of = {side: statistics.median(s for s, _ in runs) for side, runs in found.items()}
        single = [o[0] / t[0] for o, t in zip(found["ours"], found["theirs"], strict=True)]
        shared = f"{kind} readout, {steps} steps of Adam of {BATCH} images, {sites} sites ({data.about})"
        yield Row(
            group="readout", peer=NEURALPREDICTORS.name, version=NEURALPREDICTORS.version, what=f"time of training: {shared}", unit="CPU s", better="less",
            interval=f"range of {repeats} in turn", value=time_of["ours"] / time_of["theirs"], low=min(single), high=max(single), ours=time_of["ours"], theirs=time_of["theirs"],
        )  # fmt: skip
        r = {side: np.mean([run for _, run in runs], 0) for side, runs in found.items()}
        yield Row(
            group="readout", peer=NEURALPREDICTORS.name, version=NEURALPREDICTORS.version, what=f"held-out r, mean over sites and {repeats} starts: {shared}", unit="r",
            kind="difference", interval="95 %, bootstrap over sites", better="more", **paired_difference(r["ours"], r["theirs"]),
            note="same steps, rate and penalty for both; each package's own training adds early stopping and schedules",
        )  # fmt: skip


Readout = tuple[nn.Module, Callable[[Tensor], Tensor], Callable[[], Tensor]]


def readout(kind: str, side: str, shape: tuple[int, ...], sites: int, seed: int) -> Readout:
    """A readout, its responses to maps (B, C, h, w) -> (B, U), and its penalty."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if side == "ours":
            made: FactorisedReadout | GaussianReadout
            if kind == "factorised":
                made = FactorisedReadout({"a": shape}, sites, regulariser="klindt", weight=PENALTY, seed=seed)
            else:
                made = GaussianReadout({"a": shape}, sites, weight=PENALTY, seed=seed)
                made.generator = torch.Generator().manual_seed(seed)
            return made, lambda maps: made.respond([maps]), made.penalty
        from neuralpredictors.layers.readouts.factorized import FullFactorized2d
        from neuralpredictors.layers.readouts.gaussian import FullGaussian2d

        if kind == "factorised":
            theirs = FullFactorized2d(shape, sites, bias=True)
            theirs.initialize(mean_activity=torch.zeros(sites))

            def masked() -> Tensor:
                size = theirs.normalized_spatial.abs().sum((1, 2)) * theirs.features.abs().sum(1)
                return PENALTY * size.sum()  # type: ignore[no-any-return]

            return theirs, theirs, masked
        point = FullGaussian2d(shape, sites, bias=True, init_sigma=0.5)
        point.initialize(mean_activity=torch.zeros(sites))
        return point, point, lambda: PENALTY * point.features.abs().sum()


def trained(
    module: nn.Module,
    respond: Callable[[Tensor], Tensor],
    penalty: Callable[[], Tensor],
    maps: Tensor,
    y: Tensor,
    *,
    epochs: int,
    seed: int,
) -> None:
    """Squared error over images, summed over sites, plus the penalty, by Adam; images in a random order of their own generator."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser, generator = torch.optim.Adam(parameters, lr=RATE), torch.Generator().manual_seed(seed)
    module.train()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for _ in range(epochs):
            order = torch.randperm(len(maps), generator=generator)
            for rows_ in (order[i : i + BATCH] for i in range(0, len(order), BATCH)):
                optimiser.zero_grad()
                loss = (respond(maps[rows_]) - y[rows_]).square().mean(0).sum() + penalty()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
