"""The page and the table of a fit: the numbers are those of the record, names are text, and nothing is fetched."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.disk.tables import read_table
from protocols.errors import DataError
from protocols.project.fitted import write_fitted
from protocols.project.folder import Project
from protocols.report.fits.page import HEADER, fit_sentences, write_fit
from protocols.report.fits.table import COLUMNS, USES, site_line, write_sites
from tests.protocols.helpers.commands import stimsynth

HOSTILE = ("<script>alert(1)</script>", "=1+1", 'a"b', "\u2028ünï\u2029", "v4_001")


def site(name: str, **changes: Any) -> dict[str, Any]:
    values = {
        "site_id": name, "n_trials": 480, "n_images": 60, "reliability": 0.81, "held_out_reliability": 0.64,
        "held_out_r": 0.6, "held_out_r_nc": 0.75, "held_out_feve": 0.5, "validator_r": 0.5, "validator_r_nc": 0.62,
        "validator_feve": 0.4, "ceiling": 0.8, "best_layer": "blocks.3.0", "rf_x_deg": -1.25, "rf_y_deg": 0.5, "rf_sd_deg": 1.5,
        "rf_reason": "", "alphas": {"blocks.3.0": 2.0, "blocks.2.0": 4.0}, "alpha_at_edge": [],
        "cv_r2": {"blocks.3.0": 0.4}, "eligible_fit": True, "eligible_target": True, "reason": "",
    }  # fmt: skip
    return values | changes


def record(sites: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": "fitted/1", "round": 1, "encoder": "enc_a", "validator": "enc_b", "rounds": [0], "n_images": 60, "n_trials": 480,
        "report": {"sites": sites, "settings": {}},
    }  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path) -> Project:
    from protocols.cli.projects import init

    init(tmp_path / "lab", width=32)
    return Project.open(tmp_path / "lab")


def test_a_line_holds_the_numbers_of_its_site() -> None:
    line = site_line(site("a", alpha_at_edge=["blocks.3.0"]))
    assert tuple(line) == COLUMNS
    assert (line["use"], line["layer"], line["penalty"], line["layer_r2"], line["penalty_at_edge"]) == (
        "target", "blocks.3.0", 2.0, 0.4, "yes",
    )  # fmt: skip
    assert (line["field_x_deg"], line["held_out_r_nc"], line["trials"]) == (-1.25, 0.75, 480)
    weak = site("b", eligible_target=False, reason="reliability 0.40 is below 0.5")
    none = site("c", eligible_fit=False, eligible_target=False, best_layer="", alphas={}, cv_r2={}, rf_x_deg=None)
    assert [site_line(s)["use"] for s in (weak, none)] == list(USES[1:])
    assert (site_line(none)["penalty"], site_line(none)["field_x_deg"], site_line(none)["penalty_at_edge"]) == (
        None,
        None,
        "",
    )


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12) | st.sampled_from(HOSTILE), unique=True, min_size=1, max_size=6),
    st.none() | st.floats(-1, 1),
)  # fmt: skip
def test_the_table_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], value: float | None
) -> None:
    path = tmp_path_factory.mktemp("sites") / "sites.csv"
    write_sites(record([site(name, held_out_r=value) for name in names]), path)
    header, rows = read_table(path)
    assert tuple(header) == COLUMNS
    kept = [name for name in names if name.strip() == name]
    assert [row["site"] for row in rows if row["site"] in kept] == [n for n in names if n in kept]
    for row in rows:
        found = row["held_out_r"]
        assert (found == "") if value is None else math.isclose(float(found), value, rel_tol=1e-5, abs_tol=1e-9)


def test_the_page_says_why_sites_are_left_out() -> None:
    left = [site(f"s{i}", eligible_target=False, reason="reliability 0.4 (below 0.5)") for i in range(3)]
    told = " ".join(fit_sentences(record([site("a", alpha_at_edge=["blocks.3.0"]), *left])))
    assert "3 of 4 sites are no targets: 3 x reliability 0.4." in told
    assert "At 1 sites the penalty is the smallest or largest that was tried (a)" in told


def test_the_command_writes_page_and_table_and_loads_no_network(
    lab: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = stimsynth(capsys, "report", "--fit", lab.folder)
    assert code == 3
    assert "P24" in errors
    write_fitted(lab.fitted, 1, record([site(name) for name in HOSTILE]))
    code, printed, _ = stimsynth(capsys, "--json", "report", "--fit", lab.folder)
    told = json.loads(printed)
    page = (lab.folder / told["page"]).read_text(encoding="utf-8")
    assert code == 0
    assert (lab.folder / told["table"]).is_file()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script>alert" not in page
    shown = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert [html.unescape(shown[i]) for i in range(0, len(shown), len(HEADER))] == list(HOSTILE)
    with pytest.raises(DataError, match="P24"):
        write_fit(lab, 7)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to open the page with")
def test_the_page_sorts_and_filters_in_a_browser(lab: Project, tmp_path: Path) -> None:
    sites = [site("b", held_out_r=0.2), site("a", held_out_r=0.9), site("c", held_out_r=None, eligible_target=False)]
    write_fitted(lab.fitted, 1, record(sites))
    page = write_fit(lab).read_text(encoding="utf-8")
    column = [key for key, *_ in HEADER].index("held_out_r")
    act = (
        "const rows = () => Array.from(document.querySelectorAll('#sites tbody tr'));"
        "const order = () => rows().map(row => row.cells[0].textContent).join('');"
        f"const head = document.querySelectorAll('#sites th button')[{column}];"
        "head.click(); const down = order(); head.click();"
        "const use = document.getElementById('use'); use.value = 'target'; use.dispatchEvent(new Event('change'));"
        "document.title = [down, order(), document.getElementById('count').textContent].join(' / ');"
    )
    whole = tmp_path / "page.html"
    whole.write_text(page.replace("</body>", f"<script>{act}</script></body>"), encoding="utf-8")
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", whole.as_uri()]
    shown = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120).stdout
    assert "<title>abc / bac / 2 of 3 sites</title>" in shown
