"""The preview of a round: its numbers are those of the 8-bit images, and its page stands alone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protocols import Project
from protocols.errors import DataError
from protocols.models.pair import load_pair
from protocols.preview.page import diagnosis, write_preview
from protocols.preview.proposals import Preview, Range, gather_preview
from protocols.project.photographs import NaturalImages
from protocols.synthesis.starts import measured_z
from synth import StimulusBatch
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.looped_project import copy
from tests.protocols.helpers.pages import run_page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


@pytest.fixture(scope="module")
def lab(looped: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The looped project with its first round made and not yet exported."""
    folder = copy(looped, tmp_path_factory.mktemp("preview") / "lab") / "project"
    project = Project.open(folder)
    round_ = project.round(1)
    for path in (round_.outbox, round_.inbox):
        shutil.rmtree(path, ignore_errors=True)
    for path in (round_.key_path, round_.responses_path, round_.ingest_path, round_.evaluation_path):
        path.unlink(missing_ok=True)
    return project


@pytest.fixture(scope="module")
def found(lab: Project) -> Preview:
    return gather_preview(lab.for_stage(), lab.round(1))


def test_the_numbers_are_those_of_the_images_as_they_will_be_shown(lab: Project, found: Preview) -> None:
    batch = StimulusBatch.load(lab.round(1).controllers_path)
    encoder, validator = load_pair(lab, 1)
    with torch.no_grad():
        shown = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255
        answers, judged = (e(shown).mean(0) if e(shown).dim() == 3 else e(shown) for e in (encoder, validator))
    z = ((answers - encoder.natural_mean) / encoder.natural_sd).numpy()
    other = ((judged - validator.natural_mean) / validator.natural_sd).numpy()
    natural = measured_z(lab, encoder)
    assert [p.site for p in found.proposals] == list(batch.targets)
    assert {i for i, p in enumerate(found.proposals) if p.best} == set(batch.best_indices())
    for i, p in enumerate(found.proposals):
        np.testing.assert_allclose(p.z, z[i], atol=2e-3)
        assert (p.low <= p.z).all()
        assert (p.z <= p.high).all()
        assert p.validator_z == pytest.approx(other[i, list(validator.site_ids).index(p.site)], abs=2e-3)
        source, pixels, best = found.best[p.site]
        column = list(encoder.site_ids).index(p.site)
        row = NaturalImages.load(lab.data).source_ids.index(source)
        assert best == natural[:, column].max() == natural[row, column]
        np.testing.assert_array_equal(pixels, NaturalImages.load(lab.data).pixels()[row])
    exact = lab.display.constraints()[-1].statistics(shown)["rms"].numpy()
    np.testing.assert_allclose([p.contrast for p in found.proposals], exact, atol=1e-6)


def test_the_command_writes_one_page_that_stands_alone(lab: Project, found: Preview, tmp_path: Path, capsys) -> None:
    code, printed, errors = stimsynth(capsys, "--json", "preview", lab.folder)
    assert code == 0, printed + errors
    told = json.loads(printed)
    page = (lab.folder / told["page"]).read_text(encoding="utf-8")
    assert lab.round(1).sealed / "preview.html" == lab.folder / told["page"]
    assert not re.search(r"(https?:)?//(?!www\.w3\.org)[\w.-]+\.\w", page.split("<style>")[0])
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert page.count('<article class="card') == len(found.proposals) == len(told["images"])
    for sentence in told["sentences"]:
        assert sentence in html.unescape(page)
    assert told["plan"]["presentations"] > 0
    assert f"{told['plan']['presentations']} presentations" in page
    copy(lab.folder.parent, tmp_path / "lab")
    (tmp_path / "lab" / "project").rename(tmp_path / "mylab")
    assert "page: " in run_page("docs/preview.md", tmp_path)[-1]
    assert "What the round takes" not in (tmp_path / "look.html").read_text(encoding="utf-8")


def test_what_is_hardly_meant_is_said_first(found: Preview) -> None:
    plain = diagnosis(replace(found, exported=False, warnings=[], contrast=Range(0, 0.2, 1), chroma=Range(0, 0.1, 1)))
    assert not any("contrast than" in s or "chroma than" in s or "exported" in s for s in plain)
    odd = diagnosis(
        replace(
            found,
            exported=True,
            warnings=["all pictures are grey"],
            contrast=Range(0.0, 0.01, 0.02),
            proposals=[replace(p, outside=True, clipped=0.5) for p in found.proposals],
        )
    )
    total = len(found.proposals)
    for words in (
        f"{total} of {total} lie outside",
        "more contrast than 95 %",
        "black or white",
        "all pictures are grey",
        "exported already",
    ):
        assert any(words in sentence for sentence in odd), (words, odd)


def test_names_are_text_and_nothing_else(lab: Project, found: Preview, tmp_path: Path) -> None:
    odd = '"><script>alert(1)</script>'
    site = found.proposals[0].site
    hostile = replace(
        found,
        project=odd,
        session=odd,
        warnings=[odd],
        best={s: (odd, pixels, z) for s, (_, pixels, z) in found.best.items()},
        proposals=[replace(p, start=odd) for p in found.proposals],
    )
    assert site in found.best
    page = write_preview(hostile, tmp_path / "p.html", display=lab.display, plan=odd).read_text(encoding="utf-8")
    assert odd not in page
    assert page.count("<script>") == 1


def test_a_round_that_is_not_made_is_refused(lab: Project, tmp_path: Path, capsys) -> None:
    folder = copy(lab.folder.parent, tmp_path / "lab") / "project"
    path = Project.open(folder).round(1).controllers_path
    batch = StimulusBatch.load(path)
    path.unlink()
    replace(batch, encoder_fingerprint="enc_another").save(path)
    code, printed, errors = stimsynth(capsys, "preview", folder)
    assert (code, "P20" in errors, "enc_another" in errors) == (3, True, True), printed
    path.unlink()
    with pytest.raises(DataError, match="P20"):
        gather_preview(Project.open(folder).for_stage(), Project.open(folder).round(1))


def test_settings_that_were_changed_since_are_told_first(lab: Project, tmp_path: Path, capsys) -> None:
    """An aperture and another contrast: told on the page; another size of the images: refused, with the way out."""
    folder = copy(lab.folder.parent, tmp_path / "lab") / "project"
    toml = folder / "project.toml"
    text = toml.read_text(encoding="utf-8")
    assert 'aperture = "none"' in text
    toml.write_text(text.replace('aperture = "none"', 'aperture = "circle"'), encoding="utf-8")
    code, printed, errors = stimsynth(capsys, "--json", "preview", "--no-plan", folder)
    assert code == 0, errors
    first = json.loads(printed)["sentences"][0]
    assert "made under other settings" in first
    assert "aperture none, now of 7" in first
    assert html.escape(first, quote=False).replace("'", "&#39;") in (folder / json.loads(printed)["page"]).read_text()
    width = int(re.search(r"^width_px = (\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
    toml.write_text(text.replace(f"width_px = {width}", f"width_px = {width // 2}"), encoding="utf-8")
    code, printed, errors = stimsynth(capsys, "preview", "--no-plan", folder)
    assert (code, "P20" in errors) == (3, True), printed + errors
    assert f"{width} x" in errors
    assert f"{width // 2} x" in errors


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine: the page is not opened")
def test_the_page_works_in_a_browser(lab: Project, found: Preview, tmp_path: Path) -> None:
    page = write_preview(found, tmp_path / "p.html", display=lab.display)
    text = page.read_text(encoding="utf-8")
    probe = (
        "<script>sort.value='z';sort.dispatchEvent(new Event('change'));best.click();"
        "document.title=document.getElementById('count').textContent+'; '+document.querySelector('.card').id"
        "+'; '+document.documentElement.scrollWidth+' of '+window.innerWidth</script></body>"
    )
    page.write_text(text.replace("</body>", probe), encoding="utf-8")
    seen = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1024,800",
         "--virtual-time-budget=2000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=False, timeout=120,
    ).stdout  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", seen)
    assert title is not None
    count, first, width = title[1].split("; ")
    total, best = len(found.proposals), sum(p.best for p in found.proposals)
    assert count == f"{best} of {total} images"
    strongest = max(found.proposals, key=lambda p: p.z[list(found.site_ids).index(p.site)])
    assert first == strongest.name
    scrolled, inner = map(int, width.split(" of "))
    assert scrolled <= inner, "nothing is cut at the right"
