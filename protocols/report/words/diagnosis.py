"""The diagnosis at the top of a report: what was found, what could have been found, what to do next; a sentence each.

Every number is one of the verdicts' own: a count of a summary, an expected count (`protocols.verdict.headline`), or a
count of rows. Nothing is tested here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from protocols.project.arms import arm_named
from protocols.project.generations.files import EVOLVED
from protocols.project.objectives import objective_named
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow, ObjectiveSummary
from protocols.verdict.text import is_uninformative, size_text

GROUP_ALPHA = 0.05  # of all sites of an objective together
LONGEST_REASON = 90
AVERAGES = "averages only"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Three sentences on a round: what was found, what could have been found, what to do next."""

    found: str
    possible: str
    following: str

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """What each sentence tells, and the sentence."""
        return ("Found", self.found), ("Could have been found", self.possible), ("Next", self.following)


def not_evaluated(stage: str) -> Diagnosis:
    """Of a round that has no verdicts; `stage`: what it waits for, in words."""
    return Diagnosis(
        found="Nothing is known yet: the round is not evaluated.",
        possible="What its trials can find is told when they are recorded.",
        following=f"{stage[:1].upper()}{stage[1:].rstrip('.')}.",
    )


def diagnose(report: ControlReport) -> Diagnosis:
    """The three sentences of an evaluated round."""
    cases = [_Case(s, tuple(report.confirmatory(s.objective))) for s in report.objectives]
    if not cases:
        return Diagnosis(
            found="Nothing was tested: the round has no confirmatory controller.",
            possible="Nothing could have been found.",
            following="Make a round with controllers of an objective that this version tests.",
        )
    return Diagnosis(found=_found(cases), possible=_possible(cases), following=_following(cases))


@dataclass(frozen=True)
class _Case:
    """One objective: its counts and its confirmatory controllers."""

    counts: ObjectiveSummary
    rows: tuple[ControlRow, ...]

    @property
    def label(self) -> str:
        return objective_named(self.counts.objective).label

    @property
    def sites(self) -> int:
        """Sites with a confirmatory controller."""
        return self.counts.tested + self.counts.not_testable + self.counts.excluded

    @property
    def controlled(self) -> list[ControlRow]:
        return [r for r in self.rows if r.verdict == "control"]

    @property
    def against_arms(self) -> tuple[int, int]:
        """Controlled sites with a control arm that did at least as well as the controller, of those that showed one."""
        shown = [r for r in self.controlled if r.arm_differences]
        return sum(min(r.arm_differences.values()) <= 0 for r in shown), len(shown)

    @property
    def worst_arm(self) -> str:
        """The arm that did so most often, in brackets."""
        kinds = Counter(k for r in self.controlled for k, v in r.arm_differences.items() if v <= 0)
        return f" (most often {arm_named(kinds.most_common(1)[0][0]).label})" if kinds else ""

    @property
    def photographs_do_as_well(self) -> bool:
        """Whether the photographs that prediction chose pass the test at as large a share of sites."""
        s = self.counts
        return 0 < s.successes * s.empirical_tested <= s.empirical_successes * s.tested

    @property
    def looked_at(self) -> bool:
        """Whether the round had interim looks."""
        return any(r.stage_p or r.stopped for r in self.rows)

    @property
    def weak(self) -> bool:
        """Whether the median measured effect, which is as wanted, would be missed at most sites."""
        return is_uninformative(self.counts)


# --- what was found ---------------------------------------------------------------------------------------------------


def _found(cases: Sequence[_Case]) -> str:
    told = [_verdicts(c) for c in cases]
    notes = [note for c in cases for note in _caveats(c, several=len(cases) > 1)]
    return _sentence("; ".join([*told, *notes]))


def _verdicts(case: _Case) -> str:
    """The counts of one objective, as its table has them."""
    s = case.counts
    of = f"{s.tested} tested site{'s' * (s.tested != 1)}"
    if not s.tested:
        told = f"{case.label}: no site could be tested"
    elif not s.successes:
        told = f"{case.label}: no control at any of {of}"
    else:
        told = f"{case.label}: control at {s.successes} of {of}"
    beside = [f"{s.not_testable} not testable"] if s.not_testable else []
    beside += [f"{s.excluded} left out"] if s.excluded else []
    evolved = sum(r.generator == EVOLVED for r in case.rows)
    beside += [f"{evolved} of the controllers evolved on the rig"] if evolved else []
    return told + (f" ({', '.join(beside)})" if beside else "")


def _caveats(case: _Case, *, several: bool) -> list[str]:
    """What takes from the counts of one objective."""
    s, notes, name = case.counts, list[str](), f"{case.label}: " if several else ""
    if not s.successes:
        if s.listed:
            notes.append(f"{name}{s.listed} stand on the Benjamini-Hochberg list, which is not a verdict")
        return notes
    if s.group_p is not None and s.group_p > GROUP_ALPHA:
        notes.append(f"{name}all sites together show no control (group p {s.group_p:.2g}), so this may be chance")
    if case.photographs_do_as_well:
        notes.append(
            f"{name}photographs that prediction chose do as well ({s.empirical_successes} of {s.empirical_tested})"
        )
    lost, shown = case.against_arms
    if lost:
        notes.append(
            f"{name}at {lost} of {shown} controlled sites with a control arm it did at least as well{case.worst_arm}"
        )
    return notes


# --- what could have been found ---------------------------------------------------------------------------------------


def _possible(cases: Sequence[_Case]) -> str:
    several = len(cases) > 1
    return _sentence("; ".join((f"{c.label}: " if several else "") + _power(c) for c in cases))


def _power(case: _Case) -> str:
    """What the tests of one objective could have found."""
    s = case.counts
    if not s.tested:
        return (
            f"nothing could have been found, since none of {case.sites} site{'s' * (case.sites != 1)} could be tested"
        )
    if case.looked_at:
        return "what a true effect would have given is not told of a round with interim looks"
    if s.median_size is None or s.expected_successes is None:
        return "what could have been found is not known with so few tested sites"
    size, half = size_text(s.median_size, s.size_unit), ""
    if s.size_at_half is not None:
        half = f"half of the sites are found from an effect of {size_text(s.size_at_half, s.size_unit)} on"
    if s.median_size <= 0:
        told = f"the median effect ({size}) is not {objective_named(s.objective).side} the references"
        return f"{told}, and {half}" if half else f"{told}, and no size would be found at half of the sites"
    told = (
        f"an effect of the median measured size ({size}) at every site would be found at about "
        f"{s.expected_successes:.1f} of {s.tested}"
    )
    if case.weak:
        return f'{told}, so that "no control" says little here'
    return told


# --- what to do next --------------------------------------------------------------------------------------------------


def _following(cases: Sequence[_Case]) -> str:
    """The step that the worst obstacle asks for: nothing tested, sites left out, too few trials, arms, no effect."""
    untested = [c for c in cases if not c.counts.tested]
    if len(untested) == len(cases):
        return _sentence(_untested(cases))
    sites, out = sum(c.sites for c in cases), sum(c.counts.excluded for c in cases)
    if 2 * out > sites:
        return _sentence(f"find out first why sites are left out{_most(cases, 'excluded')}")
    several = len(cases) > 1
    for applies, words in _STEPS:
        here = [c for c in cases if c.counts.tested and applies(c)]
        if here:
            named = f" ({', '.join(c.label for c in here)})" if several and len(here) < len(cases) else ""
            return _sentence(words + named)
    return _sentence(_GO_ON)


def _untested(cases: Sequence[_Case]) -> str:
    rows = [r for c in cases for r in c.rows]
    if any(r.reason == AVERAGES for r in rows):
        return "deliver single trials: averages cannot be tested"
    if any(r.verdict == "not testable" for r in rows):
        return f"show controllers and references more often, or fewer sites{_most(cases, 'not testable')}"
    return f"find out first why every site is left out{_most(cases, 'excluded')}"


def _most(cases: Sequence[_Case], verdict: str) -> str:
    """The commonest reason of a verdict, after a colon; "" where none is told."""
    told = [r.reason for c in cases for r in c.rows if r.verdict == verdict and r.reason]
    if not told:
        return ""
    kind, count = Counter(map(_unnumbered, told)).most_common(1)[0]
    reason = _short(next(text for text in told if _unnumbered(text) == kind))
    return f": {reason}" + (f" ({count} controllers)" if count > 1 else "")


def _unnumbered(reason: str) -> str:
    """A reason without its numbers, so that those that are alike are counted together."""
    return re.sub(r"\d+(\.\d+)?(e-?\d+)?", "", reason)


def _short(reason: str) -> str:
    """A reason up to its first stop."""
    words = re.split(r"[.;!?]\s|[.;!?]$|\n|: at least", reason)[0].strip()
    return words if len(words) <= LONGEST_REASON else words[:LONGEST_REASON].rsplit(" ", 1)[0] + " ..."


def _no_effect(case: _Case) -> bool:
    s = case.counts
    return not s.successes and s.median_size is not None and s.median_size <= 0


_GO_ON = "refit the encoder with this round and show new controllers, to see whether control is found again"
_STEPS = (
    (
        _no_effect,
        "look whether the responses follow the predictions, refit the encoder with this round, and show new images",
    ),
    (lambda c: c.weak, "show fewer sites more often: the trials are too few for the noise"),
    (
        lambda c: 2 * c.against_arms[0] > c.counts.successes,
        "look at the control arms before anything is claimed: another image may do as much",
    ),
    (
        lambda c: c.photographs_do_as_well,
        "do not claim more than chosen photographs give: refit the encoder with this round and show new controllers",
    ),
    (
        lambda c: not c.counts.successes and c.counts.expected_successes is not None,
        "do not repeat the round as it is: effects of this size would have been found, so change what the images may "
        "be or refit the encoder",
    ),
    (
        lambda c: not c.counts.successes,
        "refit the encoder with this round and show new controllers: whether an effect would have been found is not "
        "known",
    ),
)
"""What is looked for, the worst first, and what it asks for."""


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
