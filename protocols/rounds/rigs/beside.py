"""Files for presentation software of a round that is exported already: a copy of its outbox with them.

The outbox itself stays as it is, with its checksums: the copy goes to the rig in its place.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from protocols.disk.files import files_below, inside, new_folder, write_checksums, write_text
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.project.folder import Round
from protocols.project.outbox import planned_trials, read_manifest, verify_outbox
from protocols.rounds.order import Trial

from . import check_rigs, write_rigs
from .rig import ShownImage, Timing

KEPT = ("manifest.json", "contact_sheet.png")


def write_beside(
    round_: Round, out: Path, software: Sequence[str], *, from_block: int = 0, refresh_hz: float | None = None
) -> tuple[list[Path], int]:
    """Write a new folder with the images of a round and the files of `software`, in the order in force.

    Parameters
    ----------
    round_ : Round
    out : Path
        New folder.
    software : sequence of str
        Rows of `RIGS`.
    from_block : int
        First block to show: after an interim look, the one that its order begins with.
    refresh_hz : float, optional
        Refresh rate of the screen, for a round whose project did not state it; in place of the one it stated.

    Returns
    -------
    written : list of Path
        The files of the rigs, in `out`.
    trials : int
        Presentations that they show.

    Raises
    ------
    DataError
        J01: software that is no row of `RIGS`; J04: the round has no such block; J02, J03, J05: see `write_rigs`; X06,
        X07: the outbox is not finished, or altered; W05: `out` is there already.
    """
    check_rigs(software)
    outbox = round_.outbox
    verify_outbox(outbox)
    manifest = read_manifest(outbox)
    if refresh_hz is not None:
        manifest["display"] = {**manifest["display"], "refresh_hz": refresh_hz}
    planned = planned_trials(outbox)
    order = [Trial(t.trial, t.block, t.rep, t.image_id) for t in planned if t.block >= from_block]
    if not order or from_block < 0:
        raise _no_block(round_, from_block, last=max(t.block for t in planned))
    timing = Timing(
        on_ms=manifest["timing"]["on_ms"],
        off_ms=manifest["timing"]["off_ms"],
        response_window_ms=tuple(manifest["timing"]["response_window_ms"]),
    )
    with new_folder(out) as folder:
        images = {}
        for entry in manifest["images"]:
            source, copy = inside(outbox, entry["filename"]), folder / entry["filename"]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            height, width = read_png(copy).shape[:2]
            images[entry["image_id"]] = ShownImage(
                filename=entry["filename"], width_px=width, height_px=height, sha256=entry["sha256"]
            )
        for name in KEPT:
            shutil.copyfile(outbox / name, folder / name)
        written = write_rigs(folder, order, images, timing=timing, manifest=manifest, rigs=tuple(software))
        names = [path.relative_to(folder) for path in written]
        write_checksums(folder, files_below(folder))
        write_text(folder / "_READY", "")
    return [out / name for name in names], len(order)


def _no_block(round_: Round, from_block: int, *, last: int) -> DataError:
    return DataError(
        f"round {round_.number}",
        found=f"block {from_block}",
        expected=f"a block from 0 to {last}",
        cause="blocks are counted from 0",
        fix=f"give --from-block 0 to {last}",
        code="J04",
    )
