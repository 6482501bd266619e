"""Safety of what a round shows: luminance, contrast, flashes, red flashes and stripes, measured on the ordered sequence
of frames.

A person may be photosensitive without knowing it. With ``species = "human"`` an export whose sequence exceeds a limit
of the section ``[safety]`` stops before anything appears in the outbox, unless a reason is given there for every kind
of finding; elsewhere the findings are recorded alone. docs/safety.md says where each limit comes from. Passing is no
medical clearance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from protocols.errors import SafetyStop
from protocols.project.display import LUMINANCE_WEIGHTS, Display

from .flashes import FlashLimit, cell_px, cells, count_flashes, largest_area
from .stripes import regular_pattern

if TYPE_CHECKING:
    from protocols.progress import Reporter
    from protocols.project.config.config import Config
    from protocols.project.config.safety import SafetyConfig
from protocols.arrays import Floats, Pixels

__all__ = ["SafetyFinding", "SafetyReport", "acknowledged", "check_sequence", "guard", "linear_light"]


Images = Mapping[str, Pixels]
NAMED = 12
"""Trials and images that a finding names; the rest is counted."""
WAY_OUT = (
    "longer on_ms and off_ms in [protocol] (at most 3 images per second with background between them), lower contrast "
    "([synthesis] rms_contrast) or smaller images ([display] size_deg)"
)


@dataclass(frozen=True)
class SafetyFinding:
    """One limit that the sequence exceeds.

    Parameters
    ----------
    what : str
        "mean luminance", "RMS contrast", "Michelson contrast", "general flash", "red flash" or "stripes".
    value, limit : float
        The worst value found and the limit, in `unit`.
    detail : str
        What else was measured there.
    n_trials, n_images : int
        How many presentations and images it concerns; `trials` and `images` name the first of them.
    """

    what: str
    value: float
    limit: float
    unit: str
    detail: str
    n_trials: int
    n_images: int
    trials: tuple[int, ...]
    images: tuple[str, ...]

    def summary(self) -> str:
        """One sentence."""
        first = f"trial {self.trials[0]} on, image {self.images[0]}" if self.trials else "nowhere"
        return (
            f"{self.what} {self.value:.3g} {self.unit} (limit {self.limit:.3g}; {self.detail}) in {self.n_trials} "
            "trials, "
            f"{self.n_images} images, {first}"
        )


@dataclass(frozen=True)
class SafetyReport:
    """What a sequence exceeds; `trials` presentations of `images` images were looked at."""

    findings: tuple[SafetyFinding, ...]
    trials: int
    images: int

    def summary(self) -> str:
        """One line per finding."""
        return "\n".join(f.summary() for f in self.findings) or f"no limit exceeded in {self.trials} trials"

    def to_dict(self) -> dict[str, Any]:
        """The report for records and scripts."""
        return {"trials": self.trials, "images": self.images, "findings": [asdict(f) for f in self.findings]}


def linear_light(display: Display, pixels: Pixels) -> Floats:
    """Light of each channel in [0, 1] on this display, (H, W, C) -> (C, H, W)."""
    light: Floats = display.to_luminance(torch.from_numpy(pixels.astype(np.float64) / 255)).movedim(-1, 0).numpy()
    return light


def relative_luminance(light: Floats) -> Floats:
    """Relative luminance (H, W) of light (C, H, W)."""
    return light[0] if len(light) == 1 else np.tensordot(np.array(LUMINANCE_WEIGHTS), light, axes=1)


def check_sequence(
    display: Display,
    images: Images,
    order: Sequence[str],
    *,
    on_ms: float,
    off_ms: float,
    limits: SafetyConfig,
    progress: Reporter | None = None,
) -> SafetyReport:
    """Hold a sequence to the limits: image ``order[0]`` for `on_ms`, background for `off_ms`, image ``order[1]``, ...
    without pauses.

    Parameters
    ----------
    images : mapping of image id to uint8 pixels (H, W, C)
    order : sequence of image ids, one per trial
    limits : SafetyConfig
    """
    ids = list(dict.fromkeys(order))
    step = cell_px(display.height_px, display.width_px, display.px_per_deg)
    measured: dict[str, dict[str, float]] = {}
    details: dict[str, str] = {}
    reduced = []
    for done, image in enumerate(ids, start=1):
        light = linear_light(display, images[image])
        measured[image], details[image] = _image_values(display, relative_luminance(light), limits)
        reduced.append(cells(light, step))
        if progress is not None:
            progress("safety of the images", done, len(ids))
    findings = [
        _image_finding(what, unit, limit, measured=measured, details=details, order=order)
        for what, unit, limit in _image_limits(limits)
        if any(measured[i].get(what, 0.0) > limit for i in ids)
    ]
    findings += _flash_findings(
        display,
        np.stack(reduced),
        ids,
        order=order,
        durations=_frames(display, on_ms, off_ms),
        limits=limits,
        step=step,
    )
    return SafetyReport(tuple(findings), len(order), len(ids))


def _frames(display: Display, on_ms: float, off_ms: float) -> tuple[float, float]:
    """The durations in whole frames of the display, where its refresh rate is known."""
    if display.refresh_hz is None:
        return on_ms, off_ms
    frame = 1000 / display.refresh_hz
    return max(frame, round(on_ms / frame) * frame), round(off_ms / frame) * frame


def _image_limits(limits: SafetyConfig) -> list[tuple[str, str, float]]:
    """What is measured on single images: name, unit, limit; those left free are not listed."""
    chosen = [
        ("mean luminance", "cd/m2", limits.max_mean_luminance_cd_m2),
        ("RMS contrast", "(SD / mean)", limits.max_rms_contrast),
        ("Michelson contrast", "", limits.max_michelson_contrast),
        ("stripes", "light-dark pairs", limits.stripe_pairs),
    ]
    return [(what, unit, limit) for what, unit, limit in chosen if limit is not None]


def _image_values(display: Display, luminance: Floats, limits: SafetyConfig) -> tuple[dict[str, float], str]:
    """The values of one image under the names of `_image_limits`, and a description of its stripes."""
    mean, low, high = float(luminance.mean()), float(luminance.min()), float(luminance.max())
    values = {
        "RMS contrast": float(luminance.std()) / mean if mean > 0 else 0.0,
        "Michelson contrast": (high - low) / (high + low) if high > 0 else 0.0,
    }
    if display.max_luminance_cd_m2 is not None:
        values["mean luminance"] = mean * display.max_luminance_cd_m2
    pattern = regular_pattern(
        luminance,
        px_per_deg=display.px_per_deg,
        surround=display.background_luminance,
        frequencies=limits.stripe_frequencies,
        contrast=limits.stripe_contrast,
        area_sr=limits.stripe_area_sr,
    )
    if pattern is None:
        return values, ""
    values["stripes"] = pattern.pairs
    stripes = f"{pattern.frequency:.2g} cycles/degree, contrast {pattern.contrast:.2f}, {pattern.area_sr:.4f} sr"
    return values, stripes


def _image_finding(
    what: str,
    unit: str,
    limit: float,
    *,
    measured: dict[str, dict[str, float]],
    details: dict[str, str],
    order: Sequence[str],
) -> SafetyFinding:
    over = {i for i, values in measured.items() if values.get(what, 0.0) > limit}
    worst = max(over, key=lambda i: (measured[i][what], i))
    trials = [t for t, image in enumerate(order) if image in over]
    detail = details[worst] if what == "stripes" else f"image {worst}"
    return _finding(what, measured[worst][what], limit, unit=unit, detail=detail, trials=trials, order=order)


def _finding(
    what: str, value: float, limit: float, *, unit: str, detail: str, trials: Sequence[int], order: Sequence[str]
) -> SafetyFinding:
    images = list(dict.fromkeys(order[t] for t in trials))
    return SafetyFinding(
        what=what,
        value=value,
        limit=limit,
        unit=unit,
        detail=detail,
        n_trials=len(trials),
        n_images=len(images),
        trials=tuple(trials[:NAMED]),
        images=tuple(images[:NAMED]),
    )


def _flash_findings(
    display: Display,
    light: NDArray[np.float32],
    ids: list[str],
    *,
    order: Sequence[str],
    durations: tuple[float, float],
    limits: SafetyConfig,
    step: int,
) -> list[SafetyFinding]:
    """General flashes, and on a colour display red flashes; `light` is (S, C, h, w) in cells of `step` pixels."""
    plain = np.full((1, *light.shape[1:]), display.background_luminance, dtype=np.float32)
    states = np.concatenate([light, plain])
    change = limits.flash_change
    if display.max_luminance_cd_m2 is not None:
        change = min(change, limits.flash_change_cd_m2 / display.max_luminance_cd_m2)
    weights = np.array(LUMINANCE_WEIGHTS if light.shape[1] == 3 else (1.0,), dtype=np.float32)
    luminance = np.tensordot(states, weights, axes=([1], [0]))
    kinds = {"general flash": (luminance, luminance < limits.flash_darker_below, change - 1e-6)}
    cell_deg = step / display.px_per_deg
    if light.shape[1] == 3:
        values, saturated = redness(states, limits.red_saturation)
        if (
            largest_area(np.logical_or.reduce(saturated, axis=0), cell_deg) > limits.flash_area_sr
        ):  # else no transition can be as large
            kinds["red flash"] = (values, saturated, limits.red_change + 1e-4)
    place = {image: i for i, image in enumerate(ids)}
    findings = []
    for what, (values, flags, smallest) in kinds.items():
        count = count_flashes(
            values[:-1],
            flags[:-1],
            (values[-1], flags[-1]),
            order=[place[image] for image in order],
            durations_ms=durations,
            limit=FlashLimit(change=smallest, area_sr=limits.flash_area_sr, per_second=limits.flashes_per_second),
            cell_deg=cell_deg,
        )
        if count.trials:
            area, first = f"{count.worst_area_sr:.4f} sr of a 10-degree field", count.worst_trials[0]
            detail = f"over up to {area}, worst from trial {first}"
            unit, limit = "flashes in one second", limits.flashes_per_second
            findings.append(
                _finding(what, count.worst, limit, unit=unit, detail=detail, trials=count.trials, order=order)
            )
    return findings


def redness(light: NDArray[np.float32], saturation: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(R - G - B) x 320, negative values set to 0, and where R / (R + G + B) is saturated: (S, 3, h, w) -> two of (S,
    h, w).
    """
    red, green, blue = light[:, 0], light[:, 1], light[:, 2]
    total = red + green + blue
    return np.maximum(red - green - blue, 0) * 320, (red >= saturation * total) & (total > 0)


def acknowledged(report: SafetyReport, limits: SafetyConfig) -> dict[str, str]:
    """Reasons by kind of finding, of the kinds that were found and have one."""
    reasons = {str(kind): reason.strip() for kind, reason in limits.acknowledge.items()}
    return {f.what: reasons[f.what] for f in report.findings if reasons.get(f.what)}


def guard(config: Config, progress: Reporter | None = None) -> Callable[[Images, Sequence[str]], dict[str, Any]]:
    """What an export calls with its images and its order before anything appears; returns the entry ``safety`` of the
    manifest.

    Raises
    ------
    SafetyStop
        The species is human, and [safety] acknowledge gives no reason for a kind of finding.
    """

    def look(images: Images, order: Sequence[str]) -> dict[str, Any]:
        protocol = config.protocol
        report = check_sequence(
            config.display,
            images,
            order,
            on_ms=protocol.on_ms,
            off_ms=protocol.off_ms,
            limits=config.safety,
            progress=progress,
        )
        human = config.project.species == "human"
        reasons = acknowledged(report, config.safety) if human else {}
        left = [f for f in report.findings if f.what not in reasons]
        if human and left:
            raise _stop(left)
        verdict = "within limits" if not report.findings else "acknowledged" if human else "reported"
        return {
            "verdict": verdict,
            "species": config.project.species,
            "acknowledged": reasons,
            **report.to_dict(),
        }

    return look


def _stop(findings: Sequence[SafetyFinding]) -> SafetyStop:
    exceeded = "; ".join(f.summary() for f in findings)
    table = ", ".join(f'"{f.what}" = "the reason"' for f in findings)
    return SafetyStop(
        f"error[Z01] safety stop: the sequence exceeds what [safety] allows for a human subject: {exceeded}. Nothing "
        "was exported. "
        f"Way out: {WAY_OUT}; or, where an ethics protocol covers it, give the reason by kind of finding in [safety], "
        f"acknowledge = {{ {table} }}, which the manifest then records."
    )
