"""What an evaluation says: one row a controller, a summary an objective, consistency a site; text, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Any

from protocols.disk.files import read_json, write_json, write_text
from protocols.errors import DataError

SCHEMA = "control/1"
VERDICTS = ("control", "no control", "not testable", "excluded", "exploratory")


@dataclass(frozen=True)
class ControlRow:
    """One controller. None = not available; responses in the recording's unit unless said otherwise.

    `distance` from the fitted images, in medians of what natural images have; `outside`: farther than 99 % of them.
    `measured` and `reference` are mean responses of the target site over the `n` and `n_reference` trials that were tested; `score`
    and `reference_score` are the objective's scores of these means (stretch: the same means; one_hot: the softmax share S).
    `reference_both`: the natural reference's score averaged over both directions of choosing and testing. `difference`,
    `difference_both`: score differences (stretch) or differences of log S (one_hot). `gain` in `gain_unit`: "fraction" (of the
    evoked response to the named reference image, minus 1), "natural SD" or "log S", with a 95 % interval. `p_each`: p against each
    re-shown reference image on all trials; where there is control; `strict`: all of them at alpha (an intersection test, no choice).
    Off-target values are mean standardised responses of the other sites. None of the following counts in the verdict: `contrast` and
    `contrast_exceeded` (names of those above the photographs' 95th percentile, "" = none; `protocols.rounds.contrast`); `arm_*` by kind of
    control arm: its image, its score, the controller's score less it (one_hot: log S), p of the same test on all trials;
    `other_site_*`: the controllers of other sites at this site, `other_site_share` of which score lower than its own;
    `monotonic_*`: Spearman correlation of measured with predicted score over references, graded images and controller, with
    one-sided p.
    """

    objective: str
    site: str
    image_id: str
    confirmatory: bool
    verdict: str = "excluded"
    reason: str = ""
    generator: str = ""
    seed: int | None = None
    predicted: float | None = None
    predicted_sd: float | None = None
    validator_predicted: float | None = None
    distance: float | None = None
    outside: bool | None = None
    measured: float | None = None
    n: int = 0
    score: float | None = None
    blank: float | None = None
    n_blank: int = 0
    reference_image: str = ""
    reference_kind: str = ""
    reference: float | None = None
    n_reference: int = 0
    reference_score: float | None = None
    reference_both: float | None = None
    reference_shortfall: float | None = None
    difference: float | None = None
    difference_both: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    gain_unit: str = ""
    gain_note: str = ""
    t: float | None = None
    p: float | None = None
    smallest_p: float | None = None
    exact: bool | None = None
    bh: bool | None = None
    strict: bool | None = None
    p_each: dict[str, float] = field(default_factory=dict)
    margin: float | None = None
    score_without_worst: float | None = None
    off_target: float | None = None
    off_target_natural: float | None = None
    off_target_blank: float | None = None
    suppression: str = ""
    suppression_t: float | None = None
    suppression_p: float | None = None
    incomplete_trials: int = 0
    pseudo_image: str = ""
    pseudo_p: float | None = None
    contrast: dict[str, float] = field(default_factory=dict)
    contrast_exceeded: str | None = None
    arm_images: dict[str, str] = field(default_factory=dict)
    arm_scores: dict[str, float] = field(default_factory=dict)
    arm_differences: dict[str, float] = field(default_factory=dict)
    arm_p: dict[str, float] = field(default_factory=dict)
    other_site_images: int = 0
    other_site_share: float | None = None
    other_site_score: float | None = None
    monotonic_images: int = 0
    monotonic_rho: float | None = None
    monotonic_p: float | None = None


@dataclass(frozen=True)
class ObjectiveSummary:
    """Counts over the confirmatory controllers of one objective; Wilson 95 % intervals are descriptive (sites share noise).

    `arms`: by kind, controllers tested against that arm and those above it at alpha; `exceeded`: by contrast, controllers above the
    photographs' 95th percentile, of `contrast_measured`; `monotonic` of `monotonic_tested` sites rise with prediction (p 0.05), the
    others are to be left out of claims about how far a response can be driven; `other_site_share`: median over sites.
    """

    objective: str
    tested: int
    successes: int
    low: float
    high: float
    chance: float
    empirical_tested: int
    empirical_successes: int
    empirical_low: float
    empirical_high: float
    group_p: float | None
    listed: int
    strict: int
    strict_tested: int
    suppressed: int
    suppression_tested: int
    not_testable: int
    excluded: int
    arms: dict[str, tuple[int, int]] = field(default_factory=dict)
    contrast_measured: int = 0
    exceeded: dict[str, int] = field(default_factory=dict)
    monotonic: int = 0
    monotonic_tested: int = 0
    other_site_share: float | None = None


@dataclass(frozen=True)
class SiteConsistency:
    """Correlation of predicted and measured responses, and its square over the reliability, over two sets of images."""

    site: str
    reliability: float | None
    controllers: int
    controllers_r: float | None
    controllers_r2: float | None
    images: int
    images_r: float | None
    images_r2: float | None


@dataclass(frozen=True)
class ControlReport:
    """The outcome of one confirmatory round (or of any responses and key)."""

    unit: str
    alpha: float
    permutations: int
    seed: int
    temperature: float
    trials: int
    trials_used: int
    one_hot_sites: tuple[str, ...]
    rows: tuple[ControlRow, ...]
    objectives: tuple[ObjectiveSummary, ...]
    consistency: tuple[SiteConsistency, ...]
    notes: tuple[str, ...] = ()

    def confirmatory(self, objective: str | None = None) -> list[ControlRow]:
        """The rows that count, of one objective or of all."""
        return [r for r in self.rows if r.confirmatory and objective in (None, r.objective)]

    def counts(self) -> dict[str, int]:
        """Counts for a log line, such as ``stretch_successes`` and ``stretch_tested``."""
        names = ("successes", "tested", "listed", "not_testable", "excluded")
        return {f"{s.objective}_{name}": getattr(s, name) for s in self.objectives for name in names}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; None where a number is missing."""
        return {"schema": SCHEMA, **asdict(self)}

    def to_json(self, path: str | Path) -> None:
        """Write the whole report."""
        write_json(Path(path), self.to_dict())

    @staticmethod
    def from_json(path: str | Path) -> ControlReport:
        """Read a report that `to_json` wrote."""
        data = read_json(Path(path))
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            raise DataError(
                str(path),
                found="no control report of schema " + SCHEMA,
                expected="a file that ControlReport.to_json wrote",
                cause="another JSON file was given, or one of another version",
                fix="evaluate the round again",
                code="E08",
            )
        data["rows"] = tuple(ControlRow(**r) for r in data["rows"])
        data["objectives"] = tuple(
            ObjectiveSummary(**{**s, "arms": {k: (n, above) for k, (n, above) in s.get("arms", {}).items()}})
            for s in data["objectives"]
        )
        data["consistency"] = tuple(SiteConsistency(**s) for s in data["consistency"])
        data["one_hot_sites"], data["notes"] = tuple(data["one_hot_sites"]), tuple(data["notes"])
        return ControlReport(**data)

    def to_csv(self, path: str | Path) -> None:
        """Write one line a controller; an empty cell = None."""
        buffer = io.StringIO()
        table = csv.writer(buffer, lineterminator="\n")
        table.writerow([f.name for f in fields(ControlRow)])
        for row in self.rows:
            table.writerow([_cell(getattr(row, f.name)) for f in fields(ControlRow)])
        write_text(Path(path), buffer.getvalue())

    def summary(self) -> str:
        """A text of counts, chance levels, one line a confirmatory controller, exclusions and notes."""
        lines = [
            f"Control of {len({r.site for r in self.confirmatory()})} sites, {self.trials_used} of {self.trials} trials used, "
            f"unit {self.unit}, alpha {self.alpha:g}, {self.permutations} permutations, seed {self.seed}"
        ]
        for s in self.objectives:
            lines += ["", *_objective_lines(s, self.confirmatory(s.objective))]
        exploratory = sum(not r.confirmatory for r in self.rows)
        if exploratory:
            lines += ["", f"{exploratory} exploratory controllers are in the table but not in any count."]
        lines += ["", *_consistency_lines(self.consistency)]
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)]) + "\n"


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return " ".join(f"{k}:{v!r}" for k, v in value.items())
    if isinstance(value, bool):
        return int(value)
    return "" if value is None else repr(value) if isinstance(value, float) else value


def _objective_lines(s: ObjectiveSummary, rows: Sequence[ControlRow]) -> list[str]:
    lines = [
        f"{s.objective}: {s.successes} of {s.tested} sites controlled (Wilson 95 % {s.low:.0%}-{s.high:.0%}, descriptive; "
        f"chance {s.chance:.1%}); group p {_show(s.group_p)}; Benjamini-Hochberg list (q 0.05): {s.listed}; "
        f"beats every reference: {s.strict} of {s.strict_tested}"
    ]
    if s.suppression_tested:
        lines.append(f"  suppression of the other sites: {s.suppressed} of {s.suppression_tested}")
    if s.empirical_tested:
        lines.append(
            f"  empirical chance (of all photographs shown, the one predicted best; same test): {s.empirical_successes} of "
            f"{s.empirical_tested} ({s.empirical_low:.0%}-{s.empirical_high:.0%})"
        )
    lines += [f"  {sentence}" for sentence in beside_verdicts(s)]
    for unit in sorted({r.gain_unit for r in rows if r.gain is not None}):
        gains = [r.gain for r in rows if r.gain is not None and r.gain_unit == unit]
        middle = f"{median(gains):+.0%}" if unit == "fraction" else f"{median(gains):+.2f} {unit}"
        lines.append(f"  median gain over the named reference image: {middle} ({len(gains)} sites)")
    lines.append(
        f"  {'site':<14}{'verdict':<14}{'p':>9} {'predicted':>10}{'measured':>10}{'n':>4} {'reference':>10}{'n':>4} {'gain [95 %]':>26}"
    )
    return [*lines, *(_row_line(r) for r in rows)]


def beside_verdicts(s: ObjectiveSummary) -> list[str]:
    """Sentences on control arms, specificity, contrast and monotonicity, for what was shown and measured."""
    lines = [
        f"against the arm {kind.replace('_', ' ')}: {above} of {n} controllers above it"
        for kind, (n, above) in s.arms.items()
    ]
    if s.other_site_share is not None:
        lines.append(
            f"controllers of other sites that drive a site less than its own: {s.other_site_share:.0%} (median over sites)"
        )
    if s.contrast_measured:
        above = ", ".join(f"{name} {n}" for name, n in s.exceeded.items())
        lines.append(
            f"above the photographs' 95th percentile of contrast: {above} of {s.contrast_measured} controllers"
        )
    if s.monotonic_tested:
        left_out = 1 - s.monotonic / s.monotonic_tested
        lines.append(
            f"response rises with prediction over graded images: {s.monotonic} of {s.monotonic_tested} sites ({left_out:.0%} left out)"
        )
    return lines


def _row_line(r: ControlRow) -> str:
    line = (
        f"  {r.site:<14}{r.verdict:<14}{_show(r.p):>9} {_show(r.predicted):>10}{_show(r.measured):>10}{r.n:>4} "
        f"{_show(r.reference):>10}{r.n_reference:>4} {_gain(r):>26}"
    )
    extra = [r.reason, f"S {_show(r.score)} against {_show(r.reference_score)}" if r.margin is not None else ""]
    extra += [r.suppression, r.gain_note]
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


def _consistency_lines(sites: Sequence[SiteConsistency]) -> list[str]:
    lines = []
    for label, values in (
        ("controllers only", [s.controllers_r2 for s in sites if s.controllers_r2 is not None]),
        ("natural images and controllers", [s.images_r2 for s in sites if s.images_r2 is not None]),
    ):
        if values:
            lines.append(
                f"Consistency, squared noise-corrected correlation over {label}: median {median(values):.2f} ({len(values)} sites)"
            )
    return lines
