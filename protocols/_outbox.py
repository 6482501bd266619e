"""Parts of an outbox: tables, the operator's page, the contact sheet; and reading an outbox back."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .errors import DataError
from .files import inside, read_json, sha256_bytes, verify_checksums, write_atomically, write_text
from .png import read_png

Pixels = NDArray[np.uint8]
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "h5py", "pillow", "safetensors", "diffusers")
THUMBNAIL_PX, LABEL_PX, COLUMNS = 96, 14, 12

README = """\
{title}
Show the images of the folder images/ in the order of order.csv, one row a presentation:
{on_ms} ms image, then {off_ms} ms plain background (pixel value {background}), at native size: {width} x {height} pixels =
{size_deg} degrees wide. Do not scale, smooth or gamma-correct them beyond what your screen calibration does
(the pixel values are meant as: {encoding}). A presentation that failed (fixation break, dropped frame) may be shown again later.
Answer with ONE file, responses.h5, one row for each presentation that was really shown (in any order). Python:
  with h5py.File("responses.h5.part", "w") as f:
      f["responses"] = R                    # trials x sites, {unit}; NaN = missing
      f["image_id"], f["site_id"] = list(image_ids), list(site_ids)     # image_id as in order.csv; site ids stay the same for ever
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
Before you begin: `sha256sum -c checksums.sha256` in this folder must find every file unchanged. Copy the folder only while
_READY is in it. The names of the images tell nothing about them, on purpose; contact_sheet.png shows all, shuffled.
{counts}
"""


@dataclass(frozen=True)
class PlannedTrial:
    """One row of ``order.csv``; `filename` is relative to the outbox."""

    trial: int
    block: int
    rep: int
    image_id: str
    filename: str
    on_ms: float
    off_ms: float


def package_versions() -> tuple[dict[str, Any], dict[str, Any]]:
    """Name and version of this toolkit; Python, platform and the versions of the packages that results depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    from . import __version__

    environment = {"python": platform.python_version(), "platform": platform.system(), "packages": found}
    return {"name": "stimsynth", "version": __version__}, environment


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    """A comma-separated table with LF line ends, atomically."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    write_text(path, buffer.getvalue())


def readme(manifest: dict[str, Any]) -> str:
    """What the rig's operator does, on one page."""
    display, timing, counts = manifest["display"], manifest["timing"], manifest["counts"]
    unit = manifest.get("encoder", {}).get("unit") or "spikes"
    return README.format(
        title=f"{manifest['session']}, round {manifest['round']}",
        on_ms=f"{timing['on_ms']:g}",
        off_ms=f"{timing['off_ms']:g}",
        background=display["background"],
        width=display["width_px"],
        height=display["height_px"],
        size_deg=f"{display['size_deg']:g}",
        encoding=display["encoding"],
        unit=unit,
        window=[round(t, 3) for t in timing["response_window_ms"]],
        counts=f"{counts['images']} images, {counts['trials']} presentations, "
        f"about {counts['trials'] * (timing['on_ms'] + timing['off_ms']) / 60_000:.1f} minutes without pauses.",
    )


def contact_sheet(path: Path, image_ids: Sequence[str], pixels: Pixels) -> None:
    """Thumbnails of all images in the order of their (shuffled) numbers, labelled by id alone."""
    columns = min(COLUMNS, len(image_ids))
    rows = -(-len(image_ids) // columns)
    cell = (THUMBNAIL_PX + 4, THUMBNAIL_PX + LABEL_PX)
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1]), (64, 64, 64))
    draw = ImageDraw.Draw(sheet)
    for index, (image_id, image) in enumerate(zip(image_ids, pixels, strict=True)):
        thumbnail = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        thumbnail.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        corner = (index % columns * cell[0] + 2, index // columns * cell[1])
        sheet.paste(thumbnail, corner)
        draw.text((corner[0], corner[1] + THUMBNAIL_PX), image_id, fill=(230, 230, 230))
    write_atomically(path, lambda temporary: sheet.save(temporary, format="PNG"))


def read_manifest(outbox: str | Path) -> dict[str, Any]:
    """The manifest of an outbox, checked against its checksum."""
    outbox = Path(outbox)
    _verified(outbox, "manifest.json")
    manifest = read_json(outbox / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("schema") != "manifest/1":
        raise _altered(outbox, "a manifest.json of another schema")
    return manifest


def read_order(outbox: str | Path) -> list[PlannedTrial]:
    """The planned presentations of an outbox, checked against their checksum."""
    outbox = Path(outbox)
    rows = csv.DictReader(io.StringIO(_verified(outbox, "order.csv").decode("utf-8")))
    return [
        PlannedTrial(
            int(r["trial"]),
            int(r["block"]),
            int(r["rep"]),
            r["image_id"],
            r["filename"],
            float(r["on_ms"]),
            float(r["off_ms"]),
        )
        for r in rows
    ]


def read_images(outbox: str | Path) -> dict[str, Pixels]:
    """All images of an outbox by id, uint8 (H, W, C), after its checksums were verified."""
    outbox = Path(outbox)
    verify_outbox(outbox)
    return {e["image_id"]: read_png(inside(outbox, e["filename"])) for e in read_manifest(outbox)["images"]}


def verify_outbox(outbox: str | Path) -> None:
    """Refuse an outbox that is incomplete or altered.

    Raises
    ------
    DataError
        X06: not exported (no ``_READY``); X07: a file is missing, altered or added.
    """
    outbox = Path(outbox)
    _require_ready(outbox)
    problems = verify_checksums(outbox)
    listed = _digests(outbox)
    added = sorted(p.name for p in (outbox / "images").glob("*.png") if f"images/{p.name}" not in listed)
    problems += [f"images/{name} was added" for name in added]
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise _altered(outbox, "; ".join(problems[:5]) + more)


def _verified(outbox: Path, name: str) -> bytes:
    """The bytes of one file, checked against the checksums."""
    _require_ready(outbox)
    path = outbox / name
    data = path.read_bytes() if path.is_file() else b""
    if _digests(outbox).get(name) != sha256_bytes(data):
        raise _altered(outbox, f"{name} is missing or not the file that was exported")
    return data


def _digests(outbox: Path) -> dict[str, str]:
    path = outbox / "checksums.sha256"
    if not path.is_file():
        raise _altered(outbox, "no checksums.sha256")
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _require_ready(outbox: Path) -> None:
    if not (outbox / "_READY").is_file():
        raise DataError(
            f"{outbox.parent.name}/{outbox.name}",
            found="no _READY in it" if outbox.is_dir() else "no such folder",
            expected="a finished outbox",
            cause="the round was not exported yet, or the folder was copied only in part",
            fix="run `stimsynth export`, or copy the whole folder again",
            code="X06",
        )


def _altered(outbox: Path, what: str) -> DataError:
    return DataError(
        f"{outbox.parent.name}/{outbox.name}",
        found=what,
        expected="every file as it was exported",
        cause="a file was edited, resaved by another program, or copied only in part",
        fix="restore the outbox from a backup; if the altered images were shown, do not use this round",
        code="X07",
    )
