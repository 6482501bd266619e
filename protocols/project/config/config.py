"""A whole project.toml as one checked object, and its section ``[project]``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from protocols.project.display import Display

from .encoder import EncoderConfig
from .evolution import EvolutionConfig
from .protocol import (
    ArmsConfig,
    DriftConfig,
    EvaluationConfig,
    LoopConfig,
    ProtocolConfig,
    RecordingConfig,
    RefitConfig,
)
from .rig import RigConfig
from .safety import SafetyConfig
from .section import Name, Section
from .synthesis import DiffusionConfig, SynthesisConfig


class ProjectConfig(Section):
    """Section ``[project]``: what is studied."""

    name: Name = Field(
        default="myproject",
        description=(
            "[id: a-z, then a-z, 0-9, _] Name of the project. It stands in file names and reports; name no person in "
            "it."
        ),
    )
    species: Literal["macaque", "marmoset", "mouse", "ferret", "cat", "human", "simulated", "other"] = Field(
        default="macaque",
        description="[name] One of macaque, marmoset, mouse, ferret, cat, human, simulated, other.",
    )


class Config(Section):
    """A whole project.toml; every section but ``[display]`` may be left out."""

    model_config = ConfigDict(strict=False)  # a strict model refuses a table where a dataclass is asked for

    project: ProjectConfig = ProjectConfig()
    display: Display
    encoder: EncoderConfig = EncoderConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    evolution: EvolutionConfig = EvolutionConfig()
    protocol: ProtocolConfig = ProtocolConfig()
    recording: RecordingConfig = RecordingConfig()
    rig: RigConfig = RigConfig()
    arms: ArmsConfig = ArmsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    refit: RefitConfig = RefitConfig()
    safety: SafetyConfig = SafetyConfig()
    drift: DriftConfig = DriftConfig()
    loop: LoopConfig = LoopConfig()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Every key with its resolved value, JSON-able; keys left free are None."""
        return self.model_dump(mode="json")
