"""Files of weights as people have them: read without running anything, undressed, and compared with the network.

A file may hold the state dict itself or a table around it (a training checkpoint), under the names that wrappers gave
(``module.``, ``_orig_mod.``, ``model.``), in any floating dtype, without the head or with another one.
"""

from __future__ import annotations

import argparse
import collections
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")  # torch's own, anywhere in a name
DERIVED = (  # entries that are counted or computed, not learned
    "num_batches_tracked", "relative_position_index", "relative_coords_table", "attn_mask", "total_ops", "total_params",
    "n_averaged", "_extra_state",
)  # fmt: skip
SAVE = "torch.save(network.state_dict(), FILE)"
TORCH = (b"PK", b"\x80")  # first bytes of what torch.save wrote, now and earlier
DEPTH = 4  # tables within tables that are looked into

Used = Callable[[], tuple[set[str], set[str]]]


@dataclass(frozen=True)
class _Table:
    """Tensors by the network's names, as found at one place of a file.

    Attributes
    ----------
    place : str
        Keys that lead to the table, and the prefix of its names: ``state_dict / module.``.
    fitting : int
        How many of its tensors have a name and shape of the network.
    """

    place: str
    tensors: dict[str, Tensor]
    fitting: int


def load_weights(network: nn.Module, path: Path, used: Used, *, rename: Callable[..., Any] | None = None) -> list[str]:
    """Load the file `path` into `network`; returns what was done besides, one sentence each.

    Only the tensors that the layers asked for depend on must be there. Those that the file lacks and that are not
    needed become NaN, so that a use of them would be seen.

    Parameters
    ----------
    network : nn.Module
    path : path
        safetensors, or a file that opens with ``weights_only=True``.
    used : callable
        Gives the names of the tensors that the layers asked for depend on, and the paths of the modules that run for
        them. Called only where file and network do not agree in full.
    rename : callable (tensors, network) -> tensors, optional
        Turns the names of published files into those of the network.

    Raises
    ------
    ValueError
        If the file is missing, damaged, of another format or of another network, or a needed tensor is missing, of
        another shape, NaN or infinite.
    """
    content = read_content(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path.name} holds a {type(content).__name__}; expected a state dict: tensors by name")
    expected = network.state_dict()
    table, notes = _best_table(path, content, expected)
    if rename is not None and table.fitting < len(expected):
        with suppress(Exception):  # it is made for files of its own library, and fails on others in ways of its own
            renamed = {k: v for k, v in rename(dict(table.tensors), network).items() if isinstance(v, Tensor)}
            if (fitting := _fitting(renamed, expected)) > table.fitting:
                table = _Table(table.place, renamed, fitting)
    kept, left = _compared(path, table, network, used=used)
    if left:
        notes.append(f"{left} tensors that the named layers do not need are missing in the file, or of another shape")
    types = sorted({str(t.dtype).removeprefix("torch.") for n, t in kept.items() if t.dtype != expected[n].dtype})
    if types:
        notes.append(f"numbers of type {', '.join(types)} were converted")
    for name, tensor in expected.items():  # keeps the versions of the modules, which a plain dict lacks
        unknown = torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor
        expected[name] = kept.get(name, unknown)
    network.load_state_dict(expected, strict=True)
    return [f"{path.name}: {note}" for note in notes]


def read_content(path: Path) -> Any:
    """What a file of weights holds; no code in it is ever run.

    Raises
    ------
    ValueError
        If it is missing, empty, cut off, of another format, or holds more than tensors.
    """
    if not path.is_file():
        raise ValueError(f"no weights file {path}; expected 'pretrained', 'random' or the path of a state dict")
    with path.open("rb") as file:
        head = file.read(512)
    _refuse_foreign(path, head)
    own = ".safetensors" if _is_safetensors(head) else ".pth" if head.startswith(TORCH) else None
    if own is not None and (own == ".safetensors") != (path.suffix.lower() == ".safetensors"):
        raise ValueError(
            f"{path.name} has the ending {path.suffix!r}, its content is that of a {own} file. Likely cause: it was "
            f"renamed. Fix: name it {path.stem}{own}"
        )
    try:
        return _read(path)
    except Exception as error:  # the readers raise errors of their own kinds
        raise ValueError(_explained(path, head, error)) from error


def _read(path: Path) -> Any:
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _harmless() -> list[Any]:
    """Types of data, without code, that checkpoints hold besides tensors."""
    types = {type(np.dtype(kind)) for kind in (*"?bhilqBHILQefd", "U1", "S1")}
    makers = [np._core.multiarray._reconstruct, np._core.multiarray.scalar, np.ndarray, np.dtype]  # type: ignore[attr-defined]
    return [*makers, *types, argparse.Namespace, collections.defaultdict, dict, list]


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and head[4:8] == b"\0\0\0\0"  # the length of the header, then its JSON


def _refuse_foreign(path: Path, head: bytes) -> None:
    """Refuse what is told by its first bytes to be no file of weights."""
    start = head.lstrip().lower()
    found = {
        "is empty": ("the download or copy failed", "fetch it again") if not head else None,
        "is a Git LFS pointer, not the weights": (
            ("the repository was cloned without its large files", "run git lfs pull there, or download the file itself")
            if start.startswith(b"version https://git-lfs")
            else None
        ),
        "is a page of text (HTML, XML or JSON), not weights": (
            ("the address was not that of the file itself, or asked for a login", "download it again from a browser")
            if start.startswith((b"<", b"{", b"[")) and not _is_safetensors(head)
            else None
        ),
        "is a packed archive (gzip, bzip2, xz, 7z, rar or tar)": (
            ("the weights lie inside it", "unpack it, and name the file of weights inside")
            if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")) or head[257:262] == b"ustar"
            else None
        ),
        "is an HDF5 file": (
            ("weights of Keras or TensorFlow", f"convert them to PyTorch, and save them with {SAVE}")
            if head.startswith(b"\x89HDF\r\n\x1a\n")
            else None
        ),
    }
    for what, told in found.items():
        if told:
            raise ValueError(
                f"{path.name} {what}; expected a state dict (safetensors, or what torch.save wrote). Likely cause: "
                f"{told[0]}. Fix: {told[1]}"
            )


def _explained(path: Path, head: bytes, error: Exception) -> str:
    """The message for a file that its reader refused."""
    text = str(error)
    code = "weights_only" in text.lower() or "unsupported global" in text.lower()
    if "torchscript" in text.lower():
        cause = "a TorchScript archive, which holds code"
    elif code and "file is likely" not in text and head.startswith(TORCH):
        cause = "it holds more than tensors, such as a whole pickled network, and no code of a file is ever run"
    elif _is_numpy_archive(path):
        return (
            f"{path.name} is an archive of NumPy (.npz); expected a state dict (safetensors, or what torch.save wrote)."
            " Fix: torch.save({name: torch.from_numpy(array) for name, array in numpy.load(FILE).items()}, NEW_FILE)"
        )
    elif _is_safetensors(head) or head.startswith(TORCH):
        cause = "the file is cut off or damaged: a download or a copy that stopped"
        return (
            f"{path.name} cannot be read ({path.stat().st_size} bytes, {_first_words(error)}). Likely cause: {cause}. "
            "Fix: fetch it again, and compare its size with the original's"
        )
    else:
        cause = "it is no file of PyTorch or safetensors"
    return (
        f"{path.name} cannot be read as weights ({_first_words(error)}). Likely cause: {cause}. Fix: where the network "
        f"was made, save its tensors alone with {SAVE}, and name that file"
    )


def _is_numpy_archive(path: Path) -> bool:
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as file:
            return any(name.endswith(".npy") for name in file.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, LookupError, NotImplementedError):  # its end alone is one of a zip
        return False


def _first_words(error: Exception) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    if (found := re.search(r"GLOBAL ([\w.]+)", text)) is not None:
        text = f"it asks for {found[1]}"
    return f"{type(error).__name__}: {text[:100]}"


def _best_table(path: Path, content: Mapping[Any, Any], expected: dict[str, Tensor]) -> tuple[_Table, list[str]]:
    """The table of a file that fits the network best, and what is to be said about the choice."""
    tables: list[_Table] = []
    for place, raw in _tables(content):
        for prefix in _prefixes(raw, expected):
            own = {n.removeprefix(prefix): t for n, t in raw.items() if n.startswith(prefix)}
            where = " / ".join(part for part in (place, prefix) if part)
            tables.append(_Table(where, own, _fitting(own, expected)))
    if not tables:
        raise ValueError(
            f"{path.name} holds no tensors by name (keys: {', '.join(map(str, list(content)[:5]))}); expected a state "
            f"dict. Likely cause: an optimiser's state, or another kind of checkpoint. Fix: save with {SAVE}"
        )
    most = max(table.fitting for table in tables)
    best = [table for table in tables if table.fitting == most]
    averaged = [table for table in best if "ema" in table.place.lower()]
    if len(averaged) < len(best):
        best = [table for table in best if table not in averaged]
    others = [t for t in best[1:] if most and not _same(t.tensors, best[0].tensors, expected)]
    if others:
        snippet = "torch.save({k.removeprefix(P): v for k, v in tensors.items() if k.startswith(P)}, FILE)"
        raise ValueError(
            f"{path.name} holds several sets of weights that fit: {', '.join(repr(t.place) for t in best)}; expected "
            f"one. Likely cause: a checkpoint of student and teacher, or of two encoders. Fix: save the one that you "
            f"mean by itself, with P its prefix: {snippet}"
        )
    notes = [f"the tensors under {best[0].place!r} were taken"] if best[0].place else []
    if averaged and averaged[0] not in best:
        notes.append(f"those under {averaged[0].place!r} (averages over training) were not")
    return best[0], notes


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    shared = [name for name in expected if name in a or name in b]
    return all(
        name in a and name in b and _plain(a[name]) and _plain(b[name]) and torch.equal(a[name], b[name])
        for name in shared
    )


def _tables(content: Mapping[Any, Any], place: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every table of tensors in `content`, outer before inner, with the keys that lead to it."""
    own = {_unwrapped(k): t for k, v in content.items() if isinstance(k, str) and (t := _tensor(v)) is not None}
    if own:
        yield place, own
    for key, value in content.items():
        if isinstance(value, argparse.Namespace):
            continue
        if isinstance(value, Mapping) and depth < DEPTH and "optim" not in str(key).lower():
            yield from _tables(value, f"{place} / {key}" if place else str(key), depth + 1)


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
    return value.detach() if isinstance(value, Tensor) else None


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _prefixes(raw: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Prefixes under which names of the network stand in a table; "" is always among them."""
    found: dict[str, int] = {"": 0}
    learned = [name for name in expected if not name.endswith(DERIVED)]
    names = set(learned[:4] + learned[len(learned) // 2 :][:2])
    for key, tensor in raw.items():
        for name in names:
            if key.endswith("." + name) and tensor.shape == expected[name].shape:
                found[key[: -len(name)]] = 0
    return list(found)


def _fitting(tensors: Mapping[str, Any], expected: Mapping[str, Tensor]) -> int:
    return sum(
        name in tensors and tensors[name].shape == expected[name].shape
        for name in expected
        if not name.endswith(DERIVED)
    )


def _compared(path: Path, table: _Table, network: nn.Module, *, used: Used) -> tuple[dict[str, Tensor], int]:
    """The tensors that fit, in the network's dtypes to come, and how many are left out because no layer needs them."""
    expected = network.state_dict()
    strange = [n for n in table.tensors if n not in expected and not n.endswith(DERIVED)]
    missing = [n for n in expected if n not in table.tensors and not n.endswith(DERIVED)]
    other = [n for n in expected if n in table.tensors and table.tensors[n].shape != expected[n].shape]
    kept = {n: table.tensors[n] for n in expected if n in table.tensors and n not in other}
    needed, running = (set(expected), {""}) if not (strange or missing or other) else used()
    inside = tuple(f"{name.split('.')[0]}." for name in running if name)
    faults = {
        "missing": [n for n in missing if n in needed],
        "unknown": [n for n in strange if n.startswith(inside)] if inside else [],
        "of another shape": [n for n in other if n in needed or (inside and n.startswith(inside))],
    }
    if any(faults.values()):
        if faults["missing"] or faults["of another shape"]:
            faults["unknown"] = strange
        wrong = [f"{len(names)} {what} (the first: {names[0]})" for what, names in faults.items() if names]
        raise ValueError(
            f"{path.name} does not fit {type(network).__name__}: of {len(expected)} tensors expected "
            f"{', '.join(wrong)}. Likely cause: the weights of another network, or of another version of it. Fix: name "
            "the network that they belong to"
        )
    _refuse_coded(path, kept, expected)
    bad = [n for n, t in kept.items() if t.is_floating_point() and not bool(_finite(t, expected[n]))]
    if bad:
        raise ValueError(
            f"{path.name}: {len(bad)} tensors hold NaN or infinite numbers (the first: {bad[0]}); expected finite "
            "weights. Likely cause: a training that diverged, or numbers that overflowed in half precision. Fix: take "
            "an earlier checkpoint, or save it in float32"
        )
    return kept, len([n for n in (*missing, *other) if n not in needed])


def _refuse_coded(path: Path, kept: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse tensors that do not hold the weights themselves."""
    coded = {name: held for name, tensor in kept.items() if (held := _coded(tensor, expected[name]))}
    if coded:
        name, held = next(iter(coded.items()))
        raise ValueError(
            f"{path.name}: {len(coded)} tensors hold {held} (the first: {name}); expected floating-point numbers. "
            "Likely cause: a quantised or compressed export, whose scales are kept elsewhere, or a state dict that was "
            f"saved before its weights were loaded. Fix: save the weights themselves, in float32, with {SAVE}"
        )


def _coded(tensor: Tensor, expected: Tensor) -> str:
    """What a tensor holds in place of plain numbers of the kind that is expected, "" if it holds these."""
    if not _plain(tensor):
        return "no values" if tensor.is_meta else "sparse or quantised numbers"
    if expected.is_floating_point() and not tensor.is_floating_point():
        return f"numbers of type {str(tensor.dtype).removeprefix('torch.')}"
    return ""


def _plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized)


def _finite(tensor: Tensor, expected: Tensor) -> Tensor:
    return torch.isfinite(tensor.to(expected.dtype)).all()
