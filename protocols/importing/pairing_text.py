"""The verdict on pictures and responses in plain sentences, with the figures behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .pairing_verdict import (
    BETTER,
    CANNOT_TELL,
    LEAST_PICTURES,
    NEXT,
    NEXT_FROM,
    NOT_PAIRED,
    PAIRED,
    PREVIOUS,
    PREVIOUS_FROM,
    ROW_AFTER,
    ROW_BEFORE,
    SORTED_OTHERWISE,
    UNSEEN,
    Finding,
)

_FITS = {
    NEXT: "the next picture of the list, not the one that their ids name: positions that count from 0 were read as "
    "counting from 1",
    PREVIOUS: "the picture before the one that their ids name: positions that count from 1 were read as counting "
    "from 0",
    ROW_BEFORE: "the picture that the row before names: the responses are one trial late",
    ROW_AFTER: "the picture that the row after names: the responses are one trial early",
    SORTED_OTHERWISE: "the list in another order: that of the numbers in the names (img2 before img10) in place of the "
    "letters, or the reverse",
}


def sentences(finding: Finding, names: Sequence[str]) -> list[str]:
    """What was found and on what, and what it means; the first sentence is the verdict."""
    return [_verdict(finding, names), *_figures(finding), *_beside(finding)]


def _verdict(finding: Finding, names: Sequence[str]) -> str:
    if finding.verdict == PAIRED:
        return "The responses belong to their pictures, as far as pictures predict responses."
    if finding.verdict == NOT_PAIRED:
        return (
            "The responses do not belong to the pictures that their ids name: sites answer to the ids reliably, and "
            "the pictures predict nothing of it."
        )
    if finding.verdict in (NEXT_FROM, PREVIOUS_FROM):
        which, cause = (
            ("next picture of the list", "a picture is in the folder that the list of the recording lacks")
            if finding.verdict == NEXT_FROM
            else ("picture before", "a picture of the recording's list is missing from the folder")
        )
        return f"From about {names[finding.since]} on, the responses fit the {which}: {cause}."
    if finding.verdict == CANNOT_TELL:
        return f"Whether the responses belong to their pictures cannot be told: {_why(finding)}."
    return f"The responses fit {_FITS[finding.verdict]}."


def _why(finding: Finding) -> str:
    if not finding.pictures:
        return f"fewer than {LEAST_PICTURES} of the pictures have responses, or no site varies"
    if math.isnan(finding.reliability):
        return "pictures predict the responses no better than chance, and no repeats say how reliable these are"
    if not finding.reliability_z > BETTER:
        return (
            "no site answers alike to repeats of a picture beyond doubt; where sites should, the rows may stand in "
            "another order than the ids (repeats within images, or images within repeats)"
        )
    if finding.z > UNSEEN:
        return "pictures predict the responses only a little better than chance"
    return (
        f"a correlation of {finding.detectable:.2f} would have been seen, and such noisy responses to their own "
        f"pictures may give {finding.expected:.2f}"
    )


def _figures(finding: Finding) -> list[str]:
    if not finding.pictures:
        return []
    told = [
        f"Predicted from other pictures, {finding.sites} sites correlate by {finding.score:.2f} on average with their "
        f"responses to {finding.pictures} pictures; chance gives {finding.chance:.2f}, and this is {finding.z:.1f} SDs "
        "from it."
    ]
    words = {NEXT: "one further in the list", PREVIOUS: "one back in the list"}
    words |= {
        n: w
        for n, w in {ROW_BEFORE: "of the row before", ROW_AFTER: "of the row after"}.items()
        if n == finding.verdict
    }
    shown = [f"{words[n]} {score:.2f}" for n, (score, _, _) in finding.others.items() if n in words]
    if shown:
        told.append(f"With the picture {', '.join(shown)}.")
    if math.isfinite(finding.reliability):
        told.append(f"Signal in the mean responses: {finding.reliability:.0%} of their variance, averaged over sites.")
    return told


def _beside(finding: Finding) -> list[str]:
    if finding.verdict == NOT_PAIRED:
        return [
            "Either the ids are those of another list or session, or were permuted; or the pictures differ in ways "
            "that oriented contours and colours at 64 pixels do not show, as faces of one view do: then, once the ids "
            "are compared with the log, --unpaired REASON takes the recording."
        ]
    alike = [n for n in (NEXT, PREVIOUS) if n in finding.others and finding.others[n][2] > -BETTER]
    if finding.verdict == PAIRED and alike:
        return ["A shift by one cannot be excluded: pictures beside each other in the list are too alike."]
    return []
