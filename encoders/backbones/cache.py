"""A cache of features: a folder of chunks, keyed by image bytes, network weights, layer and preprocessing.

The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from encoders.contract import Progress

from .features import Reduction, extract_features
from .frozen import Backbone
from .multiple import Backbones
from .tensors import mark, save_tensors

VERSION = 2  # 2: layers of other layouts than (B, C, h, w) are read as the network lays them out


class FeatureCache:
    """Rows of features on disk, by image.

    Parameters
    ----------
    folder : path
        Created at the first write. A chunk that cannot be read (partly copied, edited) counts as absent and is written
        again; one that cannot be written (a full disk, no rights) is computed again the next time.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def features(
        self,
        backbone: Backbone | Backbones,
        images: NDArray[np.uint8],
        reduction: Reduction,
        *,
        batch_size: int = 32,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
    ) -> dict[str, Tensor]:
        """As `extract_features`; computes only what the cache lacks."""
        how: dict[str, Any] = {"batch_size": batch_size, "device": device, "progress": progress}
        if isinstance(backbone, Backbones):
            return self._of_several(backbone, images, reduction, how=how)
        digests = [image_digest(image) for image in images]
        names = reduction.names(backbone.layers)
        stored = {name: self._read(self._place(backbone, name, reduction), set(digests)) for name in names}
        missing = [i for i, digest in enumerate(digests) if any(digest not in rows for rows in stored.values())]
        first = {digests[i]: i for i in reversed(missing)}  # each image once
        if first:
            order = sorted(first.values())
            fresh = extract_features(backbone, images[order], reduction=reduction, **how)
            for name, rows in fresh.items():
                self._write(self._place(backbone, name, reduction), [digests[i] for i in order], rows)
                stored[name] |= {digests[i]: row for i, row in zip(order, rows, strict=True)}
        return {name: torch.stack([rows[digest] for digest in digests]) for name, rows in stored.items()}

    def _of_several(
        self, backbone: Backbones, images: NDArray[np.uint8], reduction: Reduction, *, how: dict[str, Any]
    ) -> dict[str, Tensor]:
        """Each network's features under its name, the summaries under "summary/NETWORK/LAYER"."""
        joined = {}
        for name, part in backbone.networks.items():
            for entry, rows in self.features(part, images, reduction, **how).items():
                kind = next((k for k in ("summary/", "rows/") if entry.startswith(k)), "")
                joined[f"{kind}{name}/{entry.removeprefix(kind)}" if name else entry] = rows
        return joined

    def _place(self, backbone: Backbone, name: str, reduction: Reduction) -> Path:
        name, reduced = reduction.key(name)
        key = {
            "version": VERSION,
            "uri": backbone.uri,
            "weights": backbone.weights_sha256,
            "input_size": backbone.input_size,
            "features": name,
            "reduction": reduced,
            "how": [
                backbone.settings.reading,
                dict(backbone.settings.calls or ()).get(name.removeprefix("summary/"), 1),
            ],
        }
        return self.folder / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]

    def _read(self, place: Path, wanted: set[str]) -> dict[str, Tensor]:
        rows: dict[str, Tensor] = {}
        for path in sorted(place.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt") as file:
                    digests = json.loads(file.metadata()["images"])
                    if wanted & set(digests):
                        tensor = file.get_tensor("rows")
                        rows |= {d: row for d, row in zip(digests, tensor, strict=True) if d in wanted}
            except (SafetensorError, OSError, KeyError, TypeError, ValueError):
                continue
        return rows

    def _write(self, place: Path, digests: Sequence[str], rows: Tensor) -> None:
        name = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
        temporary = place / f".{name}.{mark()}"
        with suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            save_tensors({"rows": rows.contiguous()}, temporary, metadata={"images": json.dumps(list(digests))})
            os.replace(temporary, place / f"{name}.safetensors")
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def image_digest(image: NDArray[np.uint8]) -> str:
    """SHA-256 of an image's shape and bytes."""
    return hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
