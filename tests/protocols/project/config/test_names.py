"""Names that project.toml may give are those of the catalogues: a new row without its name, or the reverse, is seen here."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from encoders import READOUTS
from encoders.fitting.options import PRESETS
from protocols.project.arms import ARMS
from protocols.project.config.encoder import EncoderConfig
from protocols.project.config.protocol import ArmsConfig
from protocols.project.config.section import Section
from protocols.project.config.synthesis import DiffusionConfig, SynthesisConfig
from protocols.project.objectives import OBJECTIVES
from protocols.synthesis.generators import GENERATORS
from synth.diffusion import methods


def names(section: type[Section], key: str) -> set[str]:
    """All texts of the Literals that the type of a key is made of."""

    def texts(annotation: Any) -> set[str]:
        inner = get_args(annotation)
        return {a for a in inner if isinstance(a, str)} | {t for a in inner if not isinstance(a, str) for t in texts(a)}

    return texts(section.model_fields[key].annotation)


@pytest.mark.parametrize(
    ("section", "key", "catalogue"),
    [
        (EncoderConfig, "readout", READOUTS),
        (EncoderConfig, "preset", PRESETS),
        (ArmsConfig, "kinds", ARMS),
        (SynthesisConfig, "objectives", OBJECTIVES),
        (SynthesisConfig, "generator", GENERATORS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_takes_exactly_the_names_of_its_catalogue(section, key, catalogue):
    assert names(section, key) == set(catalogue)


def test_the_methods_of_the_diffusion_section_exist():
    assert names(DiffusionConfig, "method") <= set(methods.CATALOGUE)
