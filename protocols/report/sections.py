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
from protocols.verdict.records import ControlRow
from protocols.verdict.text import estimand, headline, room_sentences

from .beside import beside
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


def verdict_sections(view: RoundView) -> list[Section]:
    """Verdicts site by site, one section per objective."""
    return [
        Section(
            title=f"{objective_named(s.objective).label}, site by site",
            sentences=[objective_named(s.objective).explanation],
            points=[
                _sentence(x)
                for x in (
                    *headline(s),
                    *estimand(view.confirmatory(s.objective)),
                    *room_sentences(view.confirmatory(s.objective), s.chance),
                )
            ],
            tables=[verdict_table(view.confirmatory(s.objective), s.objective)],
        )
        for s in view.report.objectives
    ]


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def beside_sections(view: RoundView) -> list[Section]:
    """Control arms, specificity, contrast and monotonicity; only where anything of it was measured."""
    sections = []
    for summary in view.report.objectives:
        block = beside(summary, view.confirmatory(summary.objective))
        if block["lines"]:
            numbers = [i > 0 for i in range(1 + len(block["header"]))]
            table = Table(header=["site", *block["header"]], lines=block["lines"], numbers=numbers)
            sentence = f"{block['sentence']} None of this counts in a verdict."
            title = f"{objective_named(summary.objective).label}, beside the verdicts"
            sections.append(Section(title=title, sentences=[sentence], tables=[table]))
    return sections


def figure_sections(view: RoundView) -> list[Section]:
    """The figures of the round as a whole."""
    report = view.report
    drawings = [drawn("predicted against recorded response", predicted_against_measured(report, report.unit))]
    for o in view.objectives:
        paired = against_reference(report, o, objective_named(o).score_label(report.unit))
        drawings.append(drawn(f"{o}: controller and reference, paired", paired))
    for o in view.objectives:
        histogram = gain_histogram(report.confirmatory(o))
        if histogram is not None:
            drawings.append(drawn(f"{o}: histogram of the gain", histogram))
    for o in view.objectives:
        rows = view.confirmatory(o)
        if objective_named(o).all_sites and rows and view.key.sites:
            sites, matrix = response_table(view.key, view.responses, rows)
            responses = response_matrix(matrix, [r.site for r in rows], sites, label=objective_named(o).label)
            drawings.append(drawn(f"responses of all sites to the {objective_named(o).label} controllers", responses))
    return [Section(title="Figures", drawings=drawings)]


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
    drawing = drawn("sorted tuning of each site", tuning_bars(listed, view.report.unit))
    title = f"Sorted tuning of the {objective_named(objective).label} targets"
    return Section(title=title, sentences=[sentence], drawings=[drawing])


def drift_sections(view: RoundView) -> list[Section]:
    """Drift of the sites against the baseline."""
    settings = view.drift_settings
    points = drift_sentences(view.drift, align=settings.align, exclude=settings.exclude)
    if not points:
        return []
    drawing = drawn("drift against the baseline", drift_figure(view.drifts))
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
        return drawn("learning curve over the rounds", learning_figure(view.learning, view.history))
    if len({h["round"] for h in view.history}) > 1:
        return drawn("share of sites controlled over the rounds", success_over_rounds(view.history))
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
