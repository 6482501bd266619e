"""The commands, maps and programs of the pages run as a reader types them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from protocols.recordings.readers import read_responses
from tests.protocols.helpers.nwb_files import (
    add_images,
    add_series,
    add_trials,
    add_units,
    empty,
    names,
    session,
    write,
)
from tests.protocols.helpers.pages import ROOT, run_page

TOML = re.compile(r"```toml\n# (\S+)\n(.*?)```", re.DOTALL)


def write_maps(page, folder) -> None:
    for name, text in TOML.findall((ROOT / page).read_text(encoding="utf-8")):
        (folder / name).write_text(text, encoding="utf-8")


def test_the_page_of_nwb(tmp_path):
    pytest.importorskip("pynwb")
    s = session()
    for name, with_pictures in (("session.nwb", False), ("pictures.nwb", True)):
        file = empty()
        add_units(file, s, quality=["good", "mua", "good", "good"])
        if with_pictures:
            add_series(file, s, add_images(file, s))
        else:
            add_trials(file, s)
        write(tmp_path / name, file)
    write_maps("docs/formats/nwb.md", tmp_path)
    run_page("docs/formats/nwb.md", tmp_path)
    taken = read_responses(tmp_path / "session.h5")
    assert np.array_equal(taken.values, s.counts((50, 170), [0, 2, 3]))
    assert read_responses(tmp_path / "all_units.h5").values.shape == (60, 4)
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [f"{n}.png" for n in names()]


def test_the_page_of_brainio(tmp_path):
    pytest.importorskip("h5netcdf")
    from tests.protocols.helpers.brainio_files import SITES, array, packaged, pictures, stimulus_set

    packaged(tmp_path / "assembly.nc", array())
    stimulus_set(tmp_path)
    pictures(tmp_path)
    write_maps("docs/formats/brainio.md", tmp_path)
    run_page("docs/formats/brainio.md", tmp_path)
    taken = read_responses(tmp_path / "v4.h5")
    assert np.array_equal(taken.values, array().values[:, :3, 0])
    assert taken.image_ids[0] == "scene_0"
    assert len(read_responses(tmp_path / "all_sites.h5").site_ids) == SITES
    assert len(list((tmp_path / "pictures").iterdir())) == 6
