"""The commands of the pages run, with the map of the page, on files of the format's own library."""

from __future__ import annotations

import re
import shutil
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from protocols.importing.formats import FORMATS
from protocols.recordings.readers import read_responses
from tests.protocols.helpers.pages import ROOT, run_page
from tests.protocols.helpers.sorted_spikes import RATE, a_day, write_rows
from tests.protocols.importing.formats import test_bids, test_neo, test_phy, test_suite2p

DAY = a_day()
MAP = re.compile(r"```toml\n(.*?)```", re.DOTALL)


def phy(folder: Path) -> None:
    test_phy.kilosort4(folder / "kilosort4")
    write_rows(folder / "events.csv", DAY.columns())


def neo(folder: Path) -> None:
    test_neo.neuroexplorer(folder / "day.nex")


def spikeinterface(folder: Path) -> None:
    core = pytest.importorskip("spikeinterface.core")
    with warnings.catch_warnings():  # of the library: provenance is not saved
        warnings.simplefilter("ignore")
        sorting = core.NumpySorting.from_unit_dict(dict(enumerate(DAY.samples)), sampling_frequency=RATE)
        sorting.set_property("quality", np.array(["good", "mua", "good"]))
        sorting.save(folder=folder / "sorted")
    write_rows(folder / "events.csv", DAY.columns("samples"))


def suite2p(folder: Path) -> None:
    test_suite2p.plane(folder / "suite2p" / "plane0")
    write_rows(folder / "events.csv", DAY.columns())


def bids(folder: Path) -> None:
    test_bids.write(folder / "sub-01_betas.nii.gz", np.rint(test_bids.BETAS * 300).astype(np.int16))
    test_bids.write(folder / "mask.nii.gz", test_bids.MASK)
    rows = test_bids.columns(stim_file=None, id=(test_bids.SHOWN + 1).tolist())
    write_rows(folder / "sub-01_events.tsv", rows, "\t")


MADE: dict[str, tuple[Callable[[Path], None], tuple[int, int, str]]] = {
    "phy": (phy, (72, 3, "spikes")),
    "neo": (neo, (72, 3, "spikes")),
    "spikeinterface": (spikeinterface, (72, 2, "spikes")),
    "suite2p": (suite2p, (72, 3, "dff")),
    "bids": (bids, (30, 5, "beta")),
}


@pytest.mark.parametrize("name", MADE)
def test_the_commands_of_a_page(name, tmp_path):
    make, (presentations, sites, unit) = MADE[name]
    make(tmp_path)
    page = f"docs/formats/{name}.md"
    (told,) = MAP.findall((ROOT / page).read_text(encoding="utf-8"))
    (tmp_path / "map.toml").write_text(told)
    printed = run_page(page, tmp_path)
    assert f"{presentations} presentations" in printed[-1].replace("\n", " ")
    read = read_responses(tmp_path / "recording.h5")
    assert (*read.values.shape, read.unit) == (presentations, sites, unit)


@pytest.mark.parametrize("name", MADE)
def test_a_page_names_every_key(name):
    """Its own keys, those of phy that it points to, and those of the event table."""
    pages = "".join((ROOT / f"docs/formats/{page}.md").read_text(encoding="utf-8") for page in (name, "phy", "events"))
    options = FORMATS[name].options
    keys = {*options.model_fields, *options.model_fields["events"].annotation.model_fields}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", pages)] == []


def test_the_pages_are_those_of_the_catalogue():
    assert set(MADE) <= set(FORMATS)
    for page in (ROOT / "docs" / "formats").glob("*.md"):
        for told in MAP.findall(page.read_text(encoding="utf-8")):
            tables = tomllib.loads(told)
            if tables.get("format") in MADE:
                FORMATS[tables["format"]].options(**tables[tables["format"]])


def test_nothing_of_a_recording_is_changed(tmp_path):
    """Files are read alone: the folder holds the same bytes afterwards."""
    phy(tmp_path)
    before = {p.relative_to(tmp_path): p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}
    options = FORMATS["phy"].options(window_ms=(70, 170), events={"onset_unit": "s"})
    FORMATS["phy"].read([tmp_path / "kilosort4", tmp_path / "events.csv"], options)
    assert {p.relative_to(tmp_path): p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()} == before
    shutil.rmtree(tmp_path / "kilosort4")
