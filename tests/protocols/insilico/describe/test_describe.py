"""`stimsynth describe` on a small fitted project: the page as a reader sees it, planted words, what is refused."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from protocols.cli import app
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.insilico.describe.boxes import outline
from protocols.insilico.describe.controllers import read_batches
from protocols.insilico.describe.description import Description
from protocols.insilico.describe.door import describe, write_description
from protocols.insilico.describe.material import look_over, see
from protocols.insilico.describe.reading import find_clusters
from protocols.insilico.describe.record import summary
from protocols.project.display import Display
from protocols.project.folder import Project
from synth.batch import StimulusBatch
from tests.protocols.helpers.looped_project import copy
from tests.protocols.helpers.pages import run_page

pytestmark = [pytest.mark.thorough, pytest.mark.xdist_group("loop")]


@pytest.fixture(scope="module")
def lab(looped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project `mylab`, and the tables of a model that sees what drives the first site."""
    folder = tmp_path_factory.mktemp("describe")
    copy(looped / "project", folder / "mylab")
    material = look_over(Project.open(folder / "mylab"))
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(len(material.measured), 30))
    hidden[:, 0] += 3 * material.measured[:, 0]
    (folder / "vectors").mkdir()
    words = ["<b>planted</b>", *(f"word {i}" for i in range(1, 20))]
    ids = np.array([*material.opened.source_ids, "from_elsewhere"])
    np.savez(folder / "vectors" / "images.npz", ids=ids, vectors=np.concatenate([hidden + 2, np.ones((1, 30))]))
    np.savez(folder / "vectors" / "words.npz", ids=np.array(words), vectors=np.eye(30)[:20])
    sites = ", ".join(f'"{site}"' for site in material.sites[:3])
    (folder / "wanted.toml").write_text(f'[[objective]]\nkind = "stretch"\nsites = [{sites}]\n')
    return folder


@pytest.fixture(scope="module")
def page(lab: Path) -> list[str]:
    """What the commands of docs/describe.md print; figures are drawn into files, not into the page as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("protocols.report.section.as_data_uri", lambda _: "data:image/png;base64,")
        return run_page("docs/describe.md", lab)


class Reader(HTMLParser):
    """Checks that tags are closed in order, and collects addresses."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open, self.addresses = [], []  # type: ignore[var-annotated]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [str(v) for k, v in attrs if k in ("src", "href")]
        if tag == "img":
            assert dict(attrs).get("alt")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [str(v) for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_loads_nothing_and_shows_every_image_it_names(lab: Path, page: list[str]) -> None:
    text = (lab / "about" / "index.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    assert reader.addresses.count("data:,") == 1  # an empty icon, so that none is asked for
    assert all(a.startswith(("data:image/", "#i-")) for a in reader.addresses if a != "data:,")
    assert set(re.findall(r'href="#(i-[\w]+)"', text)) == set(re.findall(r'<image id="(i-\w+)"', text))
    assert text.count('class="site"') == 6
    assert text.count("<ellipse") > 0
    assert len(text.encode()) < 5_000_000


def test_without_vectors_the_command_says_what_to_give_it(lab: Path, page: list[str]) -> None:
    text = (lab / "about" / "index.html").read_text(encoding="utf-8")
    assert "make_vectors.py" in page[1]
    assert "--clip" in page[1]
    assert "make_vectors.py" in text
    assert {"make_vectors.py", "words.txt"} <= {p.name for p in (lab / "about").iterdir()}
    record = json.loads((lab / "about" / "describe.json").read_text())
    assert record["words"] is None
    assert record["controllers"] == 3
    assert record["clusters"]["reason"].startswith("6 sites")


def test_planted_words_stand_on_the_page_escaped_and_noise_has_none(lab: Path, page: list[str]) -> None:
    folder, site = lab / "in_words", Project.open(lab / "mylab")
    first = look_sites(site)[0]
    with open(folder / "words.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    best = next(r for r in rows if r["site"] == first and r["rank"] == "1")
    assert best["word"] == "<b>planted</b>"
    assert float(best["shrunken"]) > 0.5
    assert float(best["site_p"]) < 0.05
    own = {r["word"]: float(r["projected_cosine"]) for r in rows if r["site"] == first}
    assert max(own, key=own.__getitem__) == "<b>planted</b>"
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;planted&lt;/b&gt;" in text
    assert "<b>planted" not in text
    assert f"{first}" in page[2]
    assert "<b>planted</b> +" in page[2]
    with open(folder / "percentiles.csv", newline="", encoding="utf-8") as file:
        percentile = next(csv.DictReader(file))
    assert float(percentile["highest"]) > 80
    assert float(percentile["lowest"]) < 20
    assert float(percentile["random_directions_p"]) <= 0.05
    record = json.loads((folder / "describe.json").read_text())
    assert record["words"]["natural_images"] == record["photographs"] + 1
    assert 1 <= record["words"]["sites_with_words"] < 6
    assert not (folder / "make_vectors.py").exists()


def look_sites(project: Project) -> list[str]:
    from protocols.project.fitted import fitted_for

    record = fitted_for(project.fitted, 1)
    assert record is not None
    return [s.site_id for s in record.sites if s.eligible_target]


def test_figures_are_whole_and_tables_name_existing_images(lab: Path, page: list[str]) -> None:
    for path in (lab / "in_words").glob("*.png"):
        assert min(_size(path)) > 100
    sources = {p.stem for p in (lab / "mylab" / "data" / "natural").glob("*.png")}
    with open(lab / "about" / "neighbours.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {r["image"] for r in rows} <= sources
    assert len(rows) == 3 * 2 * 3
    assert {r["space"] for r in rows} == {"features", "pixels"}


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()
        return picture.size


def test_the_object_for_scripts_is_the_record(lab: Path, page: list[str]) -> None:
    assert json.loads(page[3]) == json.loads((lab / "one" / "describe.json").read_text()) | {"folder": "one"}
    assert len(json.loads(page[3])["sites"]) == 1


def test_an_image_is_seen_the_same_alone_and_in_any_batch(lab: Path) -> None:
    from protocols.insilico.opened import open_fitted

    opened = open_fitted(Project.open(lab / "mylab"))
    together, alone = see(opened.encoder, opened.natural[:40]), see(opened.encoder, opened.natural[37:38])
    np.testing.assert_allclose(alone.features[0], together.features[37], atol=1e-4)
    np.testing.assert_allclose(alone.members[:, 0], together.members[:, 37], atol=1e-4)
    assert see(opened.encoder, opened.natural[:0]).features.shape == (0, together.features.shape[1])


@pytest.fixture(scope="module")
def found(lab: Path, page: list[str]) -> Description:
    """Two sites, with the controllers, and with the same encoder as an earlier one."""
    project = Project.open(lab / "mylab")
    record = project.fitted_for(1)
    assert record is not None
    return describe(project, [lab / "controllers"], sites=look_sites(project)[:2], earlier=record["encoder"])


def test_best_photographs_are_those_of_the_largest_measured_response(found: Description) -> None:
    for v, box in enumerate(found.boxes):
        best = [shown.image for shown in box.rows[0][1]]
        order = np.argsort(-found.material.measured[:, v])
        assert best == [found.material.opened.source_ids[i] for i in order[:3]]
        assert box.rows[0][1][0].text[1] == f"measured {found.material.measured[order[0], v]:+.1f}"


def test_predictions_of_controllers_are_those_of_the_png_read_back(lab: Path, found: Description) -> None:
    batch = StimulusBatch.load(lab / "controllers" / "batch.h5")
    png = read_png(sorted((lab / "controllers" / "images").glob("*.png"))[0])
    row = next(i for i, image in enumerate(batch.images) if np.array_equal(image, png))
    encoder = found.material.opened.encoder
    mean, sd = (getattr(encoder, f"natural_{n}").numpy() for n in ("mean", "sd"))
    np.testing.assert_allclose(see(encoder, png[None]).predicted[0], (batch.predicted[row] - mean) / sd, atol=1e-3)


def test_an_earlier_encoder_is_mapped_beside_the_newest(found: Description) -> None:
    assert found.layers.before is not None
    assert found.layers.before.best == found.layers.now.best
    assert "0 sites changed" in summary(found)


def test_nothing_is_half_written_and_nothing_written_over(
    lab: Path, found: Description, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError) as error:
        write_description(found, lab / "about")
    assert error.value.code == "W05"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("protocols.insilico.describe.door._write_tables", stop)
    with pytest.raises(KeyboardInterrupt):
        write_description(found, lab / "half")
    assert not [p for p in lab.iterdir() if "half" in p.name]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--words", "words.txt"], "--words needs --clip"),
        (["--clip", "nowhere"], "V63"),
        (["--batch", "mylab"], "V60"),
        (["--sites", "v4_999"], "V41"),
        (["--earlier", "enc_00000000"], "S07"),
    ],
)
def test_what_the_command_refuses(lab: Path, words: list[str], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab)
    done = CliRunner().invoke(app, ["describe", "mylab", "--out", "new", *words])
    assert done.exit_code
    assert not (lab / "new").exists()
    assert found in done.output or getattr(done.exception, "code", "") == found


def test_a_batch_of_other_images_is_refused(lab: Path, page: list[str]) -> None:
    with pytest.raises(DataError) as error:
        read_batches([lab / "controllers"], shape=(9, 9, 3), sites=look_sites(Project.open(lab / "mylab")))
    assert error.value.code == "V61"
    with pytest.raises(DataError, match="made for one of the sites"):
        read_batches([lab / "controllers"], shape=(64, 64, 3), sites=["v4_999"])


def test_the_outline_turns_as_the_field_does() -> None:
    """A field up and to the right, its long axis rising to the right: on screens y grows downwards."""
    display = Display(width_px=100, height_px=100, size_deg=10.0, background=128)
    numbers = {"x_deg": 2.0, "y_deg": 1.0, "sd_major_deg": 1.5, "sd_minor_deg": 0.5, "orientation_deg": 30.0}
    ellipse = outline(SimpleNamespace(reason="", **numbers), display)  # type: ignore[arg-type]
    assert ellipse is not None
    assert (ellipse.x, ellipse.y, ellipse.major, ellipse.minor, ellipse.turn) == (70.0, 40.0, 15.0, 5.0, -30.0)
    assert outline(SimpleNamespace(reason="flat", **numbers), display) is None  # type: ignore[arg-type]


def test_planted_clusters_of_sites_are_found_by_weights_and_by_responses() -> None:
    import torch

    from encoders.analysis.subdivisions import adjusted_rand
    from encoders.readouts import FactorisedReadout

    rng, sites = np.random.default_rng(0), 24
    labels = np.arange(sites) % 3
    weights = rng.normal(size=(3, 40))[labels] + 0.5 * rng.normal(size=(sites, 40))
    readout = FactorisedReadout({"a": (40, 2, 2)}, sites)
    with torch.no_grad():
        readout.weights[0].copy_(torch.from_numpy(weights))
        for name, parameter in readout.named_parameters():
            if name.startswith("mask"):
                parameter.fill_(0.5)
    images = rng.normal(size=(200, 40))
    predicted = images @ weights.T
    recorded = predicted + rng.normal(size=predicted.shape)
    material = SimpleNamespace(
        natural=SimpleNamespace(predicted=predicted),
        columns=np.arange(sites),
        opened=SimpleNamespace(encoder=SimpleNamespace(readouts=[readout])),
        sites=tuple(f"s{i}" for i in range(sites)),
        validated=predicted + rng.normal(size=predicted.shape),
        recorded=recorded,
        held_out=np.arange(200) < 60,
        unseen=None,
    )
    found = find_clusters(material, draws=19)  # type: ignore[arg-type]
    assert found.by_weights is not None
    assert found.by_responses is not None
    assert adjusted_rand(found.by_weights.labels, labels) == adjusted_rand(found.by_responses.labels, labels) == 1.0
    assert found.agreement == found.validator == 1.0
    assert found.measured is not None
    assert found.measured[0] > 0.5 > 0.2 > found.measured[1]
    # an encoder that was fitted to held-out noise groups sites by it; the one that was not does not
    noise = rng.normal(size=(200, sites)) + 2 * rng.normal(size=(200, 2))[:, np.arange(sites) % 2]
    material.natural.predicted, material.recorded, material.unseen = noise, noise, predicted
    again = find_clusters(material, draws=19)  # type: ignore[arg-type]
    assert again.by_responses is not None
    assert adjusted_rand(again.by_responses.labels, np.arange(sites) % 2) == 1.0
    assert again.measured is not None
    assert again.measured[2] > 0.05
