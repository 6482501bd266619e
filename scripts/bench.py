"""How much our own code adds to the work that must be done: interleaved medians in one run, ratios only.

Seconds depend on the machine; the ratio of two things timed in turn hardly does. Each row is one function that gives two
callables: ours, and the bare work it cannot avoid. Run: ``python scripts/bench.py [--rows loop ridge] [--json FILE]``.
With ``--peers`` the rows are those of docs/peers.md, beside other packages: ``--peers [--rows speed verdicts]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import bench_workers
from encoders.backbones import backbone
from encoders.readouts import FactorisedReadout
from encoders.solvers.ridge import RidgeFit
from encoders.solvers.ridge import ridge as fit_ridge
from protocols.arrays import Floats
from synth import affine, ascend, exact_statistics, fourier, guide, pixels, stretch
from synth.priors import natural

LITE0, LAYER, ALEXNET = "offline:efficientnet_lite0", "blocks.4.0", "features.10"
BATCH = 16
STEPS, CHECK_EVERY = 30, 10


@dataclass(frozen=True)
class Pair:
    """Two callables that do the same work, ours and the bare one."""

    what: str
    ours: Callable[[], object]
    bare: Callable[[], object]
    limit: float | None = None


@dataclass(frozen=True)
class Result:
    """Median over repeats of ours / bare, timed in turn, and the spread of the single ratios."""

    row: str
    what: str
    ratio: float
    lowest: float
    highest: float
    limit: float | None
    repeats: int


class Pooled(nn.Module):
    """A truncated network with the cheapest readout there is: means of feature maps as sites."""

    def __init__(self, network: nn.Module, layer: str | None = None) -> None:
        super().__init__()
        self.network, self.layer = network.eval().requires_grad_(False), layer

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, U)."""
        features: Any = self.network(images)
        maps: Tensor = features if self.layer is None else features[self.layer]
        return maps.mean((2, 3))


def ours_of(uri: str, layer: str) -> Pooled:
    """The network as `encoders` runs it."""
    return Pooled(backbone(uri, [layer], weights="random"), layer)


def as_loaded(name: str) -> Pooled:
    """The same network cut at the same layer as its own library gives it: batch norm unfolded, default memory format."""
    import timm
    from torchvision import models  # type: ignore[import-untyped]

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if name == "alexnet":
            network = models.alexnet(weights=None).features[: int(ALEXNET.rpartition(".")[2]) + 1]
            for module in network:
                module.inplace = False  # the first layer's output would else be overwritten before its gradient
        elif name == "resnet18":
            resnet = models.resnet18(weights=None)
            network = nn.Sequential(
                resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1, resnet.layer2, resnet.layer3
            )
        else:
            lite: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
            network = nn.Sequential(lite.conv_stem, lite.bn1, *lite.blocks[:4], lite.blocks[4][0])
    return Pooled(network)


def step_of(
    what: str,
    encoder: Pooled,
    bare: Pooled,
    size: int,
    limit: float,
    parts: Callable[[tuple[int, int, int]], dict[str, Any]],
    *,
    steps: int = STEPS,
) -> Pair:
    """Steps of `ascend`, checks included, against forward + backward of `bare` on a batch of the same size."""
    shape = (3, size, size)
    images = torch.rand(BATCH, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    settings = {"steps": steps, "check_every": CHECK_EVERY, **parts(shape)}

    def forward_backward() -> None:
        for _ in range(steps):
            torch.autograd.grad(bare(images).diagonal().sum(), images)

    def climb() -> None:
        ascend(encoder, stretch(range(BATCH)), **settings)

    title = f"{what}, {BATCH} x {size} px: {steps} steps of ascend with {steps // CHECK_EVERY + 1} checks / {steps} bare steps"
    return Pair(title, climb, forward_backward, limit)


def plain(shape: tuple[int, int, int]) -> dict[str, Any]:
    """Pixels, nothing else."""
    return {"parameterisation": pixels(shape), "transforms": ()}


def full(shape: tuple[int, int, int]) -> dict[str, Any]:
    """Fourier variables, random affine changes, exact projection of mean and contrast."""
    exact = exact_statistics(shape, mean=0.43, rms=0.2)
    return {"parameterisation": fourier(shape), "transforms": [affine(0.1, 10, 0.05)], "constraints": [exact]}


def default(shape: tuple[int, int, int]) -> dict[str, Any]:
    """Fourier variables, jitter, exact projection of mean and contrast: as in the examples."""
    return {"parameterisation": fourier(shape), "constraints": [exact_statistics(shape, mean=0.43, rms=0.2)]}


def loop() -> Pair:
    """What the loop adds to the forward + backward of the very network that it runs."""
    encoder = ours_of(LITE0, LAYER)
    return step_of("loop alone, Lite0", encoder, encoder, 112, 1.25, default)


def own_module() -> Pair:
    """What a short run adds to the steps of a user's own module: the questions before it, the checks, the record."""
    own = as_loaded("resnet18")
    return step_of("a module of one's own (ResNet18 layer3), pixels", own, own, 112, 1.10, plain, steps=20)


def alexnet_pixels() -> Pair:
    """AlexNet, pixels."""
    return step_of(
        "AlexNet conv5, pixels", ours_of("torchvision:alexnet", ALEXNET), as_loaded("alexnet"), 224, 1.15, plain
    )


def alexnet_fourier() -> Pair:
    """AlexNet, Fourier + affine + exact projection."""
    encoder = ours_of("torchvision:alexnet", ALEXNET)
    return step_of("AlexNet conv5, Fourier + affine + exact", encoder, as_loaded("alexnet"), 224, 1.30, full)


def lite0_pixels() -> Pair:
    """EfficientNet-Lite0, pixels."""
    return step_of("Lite0, pixels", ours_of(LITE0, LAYER), as_loaded("lite0"), 112, 0.75, plain)


def lite0_fourier() -> Pair:
    """EfficientNet-Lite0, Fourier + affine + exact projection."""
    return step_of("Lite0, Fourier + affine + exact", ours_of(LITE0, LAYER), as_loaded("lite0"), 112, 0.75, full)


def resnet18_pixels() -> Pair:
    """ResNet18, pixels."""
    encoder = ours_of("torchvision:resnet18", "layer3")
    return step_of("ResNet18 layer3, pixels", encoder, as_loaded("resnet18"), 112, 0.75, plain)


def resnet18_fourier() -> Pair:
    """ResNet18, Fourier + affine + exact projection."""
    encoder = ours_of("torchvision:resnet18", "layer3")
    return step_of("ResNet18 layer3, Fourier + affine + exact", encoder, as_loaded("resnet18"), 112, 0.75, full)


def regression() -> tuple[Tensor, Tensor, Tensor, list[float]]:
    """Features (1000, 9216) and targets (1000, 200), float32, folds and penalties."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1000, 9216, generator=generator)
    signal = features @ torch.randn(9216, 200, generator=generator) / 96
    return (
        features,
        signal + torch.randn(1000, 200, generator=generator),
        torch.arange(1000) % 5,
        torch.logspace(-3, 7, 11).tolist(),
    )


def ridge() -> Pair:
    """Cross-validated ridge of all sites and penalties against the one matrix product that it cannot avoid."""
    features, targets, folds, alphas = regression()
    return Pair(
        "ridge, 1000 images x 9216 float32 features x 200 sites, 5 folds, 11 alphas / one float32 Gram matrix",
        lambda: fit_ridge(features, targets, folds=folds, alphas=alphas),
        lambda: features @ features.T,
        2.5,
    )


def ridge_peer(backend: str = "torch") -> Pair:
    """The same problem by himalaya's kernel ridge on the CPU, in float32 too; the fits must agree first.

    Its other solver decomposes the features of each fold and takes a minute where they outnumber the images.
    """
    features, targets, folds, alphas = regression()
    with_constant = torch.cat([features, torch.full((1000, 1), 1e2)], 1)  # it has no intercept

    def ours() -> RidgeFit:
        return fit_ridge(features, targets, folds=folds, alphas=alphas)

    peer = partial(himalaya, backend, with_constant, targets, folds, alphas)
    model = peer()
    check_same(ours(), np.asarray(model.best_alphas_), np.asarray(model.predict(model.X_fit_)), features, targets)
    return Pair(f"ridge, the same problem / himalaya's {backend} backend, float32", ours, peer, 0.6)


def himalaya(backend: str, features: Tensor, targets: Tensor, folds: Tensor, alphas: list[float]) -> Any:
    """The fitted KernelRidgeCV of himalaya, with one of its backends."""
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from sklearn.model_selection import PredefinedSplit

    to = set_backend(backend).asarray
    model = KernelRidgeCV(np.array(alphas), cv=PredefinedSplit(folds.numpy()))
    return model.fit(to(features.numpy()), to(targets.numpy()))


def check_same(fit: RidgeFit, alphas: Floats, predicted: Floats, features: Tensor, targets: Tensor) -> None:
    """Refuse to time two fits that differ: in the penalties of more than 1 site in 20, or in R2 by more than 1e-3."""
    same = np.isclose(alphas, fit.alpha.numpy())
    if same.mean() < 0.95:
        raise AssertionError(f"only {same.mean():.0%} of sites have the penalty that himalaya chose")
    y = targets.numpy()
    total = np.square(y - y.mean(0)).sum(0)
    r2 = [1 - np.square(y - p).sum(0) / total for p in (predicted, fit.predict(features).numpy())]
    np.testing.assert_allclose(r2[0][same], r2[1][same], rtol=0, atol=1e-3)


def factorised_peer() -> Pair:
    """One pass over the images, forward and backward, by the factorised readout of neuralpredictors; the losses must agree first."""
    from neuralpredictors.layers.readouts.factorized import FullFactorized2d

    shape, images, sites, batch = (80, 14, 14), 1000, 200, 100
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(images, *shape, generator=generator)
    targets = torch.randn(images, sites, generator=generator)
    ours = FactorisedReadout({"a": shape}, sites, regulariser="klindt", weight=1.0)
    theirs = FullFactorized2d(shape, sites, bias=True)
    with torch.no_grad():
        theirs.initialize(mean_activity=torch.ones(sites))
        theirs.bias.zero_()
        ours.masks[0].copy_(theirs.normalized_spatial)
        ours.weights[0].copy_(theirs.features)

    def passes(loss: Callable[[Tensor, Tensor], Tensor], parameters: list[nn.Parameter]) -> Tensor:
        total = torch.zeros(())
        for begin in range(0, images, batch):
            value = loss(maps[begin : begin + batch], targets[begin : begin + batch])
            torch.autograd.grad(value, parameters)
            total = total + value.detach()
        return total

    def our_loss(x: Tensor, y: Tensor) -> Tensor:
        return (ours.respond([x]) - y).square().mean(0).sum() + ours.penalty()

    def their_loss(x: Tensor, y: Tensor) -> Tensor:
        # its own regularizer() multiplies every site's mask with every other site's weights
        penalty = theirs.normalized_spatial.abs().sum((1, 2)) * theirs.features.abs().sum(1)
        value: Tensor = (theirs(x) - y).square().mean(0).sum() + penalty.sum()
        return value

    own, peer = [p for p in ours.parameters() if p.requires_grad], list(theirs.parameters())
    torch.testing.assert_close(passes(our_loss, own), passes(their_loss, peer), rtol=1e-4, atol=0)
    return Pair(
        f"factorised readout, one pass of {images} images x {shape[0]} x 14 x 14 features x {sites} sites / neuralpredictors",
        lambda: passes(our_loss, own),
        lambda: passes(their_loss, peer),
        0.65,
    )


def guided_steps(method: str, size: int, limit: float | None) -> Pair:
    """Steps of a guided sample against the same steps at strength 0; the encoder's own time is in the ratio, and above 64 px outweighs the prior's."""
    images, steps = 8, 6
    encoder = ours_of(LITE0, LAYER)
    prior = natural({"widths": [32, 64, 128, 128]}, (3, 64, 64))  # the time does not depend on the weights
    constraints = [exact_statistics((3, size, size), mean=0.43, rms=0.2)]

    def run(strength: float) -> None:
        guide(encoder, stretch(range(images)), prior, method=method, strength=strength, constraints=constraints, steps=steps)  # fmt: skip

    what = f"{steps} steps of {method} / {steps} unguided steps of a prior at 64 px, {images} images, Lite0 to {LAYER} at {size} px"
    return Pair(what, lambda: run(0.3), lambda: run(0.0), limit)


def two_workers(name: str) -> Pair:
    """A whole command with two workers against the same with one."""
    run = bench_workers.COMMANDS[name]
    return Pair(f"{name} --workers 2 / --workers 1", lambda: run(2), lambda: run(1), bench_workers.LIMIT)


ROWS: dict[str, Callable[[], Pair]] = {
    "loop": loop,
    "own": own_module,
    "alex_px": alexnet_pixels,
    "alex_full": alexnet_fourier,
    "lite0_px": lite0_pixels,
    "lite0_full": lite0_fourier,
    "res18_px": resnet18_pixels,
    "res18_full": resnet18_fourier,
    "ridge": ridge,
    "himalaya": ridge_peer,
    "factorised": factorised_peer,
    "guided": lambda: guided_steps("guided", 64, 3.0),
    "guided_fast": lambda: guided_steps("guided_fast", 64, 1.8),
    "guided_112": lambda: guided_steps("guided", 112, None),
    "fast_112": lambda: guided_steps("guided_fast", 112, None),
    **{f"{name}_2": partial(two_workers, name) for name in bench_workers.COMMANDS},
}


def measure(row: str, pair: Pair, repeats: int) -> Result:
    """Time both callables in turn, after one warm-up each."""
    pair.bare(), pair.ours()
    ratios, ours, bare = [], [], []
    for _ in range(repeats):
        bare.append(seconds(pair.bare))
        ours.append(seconds(pair.ours))
        ratios.append(ours[-1] / bare[-1])
    ratio = statistics.median(ours) / statistics.median(bare)
    return Result(row, pair.what, ratio, lowest=min(ratios), highest=max(ratios), limit=pair.limit, repeats=repeats)


def seconds(function: Callable[[], object]) -> float:
    """CPU time of one call, of all threads: what else runs on the machine counts for little."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def table(results: list[Result]) -> str:
    """Fixed-width text, one line a row."""
    lines = [f"{'row':<12}{'ratio':>7}{'range':>16}{'limit':>8}  what"]
    for r in results:
        limit = "-" if r.limit is None else f"{r.limit:.2f}"
        lines.append(f"{r.row:<12}{r.ratio:>7.2f}{f'{r.lowest:.2f} - {r.highest:.2f}':>16}{limit:>8}  {r.what}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peers", action="store_true", help="beside other packages; the rows are then those of docs/peers.md"
    )
    parser.add_argument("--rows", nargs="+", help="rows to measure; NAME_2: minutes each; default: all others")
    parser.add_argument("--repeats", type=int, help="times each pair is timed in turn; default 7, with --peers 5")
    parser.add_argument(
        "--data", type=Path, help="with --peers: folder v4_cowley2023; default: ../shared/data, where present"
    )
    parser.add_argument(
        "--json", type=Path, help="also write the results to this file; with --peers its other rows are kept"
    )
    arguments = parser.parse_args()
    if arguments.peers:
        from peers import run

        check_rows(arguments.rows or [], list(run.GROUPS), parser)
        return run.main(arguments.rows, arguments.data, arguments.repeats or 5, arguments.json)
    rows = arguments.rows or [row for row in ROWS if not row.endswith("_2")]
    check_rows(rows, list(ROWS), parser)
    results = [measure(row, ROWS[row](), arguments.repeats or 7) for row in rows]
    print(table(results))
    if arguments.json is not None:
        record = {"torch": torch.__version__, "threads": torch.get_num_threads(), "rows": [asdict(r) for r in results]}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def check_rows(rows: list[str], known: list[str], parser: argparse.ArgumentParser) -> None:
    """Exit where a row is not known."""
    if unknown := set(rows) - set(known):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(known)}")


if __name__ == "__main__":
    main()
