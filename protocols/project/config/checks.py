"""Keys of a project.toml that must fit together: repeats and alpha, contrast and mean, durations and refresh rate."""

from __future__ import annotations

import math
from collections.abc import Callable

from protocols.errors import DataError
from protocols.project.looks import Looks, look_blocks
from protocols.stats.reach import reachable_p, repeats_needed

from .config import Config
from .protocol import ANCHOR_REPEATS
from .rig import NEED_REFRESH

Rule = Callable[[Config, str], DataError | None]


def cross_check(config: Config, where: str) -> None:
    """Raise `DataError` C04 for the first of `RULES` that `config` breaks; `where` names the file."""
    for rule in RULES:
        error = rule(config, where)
        if error is not None:
            raise error


def a_round_is_sized_once(config: Config, where: str) -> DataError | None:
    """At most one of presentations, minutes and repeats is given."""
    protocol = config.protocol
    given = {"presentations": protocol.presentations, "minutes": protocol.minutes, "repeats": protocol.repeats}
    named = [f"{key} = {value:g}" for key, value in given.items() if value]
    if len(named) < 2:
        return None
    return _contradiction(
        f"{where} [protocol]",
        " and ".join(named),
        "one of presentations, minutes and repeats",
        fix="keep the one that you mean, and set the others to 0 (repeats: leave it out)",
    )


def every_block_shows_every_image(config: Config, where: str) -> DataError | None:
    """Repeats are at least as many as blocks."""
    protocol = config.protocol
    if protocol.repeats is None or protocol.repeats >= protocol.blocks:
        return None
    return _contradiction(
        f"{where} [protocol]",
        f"repeats = {protocol.repeats} with blocks = {protocol.blocks}",
        "at least one presentation of each image in every block",
        fix=f"set repeats to {protocol.blocks} or more, or blocks to {protocol.repeats} or fewer",
    )


def alpha_is_reachable(config: Config, where: str) -> DataError | None:
    """The permutation test can reach a p below alpha with so many repeats and blocks."""
    protocol, alpha = config.protocol, config.evaluation.alpha
    if protocol.repeats is None:
        return None  # the planner looks at the test of each pair
    smallest = reachable_p(protocol.repeats, protocol.blocks)
    if smallest <= alpha:
        return None
    enough = repeats_needed(alpha, protocol.blocks)
    return _contradiction(
        f"{where} [protocol] repeats",
        f"repeats = {protocol.repeats} in blocks = {protocol.blocks}, where a test cannot go below p = {smallest:.3g}",
        f"a test that can reach alpha = {alpha}",
        fix=f"set repeats to {enough} or more, or use fewer blocks",
    )


def window_ends_after_it_starts(config: Config, where: str) -> DataError | None:
    """The response window is not empty."""
    start, end = config.protocol.response_window_ms
    if start < end:
        return None
    return _contradiction(
        f"{where} [protocol]",
        f"response_window_ms = [{start:g}, {end:g}]",
        "a window that ends after it starts",
        fix="give [start, end] in ms after image onset",
    )


def times_are_in_milliseconds(config: Config, where: str) -> DataError | None:
    """No window and no presentation is so short that only seconds can be meant."""
    protocol = config.protocol
    end, shortest = protocol.response_window_ms[1], 5.0
    found = f"response_window_ms = [{protocol.response_window_ms[0]:g}, {end:g}]" if 0 < end < shortest else ""
    for key in ("on_ms", "off_ms"):
        if 0 < getattr(protocol, key) < 1:
            found = f"{key} = {getattr(protocol, key):g}"
    if not found:
        return None
    return DataError(
        f"{where} [protocol]",
        found=found,
        expected=f"milliseconds: presentations of at least 1 ms, a window that ends after {shortest:g} ms",
        cause="seconds in place of milliseconds",
        fix="multiply by 1000",
        code="C04",
    )


def targets_are_fitted(config: Config, where: str) -> DataError | None:
    """A site that is reliable enough to be a target is reliable enough to be fitted."""
    encoder = config.encoder
    if encoder.reliability_target >= encoder.reliability_fit:
        return None
    return _contradiction(
        f"{where} [encoder]",
        f"reliability_target = {encoder.reliability_target} below reliability_fit = {encoder.reliability_fit}",
        "targets to be chosen among the fitted sites",
        fix="set reliability_target to reliability_fit or more",
    )


READ_TOGETHER = ("banded_ridge", "topographic")
"""Readouts of which one member reads all layers, as the catalogue of solvers has them."""

STAND_ALONE = ("population",)
"""Readouts that cannot be joined with others: they read the sites of earlier recordings."""


def families_weigh_alike(config: Config, where: str) -> DataError | None:
    """Readouts joined by + are different ones, none or all of them read all layers with one member, and none of them
    reads the sites of earlier recordings.
    """
    families = (config.encoder.readout or "").split("+")
    whole = [family for family in families if family in READ_TOGETHER]
    alone = len(families) == 1 or not set(families) & set(STAND_ALONE)
    if alone and len(set(families)) == len(families) and len(whole) in (0, len(families)):
        return None
    return DataError(
        f"{where} [encoder]",
        found=f'readout = "{config.encoder.readout}"',
        expected=(
            f"different families, of one kind: {' and '.join(READ_TOGETHER)} read all layers with one member; "
            f"{' and '.join(STAND_ALONE)} alone"
        ),
        cause="families whose mean would not weigh them alike",
        fix="leave out one of them",
        code="C04",
    )


def graded_steps_come_before_the_last(config: Config, where: str) -> DataError | None:
    """Graded images are earlier iterates of the ascent."""
    synthesis = config.synthesis
    late = [step for step in synthesis.graded_steps or () if step >= synthesis.steps]
    if not late:
        return None
    return _contradiction(
        f"{where} [synthesis]",
        f"graded_steps = {list(synthesis.graded_steps or ())} with steps = {synthesis.steps}",
        "graded images from before the last step",
        fix=f"leave out {', '.join(map(str, late))}, or raise steps",
    )


def levels_make_a_line(config: Config, where: str) -> DataError | None:
    """One level has no slope."""
    if config.synthesis.accentuate_levels != 1:
        return None
    return _contradiction(
        f"{where} [synthesis]",
        "accentuate_levels = 1",
        "two levels or more, whose responses have a slope, or none",
        fix="set accentuate_levels to 2 or more (the command accentuate takes 8), or to 0",
    )


def arms_are_named_once(config: Config, where: str) -> DataError | None:
    """No kind of control arm is listed twice."""
    twice = sorted({kind for kind in config.arms.kinds if config.arms.kinds.count(kind) > 1})
    if not twice:
        return None
    return _contradiction(
        f"{where} [arms]",
        f"kinds that name {', '.join(twice)} twice",
        "each kind of arm once",
        fix="name it once",
    )


def contrast_fits_the_mean(config: Config, where: str) -> DataError | None:
    """An image of that mean can have that contrast."""
    mean, rms = config.synthesis.mean_luminance, config.synthesis.rms_contrast
    if mean is None or rms is None or rms**2 <= mean * (1 - mean):
        return None
    return _contradiction(
        f"{where} [synthesis]",
        f"rms_contrast = {rms} with mean_luminance = {mean}",
        f"at most {math.sqrt(mean * (1 - mean)):.3f}, the contrast of a black-and-white image of that mean",
        fix="lower rms_contrast",
    )


def permutations_suffice_for_alpha(config: Config, where: str) -> DataError | None:
    """The smallest p of so many random permutations is at most alpha."""
    evaluation = config.evaluation
    if evaluation.alpha >= 1 / (evaluation.permutations + 1):
        return None
    return _contradiction(
        f"{where} [evaluation]",
        f"permutations = {evaluation.permutations} with alpha = {evaluation.alpha}",
        f"at least {math.ceil(1 / evaluation.alpha) - 1} permutations",
        fix="raise permutations",
    )


def looks_lie_between_blocks(config: Config, where: str) -> DataError | None:
    """Every interim look comes after one block at least and before the last one."""
    evaluation, blocks = config.evaluation, config.protocol.blocks
    if not evaluation.looks and not evaluation.look_after:
        return None
    after = look_blocks(evaluation.looks, evaluation.look_after, blocks)
    try:
        if len(after) != evaluation.looks:
            raise ValueError
        Looks(after=after, blocks=blocks)
    except ValueError:
        return _contradiction(
            f"{where} [evaluation]",
            f"looks = {evaluation.looks}, look_after = {list(evaluation.look_after)} with [protocol] blocks = {blocks}",
            "one rising number of blocks per look, each below the number of blocks",
            fix=f"give {evaluation.looks} rising numbers below {blocks} in look_after, or [] and more blocks",
        )
    return None


def durations_are_whole_frames(config: Config, where: str) -> DataError | None:
    """Presentations last a whole number of frames where the refresh rate is known."""
    if config.display.refresh_hz is None:
        return None
    for key in ("on_ms", "off_ms"):
        frames = getattr(config.protocol, key) * config.display.refresh_hz / 1000
        shown = getattr(config.protocol, key)
        if abs(frames - round(frames)) > 0.05 or (shown > 0 and round(frames) == 0):
            shorter, longer = (1000 * n / config.display.refresh_hz for n in (math.floor(frames), math.ceil(frames)))
            return _contradiction(
                f"{where} [protocol] {key}",
                f"{key} = {getattr(config.protocol, key):g}, which is {frames:.2f} frames "
                f"at {config.display.refresh_hz:g} Hz",
                "a whole number of frames",
                fix=f"use {shorter:.2f} or {longer:.2f} ms",
            )
    return None


def rigs_know_the_refresh_rate(config: Config, where: str) -> DataError | None:
    """Presentation software that cannot measure the refresh rate is told it."""
    blind = [name for name in config.rig.software if name in NEED_REFRESH]
    if not blind or config.display.refresh_hz is not None:
        return None
    return _contradiction(
        f"{where} [rig] software",
        f"{blind[0]} without [display] refresh_hz",
        f"the refresh rate of the screen, since files for {' and '.join(NEED_REFRESH)} end each image half a frame "
        "early, so that it is not shown one frame too long",
        fix="add refresh_hz, such as 60.0, to [display]",
    )


def stripe_frequencies_rise(config: Config, where: str) -> DataError | None:
    """The range of stripe frequencies is not empty."""
    low, high = config.safety.stripe_frequencies
    if 0 < low < high:
        return None
    return _contradiction(
        f"{where} [safety]",
        f"stripe_frequencies = [{low:g}, {high:g}]",
        "two frequencies above 0, the lower one first",
        fix="give [lowest, highest] in cycles/degree",
    )


def luminance_limit_has_a_scale(config: Config, where: str) -> DataError | None:
    """A limit in cd/m2 needs the luminance of the screen."""
    if config.safety.max_mean_luminance_cd_m2 is None or config.display.max_luminance_cd_m2 is not None:
        return None
    return _contradiction(
        f"{where} [safety]",
        "max_mean_luminance_cd_m2 without the luminance of the screen",
        "[display] max_luminance_cd_m2",
        fix="measure the luminance of pixel value 255 and add it to [display]",
    )


def known_sites_are_named(config: Config, where: str) -> DataError | None:
    """The readout that reads the sites of earlier recordings is told where they are."""
    encoder = config.encoder
    if encoder.readout != "population" or encoder.networks_from:
        return None
    return _contradiction(
        f"{where} [encoder]",
        'readout = "population" without networks_from',
        "the encoder of earlier recordings whose sites are read",
        fix="name the encoder that `stimsynth trunk` wrote in networks_from, or choose another readout",
    )


def anchors_stand_apart(config: Config, where: str) -> DataError | None:
    """Photographs of the baseline round that are shown more often than the others are enough to stand between each
    other and between the blanks.
    """
    protocol = config.protocol
    anchors, often = protocol.baseline_anchors, max(ANCHOR_REPEATS, protocol.baseline_repeats)
    if not anchors or often == protocol.baseline_repeats:
        return None
    in_block = often // min(protocol.blocks, often)
    least = max(2, math.ceil(protocol.blanks_per_block / in_block))
    if anchors >= least:
        return None
    return _contradiction(
        f"{where} [protocol] baseline_anchors",
        f"baseline_anchors = {anchors} with blanks_per_block = {protocol.blanks_per_block} and "
        f"blocks = {protocol.blocks}",
        f"{least} anchors or more: no image follows itself, and a block holds an anchor {in_block} times and no more "
        "blanks than presentations of anchors",
        fix=f"set baseline_anchors to {least} or more, or to 0",
    )


def evolution_fits(config: Config, where: str) -> DataError | None:
    """What ``[evolution]`` asks for can be shown, and is shown in the round."""
    wrong = config.evolution.contradiction(shown="evolved" in config.arms.kinds)
    return None if wrong is None else _contradiction(f"{where} {wrong.key}", wrong.found, wrong.expected, fix=wrong.fix)


RULES: tuple[Rule, ...] = (
    a_round_is_sized_once,
    every_block_shows_every_image,
    alpha_is_reachable,
    anchors_stand_apart,
    window_ends_after_it_starts,
    times_are_in_milliseconds,
    targets_are_fitted,
    families_weigh_alike,
    graded_steps_come_before_the_last,
    levels_make_a_line,
    arms_are_named_once,
    contrast_fits_the_mean,
    permutations_suffice_for_alpha,
    looks_lie_between_blocks,
    durations_are_whole_frames,
    rigs_know_the_refresh_rate,
    stripe_frequencies_rise,
    luminance_limit_has_a_scale,
    known_sites_are_named,
    evolution_fits,
)
"""Each returns the contradiction that it finds, or None; they are looked at in this order."""


def _contradiction(where: str, found: str, expected: str, *, fix: str) -> DataError:
    return DataError(
        where, found=found, expected=expected, cause="two keys that do not go together", fix=fix, code="C04"
    )
