"""Every key of project.toml, with values that its type allows and that cannot work: `check` finds each, alone or
together with others.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.check import Finding, check_project
from protocols.check import look as looks
from protocols.check.findings import collected
from protocols.check.networks import networks
from protocols.check.settings import schedule
from protocols.project.config.config import Config
from protocols.project.display import Display
from protocols.project.folder import Project
from tests.protocols.helpers.checked_project import make, set_keys

Key = tuple[str, str]
NOTE = "note"
TOO_SOON = "C04"
"""The rules of the whole file refuse it: then `check` looks at nothing else."""

FAULTS: dict[Key, list[tuple[Any, str]]] = {
    ("display", "width_px"): [(48, "C07"), (16, "C07")],
    ("display", "height_px"): [(40, "C07")],
    ("display", "size_deg"): [(6.0, "C08"), (0.07, "C08")],
    ("display", "background"): [(60, "C08")],
    ("display", "encoding"): [("srgb", "C08")],
    ("display", "colour"): [("grey", "C07")],
    ("display", "aperture"): [("circle", "C07")],
    ("display", "viewing_distance_cm"): [(0.57, NOTE)],
    ("display", "refresh_hz"): [(0.06, TOO_SOON), (75.0, TOO_SOON)],
    ("encoder", "backbone"): [("offline:efficientnet_lite99", "C09"), ("net.pt", "C09"), ("timm:resnet0", "C09")],
    ("encoder", "layers"): [(("blocks.99",), "C09"), (("blocks.3.0+",), "C09")],
    ("encoder", "weights"): [("weights/net.pt", "C09")],
    ("encoder", "readout"): [("topographic", "C09")],
    ("encoder", "validator_backbone"): [("offline:lite", "C09"), ("torchvision:nothing", "C09")],
    ("encoder", "validator_layers"): [(("blocks.3",  "none"), "C09")],
    ("encoder", "validator_weights"): [("net.safetensors", "C09")],
    ("encoder", "networks_from"): [("fitted/enc_00000000", "D08")],
    ("encoder", "holdout_fraction"): [(0.001, "C14"), (0.999, "C14")],
    ("encoder", "folds"): [(50, "C14")],
    ("encoder", "reliability_fit"): [(0.6, TOO_SOON)],
    ("encoder", "reliability_target"): [(0.9999, "C17")],
    ("synthesis", "targets"): [(("v4_999",), "C11"), (("v4_001", "v4_01"), "C11")],
    ("synthesis", "mean_luminance"): [(0.999, "C16"), (0.001, "C16")],
    ("synthesis", "rms_contrast"): [(0.4999, "C16")],
    ("synthesis", "graded_steps"): [((60,), TOO_SOON)],
    ("synthesis", "graded_repeats"): [(1000, NOTE)],
    ("synthesis", "accentuate_levels"): [(1, TOO_SOON)],
    ("diffusion", "prior"): [("net.pt", NOTE), ("no_such_prior", NOTE)],
    ("protocol", "presentations"): [(6000, TOO_SOON)],  # the project counts repeats by hand
    ("protocol", "minutes"): [(30.0, TOO_SOON)],
    ("protocol", "repeats"): [(3, TOO_SOON)],
    ("protocol", "blocks"): [(25, TOO_SOON)],
    ("protocol", "references"): [(1000, NOTE)],
    ("protocol", "natural_images"): [(49, NOTE)],
    ("protocol", "chosen_images"): [(1000, NOTE)],
    ("protocol", "blanks_per_block"): [(0, NOTE)],
    ("protocol", "on_ms"): [(0.1, TOO_SOON)],
    ("protocol", "off_ms"): [(0.1, TOO_SOON)],
    ("protocol", "response_window_ms"): [
        ((0.07, 0.17), TOO_SOON), ((170.0, 70.0), TOO_SOON), ((50.0, 150.0), "C13"), ((-200.0, -100.0), "C15"),
        ((4000.0, 4100.0), "C15"),
    ],
    ("rig", "software"): [(("monkeylogic",), TOO_SOON)],  # the project does not state the refresh rate
    ("arms", "kinds"): [(("natural_raised", "natural_raised"), TOO_SOON)],
    ("arms", "repeats"): [(25, NOTE)],
    ("arms", "budget"): [(0, NOTE), (7, NOTE)],
    ("evolution", "generations"): [(5, TOO_SOON)],  # the project does not show the arm "evolved"
    ("evaluation", "alpha"): [(1e-6, TOO_SOON)],
    ("evaluation", "look_after"): [((9,), TOO_SOON)],
    ("refit", "tolerance"): [(0.9, NOTE)],
    ("refit", "accept_worse"): [("for now", NOTE)],
    ("safety", "stripe_frequencies"): [((8.0, 1.0), TOO_SOON)],
    ("safety", "max_mean_luminance_cd_m2"): [(100.0, TOO_SOON)],
}  # fmt: skip
"""Values that pass the types of project.toml, and the code of the finding; "note": allowed, and worth a word."""

FREE = {
    ("project", "name"), ("project", "species"),  # words; limits of a species: `safety`
    ("display", "gamma"), ("display", "aperture_edge"), ("display", "bit_depth"),  # only with other keys, or one value
    ("display", "max_luminance_cd_m2"),  # recorded
    ("encoder", "preset"), ("encoder", "fine_tune"), ("encoder", "final_fit"), ("encoder", "seed"),
    ("encoder", "effort"),
    ("encoder", "join_near_duplicates"), ("recording", "max_dropped"), ("recording", "max_unseen"), ("recording", "extra"),
    ("synthesis", "objectives"), ("synthesis", "generator"), ("synthesis", "seeds"), ("synthesis", "steps"),
    ("synthesis", "learning_rate"), ("synthesis", "decay"), ("synthesis", "jitter_fraction"), ("synthesis", "start"),
    ("synthesis", "kappa"), ("synthesis", "temperature"), ("synthesis", "max_chroma"),
    *(("diffusion", k) for k in ("strength", "method", "solver", "steps", "size_px", "noise_schedule", "prompt", "dtype", "save_memory")),
    ("protocol", "beside"), ("protocol", "choice"), ("protocol", "seed"), ("protocol", "baseline_repeats"), ("protocol", "baseline_anchors"),  # before the baseline: below
    ("protocol", "expected_loss"), ("protocol", "overhead"), ("protocol", "pause_s"),  # for planning alone
    ("synthesis", "accentuate_photographs"),  # at most all there are
    ("evaluation", "looks"),  # four blocks have room for both
    ("evaluation", "seed"), ("evaluation", "spending"), ("evaluation", "futility"), ("evaluation", "permutations"),  # the least, 99, can reach alpha = 0.01
    ("refit", "mode"), ("refit", "recency"), ("refit", "natural_floor"), ("refit", "natural_share"),
    ("arms", "found"),  # read where the arm predicted_natural is chosen, when a round is exported
    *(("evolution", k) for k in ("rounds", "targets", "optimiser", "latent", "cutoff", "start", "population", "sigma", "seed")),  # while generations = 0
    *(("evolution", k) for k in ("repeats", "references", "reference_repeats", "candidates", "candidate_repeats", "max_presentations", "max_unseen")),
    ("drift", "align"), ("drift", "exclude"), ("loop", "rounds"), ("loop", "review"),
    ("rig", "position_deg"), ("rig", "images_per_fixation"),
}  # fmt: skip
"""Keys without a value that cannot work by itself."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Config]:
    """The small project and its settings as they were."""
    project = make(tmp_path_factory.mktemp("checked") / "lab")
    return project, project.config


def keys() -> set[Key]:
    """All keys of project.toml."""
    found = {("display", f.name) for f in fields(Display)}
    for section, field in Config.model_fields.items():
        if section != "display":
            found |= {(section, key) for key in field.annotation.model_fields}
    return found


def test_every_key_was_thought_of() -> None:
    limits = {key for key in keys() if key[0] == "safety"}  # a sequence that exceeds one is told under `safety`
    assert keys() - set(FAULTS) - FREE - limits == set()
    assert set(FAULTS) <= keys()
    assert not set(FAULTS) & FREE


def tells(findings: list[Finding], key: Key, told: str) -> bool:
    """Whether the findings hold the fault of a key: its code, or a note that names the key."""
    if told == NOTE:
        return any(f.status == "note" and (key[1] in f.text or key[1] == f.what) for f in findings)
    return any(f.status == "fail" and f.code == told for f in findings)


CHEAP = [(key, value, told) for key, cases in FAULTS.items() for value, told in cases if told != "C09"]
OPENED = [(key, value) for key, cases in FAULTS.items() for value, told in cases if told == "C09"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(CHEAP), min_size=0, max_size=4, unique_by=lambda case: case[0]))
def test_each_fault_is_found_alone_and_together_with_others(made: tuple[Project, Config], planted: list[Any]) -> None:
    """One to four faults in one file; without any, nothing fails."""
    project, base = made
    with pytest.MonkeyPatch.context() as patch:
        for slow in ("backbone", "safety"):  # they take a second; the first has its own test below
            patch.delitem(looks.LOOKS, slow)
        set_keys(project, {key: value for key, value, _ in planted}, base)
        findings = check_project(project)
    if any(f.what == "configuration" and f.status == "fail" for f in findings):
        expected = [case for case in planted if case[2] == TOO_SOON]
        assert len(planted) > 1 or expected, findings  # several keys may contradict each other
        assert [f.code for f in findings] in (["C04"], ["C02"])
    else:
        display = [case for case in planted if case[0][0] == "display" and case[2] in ("C07", "C08")]
        for key, _, told in planted:
            if told in ("C08", "C14") and any(case[2] == "C07" for case in display):
                continue  # photographs of another display are told first: the split is not looked at
            if key == ("encoder", "reliability_fit") and any(
                c[0] == ("encoder", "reliability_target") for c in planted
            ):
                continue  # it is above the target as it was, not above the planted one
            if told == "C16" and len([c for c in planted if c[2] == "C16"]) + len(display) > 1:
                continue  # together a mean and a contrast may be reachable
            if told == "C13" and any(case[2] == "C15" for case in planted):
                continue
            assert tells(findings, key, told), (key, told, findings)
    for finding in findings:
        if finding.status == "fail":
            assert all(word in finding.text for word in ("expected", "Fix:")), finding
    if not planted:
        assert not [f for f in findings if f.status == "fail"], findings


@pytest.mark.parametrize(("key", "value"), OPENED, ids=lambda part: str(part))
def test_networks_that_cannot_be_opened_are_found(made: tuple[Project, Config], key: Key, value: Any) -> None:
    project, base = made
    set_keys(project, {key: value}, base)
    (finding,) = collected("backbone", networks, project)
    assert (finding.status, finding.code) == ("fail", "C09"), finding
    assert all(word in finding.text for word in ("expected", "weights =", "Fix:")), finding


def test_a_file_of_weights_in_the_project_is_opened(made: tuple[Project, Config]) -> None:
    """The weights of another network, and no state dict at all, are refused; a good file is named."""
    import torch
    from torchvision import models

    project, base = made
    good = {("encoder", "backbone"): "torchvision:squeezenet1_1", ("encoder", "layers"): ("features.3",),
            ("encoder", "validator_layers"): ("features.6",), ("encoder", "weights"): "nets/squeeze.pth"}  # fmt: skip
    (project.folder / "nets").mkdir()
    torch.save(models.squeezenet1_1(weights=None).state_dict(), project.folder / "nets" / "squeeze.pth")
    set_keys(project, good, base)
    (finding,) = collected("backbone", networks, project)
    assert finding.status == "ok", finding
    assert finding.text.count("from squeeze.pth") == 2
    assert "do not need" not in finding.text
    features = {f"module.{n}": t for n, t in models.squeezenet1_1(weights=None).state_dict().items() if n[0] == "f"}
    torch.save(features, project.folder / "nets" / "squeeze.pth")
    (finding,) = collected("backbone", networks, project)
    assert finding.text.count("the named layers do not need are missing in the file") == 2
    (project.folder / "nets" / "squeeze.pth").write_bytes(b"PK\x03\x04 no weights")
    (finding,) = collected("backbone", networks, project)
    assert (finding.status, finding.code) == ("fail", "C09"), finding


def test_one_presentation_of_each_photograph_is_refused_before_the_baseline(
    made: tuple[Project, Config], tmp_path: Path
) -> None:
    project, base = made
    set_keys(project, {("protocol", "baseline_repeats"): 1}, base)
    (project.data / "responses.h5").rename(tmp_path / "kept.h5")
    found = [f.code for f in collected("schedule", schedule, project)]
    set_keys(project, {("protocol", "baseline_repeats"): 1, ("protocol", "baseline_anchors"): 30}, base)
    with_anchors = [f.code for f in collected("schedule", schedule, project)]
    (tmp_path / "kept.h5").rename(project.data / "responses.h5")
    assert "C15" in found
    assert "C15" not in with_anchors  # the reliability is told by those that are shown ten times
    assert "C15" not in [f.code for f in collected("schedule", schedule, project)]
