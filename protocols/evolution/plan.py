"""The plan of an evolution: what project.toml asks for, the targets with their references, and where each one starts.

It is written before the first generation and never changes, so that every generation follows from it and from the
scores of those before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoders.reliability import repeat_means, signal_sd
from protocols.arrays import Floats, Pixels
from protocols.disk.files import finite_or_none, sha256_file, write_atomically, write_json
from protocols.disk.numpy_files import load_npy
from protocols.errors import DataError
from protocols.models.pair import load_pair
from protocols.project.config.evolution import EvolutionConfig
from protocols.project.folder import Project
from protocols.project.generations.files import OBJECTIVE, PLAN, Evolution, read_record
from protocols.project.key import Key, SiteRow
from protocols.recordings.dataset import Dataset, gather
from protocols.recordings.natural import best_natural, natural_means
from protocols.rounds.decisions.honour import honoured_batch, not_stopped
from protocols.synthesis.request import chosen_targets
from synth import StimulusBatch

from .images import Pictures

MAY_CHANGE = ("generations", "rounds", "candidates", "candidate_repeats", "max_presentations", "max_unseen")
"""Keys of ``[evolution]`` that may be edited while an evolution runs; all others are frozen in its plan."""


@dataclass(frozen=True)
class Plan:
    """What stays the same through an evolution.

    Attributes
    ----------
    settings : EvolutionConfig
        As project.toml had them when the evolution began.
    targets : tuple of T str
    sites : tuple of SiteRow
        All recorded sites, with the mean and SD of their responses to the photographs in `unit`.
    unit : str
    references : dict of target to source ids
        Photographs that are shown again in every generation.
    reference_levels : dict of target to float
        Mean recorded response to them in the baseline.
    started_from : dict of target to str
        Source id of the photograph or controller that its start is; "" for noise.
    groups : dict of target to str
        Source id of the photograph behind that start; "" where there is none.
    starts : array of shape (T, D)
        The codes that the optimisers start from.
    pictures : dict
        How codes become images; see `images.Pictures.describe`.
    """

    settings: EvolutionConfig
    targets: tuple[str, ...]
    sites: tuple[SiteRow, ...]
    unit: str
    references: dict[str, tuple[str, ...]]
    reference_levels: dict[str, float]
    started_from: dict[str, str]
    groups: dict[str, str]
    starts: Floats
    pictures: dict[str, Any]

    def site(self, target: str) -> SiteRow:
        """The statistics of a target."""
        return next(s for s in self.sites if s.site_id == target)


def seed_of(settings: EvolutionConfig, number: int, target: str) -> int:
    """Seed of the optimiser of `target` in round `number`: whatever is evolved beside it, it stays the same."""
    digest = hashlib.sha256(f"evolution\n{settings.seed}\n{number}\n{target}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def open_plan(evolution: Evolution, project: Project, pictures: Pictures, *, device: str = "cpu") -> Plan:
    """The plan of `evolution`: as it was written, or a new one, which is written.

    Raises
    ------
    DataError
        O01: it cannot be read; O03: project.toml changed since; O04: a target was not recorded, or its responses do
        not differ between photographs; O05: the start has no controller; D01, D06, D07: as the rounds.
    """
    if evolution.plan_path.is_file():
        plan = _read(evolution)
        _refuse_changed(plan.settings, project.config.evolution)
        _refuse_other_images(plan.pictures, pictures.describe())
        return plan
    plan = _made(evolution, project, pictures, device=device)
    write_atomically(evolution.starts_path, lambda path: _save(path, plan.starts))
    write_json(evolution.plan_path, _record(evolution, plan))
    return plan


def _save(path: Path, codes: Floats) -> None:
    with open(path, "wb") as handle:
        np.save(handle, codes, allow_pickle=False)


def _record(evolution: Evolution, plan: Plan) -> dict[str, Any]:
    return {
        "schema": PLAN,
        "round": evolution.round.number,
        "settings": plan.settings.model_dump(mode="json"),
        "targets": list(plan.targets),
        "unit": plan.unit,
        "references": {t: list(r) for t, r in plan.references.items()},
        "levels": plan.reference_levels,
        "started_from": plan.started_from,
        "groups": plan.groups,
        "pictures": plan.pictures,
        "sites": [finite_or_none(asdict(site)) for site in plan.sites],
        "starts_sha256": sha256_file(evolution.starts_path),
    }


def _read(evolution: Evolution) -> Plan:
    record = read_record(evolution.plan_path, PLAN)
    path = evolution.starts_path
    if not path.is_file() or sha256_file(path) != record.get("starts_sha256"):
        raise _gone(evolution, "other starts than the plan names" if path.is_file() else "no starts.npy")
    try:
        return Plan(
            settings=EvolutionConfig.model_validate(record["settings"]),
            targets=tuple(record["targets"]),
            sites=tuple(_site(entry) for entry in record["sites"]),
            unit=record["unit"],
            references={t: tuple(r) for t, r in record["references"].items()},
            reference_levels=record["levels"],
            started_from=record["started_from"],
            groups=record["groups"],
            starts=load_npy(path),
            pictures=record["pictures"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise _gone(evolution, f"a plan that cannot be read ({error})") from error


def _site(entry: Mapping[str, Any]) -> SiteRow:
    values: dict[str, Any] = {name: np.nan if value is None else value for name, value in entry.items()}
    return SiteRow(**values)


def _made(evolution: Evolution, project: Project, pictures: Pictures, *, device: str) -> Plan:
    settings, number = project.config.evolution, evolution.round.number
    data = gather(project, [])
    sites = recorded_sites(data)
    targets = _targets(project, number, {s.site_id for s in sites if s.natural_sd > 0})
    best = best_natural(
        data,
        Key((), sites),
        targets,
        objectives=(OBJECTIVE,),
        count=max(settings.references, 1),
        temperature=project.config.synthesis.temperature,
    )
    shown = {t: best[OBJECTIVE, t][: settings.references] for t in targets}
    first = {t: best[OBJECTIVE, t][0] for t in targets}
    pixels, started_from, groups = _start_images(project, evolution, data, targets=targets, best=first)
    means = natural_means(data, [s.site_id for s in sites])
    column = {s.site_id: k for k, s in enumerate(sites)}
    levels = {t: float(means[list(shown[t]), column[t]].mean()) for t in targets}
    return Plan(
        settings=settings,
        targets=tuple(targets),
        sites=sites,
        unit=data.unit,
        references={t: tuple(data.source_ids[i] for i in images) for t, images in shown.items()},
        reference_levels=levels,
        started_from=started_from,
        groups=groups,
        starts=pictures.starts(pixels, [seed_of(settings, number, t) for t in targets]),
        pictures=pictures.describe(),
    )


def recorded_sites(data: Dataset) -> tuple[SiteRow, ...]:
    """The sites of a recording with the mean and SD of the expected responses to its photographs; no encoder is asked.

    The SD is that of an encoder's sites, `encoders.reliability.signal_sd`: trial noise is taken off; 0 where fewer than
    two photographs were recorded. A site that was never recorded is left out.
    """
    natural = data.image_index < data.natural
    trials = data.values[natural], data.image_index[natural], data.natural
    means, sd = repeat_means(*trials)[0], np.nan_to_num(signal_sd(*trials))
    return tuple(
        SiteRow(site_id=site, natural_mean=float(np.nanmean(means[:, k])), natural_sd=float(sd[k]))
        for k, site in enumerate(data.site_ids)
        if np.isfinite(means[:, k]).any()
    )


def _targets(project: Project, number: int, recorded: set[str]) -> list[str]:
    wanted = project.config.evolution.targets
    if wanted == "all":
        encoder, _ = load_pair(project, number)
        return chosen_targets(project, encoder, number)
    lost = [t for t in wanted if t not in recorded]
    if not lost:
        return going_on(project, list(dict.fromkeys(wanted)))
    raise DataError(
        "project.toml [evolution] targets",
        found=f"{', '.join(lost)}, which no recorded response tells apart",
        expected=f"recorded sites such as {', '.join(sorted(recorded)[:8])}",
        cause="a name that the recording does not have, or a site that answers to every photograph alike",
        fix="name sites of the baseline recording",
        code="O04",
    )


def going_on(project: Project, targets: Sequence[str]) -> list[str]:
    """The `targets` that nobody stopped by decision; O04 where none is left."""
    left = not_stopped(project, targets)
    if left:
        return left
    raise DataError(
        "decisions.jsonl",
        found=f"all {len(targets)} targets of the evolution stopped",
        expected="a site to evolve images for",
        cause="more sites were stopped than was meant",
        fix="`stimsynth decide resume SITE`, or set [evolution] generations to 0",
        code="O04",
    )


def _start_images(
    project: Project, evolution: Evolution, data: Dataset, *, targets: Sequence[str], best: Mapping[str, int]
) -> tuple[Pixels | None, dict[str, str], dict[str, str]]:
    """The image that each target starts from, uint8 (T, H, W, C), its name, and the photograph behind it."""
    start = project.config.evolution.start
    if start == "noise":
        return None, dict.fromkeys(targets, ""), dict.fromkeys(targets, "")
    if start == "photographs":
        names = {t: data.source_ids[best[t]] for t in targets}
        return np.stack([data.pixels[best[t]] for t in targets]), names, names
    from protocols.rounds.stimulus import controller_stimuli

    batch = StimulusBatch.load(evolution.round.controllers_path)
    batch, _ = honoured_batch(project, evolution.round.number, batch)
    made = controller_stimuli(batch, evolution.round.number)
    chosen = {s.target: s for s in made if s.confirmatory and s.objective == OBJECTIVE}
    lost = [t for t in targets if t not in chosen]
    if lost:
        raise DataError(
            "project.toml [evolution] start",
            found=f"no stretch controller for {', '.join(lost)}",
            expected="one for each target of the evolution",
            cause="the encoder does not control these sites, or [synthesis] objectives leaves stretch out",
            fix='name other targets in [evolution], or set start to "photographs"',
            code="O05",
        )
    names = {t: chosen[t].source_id for t in targets}
    return np.stack([chosen[t].pixels for t in targets]), names, {t: chosen[t].started_from for t in targets}


def _refuse_changed(planned: EvolutionConfig, now: EvolutionConfig) -> None:
    before, after = planned.model_dump(mode="json"), now.model_dump(mode="json")
    changed = [k for k in before if k not in MAY_CHANGE and before[k] != after.get(k)]
    if changed:
        key = changed[0]
        raise _changed(f"[evolution] {key} = {after.get(key)!r}", f"{before[key]!r}", fix=f"set {key} back")


def _refuse_other_images(before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [k for k in before if before[k] != now.get(k)]
    if changed:
        found = f"images with another {changed[0]} than those of the first generation"
        raise _changed(found, f"{before[changed[0]]}", fix="restore [display], [synthesis], [diffusion] and the latent")


def _changed(found: str, expected: str, *, fix: str) -> DataError:
    return DataError(
        "project.toml",
        found=found,
        expected=f"{expected}, as when the evolution began",
        cause="project.toml was edited while an evolution runs",
        fix=f"{fix}; to begin again, move the round's folder evolution away; {', '.join(MAY_CHANGE)} may be changed",
        code="O03",
    )


def _gone(evolution: Evolution, found: str) -> DataError:
    return DataError(
        f"{evolution.round.place}/evolution/plan.json",
        found=found,
        expected="the plan as `stimsynth evolve` wrote it, with its starts.npy",
        cause="files were edited, or copied only in part",
        fix="restore the folder from a backup",
        code="O06",
    )
