"""project.toml: what is read, what is refused, and the template."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from protocols.errors import DataError
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.load import config_from_dict, load_config
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display

DISPLAY = Display(width_px=224, height_px=224, size_deg=8.0)
SECTIONS = list(Config.model_fields)


def tables(**sections) -> dict:
    """A minimal configuration with changed sections."""
    base = {"display": {"width_px": 64, "height_px": 64, "size_deg": 4.0}}
    for name, keys in sections.items():
        base[name] = {**base.get(name, {}), **keys}
    return base


def refused(code: str, *parts: str, raw: dict | None = None, **sections) -> DataError:
    with pytest.raises(DataError) as caught:
        config_from_dict(raw if raw is not None else tables(**sections))
    assert caught.value.code == code, str(caught.value)
    for part in parts:
        assert part in str(caught.value)
    return caught.value


def test_the_template_loads_back_to_the_defaults(tmp_path):
    path = tmp_path / "project.toml"
    path.write_text(template(), encoding="utf-8")
    assert load_config(path) == Config(display=DISPLAY)


def test_the_template_writes_any_configuration(tmp_path):
    config = Config(
        project=ProjectConfig(name="demo", species="simulated"),
        display=Display(128, 96, 5.0, encoding="gamma", gamma=2.2, colour="rgb", refresh_hz=60.0, background=100),
        synthesis=SynthesisConfig(
            targets=("v4_001", "v4_002"), objectives=("stretch",), rms_contrast=0.2, learning_rate=1e-05
        ),
    )
    path = tmp_path / "project.toml"
    path.write_text(template(config), encoding="utf-8")
    assert load_config(path) == config
    path.write_text(template(config, name="other", display=DISPLAY), encoding="utf-8")
    changed = load_config(path)
    assert (changed.project.name, changed.display, changed.synthesis) == ("other", DISPLAY, config.synthesis)


def test_the_template_explains_every_key_with_unit_and_default():
    lines = template().splitlines()
    section, explained = "", {}
    for at, line in enumerate(lines):
        if line.startswith("["):
            section = line.strip("[]")
        elif match := re.match(r"(?:# )?([a-z_0-9]+) =", line):
            comment = []
            for above in reversed(lines[:at]):
                if not above.startswith("# ") or re.match(r"# [a-z_0-9]+ =", above):
                    break
                comment.insert(0, above.removeprefix("# ").strip())
            explained[section, match[1]] = " ".join(comment)
    resolved = Config(display=DISPLAY).to_dict()
    assert set(explained) == {(s, key) for s, keys in resolved.items() for key in keys}
    for key, comment in explained.items():
        assert re.match(r"\[[^]]+\] \S", comment), f"{key} has no unit: {comment}"
        assert re.search(r"\((default .+|required)\)$", comment), f"{key} states no default: {comment}"
    assert max(map(len, lines)) <= 113


def test_the_template_refuses_a_name_that_is_no_id():
    with pytest.raises(ValueError, match="My Lab"):
        template(name="My Lab")


def test_to_dict_is_json_and_rebuilds_the_configuration():
    config = config_from_dict(tables(synthesis={"targets": ["v4_1"]}))
    restored = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert config_from_dict(restored) == config
    assert restored["synthesis"]["mean_luminance"] is None


def test_only_the_display_is_required():
    assert config_from_dict(tables()).protocol.repeats == 24
    refused("C02", "the section [display] is missing", raw={})


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_with_a_slip_names_the_nearest(section):
    for key in Config(display=DISPLAY).to_dict()[section]:
        slip = key[:-1] + "x" + key[-1]
        error = refused("C01", f"[{section}]", repr(slip), **{section: {slip: 1}})
        assert error.fix == f"did you mean {key}?", f"{slip}: {error}"


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_with_a_slip_names_the_nearest(section):
    slip = section[:-1]
    error = refused("C01", repr(slip), raw={**tables(), slip: {}})
    assert error.fix == f"did you mean {section}?"


def test_an_unknown_key_far_from_all_lists_them_and_a_known_one_names_its_section():
    refused("C01", "one of repeats, blocks", "remove it", protocol={"zzzzzz": 1})
    refused("C01", "move alpha to [evaluation]", protocol={"alpha": 0.05})


def test_an_unknown_key_is_reported_before_the_missing_one_it_stands_for():
    raw = {"display": {"width": 64, "height_px": 64, "size_deg": 4.0}}
    refused("C01", "did you mean width_px?", "1 more problem", raw=raw)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("project", "name", "My Lab"),
        ("project", "species", "dog"),
        ("display", "width_px", 64.5),
        ("display", "width_px", True),
        ("display", "width_px", "64"),
        ("display", "size_deg", -1.0),
        ("display", "encoding", "linea"),
        ("display", "gamma", 2.2),
        ("encoder", "folds", 1),
        ("encoder", "layers", "blocks.3"),
        ("encoder", "layers", [3]),
        ("encoder", "holdout_fraction", 1.0),
        ("encoder", "seed", -1),
        ("synthesis", "objectives", ["strech"]),
        ("synthesis", "objectives", []),
        ("synthesis", "targets", "v4_1"),
        ("synthesis", "targets", ["V4 1"]),
        ("synthesis", "steps", 0),
        ("synthesis", "steps", "60"),
        ("synthesis", "learning_rate", float("inf")),
        ("synthesis", "rms_contrast", 0.6),
        ("protocol", "repeats", 16.0),
        ("protocol", "references", 0),
        ("protocol", "on_ms", 0),
        ("protocol", "response_window_ms", [70]),
        ("evaluation", "alpha", 0.0),
        ("evaluation", "alpha", 0.5),
        ("evaluation", "permutations", 10),
        ("loop", "rounds", 0),
    ],
)
def test_a_wrong_type_or_range_says_found_and_expected(section, key, value):
    error = refused("C02", f"[{section}] {key}", **{section: {key: value}})
    assert f"{key} = {value!r}" in error.found
    assert len(error.expected) > 3
    assert "Input should" not in error.expected


def test_whole_numbers_serve_as_floats():
    config = config_from_dict(tables(display={"size_deg": 8}, protocol={"on_ms": 200, "response_window_ms": [50, 200]}))
    assert config.display.size_deg == 8
    assert config.protocol.response_window_ms == (50.0, 200.0)


@pytest.mark.parametrize("broken", ["[display]\nwidth_px = 0,5\n", "[display\n", 'a = "x\n', "\n\nwidth_px 64\n"])
def test_a_syntax_error_names_the_line(tmp_path, broken):
    path = tmp_path / "project.toml"
    path.write_text(broken, encoding="utf-8")
    with pytest.raises(DataError, match=r"C03.*line \d+") as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_a_file_of_another_encoding_is_refused_and_a_byte_order_mark_is_not(tmp_path):
    path = tmp_path / "project.toml"
    path.write_bytes(template().encode("utf-8-sig"))
    assert load_config(path).display == DISPLAY
    path.write_bytes("# Größe\n".encode("latin-1"))
    with pytest.raises(DataError, match="C03"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"C06.*project\.toml"):
        load_config(tmp_path / "project.toml")


@pytest.mark.parametrize(
    "value",
    [
        "/data/net.safetensors",
        "C:/net",
        "C:\\net",
        "\\\\server\\share",
        "~/net",
        "../net",
        "a/../../b",
        "file:/net",
        "file:D:\\net",
    ],
)
def test_absolute_paths_are_refused(value):
    refused("C05", "encoder.backbone", repr(value), encoder={"backbone": value})
    refused("C05", "encoder.layers", encoder={"layers": [value]})


@pytest.mark.parametrize("value", ["timm:resnet50.a1_in1k", "torchvision:resnet50", "weights/net.safetensors", "a..b"])
def test_relative_names_are_not(value):
    assert config_from_dict(tables(encoder={"backbone": value})).encoder.backbone == value


@pytest.mark.parametrize(("repeats", "blocks", "alpha"), [(4, 4, 0.01), (4, 1, 0.01), (5, 4, 0.001)])
def test_an_unreachable_alpha_states_the_repeats_needed(repeats, blocks, alpha):
    sections = {"evaluation": {"alpha": alpha}}
    error = refused("C04", "a test cannot go below", protocol={"repeats": repeats, "blocks": blocks}, **sections)
    needed = int(re.search(r"set repeats to (\d+)", error.fix)[1])
    config_from_dict(tables(protocol={"repeats": needed, "blocks": blocks}, **sections))
    refused("C04", protocol={"repeats": needed - 1, "blocks": blocks}, **sections)


@pytest.mark.parametrize(
    ("part", "sections"),
    [
        ("repeats", {"protocol": {"repeats": 3, "blocks": 4}}),
        ("response_window_ms", {"protocol": {"response_window_ms": [170, 70]}}),
        ("reliability_target", {"encoder": {"reliability_fit": 0.6, "reliability_target": 0.5}}),
        ("0.218", {"synthesis": {"mean_luminance": 0.05, "rms_contrast": 0.3}}),
        ("999 permutations", {"evaluation": {"alpha": 0.001, "permutations": 500}}),
        ("7.50 frames", {"display": {"refresh_hz": 75.0}}),
        ("off_ms", {"display": {"refresh_hz": 60.0}, "protocol": {"off_ms": 90.0}}),
    ],
)
def test_contradictions(part, sections):
    refused("C04", part, **sections)


@pytest.mark.parametrize("refresh", [60.0, 59.94, 120.0])
def test_hundred_ms_are_whole_frames(refresh):
    config_from_dict(tables(display={"refresh_hz": refresh}))


def test_the_template_is_what_a_plain_reader_of_toml_sees():
    assert list(tomllib.loads(template())) == SECTIONS


def test_graded_steps_lie_before_the_last_step_and_arms_are_named_once():
    refused("C04", "graded_steps = [4, 60]", "leave out 60", synthesis={"graded_steps": [4, 60], "steps": 60})
    refused("C04", "phase_scrambled twice", arms={"kinds": ["phase_scrambled", "natural_raised", "phase_scrambled"]})
    refused("C02", "kinds", arms={"kinds": ["gratings"]})
    none = config_from_dict(tables(synthesis={"graded_steps": []}, arms={"kinds": []}))
    assert (none.synthesis.graded_steps, none.arms.kinds) == ((), ())
