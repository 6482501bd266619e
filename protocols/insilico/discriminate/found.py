"""Clusters of the sites of a project and the images that tell them apart, with what speaks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from protocols.insilico.opened import Opened
from protocols.progress import Reporter
from protocols.synthesis.starts import starts_for
from synth import Objective
from synth.discriminative import Chance, Clustering, Settings, beyond_chance, discriminative_stimuli

from .asked import chosen_sites

ALPHA = 0.05
STABLE = 0.5
"""Mean adjusted Rand index between seeds from which clusters count as found again."""
AGREES = 0.75
"""Mean overlap of a site's cluster over seeds from which its type counts as sure."""


@dataclass(frozen=True)
class Found:
    """What `discriminate` found.

    Attributes
    ----------
    clustering : Clustering
        Of the project's encoder, chosen by its validator; the clusters are numbered from the largest.
    chance : Chance
        Whether the sites group in their measured answers to the photographs.
    start : "natural" or "noise"
    """

    clustering: Clustering
    chance: Chance
    start: str

    @property
    def grouped(self) -> bool:
        """Whether there are clusters beyond chance that other seeds find again."""
        stability = self.clustering.stability
        again = stability is None or stability >= STABLE
        return len(self.clustering.best.batch) > 1 and self.chance.grouped(ALPHA) and again

    @property
    def verdict(self) -> str:
        """One sentence."""
        count, stability = len(self.clustering.best.batch), self.clustering.stability
        if count == 1:
            return "one cluster: no image drives a part of these sites and not the others"
        if self.chance.p > ALPHA:
            return (
                f"no clusters beyond chance: {count} were made, but the measured answers to the photographs group no "
                f"more than those of sites without types (p = {self.chance.p:.2g})"
            )
        if not self.chance.grouped(ALPHA):
            return (
                f"no clusters with a space between them: {count} were made, but in the measured answers to the "
                f"photographs some sites are as like to another cluster as to their own (gap {self.chance.gap:.2f} in "
                "correlation; expected above 0), as in a continuum"
            )
        if stability is not None and stability < STABLE:
            return (
                f"no clusters that last: {count} were made, but other seeds find others (adjusted Rand index "
                f"{stability:.2f}; expected {STABLE})"
            )
        return f"{count} clusters beyond chance (p = {self.chance.p:.2g})" + (
            "; with one seed it is not known whether others find them again"
            if stability is None
            else f", found again from other seeds (adjusted Rand index {stability:.2f})"
        )

    def sites(self) -> list[dict[str, Any]]:
        """One row per site: type, margins in natural SDs, agreement, and whether the type is sure."""
        found, best = self.clustering, self.clustering.best
        agreement, rows = found.agreement, []
        judged = best.labels if best.judged is None else best.judged
        for i, site in enumerate(found.sites):
            alike = None if agreement is None else float(agreement[i])
            same = bool(judged[i] == best.labels[i])
            rows.append(
                {
                    "site": site,
                    "type": type_name(int(best.labels[i])),
                    "margin": float(found.margins[i]),
                    "encoder_margin": float(best.margins[i]),
                    "validator_type": type_name(int(judged[i])),
                    "agreement": alike,
                    "sure": self.grouped and same and alike is not None and alike >= AGREES,
                }
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: all that the images do not hold."""
        found, best = self.clustering, self.clustering.best
        rows = self.sites()
        types = []
        for c in range(len(best.batch)):
            name = type_name(c)
            types.append(
                {
                    "type": name,
                    "image": f"{name}.png",
                    "sites": [r["site"] for r in rows if r["type"] == name],
                    "objective": float(best.batch.scores[c]),
                    "validator_objective": _number(best.batch.validator_scores, c),
                }
            )
        return {
            "schema": "types/1",
            "verdict": self.verdict,
            "grouped": self.grouped,
            "types": types,
            "sites": rows,
            "stability": found.stability,
            "chance": asdict(self.chance) | {"p": self.chance.p, "alpha": ALPHA},
            "restarts": [_restart(r) for r in found.restarts],
            "chosen_seed": best.seed,
            "settings": found.settings.describe() | {"start": self.start},
            "encoder": best.batch.encoder_fingerprint,
            "validator": best.batch.validator_fingerprint,
        }

    def summary(self) -> str:
        """For people."""
        rows, lines = self.sites(), [self.verdict]
        for c in range(len(self.clustering.best.batch)):
            own = [r for r in rows if r["type"] == type_name(c)]
            margin = sum(r["margin"] for r in own) / len(own)
            sure = sum(r["sure"] for r in own)
            lines.append(f"  {type_name(c)}  {len(own):>4} sites, {sure} sure, mean margin {margin:.2f} natural SDs")
        lines.append("margin: response to the own image less the largest to another, as the validator predicts it")
        return "\n".join(lines)


def _number(values: Any, index: int) -> float | None:
    return None if values is None else float(values[index])


def _restart(restart: Any) -> dict[str, Any]:
    """How one seed went: clusters, objective by encoder and validator, moves per turn, splits and merges."""
    return {
        "seed": restart.seed,
        "clusters": len(restart.batch),
        "objective": restart.objective,
        "validator_objective": restart.validator_objective,
        "labels": [type_name(int(c)) for c in restart.labels],
        "moves": list(restart.moves),
        "changes": [asdict(change) for change in restart.changes],
    }


def type_name(cluster: int) -> str:
    """The name of a cluster's image and type: ``type_01`` for the first."""
    return f"type_{cluster + 1:02d}"


def find_types(
    opened: Opened,
    *,
    sites: Sequence[str] = (),
    settings: Settings | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    start: str = "natural",
    progress: Reporter | None = None,
) -> Found:
    """Clusters of the project's sites with one image each that drives it and no other (Burg et al. 2024).

    The images meet the display exactly, as those of `generate` do. Whether there is anything to cluster is asked of the
    measured answers to the photographs (`synth.discriminative.beyond_chance`), not of the encoder.

    Parameters
    ----------
    opened : Opened
    sites : sequence of str
        Those that are clustered; empty = all that may be controlled.
    settings : Settings, or None
    seeds : sequence of int
    start : "natural" (the photographs that discriminate best, as measured) or "noise"

    Raises
    ------
    DataError
        V25: a site that cannot be driven, or fewer sites than clusters.
    """
    settings = settings or Settings()
    chosen = chosen_sites(opened.targets, sites, settings.clusters)

    def best_photographs(objective: Objective) -> Tensor:
        rows = starts_for(objective, opened.encoder.site_ids, opened.measured, seeds=1)
        return torch.from_numpy(opened.natural[[r[0] for r in rows]]).movedim(-1, -3).float() / 255

    how = dict(opened.recipe)
    clustering = discriminative_stimuli(
        opened.encoder,
        chosen,
        how.pop("parameterisation"),
        validator=opened.validator,
        settings=settings,
        seeds=seeds,
        begin=best_photographs if start == "natural" else None,
        options=how | {"progress": progress},
    )
    columns = [list(opened.encoder.site_ids).index(s) for s in chosen]
    chance = beyond_chance(opened.measured[:, columns], clustering.best.labels, temperature=settings.temperature)
    return Found(clustering, chance, start)
