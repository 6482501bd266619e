"""The methods paragraph of a round."""

from __future__ import annotations

from protocols.packages import version
from protocols.project.config.config import Config
from protocols.project.generations.files import EVOLVED
from protocols.project.objectives import objective_named
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


def reference_sentence(report: ControlReport) -> str:
    """One sentence on the natural references that were tested."""
    shown = sorted({r.references for r in report.confirmatory() if r.references})
    if not shown or shown == [1]:
        return (
            "For each site and objective the best natural image known before was shown again and compared, on all its "
            "trials, with the controller."
        )
    number = str(shown[-1]) if len(shown) == 1 else f"up to {shown[-1]}"
    return (
        f"For each site and objective {number} of the best natural images known before were shown again; either half "
        "of their trials picked the best, which was tested on the other half, and the controller was compared with the "
        "mean of both in one test that repeated the choice in every permutation."
    )


def selectivity_sentence(report: ControlReport) -> str:
    """What the objective one_hot tests; "" without it."""
    if not any(r.selectivity is not None for r in report.confirmatory()):
        return ""
    return (
        " For one_hot the response of the target in natural standard deviations less a weighted mean of the other "
        "sites' was tested, with the weights of the softmax share at the responses that were predicted before."
    )


def suppress_sentence(report: ControlReport) -> str:
    """How objectives that drive a site low were tested; "" without one."""
    if not any(objective_named(r.objective).below for r in report.confirmatory()):
        return ""
    return (
        " For suppress the least activating natural images known before took the place of the best, and the same tests "
        "asked whether the response to the controller was below; its difference to the blank was tested beside the "
        "verdict."
    )


def evolution_sentence(config: Config, report: ControlReport) -> str:
    """Which controllers were found by evolution on the rig; "" where none was."""
    evolved = [r for r in report.confirmatory() if r.generator == EVOLVED]
    if not evolved:
        return ""
    how = {"cma": "diagonal CMA-ES", "genetic": "a genetic algorithm"}[config.evolution.optimiser]
    return (
        f" The controllers of {len(evolved)} of the sites ({', '.join(sorted(r.site for r in evolved))}) were evolved "
        f"on the rig by {how} from recorded responses instead, and chosen by trials before the round; the trials of "
        "their evolution count in no test."
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
        f"per block. {synthesis_sentence(config)}{evolution_sentence(config, report)} {reference_sentence(report)} "
        f"Tests were one-sided studentised permutation tests within blocks ({report.permutations} permutations, level "
        f"{report.alpha:g})."
        f"{selectivity_sentence(report)}{suppress_sentence(report)} One controller per site and objective was "
        "declared confirmatory before the responses were read, by the prediction of a second encoder on which it had "
        f"not been optimised. {arms_sentences(config, report)}Software: stimsynth {version()}."
    )
