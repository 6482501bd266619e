"""Links of an HDF5 file to numbers that lie outside its folder: a file from elsewhere must not read others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py


def links_outside(path: Path, file: h5py.File) -> Iterator[tuple[str, str]]:
    """Item and target of every link to a file outside the folder of `path`, and of every dataset stored in raw files.

    Virtual datasets count as links to their sources.
    """
    folder = path.resolve().parent
    seen: set[Any] = set()

    def outside(name: str) -> bool:
        return name != "." and not Path(os.path.normpath(folder / name)).resolve().is_relative_to(folder)

    def look(group: h5py.Group) -> Iterator[tuple[str, str]]:
        if group.id in seen:
            return
        seen.add(group.id)
        for name in group:
            link = group.get(name, getlink=True)
            place = f"{group.name.rstrip('/')}/{name}"
            if isinstance(link, h5py.ExternalLink):
                if outside(link.filename):
                    yield place, link.filename
                continue
            if isinstance(link, h5py.SoftLink):
                continue
            item = group.get(name)
            if isinstance(item, h5py.Group):
                yield from look(item)
            elif isinstance(item, h5py.Dataset):
                sources = [s.file_name for s in item.virtual_sources()] if item.is_virtual else []
                raw = [str(name) for name, *_ in item.external or ()]
                yield from ((place, target) for target in raw + [s for s in sources if outside(s)])

    yield from look(file)
