"""The arrays of one plane of suite2p: ROIs x frames, and which ROIs are cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats, Ints
from protocols.errors import DataError

from .arrays import load_npy

_WHOLE = "name the folder that suite2p wrote, copied whole"


@dataclass(frozen=True)
class Plane:
    """One plane.

    Parameters
    ----------
    folder : Path
    number : int
    rois : array of shape (N,)
        Rows of the arrays that are taken.
    frames : int
    probability : array of shape (N,)
        Of being a cell; NaN where the folder does not say.
    """

    folder: Path
    number: int
    rois: Ints
    frames: int
    probability: Floats

    @property
    def names(self) -> list[str]:
        """Site ids: the plane and the row, which is the number of the ROI in suite2p."""
        return [f"plane{self.number}_roi{roi:04d}" for roi in self.rois.tolist()]

    def signal(self, name: str) -> NDArray[Any]:
        """F, Fneu or spks of the ROIs that are taken, (N, F), in the stored type."""
        array = _traces(self.folder, name)
        if array.shape[1] != self.frames or (len(self.rois) and self.rois.max() >= len(array)):
            raise _refused(
                self.folder,
                f"{name}.npy of {array.shape[0]} x {array.shape[1]}, and {self.frames} frames in F.npy",
                "one row per ROI and one column per frame in each",
            )
        return np.asarray(array[self.rois])


def planes_among(folders: Sequence[Path]) -> list[Path]:
    """The folders of planes: those given, or those inside a folder suite2p, in the order of their numbers.

    Raises
    ------
    DataError
        H23: there is none, or two have one number.
    """
    found = []
    for folder in folders:
        inside = [p for p in folder.glob("plane*") if re.fullmatch(r"plane\d+", p.name) and p.is_dir()]
        nested = folder / "suite2p"
        if not inside and nested.is_dir():
            inside = [p for p in nested.glob("plane*") if re.fullmatch(r"plane\d+", p.name) and p.is_dir()]
        if folder.name == "combined":
            raise _refused(
                folder,
                "the folder combined, in which the ROIs of all planes share one frame",
                "the folders plane0, plane1 ... beside it",
                fix="name the folder suite2p that holds it",
            )
        found += [folder] if (folder / "F.npy").is_file() else inside
    found.sort(key=lambda p: (_number(p), str(p)))
    if not found or len({_number(p) for p in found}) < len(found):
        raise _refused(
            folders[0] if folders else Path("files"),
            "no folder with F.npy" if not found else "planes with one number",
            "the folder suite2p, or folders plane0, plane1 ... of one recording",
        )
    return found


def read_plane(folder: Path, cells: str, notes: list[str], *, least: float) -> Plane:
    """What the plane holds, and which ROIs are taken.

    Raises
    ------
    DataError
        H23: an array is missing, damaged, of another shape, or no ROI is a cell.
    """
    traces = _traces(folder, "F")
    rois, frames = traces.shape
    number, probability = _number(folder), np.full(rois, np.nan)
    keep = np.ones(rois, dtype=np.bool_)
    if (folder / "iscell.npy").is_file():
        marks = numpy_file(folder / "iscell.npy", "ROIs x 2: cell or not, probability")
        if marks.ndim != 2 or marks.shape != (rois, 2) or not np.all(np.isin(marks[:, 0], (0, 1))):
            turned = len(marks) == frames
            raise _refused(
                folder,
                f"iscell.npy of shape {marks.shape} for F.npy of {rois} x {frames}",
                "ROIs x frames in F.npy, and ROIs x 2 in iscell.npy, 0 or 1 first",
                fix="transpose F.npy: np.save(path, array.T)" if turned else _WHOLE,
            )
        probability = np.asarray(marks[:, 1], dtype=np.float64)
        keep = (np.asarray(marks[:, 0]) == 1) & (probability >= least) if cells == "iscell" else keep
    elif cells == "iscell":
        raise _refused(folder, "no iscell.npy", "which ROIs are cells", fix='state cells = "all" in [suite2p]')
    elif rois > frames:
        raise _refused(
            folder,
            f"F.npy of {rois} x {frames}: more rows than columns, and no iscell.npy that says which are the ROIs",
            "ROIs x frames",
            fix="transpose F.npy: np.save(path, array.T), or add the iscell.npy of suite2p",
        )
    if not keep.any():
        raise _refused(
            folder,
            f"no cell among {rois} ROIs",
            "one cell or more",
            fix='sort the ROIs in suite2p, or state cells = "all" or a lower least_probability',
        )
    notes.append(f"plane {number}: {int(keep.sum())} of {rois} ROIs, {frames} frames")
    return Plane(
        folder=folder,
        number=number,
        rois=np.flatnonzero(keep).astype(np.int64),
        frames=frames,
        probability=probability[keep],
    )


def numpy_file(path: Path, expected: str) -> NDArray[Any]:
    """An array (H23)."""
    return load_npy(path, expected=expected, code="H23")


def _number(folder: Path) -> int:
    match = re.fullmatch(r"plane(\d+)", folder.name)
    return int(match[1]) if match else 0


def _traces(folder: Path, name: str) -> NDArray[Any]:
    array = numpy_file(folder / f"{name}.npy", "ROIs x frames")
    if array.ndim != 2 or array.dtype.kind not in "fiu" or array.shape[1] < 2:
        raise _refused(folder, f"{name}.npy of shape {array.shape} and type {array.dtype}", "numbers, ROIs x frames")
    return array


def _refused(path: Path, found: str, expected: str, *, fix: str = _WHOLE) -> DataError:
    return DataError(
        path.name,
        found=found,
        expected=expected,
        cause="the folder is another one, was copied in part, or its arrays are of two runs",
        fix=fix,
        code="H23",
    )
