"""Plain files that any rig can read: the order and the images as tables, and a page for the rig's operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.disk.files import write_text
from protocols.disk.tables import write_table
from protocols.project.looks import looks_of
from protocols.rounds.order import Trial

from .rig import ShownImage, Timing

README = """\
{title}
Show the images of the folder images/ in the order of order.csv, one row a presentation:
{on_ms} ms image, then {off_ms} ms plain background (pixel value {background}), at native size: {width} x {height} pixels =
{size_deg} degrees wide. Do not scale, smooth or gamma-correct them beyond what your screen calibration does
(the pixel values are meant as: {encoding}). A presentation that failed (fixation break, dropped frame) may be shown again later.
Answer with ONE file, responses.h5, one row for each presentation that was really shown (in any order). Python:
  with h5py.File("responses.h5.part", "w") as f:
      f["responses"] = R                    # trials x sites, {unit}; NaN = missing
      f["image_id"], f["site_id"] = [*map(str, image_ids)], [*map(str, site_ids)]     # as in order.csv; site ids never change
      f["trial/block"], f["trial/rep"] = block, rep      # as in order.csv; optional: trial/valid (1|0), trial/onset_s
      f.attrs.update(units="{unit}", window_ms={window}, manifest_sha256=MANIFEST)    # hash of manifest.json; optional
MATLAB (p = 'responses.h5.part'; ids and s are string columns):
  h5create(p,'/responses',size(R),'Datatype','single'); h5write(p,'/responses',single(R));   % trials x sites
  h5create(p,'/image_id',size(ids),'Datatype','string'); h5write(p,'/image_id',ids);
  h5create(p,'/site_id',size(s),'Datatype','string'); h5write(p,'/site_id',s);
  h5create(p,'/trial/rep',size(rep)); h5write(p,'/trial/rep',rep); h5create(p,'/trial/block',size(rep)); h5write(p,'/trial/block',block);
  h5writeatt(p,'/','units','{unit}'); h5writeatt(p,'/','window_ms',{window}); h5writeatt(p,'/','writer','matlab');
Units: spikes | spikes/s | dff | deconvolved | beta | zscore | au. Window: ms after image onset.
Then, in the folder inbox/ beside this one: write the file as responses.h5.part, rename it to responses.h5, and only then make
the empty file responses.h5.done (MATLAB: movefile(p,'responses.h5'); fclose(fopen('responses.h5.done','w'))).
Or deliver block by block, checked as it comes: responses_block_00.h5 with the presentations of block 0 (renamed, then its .done
file), and so on. A block begun again: the rows of the aborted showing with trial/valid 0, then the whole block.
Before you begin: `sha256sum -c checksums.sha256` in this folder must find every file unchanged. Copy the folder only while
_READY is in it. The names of the images tell nothing about them, on purpose; contact_sheet.png shows all, shuffled.
{counts}{looks}
"""  # noqa: E501
LOOKS = """
Interim looks: after block {last} (counted from 0) write all trials so far in the same way as responses_before_block_{before}.h5, then its
.done file (not needed where all these blocks were delivered one by one). `stimsynth run` or `stimsynth interim` then puts order_from_block_{before}.csv and .json into this folder: show that order from
there on, in place of the rest of order.csv. At the end hand in ALL trials in responses.h5. Without a look, go on with order.csv."""  # noqa: E501


def write(
    folder: Path,
    order: Sequence[Trial],
    images: Mapping[str, ShownImage],
    *,
    timing: Timing,
    manifest: Mapping[str, Any],
) -> list[Path]:
    """Write ``images.csv``, ``order.csv`` and ``README.txt``; see `rig.Write`."""
    paths = [folder / name for name in ("images.csv", "order.csv", "README.txt")]
    rows: list[list[Any]] = [[i, e.filename, e.width_px, e.height_px, e.sha256] for i, e in images.items()]
    write_table(paths[0], ["image_id", "filename", "width_px", "height_px", "sha256"], rows)
    times = [f"{timing.on_ms:g}", f"{timing.off_ms:g}"]
    write_table(
        paths[1],
        ["trial", "block", "rep", "image_id", "filename", "on_ms", "off_ms"],
        [[t.trial, t.block, t.rep, t.image_id, images[t.image_id].filename, *times] for t in order],
    )
    write_text(paths[2], readme(manifest, timing, images=len(images), trials=len(order)))
    return paths


def readme(manifest: Mapping[str, Any], timing: Timing, *, images: int, trials: int) -> str:
    """What the rig's operator does, on one page."""
    display = manifest["display"]
    unit = manifest.get("encoder", {}).get("unit") or "spikes"
    return README.format(
        title=f"{manifest['session']}, round {manifest['round']}",
        on_ms=f"{timing.on_ms:g}",
        off_ms=f"{timing.off_ms:g}",
        background=display["background"],
        width=display["width_px"],
        height=display["height_px"],
        size_deg=f"{display['size_deg']:g}",
        encoding=display["encoding"],
        unit=unit,
        window=[round(t, 3) for t in timing.response_window_ms],
        counts=f"{images} images, {trials} presentations, "
        f"about {trials * (timing.on_ms + timing.off_ms) / 60_000:.1f} minutes without pauses.",
        looks=_looks(manifest),
    )


def _looks(manifest: Mapping[str, Any]) -> str:
    """What the operator does at each interim look; "" where none is planned."""
    looks = looks_of(manifest)
    return "".join(LOOKS.format(last=n - 1, before=f"{n:02d}") for n in looks.after) if looks else ""
