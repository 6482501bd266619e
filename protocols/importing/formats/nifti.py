"""NIfTI files as arrays of four dimensions, in their stored type, with scale and affine."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.disk.foreign import check_unpacked, open_regular
from protocols.errors import UNUSABLE, DataError


@dataclass(frozen=True)
class Volumes:
    """A NIfTI file.

    Parameters
    ----------
    path : Path
    array : array of shape (I, J, K, T)
        As stored, T = 1 for one volume.
    scale : (slope, intercept)
        (1, 0) where the header states none.
    affine : array of shape (4, 4)
        From voxel indices to mm.
    """

    path: Path
    array: NDArray[Any]
    scale: tuple[float, float]
    affine: Floats


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti(path: Path) -> Volumes:
    """Read a file whole, in its stored type.

    Raises
    ------
    DataError
        H26: nibabel is not installed, or the file is not there, cut short, or no NIfTI of three or four dimensions.
    """
    try:
        import nibabel
    except ImportError as error:
        raise _unread(
            path, "a NIfTI file, and no library that reads it", fix="pip install 'stimsynth[bids]'"
        ) from error
    if not path.is_file():
        raise _unread(path, "no such file")
    try:
        image = _image(path)
        data: Any = image.dataobj
        array = np.asanyarray(data.get_unscaled())
        slope, intercept = data.slope, data.inter
        affine = np.asarray(image.affine, dtype=np.float64)
    except DataError:
        raise
    except (*UNUSABLE, nibabel.filebasedimages.ImageFileError) as error:
        told = (str(error).splitlines() or ["empty"])[0][:100]
        raise _unread(path, f"a file that is not read ({told})") from error
    except (nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError) as error:
        raise _unread(path, f"a header that is not read ({str(error)[:100]})") from error
    while array.ndim > 4 and 1 in array.shape[3:]:
        array = array.squeeze(axis=3 + array.shape[3:].index(1))
    if array.ndim not in (3, 4) or array.dtype.kind not in "fiu":
        raise _unread(path, f"an image of shape {array.shape} and type {array.dtype}")
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise _unread(path, "an affine that maps voxels to no place")
    return Volumes(path, array.reshape(*array.shape[:3], -1), (float(slope), float(intercept)), affine)


def _image(path: Path) -> Any:
    """The image; compressed files are unpacked to their end, where the sum stands that tells damage from numbers."""
    import nibabel

    content = _unpacked(path) if path.name.lower().endswith(".gz") else None
    with open_regular(path) as file:
        head = file.read(4) if content is None else content[:4]
    size = {int.from_bytes(head, order) for order in ("little", "big")}
    kind = nibabel.Nifti2Image if 540 in size else nibabel.Nifti1Image
    return kind.from_filename(path) if content is None else kind.from_bytes(content)


def _unpacked(path: Path) -> bytes:
    stored, pieces, total = path.stat().st_size, [], 0
    with open_regular(path) as packed, gzip.GzipFile(fileobj=packed) as file:
        while piece := file.read(1 << 20):
            total += len(piece)
            check_unpacked(path, "its content", total, stored=stored)
            pieces.append(piece)
    return b"".join(pieces)


def _unread(path: Path, found: str, *, fix: str = "give NIfTI files (.nii, .nii.gz), copied whole") -> DataError:
    return DataError(
        path.name,
        found=found,
        expected="NIfTI of three or four dimensions",
        cause="the file was cut short, or is of another format",
        fix=fix,
        code="H26",
    )
