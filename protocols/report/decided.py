"""What people decided before the export: which images were vetoed and why, and what stands in their place."""

from __future__ import annotations

from protocols.project.generations.files import EVOLVED_NAME
from protocols.project.objectives import objective_named

from .section import Section, Table
from .view import RoundView

WHEN = (
    "Before the export, so before any response of this round, people took images out that they had seen with their "
    "predictions. In the place of a vetoed confirmatory controller stands the image of its objective and site that "
    "the validator scores next; where none was left, the pair is not tested and is in no count. The numbers above are "
    "of what was shown: of images that passed a person's eye, not of all that were made."
)


IN_GENERATIONS = (
    "they were not shown and have no score, so that the evolution went on without them. The search stays blind to "
    "responses that nobody recorded, but no longer to a person's eye."
)


def decision_sections(view: RoundView) -> list[Section]:
    """One line per image that was left out; nothing where nothing was decided."""
    honoured = view.honoured
    if not honoured and not view.generations:
        return []
    counts = honoured.counts()
    points = []
    if honoured.left_out:
        confirmatory = sum(x.confirmatory for x in honoured.left_out)
        points.append(
            f"{counts['left_out']} images left out, {confirmatory} of them confirmatory: {counts['replaced']} replaced"
            f", {counts['untested']} pairs of an objective and a site not tested."
        )
    if honoured.targets:
        points.append(f"Targets of the round: {honoured.targets}.")
    points += [f"{image} was approved by {who}: {reason}" for image, who, reason in honoured.approved]
    lines = [
        [
            x.image,
            objective_named(x.objective).label,
            x.site,
            "vetoed" if x.action == "veto" else "site stopped",
            x.reason,
            f"{x.who}, {x.utc}",
            "confirmatory" if x.confirmatory else "evolved" if x.image.startswith(EVOLVED_NAME) else "further seed",
            x.instead or ("not tested" if x.confirmatory else "-"),
        ]
        for x in honoured.left_out
    ]
    header = ["image", "objective", "site", "decision", "reason", "who, when", "was", "in its place"]
    tables = [Table(header=header, lines=lines, numbers=[False] * len(header))] if lines else []
    if view.generations:
        points.append(f"{len(view.generations)} images were vetoed in generations of the evolution: {IN_GENERATIONS}")
        tables.append(_in_generations(view))
    sentences = [WHEN] if lines else []
    return [Section(title="Decisions before the export", sentences=sentences, points=points, tables=tables)]


def _in_generations(view: RoundView) -> Table:
    """One line per image that was vetoed in a generation of the evolution."""
    return Table(
        header=["image", "site", "generation", "reason", "who, when"],
        lines=[[x.image, x.site, str(number), x.reason, f"{x.who}, {x.utc}"] for number, x in view.generations],
        numbers=[False, False, True, False, False],
        caption="vetoed in generations",
    )
