"""What a veto means for the round, told when it is made: what stands in the image's place, or what is not tested."""

from __future__ import annotations

from protocols.errors import DataError
from protocols.project.decisions.record import Decision
from protocols.project.folder import Project
from protocols.project.generations.files import EVOLVED_NAME
from protocols.project.objectives import objective_named
from synth import StimulusBatch

from .honour import honoured_batch

__all__ = ["what_follows"]


def what_follows(project: Project, decision: Decision) -> str:
    """One sentence on a veto that was just recorded; "" where there is nothing to say."""
    if decision.action != "veto":
        return ""
    if decision.image.startswith(EVOLVED_NAME):
        return "The evolved image is not shown, and the evolution goes on without its score."
    batch = StimulusBatch.load(project.round(decision.round).controllers_path)
    try:
        honoured = honoured_batch(project, decision.round, batch)[1]
    except DataError as error:
        return f"No export is possible now: {error.found}; {error.fix}."
    pairs = {x.image: (x.objective, x.site) for x in honoured.left_out}
    made = [x for x in honoured.left_out if x.confirmatory and pairs[x.image] == pairs.get(decision.image)]
    if not made:
        return "It was not the confirmatory one: what is tested does not change."
    pair = f"{objective_named(made[0].objective).label} at {made[0].site}"
    if made[0].instead:
        return f"{pair[0].upper()}{pair[1:]} is tested with {made[0].instead}."
    return (
        f"{pair[0].upper()}{pair[1:]} is not tested now: no other image of it is left. To have one, set [synthesis] "
        f"seeds = 3 (now {project.config.synthesis.seeds}), delete sealed/controllers.h5 of round {decision.round} and "
        "run `stimsynth generate`; or end the veto with `stimsynth decide approve`."
    )
