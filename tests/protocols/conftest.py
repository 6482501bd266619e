"""A small exported round and a rig that answers it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from protocols.disk.files import sha256_file
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.key import SiteRow
from protocols.project.outbox import read_order
from protocols.rounds.export import Inspection, Showing, export_round
from protocols.rounds.stimulus import Stimulus

if TYPE_CHECKING:
    pass


SITES = tuple(f"v4_{i:03d}" for i in (7, 3, 12, 1, 9))
PROTOCOL = ProtocolConfig(repeats=4, blocks=2, blanks_per_block=2, seed=5)
SMALL = Display(width_px=24, height_px=20, size_deg=4.0, background=128)


def stimuli(n: int = 8, seed: int = 0, display: Display = SMALL) -> list[Stimulus]:
    """`n` images: a quarter controllers, a quarter references, the rest natural."""
    generator = np.random.default_rng(seed)
    channels, height, width = display.shape
    made = []
    for i in range(n):
        role = ("controller", "reference", "natural", "natural")[i % 4]
        about = {}
        if role == "controller":
            about = {
                "objective": "stretch",
                "target": SITES[0],
                "generator": "gradient",
                "seed": i,
                "confirmatory": i == 0,
            }
        if role == "reference":
            about = {"reference_for": (("stretch", SITES[0]),)}
        pixels = generator.integers(0, 256, (height, width, channels), dtype=np.uint8)
        made.append(Stimulus(pixels=pixels, role=role, source_id=f"src_{i:03d}", **about))
    return made


def photographs(n: int = 8) -> list[Stimulus]:
    """`n` natural images, as in a baseline round."""
    return [Stimulus(pixels=s.pixels, role="natural", source_id=s.source_id) for s in stimuli(n)]


def site_rows() -> list[SiteRow]:
    """The frozen sites: natural mean 4, SD 2 spikes."""
    return [
        SiteRow(site_id=s, natural_mean=4.0, natural_sd=2.0, reliability=0.8, is_target=i < 2)
        for i, s in enumerate(SITES)
    ]


def predict(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """A linear stand-in for an encoder."""
    mean = pixels.reshape(len(pixels), -1).mean(1, keepdims=True)
    return {"predicted": mean + np.arange(len(SITES)), "validator_predicted": mean - np.ones(len(SITES))}


ENCODER = {"encoder": {"fingerprint": "enc_00000000", "field_of_view_deg": 4.0, "unit": "spikes"}}


@dataclass
class Answer:
    """What the rig recorded, row by row; `write` puts it down as Python or MATLAB would."""

    images: list[str]
    block: np.ndarray
    rep: np.ndarray
    onset_s: np.ndarray
    values: np.ndarray
    sites: list[str]
    attrs: dict[str, object] = field(default_factory=lambda: {"units": "spikes", "window_ms": [70.0, 170.0]})
    valid: np.ndarray | None = None
    stated: bool = True
    timed: bool = False

    def rows(self, rows: np.ndarray | slice) -> Answer:
        """The same rows of everything."""
        cut = {n: getattr(self, n)[rows] for n in ("block", "rep", "onset_s", "values")}
        images = list(np.array(self.images)[rows])
        valid = None if self.valid is None else self.valid[rows]
        return Answer(
            images, sites=self.sites, attrs=dict(self.attrs), valid=valid, stated=self.stated, timed=self.timed, **cut
        )

    def permute_sites(self, order: list[int]) -> Answer:
        """The columns in another order."""
        return Answer(
            images=self.images, block=self.block, rep=self.rep, onset_s=self.onset_s, values=self.values[:, order], sites=[self.sites[i] for i in order],
            attrs=dict(self.attrs), valid=self.valid, stated=self.stated, timed=self.timed,
        )  # fmt: skip

    def write(self, path: Path, layout: str = "python") -> Path:
        """Write the file (MATLAB: reversed dimensions, 1 x N vectors)."""
        matlab = layout == "matlab"

        def vector(x: object) -> np.ndarray:
            column = np.asarray(x)
            return column[None] if matlab else column

        text = h5py.string_dtype()
        with h5py.File(path, "w") as file:
            file["responses"] = self.values.T if matlab else self.values
            file.create_dataset("image_id", data=vector(np.array(self.images, dtype=object)), dtype=text)
            file.create_dataset("site_id", data=vector(np.array(self.sites, dtype=object)), dtype=text)
            if self.stated:
                file["trial/block"], file["trial/rep"] = vector(self.block), vector(self.rep)
            if self.timed:
                file["trial/onset_s"] = vector(self.onset_s)
            if self.valid is not None:
                file["trial/valid"] = vector(self.valid.astype(np.uint8))
            file.attrs.update({**self.attrs, **({"writer": "matlab"} if matlab else {})})
        return path


def record(round_: Round, seed: int = 0) -> Answer:
    """A faithful answer: every planned trial, Poisson counts that depend on the image."""
    order = read_order(round_.outbox)
    generator = np.random.default_rng(seed)
    images = [t.image_id for t in order]
    rate = {i: generator.uniform(1, 8, len(SITES)) for i in sorted(set(images))}
    return Answer(
        images=images,
        block=np.array([t.block for t in order]),
        rep=np.array([t.rep for t in order]),
        onset_s=np.arange(len(order)) * 0.2,
        values=np.array([generator.poisson(rate[i]) for i in images]).astype(float),
        sites=list(SITES),
        attrs={
            "units": "spikes",
            "window_ms": [70.0, 170.0],
            "manifest_sha256": sha256_file(round_.outbox / "manifest.json"),
            "session_id": round_.session_id,
            "round": round_.number,
        },
    )


def export_small(round_: Round, n: int = 8, **changed: object) -> Path:
    """Export `n` small images; `changed` overrides arguments of export_round."""
    arguments: dict = {
        "sites": site_rows(),
        "config": PROTOCOL,
        "repeats": PROTOCOL.repeats,
        "predict": predict,
        "manifest": ENCODER,
    } | changed
    display, shown = arguments.pop("display", SMALL), arguments.pop("stimuli", stimuli(n))
    showing = {k: arguments.pop(k) for k in ("config", "repeats", "fewer", "rigs") if k in arguments}
    inspection = {k: arguments.pop(k) for k in ("predict", "check", "safety") if k in arguments}
    return export_round(
        round_, display, shown, showing=Showing(**showing), inspection=Inspection(**inspection), **arguments
    )


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """The helpers above, for the tests."""
    return SimpleNamespace(
        sites=SITES,
        protocol=PROTOCOL,
        display=SMALL,
        encoder=ENCODER,
        stimuli=stimuli,
        photographs=photographs,
        site_rows=site_rows,
        predict=predict,
        record=record,
        export=export_small,
    )


@pytest.fixture(scope="session")
def base(looped: Path) -> Path:
    """A folder with a subject and a project whose round 0 is answered and whose round 1 waits for the rig; not to be changed."""
    return looped


@pytest.fixture(scope="session")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `base` run to its end; the rig that answers is a process, as in the demo."""
    from protocols.demo import answer
    from protocols.loop import run
    from tests.protocols.helpers.looped_project import copy

    folder = copy(base, tmp_path_factory.mktemp("finished") / "all")
    project = Project.open(folder / "project")
    answer(folder / "subject", project.round(1), seed=1)
    assert run(project).stage == "finished"
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project.create(tmp_path / "myproject", name="myproject", display=SMALL)


@pytest.fixture
def round_(project: Project) -> Round:
    """Round 1, not exported."""
    return project.new_round(1, "ses_20261121")


@pytest.fixture
def exported(round_: Round) -> Round:
    """Round 1, exported."""
    export_small(round_)
    return round_


@pytest.fixture(scope="session")
def looped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `looped_project.make`; made once, so tests that want it carry ``xdist_group("loop")`` and change only copies of it."""
    from tests.protocols.helpers.looped_project import make

    return make(tmp_path_factory.mktemp("loop"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are written with empty figures: drawing takes most of a report's time."""
    monkeypatch.setattr("protocols.report.section.as_data_uri", lambda _: "data:,")
