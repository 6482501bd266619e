"""Taking a decision: what it is about must be there, and not be shown yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from protocols.disk.locks import hold
from protocols.errors import DataError
from protocols.project.decisions.record import (
    ACTIONS,
    FILE,
    OF_IMAGES,
    Decision,
    append_decision,
    last_digest,
    problem_of,
    read_decisions,
)
from protocols.project.fitted import SiteFit, fitted_for, newest_fit
from protocols.project.folder import Project, Round, utc_now
from protocols.project.generations.files import EVOLVED_NAME
from protocols.recordings.dataset import baseline
from protocols.rounds.stimulus import batch_names
from synth import StimulusBatch

from .evolved import waiting_image
from .honour import digest_of

__all__ = ["Asked", "Changed", "decide", "open_round_number", "stamp_of", "undecided_round"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a person wants to decide.

    Attributes
    ----------
    action : str
        One of `ACTIONS`.
    who, reason : str
    image : str
        Source id of a controller or of an evolved image, or its name on the page of `stimsynth preview`, such as c0003.
    sites : tuple of str
    round : int or None
        Of the targets, None: the next round whose images are not made; of an image, None: the first that has it.
    expected : int or None
        Sequence number of the last decision that the person saw; None: whatever it is.
    made : str
        `stamp_of` the round whose image the person saw; "": whatever it is.
    """

    action: str
    who: str
    reason: str
    image: str = ""
    sites: tuple[str, ...] = ()
    round: int | None = None
    expected: int | None = None
    made: str = ""


class Changed(DataError):
    """Others decided since the person looked (S13); `since` holds what."""

    def __init__(self, since: Sequence[Decision], last: int) -> None:
        self.since, self.last = tuple(since), last
        super().__init__(
            FILE,
            found=f"{len(since)} decisions that were made since: {'; '.join(d.sentence() for d in since[:3])}",
            expected=f"decision {last} as the last one",
            cause="somebody else decides at the same time",
            fix="look at what was decided, and decide again where it still holds",
            code="S13",
        )


def decide(project: Project, asked: Asked) -> Decision:
    """Record a decision, under the project's lock.

    Raises
    ------
    DataError
        S08: another command works on the project; S10: the decisions cannot be read; S13 (`Changed`): others decided
        meanwhile; S14: what is asked names nothing that is there; S15: it is too late, the round is exported or made.
    """
    with hold(project.folder, "decide"):
        decisions = read_decisions(project.folder)
        if asked.expected is not None and asked.expected != len(decisions):
            raise Changed(decisions[asked.expected :] if asked.expected >= 0 else decisions, asked.expected)
        new = Decision(
            sequence=len(decisions) + 1,
            utc=utc_now(),
            who=asked.who.strip(),
            action=asked.action,
            reason=asked.reason.strip(),
            round=0,
            previous=last_digest(decisions),
        )
        if asked.action not in ACTIONS:
            raise _no_sense(f"the action {asked.action[:40]!r}", f"one of {', '.join(ACTIONS)}")
        new = _of_image(project, asked, new) if asked.action in OF_IMAGES else _of_sites(project, asked, new)
        if problem := problem_of(new):
            raise _no_sense(problem, "a name, a reason, and what it is about")
        append_decision(project.folder, decisions, new)
        return new


def stamp_of(round_: Round) -> str:
    """What tells the made images of a round from others that take their place; nothing is read."""
    facts = round_.controllers_path.stat()
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def undecided_round(project: Project) -> Round | None:
    """The first round whose controllers are made and that is not exported; None where there is none."""
    made = (r for r in project.rounds() if r.number > 0 and r.controllers_path.is_file())
    return next((r for r in made if not r.outbox.is_dir()), None)


def open_round_number(project: Project) -> int:
    """The first round, from 1 on, whose images are not made."""
    made = {r.number for r in project.rounds() if r.controllers_path.is_file() or r.outbox.is_dir()}
    return next(n for n in range(1, len(made) + 2) if n not in made)


def _of_image(project: Project, asked: Asked, new: Decision) -> Decision:
    """A veto or an approval of a controller that is made and not exported."""
    if asked.sites:
        raise _no_sense(f"the sites {', '.join(asked.sites)[:200]}", "one image")
    for round_ in project.rounds():
        other = asked.round is not None and round_.number != asked.round
        if round_.number == 0 or other or not round_.controllers_path.is_file():
            continue
        if round_.outbox.is_dir():
            if asked.image.startswith(f"ctl_{round_.prefix}_"):
                raise _too_late(f"round {round_.number} exported already", f"{asked.action} before the export")
            continue
        if asked.made and asked.made != stamp_of(round_):
            raise _no_sense("other images in the round than those that were looked at", "those that are there now")
        batch = StimulusBatch.load(round_.controllers_path)
        names = batch_names(batch, round_.number)
        previews = [f"c{i + 1:04d}" for i in range(len(names))]
        places = [i for i, both in enumerate(zip(names, previews, strict=True)) if asked.image in both]
        if places:
            image, digest = names[places[0]], digest_of(batch.images[places[0]])
            return replace(new, round=round_.number, image=image, pixels_sha256=digest)
    if (evolved := waiting_image(project, asked.image)) is not None and asked.round in (None, evolved[0]):
        return replace(new, round=evolved[0], image=asked.image, pixels_sha256=digest_of(evolved[1]))
    if asked.image.startswith(EVOLVED_NAME):
        raise _no_sense(
            f"the evolved image {asked.image[:120]!r}, which does not wait for an export",
            "one of a generation that waits ([loop] review = true; sealed in its folder proposed), or one that enters "
            "a round which is not exported",
        )
    waiting = undecided_round(project)
    there = "no round whose images are made and not exported"
    if waiting is not None:
        there = f"the controllers of round {waiting.number}, such as ctl_{waiting.prefix}_stretch_SITE_s0 or c0001"
    raise _no_sense(f"the image {asked.image[:120]!r}", there)


def _of_sites(project: Project, asked: Asked, new: Decision) -> Decision:
    """A stop, its end, or the targets of a round whose images are not made."""
    if asked.image:
        raise _no_sense(f"the image {asked.image[:120]!r}", "sites")
    if asked.round is not None and asked.action != "targets":
        raise _no_sense(
            f"{asked.action} in round {asked.round}", f"{asked.action} without a round: it holds from now on"
        )
    waiting, following = undecided_round(project), open_round_number(project)
    number = asked.round if asked.round is not None else following
    if asked.action == "targets":
        made = [r for r in project.rounds() if r.number == number and r.controllers_path.is_file()]
        if made:
            raise _too_late(
                f"the images of round {number} made already",
                "the targets of a round before its images are made",
                "stop single sites or veto images before the export; or delete sealed/controllers.h5 of the round, "
                "which is not exported, and decide again"
                if not made[0].outbox.is_dir()
                else f"choose those of round {following}",
            )
    elif asked.round is None and waiting is not None:
        number = waiting.number
    known = _known_sites(project)
    wanted = [site.eligible_target for site in known.values()]
    lost = [s for s in asked.sites if s not in known]
    if lost:
        raise _no_sense(f"{', '.join(lost)[:200]}", f"sites of the fit, such as {', '.join(list(known)[:8])}")
    unfit = [s for s in asked.sites if not known[s].eligible_target] if asked.action == "targets" else []
    if unfit:
        expected = f"eligible sites, of which there are {sum(wanted)} (`stimsynth fit` lists them)"
        raise _no_sense(f"{', '.join(unfit)[:200]}, which cannot be controlled", expected)
    return replace(new, round=number, sites=tuple(dict.fromkeys(asked.sites)))


def _known_sites(project: Project) -> dict[str, SiteFit]:
    """The sites of the newest fit; before one, those of the baseline, none of which can be a target."""
    newest = newest_fit(project.fitted)
    fitted = None if newest is None else fitted_for(project.fitted, newest)
    if fitted is None and (first := baseline(project)) is not None:
        return {site: SiteFit(site) for site in first[0].site_ids}
    if fitted is None:
        raise _no_sense("no fitted encoder", "a recording or a fit, which say which sites there are")
    return {site.site_id: site for site in fitted.sites}


def _no_sense(found: str, expected: str) -> DataError:
    return DataError(
        "decision",
        found=found,
        expected=expected,
        cause="a slip of the pen, or the images were made again since",
        fix="look at the names with `stimsynth preview` or `stimsynth serve`, and at what is decided with `stimsynth "
        "decide --list`",
        code="S14",
    )


def _too_late(found: str, expected: str, fix: str = "") -> DataError:
    return DataError(
        "decision",
        found=found,
        expected=expected,
        cause="what was exported is shown and judged as it is: a choice after it could follow the responses",
        fix=fix or "leave the round as it is; for later rounds `stimsynth decide stop SITE` takes a site out",
        code="S15",
    )
