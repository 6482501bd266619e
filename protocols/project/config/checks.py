"""Keys of a project.toml that only make sense together: repeats and alpha, contrast and mean, durations and refresh rate."""

from __future__ import annotations

import math

from protocols.errors import DataError
from protocols.stats.reach import reachable_p, repeats_needed

from .config import Config


def cross_check(config: Config, where: str) -> None:
    """Raise `DataError` C04 for the first contradiction; `where` names the file."""
    protocol, evaluation, synthesis = config.protocol, config.evaluation, config.synthesis
    if protocol.repeats < protocol.blocks:
        raise _contradiction(
            f"{where} [protocol]",
            f"repeats = {protocol.repeats} with blocks = {protocol.blocks}",
            "at least one presentation of each image in every block",
            fix=f"set repeats to {protocol.blocks} or more, or blocks to {protocol.repeats} or fewer",
        )
    _check_power(config, where)
    start, end = protocol.response_window_ms
    if not start < end:
        raise _contradiction(
            f"{where} [protocol]",
            f"response_window_ms = [{start:g}, {end:g}]",
            "a window that ends after it starts",
            fix="give [start, end] in ms after image onset",
        )
    if config.encoder.reliability_target < config.encoder.reliability_fit:
        raise _contradiction(
            f"{where} [encoder]",
            f"reliability_target = {config.encoder.reliability_target} below reliability_fit = {config.encoder.reliability_fit}",
            "targets to be chosen among the fitted sites",
            fix="set reliability_target to reliability_fit or more",
        )
    late = [step for step in synthesis.graded_steps or () if step >= synthesis.steps]
    if late:
        raise _contradiction(
            f"{where} [synthesis]",
            f"graded_steps = {list(synthesis.graded_steps or ())} with steps = {synthesis.steps}",
            "graded images from before the last step",
            fix=f"leave out {', '.join(map(str, late))}, or raise steps",
        )
    twice = sorted({kind for kind in config.arms.kinds if config.arms.kinds.count(kind) > 1})
    if twice:
        raise _contradiction(
            f"{where} [arms]",
            f"kinds that name {', '.join(twice)} twice",
            "each kind of arm once",
            fix="name it once",
        )
    mean, rms = synthesis.mean_luminance, synthesis.rms_contrast
    if mean is not None and rms is not None and rms**2 > mean * (1 - mean):
        raise _contradiction(
            f"{where} [synthesis]",
            f"rms_contrast = {rms} with mean_luminance = {mean}",
            f"at most {math.sqrt(mean * (1 - mean)):.3f}, the contrast of a black-and-white image of that mean",
            fix="lower rms_contrast",
        )
    if evaluation.alpha < 1 / (evaluation.permutations + 1):
        raise _contradiction(
            f"{where} [evaluation]",
            f"permutations = {evaluation.permutations} with alpha = {evaluation.alpha}",
            f"at least {math.ceil(1 / evaluation.alpha) - 1} permutations",
            fix="raise permutations",
        )
    _check_frames(config, where)
    _check_safety(config, where)


def _check_power(config: Config, where: str) -> None:
    protocol, alpha = config.protocol, config.evaluation.alpha
    for objective in config.synthesis.objectives:
        equal = objective == "one_hot"
        smallest = reachable_p(protocol.repeats, protocol.blocks, equal=equal)
        if smallest > alpha:
            enough = repeats_needed(alpha, protocol.blocks, equal=equal)
            raise _contradiction(
                f"{where} [protocol] repeats",
                f"repeats = {protocol.repeats} in blocks = {protocol.blocks}, "
                f"where a {objective} test cannot go below p = {smallest:.3g}",
                f"a test that can reach alpha = {alpha}",
                fix=f"set repeats to {enough} or more, or use fewer blocks",
            )


def _check_frames(config: Config, where: str) -> None:
    if config.display.refresh_hz is None:
        return
    for key in ("on_ms", "off_ms"):
        frames = getattr(config.protocol, key) * config.display.refresh_hz / 1000
        if abs(frames - round(frames)) > 0.05:
            shorter, longer = (1000 * n / config.display.refresh_hz for n in (math.floor(frames), math.ceil(frames)))
            raise _contradiction(
                f"{where} [protocol] {key}",
                f"{key} = {getattr(config.protocol, key):g}, which is {frames:.2f} frames at {config.display.refresh_hz:g} Hz",
                "a whole number of frames",
                fix=f"use {shorter:.2f} or {longer:.2f} ms",
            )


def _check_safety(config: Config, where: str) -> None:
    low, high = config.safety.stripe_frequencies
    if not 0 < low < high:
        raise _contradiction(
            f"{where} [safety]",
            f"stripe_frequencies = [{low:g}, {high:g}]",
            "two frequencies above 0, the lower one first",
            fix="give [lowest, highest] in cycles/degree",
        )
    if config.safety.max_mean_luminance_cd_m2 is not None and config.display.max_luminance_cd_m2 is None:
        raise _contradiction(
            f"{where} [safety]",
            "max_mean_luminance_cd_m2 without the luminance of the screen",
            "[display] max_luminance_cd_m2",
            fix="measure the luminance of pixel value 255 and add it to [display]",
        )


def _contradiction(where: str, found: str, expected: str, *, fix: str) -> DataError:
    return DataError(
        where, found=found, expected=expected, cause="two keys that do not go together", fix=fix, code="C04"
    )
