"""Do the responses belong to the pictures that their ids name?

Nothing in a file says whether its numbers count pictures from 0 or from 1, whether the list was sorted in another way,
or whether the folder is that of another day. The responses themselves do: sites that answer to pictures are predicted
by them, better than by any other picture of the list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from protocols.arrays import Bools, Floats, Ints
from protocols.errors import DataError
from protocols.project.photograph_folder import read_folder
from protocols.project.photograph_import import source_id
from protocols.project.shown import ShownAs, read_shown
from protocols.recordings.responses import Responses

from .pairing_text import sentences
from .pairing_verdict import ALARMS, CANNOT_TELL, NOT_PAIRED, SORTED_OTHERWISE, Finding, Recorded, judge
from .picture_features import kernel, read_small

__all__ = ["Pairing", "check_pairing", "chosen_pictures", "refuse_unpaired"]

MOST_PICTURES, RUN, MOST_SITES = 500, 25, 150
"""Pictures, in runs of the list, and sites that are looked at; of more, an even choice."""
VARIANCE_PER_MEAN = 2.0
"""Variance over mean of spike counts that is taken for the largest where no repeats tell it."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """What the check of pictures against responses says.

    Attributes
    ----------
    verdict : str
        "paired", "cannot tell", or one of `protocols.importing.pairing_verdict.ALARMS`.
    alarm : bool
        Whether the recording must not be used as it is.
    finding : Finding
        The figures.
    sentences : tuple of str
        What was found, with figures, and the way out.
    """

    verdict: str
    alarm: bool
    finding: Finding
    sentences: tuple[str, ...]

    def text(self) -> str:
        """What was found, in plain sentences with figures."""
        return " ".join(self.sentences)

    def to_dict(self) -> dict[str, Any]:
        """All attributes, JSON-able: what is not known is None."""
        return {**_known(asdict(self)), "text": self.text()}


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _known(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_known(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_pairing(table: Responses, pictures: Path | Sequence[Path], *, seed: int = 0) -> Pairing:
    """Whether the responses belong to the pictures that their ids name.

    Held-out responses are predicted from the pictures as the ids say, with the ids shifted by one in the list, with the
    rows shifted by one trial, and with the list in the order of the numbers in its names; permuted and far-shifted
    lists give the scale. Reliability over repeats says what could have been seen. A few seconds per recording.

    Parameters
    ----------
    table : Responses
        All rows; the order shown is that of ``onset_s``, else that of the rows.
    pictures : folder, or sequence of files
        The pictures in the order in which numbers as ids count them; a folder is sorted by name.
    seed : int
        Of the permutations.

    Returns
    -------
    Pairing
        An alarm comes with strong evidence alone; a weak recording gives "cannot tell".

    Raises
    ------
    DataError
        P14 to P16, P18, P19: a shown.csv beside the pictures that cannot be used.
    """
    names, files, shown = _listed(pictures)
    position = _positions(table, names)
    values, position, repeats = _in_order(table, position)
    finding = Finding(verdict=CANNOT_TELL, rows=len(values))
    if len(values) and (position >= 0).any():
        finding = _judged(table, values, position, repeats=repeats, names=names, files=files, shown=shown, seed=seed)
    return Pairing(
        verdict=finding.verdict,
        alarm=finding.verdict in ALARMS,
        finding=finding,
        sentences=tuple(sentences(finding, names)),
    )


def refuse_unpaired(where: str, pairing: Pairing) -> None:
    """Q01: the responses do not belong to the pictures that their ids name; nothing where the check gave no alarm."""
    if pairing.alarm:
        raise DataError(
            where,
            found=f"{pairing.verdict}: {pairing.sentences[0].rstrip('.')}",
            expected="responses that their own pictures predict better than any others",
            cause=_CAUSES.get(pairing.verdict, "the list of pictures has another order than the ids"),
            fix=_LOOK
            if pairing.verdict == NOT_PAIRED
            else "correct the ids or give the right folder of pictures; if they are right as they are, give "
            "`--unpaired REASON`",
            code="Q01",
        )


_LOOK = (
    "look with --preview at the pictures of the highest and the lowest response: do they fit the site? Compare the ids "
    "of a few rows with the log. Where the ids are right and the sites answer to what coarse contours and colours do "
    "not show (faces, identity, texture: IT and face patches), give `--unpaired REASON`"
)
_CAUSES = {
    "not paired": "ids of another list or session, or rows that were sorted without their ids; or sites that answer to "
    "what the check does not see",
    "shifted by +1": "positions that count from 0 were read as counting from 1",
    "shifted by -1": "positions that count from 1 were read as counting from 0",
    "shifted by +1 in part": "a picture is in the folder that the list of the recording lacks",
    "shifted by -1 in part": "a picture is missing from the folder, so that all later ones move up",
    "one trial late": "the log names the picture of the next trial, or the first row of the responses was lost",
    "one trial early": "the log names the picture of the trial before, or begins with a row too many",
    SORTED_OTHERWISE: "the list was sorted by the numbers in its names (img2 before img10), or the reverse",
}


def _listed(pictures: Path | Sequence[Path]) -> tuple[list[str], list[Path], ShownAs | None]:
    """Names and files of the pictures, in their order, and what was shown of them where a table says so."""
    if isinstance(pictures, str | Path):
        folder = Path(pictures)
        held = read_folder(folder) if folder.is_dir() else None
        if held is None:
            return [], [], None
        return list(held.names), list(held.pictures), read_shown(held.shown, held.names) if held.shown else None
    files = [Path(f) for f in pictures]
    return [f.name for f in files], files, None


def _positions(table: Responses, names: Sequence[str]) -> Ints:
    """Place in the list of the picture of each row, (T,), -1 where it is not there."""
    place = {source_id(name): n for n, name in enumerate(names)}
    place |= {name: n for n, name in enumerate(names)}
    return np.array([place.get(str(i), -1) for i in table.image_ids], dtype=np.int64)


def _in_order(table: Responses, position: Ints) -> tuple[Floats, Ints, Ints | None]:
    """Values (NaN in rows that are not to be used), positions and repeats, in the order shown."""
    values = np.array(table.values, dtype=np.float64)
    if table.valid is not None:
        values[~table.valid] = np.nan
    order = np.arange(len(values))
    if table.onset_s is not None and np.isfinite(table.onset_s).all():
        order = np.argsort(table.onset_s, kind="stable")
    repeats = None if table.averaged_over is None else table.averaged_over[order]
    return values[order], position[order], repeats


def _judged(
    table: Responses,
    values: Floats,
    position: Ints,
    *,
    repeats: Ints | None,
    names: Sequence[str],
    files: Sequence[Path],
    shown: ShownAs | None,
    seed: int,
) -> Finding:
    """The finding on an even choice of pictures and sites."""
    generator = np.random.default_rng(seed)
    sites = np.sort(generator.permutation(values.shape[1])[:MOST_SITES])
    looked = chosen_pictures(np.unique(position[(position >= 0) & np.isfinite(values).any(1)]))
    orders = _orders(names)
    near = np.concatenate([looked, looked - 1, looked + 1, *(o[looked] for o in orders)])
    listed = np.unique(near[(near >= 0) & (near < len(names))])
    pixels, read = read_small([files[n] for n in listed], [names[n] for n in listed], shown)
    listed = listed[read]
    if not len(listed):
        return Finding(verdict=CANNOT_TELL, rows=len(values))
    index = np.full(len(names), -1, dtype=np.int64)
    index[listed] = np.arange(len(listed))
    of_looked = np.isin(position, looked)
    rows = np.where(of_looked[:, None], values[:, sites], np.nan)
    found = judge(
        Recorded(rows, np.where(position >= 0, index[position], -1), repeats, _noise(table, rows)),
        kernel(pixels[read]),
        listed=listed,
        orders={f"{SORTED_OTHERWISE} {n}": index[order[listed]] for n, order in enumerate(orders)},
        seed=seed,
    )
    return _renamed(found, listed)


def chosen_pictures(pictures: Ints) -> Ints:
    """At most `MOST_PICTURES` of the pictures, in evenly spread runs."""
    runs = [pictures[n : n + RUN] for n in range(0, len(pictures), RUN)]
    keep = max(MOST_PICTURES // RUN, 1)
    if len(runs) <= keep:
        return pictures
    return np.concatenate([runs[n] for n in np.unique(np.linspace(0, len(runs) - 1, keep).round().astype(int))])


def _orders(names: Sequence[str]) -> list[Ints]:
    """The list in the order of the numbers in its names, and the way back; none where that is the order it has."""
    natural = np.array(sorted(range(len(names)), key=lambda n: (_by_number(names[n]), n)), dtype=np.int64)
    plain = np.arange(len(names))
    return [] if np.array_equal(natural, plain) else [natural, np.argsort(natural)]


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in re.split(r"(\d+)", name)]


def _noise(table: Responses, values: Floats) -> Floats | None:
    """Largest plausible variance of one presentation, (U,), of spikes; None in other units, or without a window."""
    seen: Bools = np.isfinite(values)
    mean = np.where(seen, values, 0.0).sum(0) / np.maximum(seen.sum(0), 1)
    if table.unit == "spikes":
        return np.asarray(VARIANCE_PER_MEAN * mean)
    if table.unit == "spikes/s" and table.window_ms is not None:
        return np.asarray(VARIANCE_PER_MEAN * mean / ((table.window_ms[1] - table.window_ms[0]) / 1000))
    return None


def _renamed(found: Finding, listed: Ints) -> Finding:
    """The finding with the verdict of both orders, and the place of a shift in the whole list."""
    verdict = SORTED_OTHERWISE if found.verdict.startswith(SORTED_OTHERWISE) else found.verdict
    return replace(found, verdict=verdict, since=int(listed[found.since]) if found.since >= 0 else -1)
