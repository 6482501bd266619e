"""Recorded responses to controversial pairs: which of the two encoders ordered the images as the sites did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.disk.files import finite_or_none, new_folder, read_json, write_json
from protocols.disk.tables import read_table, write_table
from protocols.errors import DataError
from protocols.recordings.readers import read_responses
from protocols.recordings.responses import Responses
from protocols.stats.duels import Duel, duel, overall

__all__ = ["Judged", "judge_pairs", "write_judged"]

COLUMNS = ("site", "winner", "difference_sd", "low", "high", "p", "trials_first_image", "trials_second_image")


@dataclass(frozen=True)
class Judged:
    """The verdict on every pair that was recorded, and on all of them together.

    Attributes
    ----------
    duels : dict of site to Duel
        Differences in natural SDs of the first encoder, as the predictions are.
    trials : dict of site to (int, int)
    together : Duel
    names : (str, str)
        The encoders, first and second.
    missing : tuple of str
        Kept sites without trials in the recording.
    """

    duels: dict[str, Duel]
    trials: dict[str, tuple[int, int]]
    together: Duel
    names: tuple[str, str]
    missing: tuple[str, ...]

    def won(self, winner: str) -> int:
        """Sites with this verdict."""
        return sum(d.winner == winner for d in self.duels.values())

    def to_dict(self) -> dict[str, Any]:
        """The verdicts for scripts."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "won_by_first": self.won("first"),
            "won_by_second": self.won("second"),
            "cannot_tell": self.won("cannot tell"),
            "without_trials": list(self.missing),
            "together": _record(self.together),
            "sites": {site: _record(d) for site, d in self.duels.items()},
        }

    def summary(self) -> str:
        """The verdicts in words."""
        first, second = self.names
        lines = [
            f"of {len(self.duels)} sites {self.won('first')} order the pair as the first encoder ({first}), "
            f"{self.won('second')} as the second ({second}), {self.won('cannot tell')} cannot tell (two-sided 5 %)"
        ]
        low, high = self.together.interval
        words = {"first": "the first encoder", "second": "the second encoder", "cannot tell": "neither"}
        lines.append(
            f"together: {self.together.difference:+.2f} natural SDs [{low:+.2f}, {high:+.2f}] in favour of "
            f"{words[self.together.winner]} (above 0: the first)"
        )
        if self.missing:
            lines.append(f"without two trials of both images: {', '.join(self.missing[:8])}")
        return "\n".join(lines)


def _record(found: Duel) -> dict[str, Any]:
    values = {"difference": found.difference, "low": found.interval[0], "high": found.interval[1], "p": found.p}
    return finite_or_none(values) | {"winner": found.winner}


def judge_pairs(pairs: Path, file: Path) -> Judged:
    """Judge the pairs in the folder `pairs` by the recording `file`, whose image ids are the images' names there.

    Raises
    ------
    DataError
        V53: a folder without pairs, a recording in another unit, of averages, or without these images and sites;
        R01 to R26: a file that cannot be read.
    """
    if not (pairs / "pairs.csv").is_file() or not (pairs / "pairs.json").is_file():
        raise _refused(pairs, "no pairs.csv and pairs.json", "a folder that `stimsynth controversial` wrote")
    record = read_json(pairs / "pairs.json")
    rows = [row for row in read_table(pairs / "pairs.csv")[1] if row["kept"] == "true"]
    if not rows:
        raise _refused(pairs, "no pair that was kept", "at least one", cause="the two encoders could not be told apart")
    images = sorted(f"{path.stem}" for path in (pairs / "images").glob("*.png"))
    table, scale = read_responses(file, image_ids=images).usable(), record.get("natural_sd", {})
    if table.unit != record.get("unit"):
        wanted = f"{record.get('unit')}, the unit of the recording that the first encoder was fitted to"
        raise _refused(file, f"responses in {table.unit}", wanted)
    if table.averaged:
        raise _refused(
            file,
            "averages over presentations",
            "one row per presentation: without their spread nobody can tell",
            cause="the responses were averaged before they were written",
        )
    duels, trials, missing, known = {}, {}, [], []
    for row in rows:
        parts = [_trials(table, row["site"], row[name]) for name in ("first_image", "second_image")]
        if min(len(x) for x in parts) < 2 or row["site"] not in scale:
            missing.append(row["site"])
            continue
        first, second = (x / scale[row["site"]] for x in parts)
        duels[row["site"]], trials[row["site"]] = duel(first, second), (len(first), len(second))
        known.append((first, second))
    if not known:
        sites = ", ".join(table.site_ids[:4])
        raise _refused(file, f"no two trials of both images of any pair (sites {sites} ...)", "img_0001 and so on")
    names = (str(record["first"]), str(record["second"]))
    return Judged(duels=duels, trials=trials, together=overall(known), names=names, missing=tuple(missing))


def _trials(table: Responses, site: str, image: str) -> Floats:
    """The usable trials of one image at one site."""
    if site not in table.site_ids:
        return np.empty(0)
    values = table.values[table.image_ids == image, table.site_ids.index(site)]
    known: Floats = values[np.isfinite(values)]
    return known


def _refused(where: Path, found: str, expected: str, *, cause: str = "") -> DataError:
    return DataError(
        str(where),
        found=found,
        expected=expected,
        cause=cause or "another folder or file, or image and site names that the rig changed",
        fix="name the folder with --judge and its recording with --responses; image ids are the names in images/",
        code="V53",
    )


def write_judged(found: Judged, out: Path) -> Path:
    """Write ``duels.csv`` and ``duels.json`` into a new folder."""
    rows = [
        [site, d.winner, *(f"{v:.4f}" for v in (d.difference, *d.interval, d.p)), *found.trials[site]]
        for site, d in found.duels.items()
    ]
    with new_folder(out) as folder:
        write_table(folder / "duels.csv", COLUMNS, rows)
        write_json(folder / "duels.json", found.to_dict())
    return out
