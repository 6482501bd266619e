"""The project's TOML, validated: every key has a type, a range, a default and an explanation, all in one place here.

`template` writes a commented project.toml out of the same definitions that `load_config` checks, so the two cannot drift apart.
"""

from __future__ import annotations

import difflib
import json
import re
import textwrap
import tomllib
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

from pydantic import ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from ._config_checks import cross_check
from ._config_section import Count, Fraction, Milliseconds, Name, Section, Seed
from .arms_config import ArmsConfig
from .diffusion_config import DiffusionConfig
from .display import Display
from .errors import DataError
from .files import is_id
from .rounds_config import DriftConfig, RefitConfig
from .safety_config import SafetyConfig as SafetyConfig

# A root, a home folder or a drive letter (at the start or after "scheme:"), or a step up.
_NOT_RELATIVE = re.compile(r"(.*:)?([/\\~]|[A-Za-z]:[/\\])|(.*[/\\])?\.\.([/\\]|$)")


class ProjectConfig(Section):
    """Section ``[project]``: what is studied."""

    name: Name = Field(
        default="myproject",
        description="[id: a-z, then a-z, 0-9, _] Name of the project; opens no door, names no person.",
    )
    species: Literal["macaque", "marmoset", "mouse", "ferret", "cat", "human", "simulated", "other"] = Field(
        default="macaque",
        description="[name] One of macaque, marmoset, mouse, ferret, cat, human, simulated, other.",
    )


class EncoderConfig(Section):
    """Section ``[encoder]``: how the model of the recorded sites is fitted."""

    backbone: str = Field(
        default="offline:efficientnet_lite0",
        min_length=1,
        description='[uri] Network whose features are read out: "offline:NAME" (comes with the installation), "timm:NAME" or "torchvision:NAME".',
    )
    layers: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description='[layer names] Members of the encoder; "a+b" are read together; empty: those of the preset.',
    )
    preset: Literal["diverse", "diverse_networks", "two_networks", "single"] = Field(
        default="diverse",
        description='[name] Members where layers is empty: "diverse" three depths of EfficientNet-Lite0; "diverse_networks" also Lite2 and a '
        'second resolution, twice the time; "two_networks" three depths of Lite0 and of Lite2; "single" one layer.',
    )
    fine_tune: int = Field(
        default=0,
        ge=0,
        le=50,
        description="[passes] Over the fitted photographs, in which the encoder's networks are tuned with the readouts; 0: they stay frozen. "
        'Strongest controllers: 8, with preset = "two_networks" and final_fit = true (minutes more a fit; docs/fine_tuning.md).',
    )
    networks_from: str = Field(
        default="",
        description="[path] Encoder of an earlier recording of the area (its folder fitted/enc_..., copied into this project), tuned with fine_tune (where photographs "
        "are shared, not the one of its final_fit, which has seen all): the fit begins with its networks (docs/fine_tuning.md); empty: with the trained ones.",
    )
    final_fit: bool = Field(
        default=False,
        description="[true or false] When all is scored, the encoder is fitted once more, to the held-out photographs too, and makes the images; scores stay those "
        "of the encoder that did not see them (doubles the time of a fit; docs/fine_tuning.md). Takes effect with the next fit: refits of mode gain and reuse keep "
        "what was fitted.",
    )
    readout: Literal[
        "factorised",
        "ridge",
        "banded_ridge",
        "pls",
        "gaussian",
        "spatial_feature",
        "attention",
        "semantic_transformer",
        "topographic",
    ] = Field(
        default="factorised",
        description="[name] How responses are read from features: one member a layer (ridge, pls), a layer and fold, or a fold (topographic, which needs site/x_um and y_um) or one (banded_ridge).",
    )
    validator_backbone: str = Field(
        default="",
        description="[uri] Network of the validator; empty: another one where the backbone is the default, else the same.",
    )
    validator_layers: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="[layer names] Layers of the validator, the second encoder that chooses the confirmatory image; "
        "empty: the standard ones.",
    )
    holdout_fraction: Fraction = Field(
        default=0.2,
        description="[fraction of the images] Kept out of every fit that is scored; the scores in the report are measured on them.",
    )
    folds: int = Field(
        default=5,
        ge=2,
        le=50,
        description="[count] Cross-validation folds that choose penalties; trained readouts have one member each.",
    )
    reliability_fit: float = Field(
        default=0.3, ge=0, lt=1, description="[split-half correlation, Spearman-Brown] Sites below this are not fitted."
    )
    reliability_target: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="[split-half correlation, Spearman-Brown] Sites below this are never controlled.",
    )
    seed: Seed = Field(default=0, description="[integer] Splits of the images.")


class SynthesisConfig(Section):
    """Section ``[synthesis]``: how controller images are made."""

    objectives: tuple[Literal["stretch", "one_hot"], ...] = Field(
        default=("stretch", "one_hot"),
        strict=False,
        min_length=1,
        description='[names] "stretch": drive the target site as far as possible; "one_hot": drive it alone, the others not.',
    )
    targets: Literal["all"] | Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] = Field(
        default="all", description='[site ids] Sites to control, or "all": every site above reliability_target.'
    )
    generator: Literal["gradient", "diffusion"] = Field(
        default="gradient",
        description='[name] "gradient": ascent from photographs or noise; "diffusion": guided samples of the prior of [diffusion], which look like '
        "what it knows; steps, learning_rate, decay, start and the graded images are the ascent's.",
    )
    seeds: Count = Field(
        default=1, description="[count] Images made for each target and objective, from different starts."
    )
    steps: Count = Field(default=60, description="[count] Gradient steps an image.")
    learning_rate: float = Field(
        default=0.05, gt=0, le=10, description="[step size of Adam] Of the image's parameters."
    )
    decay: float = Field(
        default=1.75,
        ge=0,
        le=4,
        description="[exponent] Fourier amplitudes are scaled by 1 / frequency to this power; higher: smoother images.",
    )
    jitter_fraction: float = Field(
        default=0.07,
        ge=0,
        lt=0.5,
        description="[fraction of the image side] Largest random shift a step, for robust images.",
    )
    start: Literal["natural", "noise"] = Field(
        default="natural",
        description='[name] "natural": start from the target\'s best photographs; "noise": from random images.',
    )
    mean_luminance: Fraction | None = Field(
        default=None,
        description="[relative luminance, 0..1] Mean of every controller inside the aperture; left out: the natural images' median.",
    )
    rms_contrast: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        default=None,
        description="[relative luminance, 0..0.5] Standard deviation of every controller inside the aperture; left out: the natural images' median.",
    )
    kappa: float = Field(
        default=0.5,
        ge=0,
        le=10,
        description="[standard deviations] Caution: score = mean - kappa * SD over the encoder's members.",
    )
    temperature: float = Field(
        default=1.0, gt=0, le=100, description="[natural standard deviations] Of the one_hot softmax."
    )
    graded_steps: Annotated[tuple[Count, ...], Field(strict=False)] | None = Field(
        default=None,
        description="[gradient steps] Earlier iterates of each confirmatory controller that are shown too, to test whether responses rise with "
        "prediction; left out: 7, 17 and 37 % of steps; [] shows none.",
    )
    graded_repeats: Count = Field(
        default=8, description="[count] Presentations of each graded image, at most those of a controller."
    )


class ProtocolConfig(Section):
    """Section ``[protocol]``: what is shown, how often, how long."""

    repeats: Count = Field(
        default=24,
        description="[count] Presentations of each image in a round; half of those of a reference choose it, half test it.",
    )
    blocks: Count = Field(
        default=4, description="[count] Blocks a round is cut into; each shows every image, in a new order."
    )
    references: Count = Field(
        default=5,
        description="[count] Best natural images shown again for each target and objective: what a controller must beat.",
    )
    natural_images: int = Field(
        default=20, ge=0, description="[count] Random natural images a round, to follow drift and to refit."
    )
    chosen_images: int = Field(
        default=0,
        ge=0,
        description="[count] Natural images a round, none held out, chosen to teach the refit, beside the random ones.",
    )
    choice: Literal["disagreement", "core_set"] = Field(
        default="disagreement",
        description='[name] How they are chosen: "disagreement" of the members of the encoder, or "core_set": farthest from what was shown.',
    )
    blanks_per_block: int = Field(
        default=8, ge=0, description="[count] Presentations of the plain background in each block."
    )
    on_ms: Milliseconds = Field(default=100.0, description="[ms] Image on the screen.")
    off_ms: Annotated[float, Field(ge=0, le=60_000)] = Field(
        default=100.0, description="[ms] Background between two images."
    )
    response_window_ms: Annotated[tuple[float, float], Field(strict=False)] = Field(
        default=(70.0, 170.0),
        description="[ms after image onset] Window in which the recording is expected to count responses.",
    )
    baseline_repeats: Count = Field(
        default=8, description="[count] Presentations of each photograph in the baseline round (round 0)."
    )
    seed: Seed = Field(default=0, description="[integer] Order of the trials, names of the images.")
    expected_loss: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="[fraction] Presentations without a usable trial (broken fixation), for planning only."
    )
    overhead: Annotated[float, Field(ge=0, le=100)] = Field(
        default=0.0,
        description="[fraction of on_ms + off_ms] Time around a presentation (fixation, reward), for planning only.",
    )
    pause_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=0.0, description="[s] Pause between two blocks, for planning only."
    )


class EvaluationConfig(Section):
    """Section ``[evaluation]``: when a controller counts as a success."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.01, description="[probability] Level of the one-sided permutation test."
    )
    permutations: int = Field(
        default=9999, ge=99, le=10_000_000, description="[count] Random permutations where not all can be listed."
    )
    seed: Seed = Field(
        default=0, description="[integer] Permutations, and which half of the trials picks the reference."
    )


class LoopConfig(Section):
    """Section ``[loop]``: how far `stimsynth run` goes."""

    rounds: Count = Field(default=2, description="[count] Closed-loop rounds after the baseline round.")


class Config(Section):
    """A whole project.toml; every section but ``[display]`` may be left out."""

    model_config = ConfigDict(strict=False)  # a strict model refuses a table where a dataclass is asked for

    project: ProjectConfig = ProjectConfig()
    display: Display
    encoder: EncoderConfig = EncoderConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    protocol: ProtocolConfig = ProtocolConfig()
    arms: ArmsConfig = ArmsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    refit: RefitConfig = RefitConfig()
    safety: SafetyConfig = SafetyConfig()
    drift: DriftConfig = DriftConfig()
    loop: LoopConfig = LoopConfig()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Every key with its resolved value, JSON-able; keys left free are None."""
        return self.model_dump(mode="json")


def load_config(path: str | Path) -> Config:
    """Read and check a project.toml.

    Raises
    ------
    DataError
        C01: an unknown section or key (names the nearest); C02: a wrong type or range, or a missing key; C03: not TOML (names the
        line); C04: keys that contradict each other; C05: an absolute path; C06: no such file.
    """
    path = Path(path)
    return config_from_dict(_read_toml(path), str(path))


def config_from_dict(tables: dict[str, Any], where: str = "project.toml") -> Config:
    """Check the tables of a project.toml; `where` names it in errors. See `load_config`."""
    _refuse_absolute_paths(tables, where)
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        raise _data_error(error, tables, where) from error
    cross_check(config, where)
    return config


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(
            str(path),
            found="no such file",
            expected="the project's configuration",
            cause="not a project folder, or the command was started elsewhere",
            fix="give the project folder, or make one with `stimsynth init DIR`",
            code="C06",
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            str(path),
            found=f"text that is not TOML: {error}",
            expected='lines such as: name = "text", count = 3, list = ["a", "b"], under a [section]',
            cause="a missing quote or bracket, a decimal comma, or a text encoding other than UTF-8",
            fix="correct that line; a fresh commented file comes from `stimsynth init`",
            code="C03",
        ) from error


def _refuse_absolute_paths(value: Any, where: str, key: str = "") -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_absolute_paths(item, where, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            _refuse_absolute_paths(item, where, key)
    elif isinstance(value, str) and _NOT_RELATIVE.match(value):
        raise DataError(
            f"{where} {key}",
            found=f"{value!r}",
            expected="a path relative to the project folder and inside it",
            cause="a path of one machine, which breaks on every other",
            fix="copy the file into the project folder and give its name there",
            code="C05",
        )


def _keys_of(section: str) -> list[str]:
    """The keys of a section ("" = the sections themselves), in the order of the template."""
    return [key.name for key in _described_keys(section)] if section else list(Config.model_fields)


def _data_error(error: ValidationError, tables: dict[str, Any], where: str) -> DataError:
    """The first problem as a `DataError`, unknown keys before all others (they are the likely cause of a missing one)."""
    problems = sorted(error.errors(), key=lambda p: p["type"] not in ("extra_forbidden", "unexpected_keyword_argument"))
    first, more = problems[0], len({p["loc"][:2] for p in problems}) - 1
    others = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown_key(first, where, others)
    inner = (first.get("ctx") or {}).get("error")
    if isinstance(inner, DataError):
        return DataError(
            f"{where} {inner.where}",
            found=inner.found + others,
            expected=inner.expected,
            cause=inner.cause,
            fix=inner.fix,
            code=inner.code,
        )
    same_key = [p for p in problems if p["loc"][:2] == first["loc"][:2]]
    return _wrong_value(same_key, tables, where, others)


def _unknown_key(problem: ErrorDetails, where: str, others: str) -> DataError:
    *above, key = [str(part) for part in problem["loc"]]
    section = above[0] if above else ""
    known = _keys_of(section)
    nearest = difflib.get_close_matches(key, known, n=1)
    elsewhere = [s for s in _keys_of("") if s != section and key in _keys_of(s)] if section else []
    if elsewhere:
        cause, fix = "the key stands in the wrong section", f"move {key} to [{elsewhere[0]}]"
    elif nearest:
        cause, fix = "a slip of the pen", f"did you mean {nearest[0]}?"
    else:
        cause, fix = "a key of another version or tool", "remove it"
    return DataError(
        f"{where} [{section}]" if section else where,
        found=f"the unknown {'key' if section else 'section or key'} {key!r}{others}",
        expected=f"one of {', '.join(known)}",
        cause=cause,
        fix=fix,
        code="C01",
    )


def _wrong_value(problems: list[ErrorDetails], tables: dict[str, Any], where: str, others: str) -> DataError:
    """The problems of one key (several where a value fits none of several types)."""
    first = problems[0]
    section, key = [str(part) for part in (*first["loc"], "")][:2]
    missing = first["type"] in ("missing", "missing_argument") and len(first["loc"]) <= 2
    reasons = " or ".join(dict.fromkeys(p["msg"].removeprefix("Input should be ") for p in problems))
    about = {k.name: k.description.rstrip(".") for k in _described_keys(section)}.get(key, "")
    name = f"the key {key!r}" if key else f"the section [{section}]"
    value = tables.get(section)
    value = value.get(key) if key and isinstance(value, dict) else value
    return DataError(
        f"{where} [{section}] {key}".rstrip(),
        found=f"{name} is missing{others}" if missing else f"{key or section} = {value!r}{others}",
        expected=(about or "a table of keys") if missing else f"{reasons}; {about}".rstrip("; "),
        cause="the line was deleted"
        if missing
        else "another type, unit or range (text needs quotes, numbers have none)",
        fix=f"add {name} to the file" if missing else f"correct {key or section} in [{section}]",
        code="C02",
    )


class _Key(NamedTuple):
    name: str
    description: str
    default: Any  # PydanticUndefined: required


def _described_keys(section: str) -> list[_Key]:
    """Name, description and default of every key of a section, in order."""
    if section == "display":
        hints = get_type_hints(Display, include_extras=True)
        no_default = {f.name: f.default for f in dataclass_fields(Display)}
        return [
            _Key(name, get_args(hints[name])[-1].description, PydanticUndefined if default is MISSING else default)
            for name, default in no_default.items()
        ]
    model = Config.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, Section)
    return [_Key(name, field.description or "", field.default) for name, field in model.model_fields.items()]


def template(config: Config | None = None, *, name: str | None = None, display: Display | None = None) -> str:
    """A commented project.toml that spells out every key with its unit and default.

    Parameters
    ----------
    config : Config or None
        The values to write; None: the defaults, with a display of 224 x 224 px, 8 degrees, grey, linearised.
    name : str or None
        Name of the project, instead of the one in `config`.
    display : Display or None
        Display, instead of the one in `config`.
    """
    config = config or Config(display=Display(width_px=224, height_px=224, size_deg=8.0))
    if name is not None:
        config = config.model_copy(update={"project": config.project.model_copy(update={"name": name})})
    if display is not None:
        config = config.model_copy(update={"display": display})
    if not is_id(config.project.name):
        raise ValueError(f"project name {config.project.name!r}; expected a-z, then a-z, 0-9, _")
    values = config.to_dict()
    lines = [
        "# A stimsynth project. Every key is explained above it: [unit] meaning (default).",
        "# Keys that start with '#' are optional and left out. Unknown keys are errors. Paths are relative to this folder.",
    ]
    for section in _keys_of(""):
        lines += ["", f"[{section}]"]
        for key in _described_keys(section):
            value = values[section][key.name]
            default = "required" if key.default is PydanticUndefined else f"default {_toml(key.default)}"
            lines += textwrap.wrap(f"{key.description} ({default})", 110, initial_indent="# ", subsequent_indent="#   ")
            lines.append(f"# {key.name} =" if value is None else f"{key.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_toml(key)} = {_toml(item)}' for key, item in value.items())} }}" if value else "{}"
    return repr(value)
