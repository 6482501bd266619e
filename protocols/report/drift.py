"""Sentences on the drift of a round, for page and terminal: sites left out, gains, alignment, drift within the day."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median

from protocols.recordings.drift import RoundDrift

NAMED = 6


def drift_sentences(
    drift: RoundDrift | None, *, align: bool = True, exclude: bool = True, told: Collection[str] = ()
) -> list[str]:
    """Sentences on one round, the excluded sites first.

    `align`, `exclude`: section ``[drift]`` at the evaluation; `told`: sites whose exclusion is told elsewhere.
    """
    if drift is None:
        return []
    return [
        *_left_out(drift, exclude, told),
        _gains(drift),
        _aligned(drift, align),
        *_within(drift),
        *(f"{note[0].upper()}{note[1:]}." for note in drift.notes),
    ]


def drift_text(drift: RoundDrift | None, *, align: bool = True, exclude: bool = True) -> str:
    """The sentences for a terminal, one per line; "" without a record."""
    lines = drift_sentences(drift, align=align, exclude=exclude)
    return "\n".join(["Drift against the baseline:", *(f"  {line}" for line in lines)]) + "\n" if lines else ""


def _left_out(drift: RoundDrift, exclude: bool, told: Collection[str]) -> list[str]:
    done = (
        "Left out of this round's verdicts and of later fits"
        if exclude
        else "Kept all the same ([drift] exclude is false)"
    )
    return [f"{done}: {site}, {reason}." for site, reason in drift.excluded.items() if site not in told]


def _gains(drift: RoundDrift) -> str:
    gains = [s.gain for s in drift.sites if s.told and s.gain is not None]
    if not gains:
        return f"No site's gain against the baseline is known (of {len(drift.sites)})."
    surely = sum(
        s.told and s.gain_low is not None and s.gain_high is not None and not s.gain_low <= 1 <= s.gain_high
        for s in drift.sites
    )
    return (
        f"Gain against the baseline: median {median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f}) over the "
        f"{len(gains)} of "
        f"{len(drift.sites)} sites whose gain the common images determine; the 95 % interval leaves out 1 at {surely}."
    )


def _aligned(drift: RoundDrift, align: bool) -> str:
    if not align:
        return "Responses are pooled as they are ([drift] align is false)."
    gains = [row["gain"] for row in drift.applied().values()]
    if not gains:
        return "No site is aligned: responses are pooled as they are."
    untouched = drift.gain_sd == 0 and drift.shift_sd == 0
    how = (
        "gains and shifts do not differ between the days beyond their errors, nothing is changed"
        if untouched
        else f"by gains of {min(gains):.2f} to {max(gains):.2f} (drawn to 1; SD over sites {drift.gain_sd:.2f}) and "
        f"shifts (SD {drift.shift_sd:.2f} of the baseline spread)"
    )
    return f"Aligned with the baseline before pooling: {len(gains)} of {len(drift.sites)} sites, {how}."


def _within(drift: RoundDrift) -> list[str]:
    known = [s for s in drift.sites if s.within_change is not None and s.within_p is not None]
    if not known:
        return []
    listed = [s.site for s in known if s.within_listed]
    size = median(abs(s.within_change or 0.0) for s in known)
    text = f"{size:.0f} % of the mean response" if drift.percent else f"{size:.2f} SD of the image means"
    marked = f": {_listed(listed)}" if listed else ""
    return [
        f"Drift within the recording: median size {text} from the first to the last trial; {len(listed)} of "
        f"{len(known)} sites on the "
        f"Benjamini-Hochberg list (q 0.05){marked}."
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
