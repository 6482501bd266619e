"""An evaluation in words: lines and sentences for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from protocols.project.objectives import objective_named

from .records import ControlRow, ObjectiveSummary, SiteConsistency


def objective_lines(s: ObjectiveSummary, rows: Sequence[ControlRow]) -> list[str]:
    """Counts of one objective, gains, and one line per confirmatory controller of `rows`."""
    lines = [
        f"{s.objective}: {s.successes} of {s.tested} sites controlled "
        f"(Wilson 95 % {s.low:.0%}-{s.high:.0%}, descriptive; chance {s.chance:.1%}); group p {_show(s.group_p)}; "
        f"Benjamini-Hochberg list (q 0.05): {s.listed}; "
        f"beats every reference: {s.strict} of {s.strict_tested}"
    ]
    lines += [f"  {sentence}" for sentence in headline(s)]
    if s.suppression_tested:
        lines.append(f"  suppression of the other sites: {s.suppressed} of {s.suppression_tested}")
    if s.below_blank_tested:
        lines.append(f"  below the blank (beside the verdict): {s.below_blank} of {s.below_blank_tested} sites")
    if s.empirical_tested:
        lines.append(
            f"  empirical chance (of all photographs shown, the one predicted best; same test): "
            f"{s.empirical_successes} of {s.empirical_tested} ({s.empirical_low:.0%}-{s.empirical_high:.0%})"
        )
    lines += [f"  {sentence}" for sentence in beside_verdicts(s)]
    for unit in sorted({r.gain_unit for r in rows if r.gain is not None}):
        gains = [r.gain for r in rows if r.gain is not None and r.gain_unit == unit]
        middle = f"{median(gains):+.0%}" if unit == "fraction" else f"{median(gains):+.2f} {unit}"
        words = objective_named(s.objective).gain_words
        lines.append(f"  median {words} the named reference image: {middle} ({len(gains)} sites)")
    lines += [f"  {sentence}" for sentence in (*estimand(rows), *room_sentences(rows, s.chance))]
    lines.append(
        f"  {'site':<14}{'verdict':<14}{'p':>9} {'predicted':>10}{'measured':>10}{'n':>4} {'reference':>10}{'n':>4} "
        f"{'gain [95 %]':>26}"
    )
    return [*lines, *(_row_line(r) for r in rows)]


UNINFORMATIVE = 0.5  # expected share of sites below which "no control" says little


def headline(s: ObjectiveSummary) -> list[str]:
    """Sentences on what the tests could have found; none where fewer than two sites were tested."""
    if s.median_size is None or s.expected_successes is None or s.expected_listed is None:
        return []
    size, above = size_text(s.median_size, s.size_unit), s.median_size > 0
    found = f"{s.listed} on the Benjamini-Hochberg list and {s.successes} at alpha, of {s.tested} sites"
    told = (
        f"a true effect of the median measured size ({size}) at every site would give {s.expected_listed:.1f} and "
        f"{s.expected_successes:.1f}"
    )
    side = objective_named(s.objective).side
    lines = [f"{found}; {told if above else f'the median measured effect ({size}) is not {side} the references'}"]
    if s.size_at_half is not None:
        lines.append(f"half of the sites are found from a true effect of {size_text(s.size_at_half, s.size_unit)} on")
    if is_uninformative(s):
        lines.append(
            f"not informative: with these trials and this noise an effect of {size} is missed at most sites, so that "
            '"no control" says little about effects of that size'
        )
    return lines


def is_uninformative(s: ObjectiveSummary) -> bool:
    """Whether the median measured effect, which is as wanted, would be missed at most sites."""
    if s.median_size is None or s.expected_successes is None:
        return False
    return s.median_size > 0 and s.expected_successes < UNINFORMATIVE * s.tested


def size_text(size: float, unit: str) -> str:
    """An effect in words: percent of a fraction, else with its unit."""
    return f"{size:+.0%}" if unit == "fraction" else f"{size:+.2f} {unit}"


def beside_verdicts(s: ObjectiveSummary) -> list[str]:
    """Sentences on control arms, specificity, contrast and monotonicity, for what was shown and measured."""
    objective = objective_named(s.objective)
    lines = [
        f"against the arm {kind.replace('_', ' ')}: {above} of {n} controllers {objective.side} it"
        for kind, (n, above) in s.arms.items()
    ]
    if s.other_site_share is not None:
        lines.append(
            f"controllers of other sites that {'suppress' if objective.below else 'drive'} a site less than its own: "
            f"{s.other_site_share:.0%} (median over sites)"
        )
    if s.contrast_measured:
        above = ", ".join(f"{name} {n}" for name, n in s.exceeded.items())
        lines.append(
            f"above the photographs' 95th percentile of contrast: {above} of {s.contrast_measured} controllers"
        )
    if s.monotonic_tested:
        left_out = 1 - s.monotonic / s.monotonic_tested
        lines.append(
            f"response rises with prediction over graded images: {s.monotonic} of {s.monotonic_tested} sites "
            f"({left_out:.0%} left out)"
        )
    return lines


def estimand(rows: Sequence[ControlRow]) -> list[str]:
    """Sentences on what the reference of the verdicts is, and how far below the best shown image it is expected."""
    tested = [r for r in rows if r.references]
    lines = []
    single = [r for r in tested if r.references == 1]
    if single:
        lines.append(f"the reference is the one image that was shown ({len(single)} sites)")
    short = [r.reference_shortfall for r in tested if r.references > 1 and r.reference_shortfall is not None]
    below = bool(tested) and objective_named(tested[0].objective).below
    best = "above the lowest" if below else "below the best"
    if len(single) < len(tested):
        lines.append(
            f"the reference is the mean of the images that either half of the trials picked of those shown "
            f"({len(tested) - len(single)} sites)"
            + (f", expected {round(median(short), 9):.2g} {best} of them (median)" if short else "")
        )
    return lines


def room_sentences(rows: Sequence[ControlRow], alpha: float) -> list[str]:
    """Sentences on the floor below the references, tested at `alpha`; none where the unit has none."""
    known = [r for r in rows if r.room is not None]
    if not known:
        return []
    none = sum(_without_room(r, alpha) for r in known)
    lines = [f"room: the references evoke {median([r.room or 0.0 for r in known]):.3g} above zero (median)"]
    if none:
        lines.append(f"no room below the reference at {none} of {len(known)} sites: no verdict says anything of them")
    return lines


def _without_room(r: ControlRow, alpha: float) -> bool:
    """Whether the floor alone kept "control" from a site: by ties, or since silence would not have been found."""
    if r.verdict == "not testable":
        return (r.smallest_p or 0.0) <= alpha < (r.tied_p or 0.0)
    return r.verdict == "no control" and (r.silent_p or 0.0) > alpha


def _row_line(r: ControlRow) -> str:
    line = (
        f"  {r.site:<14}{r.verdict:<14}{_show(r.p):>9} {_show(r.predicted):>10}{_show(r.measured):>10}{r.n:>4} "
        f"{_show(r.reference):>10}{r.n_reference:>4} {_gain(r):>26}"
    )
    extra = [r.reason, f"S {_show(r.score)} against {_show(r.reference_score)}" if r.margin is not None else ""]
    extra += [f"references {r.reference_image} and {r.reference_other}" if r.reference_other else ""]
    extra += [r.suppression, r.gain_note, r.stopped]
    extra += [f"contrast above natural: {r.contrast_exceeded}" if r.contrast_exceeded else ""]
    return "  ".join([line, *(e for e in extra if e)]).rstrip()


def _gain(r: ControlRow) -> str:
    if r.gain is None:
        return "-"
    if r.gain_unit == "fraction":
        interval = (
            "unbounded" if r.gain_low is None or r.gain_high is None else f"{r.gain_low:+.0%}, {r.gain_high:+.0%}"
        )
        return f"{r.gain:+.0%} [{interval}]"
    interval = "-" if r.gain_low is None or r.gain_high is None else f"{r.gain_low:+.2f}, {r.gain_high:+.2f}"
    return f"{r.gain:+.2f} {r.gain_unit} [{interval}]"


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def consistency_lines(sites: Sequence[SiteConsistency]) -> list[str]:
    """How well predictions hold, as medians over sites."""
    lines = []
    for label, values in (
        ("controllers only", [s.controllers_r2 for s in sites if s.controllers_r2 is not None]),
        ("natural images and controllers", [s.images_r2 for s in sites if s.images_r2 is not None]),
    ):
        if values:
            lines.append(
                f"Consistency, squared noise-corrected correlation over {label}: median {median(values):.2f} "
                f"({len(values)} sites)"
            )
    return lines
