"""The methods paragraph of a round."""

from __future__ import annotations

from protocols.packages import version
from protocols.project.config.config import Config
from protocols.verdict.control_report import ControlReport

from .beside import arms_sentences


def synthesis_sentence(config: Config) -> str:
    """One sentence on how the controllers were made."""
    synthesis, diffusion = config.synthesis, config.diffusion
    shifts = f"random shifts of up to {synthesis.jitter_fraction:.0%} of the width"
    if synthesis.generator == "diffusion":
        return (
            f"Controllers were sampled from the diffusion prior {diffusion.prior} in {diffusion.steps} noise levels, "
            f"the clean estimate of each guided by the gradient of the encoder ({diffusion.method}, strength "
            f"{diffusion.strength} in posterior standard deviations, {shifts}) at a fixed mean luminance and RMS "
            "contrast."
        )
    start = "the best measured images" if synthesis.start == "natural" else "noise"
    return (
        f"Controllers were synthesised by gradient ascent ({synthesis.steps} steps of Adam on Fourier coefficients "
        f"with amplitudes scaled by 1/f^{synthesis.decay:g}, {shifts}, started from {start}) at a fixed mean luminance "
        "and RMS contrast."
    )


def methods_paragraph(config: Config, report: ControlReport) -> str:
    """A paragraph to paste into a methods section.

    Parameters
    ----------
    config : Config
        The settings that the round was made with (`view.round_config`).
    report : ControlReport
    """
    display, protocol = config.display, config.protocol
    often, natural = f"{protocol.repeats} times each", f"{protocol.natural_images}"
    if protocol.repeats is None:
        often, natural = "controllers and references equally often", f"at most {natural}"
    return (
        f"Images of {display.width_px} x {display.height_px} pixels ({display.size_deg:g} degrees wide, "
        f"{display.colour}, 8 bits, background {display.background}) were shown for {protocol.on_ms:g} ms with "
        f"{protocol.off_ms:g} ms between them, {often}, in {protocol.blocks} blocks of fresh "
        f"random order, with {natural} random natural images and {protocol.blanks_per_block} blanks "
        f"per block. {synthesis_sentence(config)} For each site the {protocol.references} best natural images of the "
        "baseline recording were shown again; one was picked on a random half of its trials and compared, on its other "
        "half, with the controller by a one-sided studentised permutation test within blocks "
        f"({report.permutations} permutations, level {report.alpha:g}). One controller per site and objective was "
        "declared confirmatory before the responses were read, by the prediction of a second encoder on which it had "
        f"not been optimised. {arms_sentences(config, report)}Software: stimsynth {version()}."
    )
