"""Evolution at equal presentations with noise: diagonal CMA-ES, the package's default, beside XDream's genetic algorithm.

XDream is not on the index; its genetic algorithm is the package's own `genetic`, the published algorithm written anew. Codes, images, trials
and the hidden site are the same for both: only the optimiser differs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from protocols.arrays import Floats
from protocols.simulate.rig import simulate_counts
from protocols.simulate.subject import Subject
from synth.evolution.evolve import seed_of
from synth.evolution.fourier_code import FourierCode
from synth.evolution.optimisers import Optimiser, make_optimiser

from .records import ANEW, Row, paired_ratio
from .world import World

POPULATIONS = {"cma": 40, "tuned": 40, "released": 20}
ABOUT = {
    "tuned": "as tuned by Wang & Ponce 2022, 40 per generation",
    "released": "as in the released script, 20 per generation",
}


def rows(world: World, *, sites: int, presentations: int) -> Iterator[Row]:
    """True response of the image that each names as its best, over sites."""
    chosen = [world.subject.site_ids.index(t) for t in world.targets[:sites]]
    truth = {name: np.array([evolved(world, name, column, presentations) for column in chosen]) for name in POPULATIONS}
    for preset, about in ABOUT.items():
        yield Row(
            group="evolution", peer="XDream's genetic algorithm", version=ANEW,
            what=f"true response after {presentations} noisy presentations per site, {len(chosen)} sites; {about}", unit="M", better="more",
            interval="95 %, bootstrap over sites", **paired_ratio(truth["cma"], truth[preset]),
        )  # fmt: skip


def evolved(world: World, name: str, column: int, presentations: int) -> float:
    """True response / M of the centre of the codes when the presentations are spent."""
    latent = FourierCode((3, *world.images.shape[1:3]))
    seed = seed_of(f"{column}", 0)
    optimiser = begun(name, latent.start(seed), seed)
    random = np.random.default_rng([column, len(name)])
    subject, site = alone(world.subject, column)
    for _ in range(presentations // POPULATIONS[name]):
        pixels = world.shown(latent.decode(optimiser.ask()))
        expected = subject.expected(pixels)
        onsets = 0.2 * np.arange(len(expected), dtype=np.float64)
        optimiser.tell(simulate_counts(expected, onsets, subject.noise, generator=random)[:, site])
    best = world.shown(latent.decode(optimiser.best()[None]))
    return float(subject.expected(best)[0, site] / subject.saturation[site])


def begun(name: str, start: Floats, seed: int) -> Optimiser:
    """An optimiser around the code `start`, the same start for all."""
    if name == "cma":
        return make_optimiser("cma", start, population=POPULATIONS[name], seed=seed)
    return make_optimiser("genetic", start, population=POPULATIONS[name], seed=seed, settings=name)


def alone(subject: Subject, column: int) -> tuple[Subject, int]:
    """The subject with one V4 site alone, since asking all of them takes long; other subjects as they are. And the site's column."""
    if subject.kind != "v4":
        return subject, column
    prefix = f"site{column:03d}."
    tensors = {f"site000.{n.removeprefix(prefix)}": t for n, t in subject.tensors.items() if n.startswith(prefix)}
    for name in ("gain", "offset", "saturation"):
        tensors[name] = subject.tensors[name][column : column + 1]
    tensors["natural_expected"] = subject.tensors["natural_expected"][:, column : column + 1]
    tensors["natural_sha256"] = subject.tensors["natural_sha256"]
    return Subject(
        kind="v4", label=subject.label, site_ids=(subject.site_ids[column],), image_shape=subject.image_shape,
        noise=subject.noise, seed=subject.seed, settings={}, tensors=tensors,
    ), 0  # fmt: skip
