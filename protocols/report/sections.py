"""The sections of the page, in their order. To add one: a function from `RoundView` to its sections, and a row in
`SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from protocols.project.key import Key
from protocols.project.objectives import objective_named
from protocols.recordings.responses import Responses
from protocols.report.figures.rounds import drift_figure, learning_figure, success_over_rounds
from protocols.report.figures.sites import gain_histogram, tuning_bars
from protocols.report.figures.verdicts import against_reference, predicted_against_measured, response_matrix
from protocols.verdict.records import ControlRow, ObjectiveSummary
from protocols.verdict.text import estimand, headline, room_sentences

from .beside import beside, beside_hints
from .decided import decision_sections
from .drift import drift_sentences
from .fit import fit_lines, fit_sentence, number, percent
from .follow import follow_sections
from .levels import levels_sections
from .methods import methods_paragraph
from .rounds import learning_lines
from .section import Drawing, Section, Table, drawn, inner_numbers
from .sites import MOST_TUNINGS, grids, tunings
from .verdicts import verdict_table
from .view import RoundView
from .words.left_out import TITLE as LEFT_OUT
from .words.left_out import left_out, left_out_sections


def verdict_sections(view: RoundView) -> list[Section]:
    """Verdicts site by site, one section per objective; sites that are left out stand in `left_out_sections`."""
    return [_verdicts_of(view, s) for s in view.report.objectives]


def _verdicts_of(view: RoundView, s: ObjectiveSummary) -> Section:
    row, rows = objective_named(s.objective), view.confirmatory(s.objective)
    shown = [r for r in rows if r.verdict != "excluded"]
    lines = [*headline(s), *estimand(rows), *room_sentences(rows, s.chance)]
    if len(shown) < len(rows):
        lines.append(f'{len(rows) - len(shown)} of {len(rows)} sites are left out: see "{LEFT_OUT}"')
    return Section(
        title=f"{row.label}, site by site",
        sentences=[row.explanation],
        points=[_sentence(x) for x in lines],
        tables=[verdict_table(shown, s.objective)] if shown else [],
    )


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def beside_sections(view: RoundView) -> list[Section]:
    """Control arms, specificity, contrast and monotonicity; only where anything of it was measured."""
    sections = []
    for summary in view.report.objectives:
        block = beside(summary, [r for r in view.confirmatory(summary.objective) if r.verdict != "excluded"])
        if block["lines"]:
            numbers = [i > 0 for i in range(1 + len(block["header"]))]
            title = f"{objective_named(summary.objective).label}, beside the verdicts"
            table = Table(
                header=["site", *block["header"]],
                lines=block["lines"],
                numbers=numbers,
                hints=beside_hints(summary, block["header"], view.report.unit),
                caption=title,
            )
            sentence = f"{block['sentence']} None of this counts in a verdict."
            sections.append(Section(title=title, sentences=[sentence], tables=[table]))
    return sections


def figure_sections(view: RoundView) -> list[Section]:
    """The figures of the round as a whole."""
    report = view.report
    first = drawn(
        "predicted against recorded response",
        predicted_against_measured(report, report.unit),
        name=f"round_{view.round_.number:02d}_predicted_recorded",
        caption=counted(
            "One point per controller; the dashed line: as predicted.",
            sum(r.predicted is not None and r.measured is not None for r in report.rows),
            len(report.rows),
            what="controllers have a prediction and a response",
        ),
    )
    makers = (_paired, _gains, _matrix)
    made = [make(view, o) for make in makers for o in view.objectives]
    return [Section(title="Figures", drawings=[first, *(drawing for drawing in made if drawing is not None)])]


def _paired(view: RoundView, objective: str) -> Drawing:
    rows, row = view.report.confirmatory(objective), objective_named(objective)
    known = sum(r.score is not None and r.reference_score is not None for r in rows)
    words = (
        f"{row.label}: each line leads from the {row.reference_name}'s to the controller's score. A dashed line has no "
        "control: it may go as wanted, but not beyond the noise of its trials."
    )
    return drawn(
        f"{objective}: controller and reference, paired",
        against_reference(view.report, objective, row.score_label(view.report.unit)),
        name=f"round_{view.round_.number:02d}_{objective}_paired",
        caption=counted(words, known, len(rows), what="sites have both"),
    )


def _gains(view: RoundView, objective: str) -> Drawing | None:
    rows, row = view.report.confirmatory(objective), objective_named(objective)
    histogram = gain_histogram(rows)
    if histogram is None:
        return None
    known, words = sum(r.gain is not None for r in rows), f"{row.label}: {row.gain_words} the re-shown natural image."
    return drawn(
        f"{objective}: histogram of the gain",
        histogram,
        name=f"round_{view.round_.number:02d}_{objective}_gain",
        caption=counted(words, known, len(rows), what="sites have a gain"),
    )


def counted(words: str, shown: int, of: int, *, what: str) -> str:
    """A caption that says how many of what it speaks of are drawn."""
    left = f"; {of - shown} left out" if shown < of else ""
    return f"{words} {shown} of {of} {what}{left}."


def _matrix(view: RoundView, objective: str) -> Drawing | None:
    """Responses of all sites to the controllers of an objective that scores all sites; None for the others."""
    rows, label = view.confirmatory(objective), objective_named(objective).label
    if not objective_named(objective).all_sites or not rows or not view.key.sites:
        return None
    sites, matrix = response_table(view.key, view.responses, rows)
    figure = response_matrix(matrix, [r.site for r in rows], sites, label=label)
    known = int(np.isfinite(matrix).all(1).sum())
    return drawn(
        f"responses of all sites to the {label} controllers",
        figure,
        name=f"round_{view.round_.number:02d}_{objective}_responses",
        caption=counted(
            f"Mean responses of this round, in natural SDs: the site that a {label} controller was made for is on the "
            "diagonal.",
            known,
            len(rows),
            what="controllers have a response of every site",
        ),
    )


def response_table(key: Key, responses: Responses, rows: Sequence[ControlRow]) -> tuple[list[str], NDArray[np.float64]]:
    """Sites (targets first, in the rows' order) and the mean standardised responses, shape (rows, sites), of this
    round.
    """
    targets = [r.site for r in rows]
    order = [*targets, *(s for s in key.site_ids if s not in targets)]
    order = [s for s in order if s in responses.site_ids]
    mean, sd = key.natural_statistics()
    columns = [key.site_ids.index(s) for s in order]
    means = responses.sites(tuple(order)).mean([r.image_id for r in rows])
    return order, (means - mean[columns]) / sd[columns]


def grid_sections(view: RoundView) -> list[Section]:
    """The controllers of every seed beside the reference, one section per objective."""
    sentence = (
        "Beside the reference of the confirmatory controller: the controllers of every seed. Thick frame: the "
        "confirmatory one, chosen before "
        "the responses were read (green: control, red: no control, grey: not tested); the others are exploratory and "
        "counted nowhere. "
        "Circle: the site's model receptive field, 1 SD around its centre; no circle: the field is unknown."
    )
    lines = grids(view.report, view.record, view.config.display)
    return [
        Section(title=f"{objective_named(o).label}: controllers of all seeds", sentences=[sentence], grid=grid)
        for o, grid in lines.items()
    ]


def tuning_sections(view: RoundView) -> list[Section]:
    """Sorted tuning of the targets, one section per objective whose score is the response itself."""
    sections = [_tuning_section(view, o) for o in view.objectives if not objective_named(o).all_sites]
    return [s for s in sections if s is not None]


def _tuning_section(view: RoundView, objective: str) -> Section | None:
    """Sorted tuning of the targets of one objective; None without any."""
    listed = tunings(view.report, view.key, view.responses, objective=objective)
    if not listed:
        return None
    targets = len(view.report.confirmatory(objective))
    of = f"The first {len(listed)} of {targets} sites. " if targets > len(listed) == MOST_TUNINGS else ""
    sentence = (
        f"{of}Grey bars: mean response to each natural and reference image of this round with its standard error, "
        "sorted; coloured: where the "
        "confirmatory controller, its graded images and its control arms fall among them. Means are over all usable "
        "trials; verdicts are "
        "computed from the tested trials alone."
    )
    drawing = drawn(
        "sorted tuning of each site",
        tuning_bars(listed, view.report.unit),
        name=f"round_{view.round_.number:02d}_{objective}_tuning",
        caption=counted("One panel per site.", len(listed), targets, what="target sites are drawn"),
    )
    title = f"Sorted tuning of the {objective_named(objective).label} targets"
    return Section(title=title, sentences=[sentence], drawings=[drawing])


def drift_sections(view: RoundView) -> list[Section]:
    """Drift of the sites against the baseline."""
    settings, told = view.drift_settings, {site for site, _ in left_out(view.report)}
    points = drift_sentences(view.drift, align=settings.align, exclude=settings.exclude, told=told)
    if not points:
        return []
    drawing = drawn(
        "drift against the baseline",
        drift_figure(view.drifts),
        name=f"round_{view.round_.number:02d}_drift",
        caption=(
            "Gains outside 0.1 to 10 lie beyond the axis; sites whose gain is not known, or not above 0, have no point."
        ),
    )
    return [Section(title="Drift against the baseline", points=points, drawings=[drawing])]


def round_sections(view: RoundView) -> list[Section]:
    """The rounds so far: learning curve where it is known, else the success counts; nothing in a first round."""
    drawing = over_rounds(view)
    if drawing is None:
        return []
    tables = []
    if view.learning:
        header, lines = learning_lines(view.learning)
        note = (
            "Prequential: the sealed predictions of an encoder that was fitted before the controllers were shown. "
            "After the refit: the next "
            "round's encoder, fitted to most of them."
        )
        tables.append(Table(header=header, lines=lines, numbers=[i > 3 for i in range(len(header))], note=note))
    lines = [
        [
            str(h["round"]),
            objective_named(h["objective"]).label,
            f"{h['successes']} of {h['tested']}",
            f"{percent(h['low'])} to {percent(h['high'])}",
            number(h["group_p"], 4),
        ]
        for h in view.history
    ]
    note = (
        "Rounds share sites and references; the confirmatory round is the one declared before the experiment. A "
        "best-of-rounds figure "
        "carries no p."
    )
    header = ["round", "objective", "controlled", "Wilson 95 %", "group p"]
    tables.append(Table(header=header, lines=lines, numbers=[False, False, True, True, True], note=note))
    return [Section(title="Over the rounds", drawings=[drawing], tables=tables)]


def over_rounds(view: RoundView) -> Drawing | None:
    """The learning curve where it is known, else the success counts; None in a first round."""
    if view.learning:
        return drawn(
            "learning curve over the rounds",
            learning_figure(view.learning, view.history),
            name=f"rounds_to_{view.round_.number:02d}_learning",
            caption="Rounds without a known value have no point; intervals that are not known are not drawn.",
        )
    if len({h["round"] for h in view.history}) > 1:
        return drawn(
            "share of sites controlled over the rounds",
            success_over_rounds(view.history),
            name=f"rounds_to_{view.round_.number:02d}_success",
            caption="Rounds in which no site could be tested have no point.",
        )
    return None


def fit_sections(view: RoundView) -> list[Section]:
    """What the encoder of the round was fitted on, and its scores site by site."""
    header, lines = fit_lines(view.record)
    table = Table(header=header, lines=lines, numbers=inner_numbers(len(header)))
    return [Section(title="Encoder of this round", sentences=[fit_sentence(view.record)], tables=[table])]


def methods_sections(view: RoundView) -> list[Section]:
    """The paragraph to paste."""
    return [Section(title="Methods", sentences=[methods_paragraph(view.config, view.report)])]


SECTIONS: dict[str, Callable[[RoundView], Sequence[Section]]] = {
    "verdicts": verdict_sections,
    "decisions": decision_sections,
    "left_out": left_out_sections,
    "beside": beside_sections,
    "figures": figure_sections,
    "follow": follow_sections,
    "levels": levels_sections,
    "grids": grid_sections,
    "tuning": tuning_sections,
    "drift": drift_sections,
    "rounds": round_sections,
    "fit": fit_sections,
    "methods": methods_sections,
}
"""Every kind of section, from the top of the page to its end; a function gives no section where it has nothing to
say.
"""
