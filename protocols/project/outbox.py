"""An exported outbox, read back: manifest, planned trials, images, each checked against its checksum."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.arrays import Pixels
from protocols.disk.files import inside, is_litter, read_json, sha256_bytes, sha256_file, verify_checksums, write_json
from protocols.disk.foreign import MOST_PICTURE, read_bytes, read_text
from protocols.disk.png import read_png
from protocols.disk.tables import parse_table, write_table
from protocols.errors import DataError

SEALS = {"key.csv": "sealed_key_sha256", "sites.csv": "sealed_sites_sha256"}
"""Sealed file to the entry of the manifest that holds its SHA-256."""
COLUMNS = ("trial", "block", "rep", "image_id", "filename", "on_ms", "off_ms")
"""Of a table of presentations, as `PlannedTrial` has them."""


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


def read_manifest(outbox: str | Path) -> dict[str, Any]:
    """The manifest of an outbox, checked against its checksum."""
    outbox = Path(outbox)
    _verified(outbox, "manifest.json")
    manifest = read_json(outbox / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("schema") != "manifest/1":
        raise _altered(outbox, "a manifest.json of another schema")
    if wrong := _misshapen(manifest):
        raise _altered(outbox, f"a manifest.json whose entry {wrong!r} is missing or of another kind")
    return manifest


def _misshapen(manifest: dict[str, Any]) -> str:
    """The first entry of a manifest that others read and that is not of its kind; "" where all are."""
    images, timing = manifest.get("images"), manifest.get("timing")
    named = isinstance(images, list) and bool(images) and all(isinstance(e, dict) for e in images)
    if not named or not all(isinstance(e.get(key), str) for e in images or () for key in ("image_id", "filename")):
        return "images"
    window = timing.get("response_window_ms") if isinstance(timing, dict) else None
    times = [timing.get(key) for key in ("on_ms", "off_ms")] if isinstance(timing, dict) else []
    if not isinstance(window, list) or len(window) != 2 or not all(_is_time(t) for t in (*times, *window)):
        return "timing"
    encoder, counts = manifest.get("encoder"), manifest.get("counts", {})
    if encoder is not None and not isinstance(encoder, dict):
        return "encoder"
    return "" if isinstance(counts, dict) else "counts"


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_order(outbox: str | Path) -> list[PlannedTrial]:
    """The planned presentations of an outbox, checked against their checksum, against themselves and the manifest.

    Raises
    ------
    DataError
        X06: not exported; X07: the table is altered, lists a presentation twice, or has another number of them than the
        manifest.
    """
    outbox = Path(outbox)
    order = _parsed(outbox, "order.csv", _verified(outbox, "order.csv"))
    _refuse_repeated(outbox, order)
    planned = read_manifest(outbox).get("counts", {}).get("trials", len(order))
    if planned != len(order):
        raise _altered(outbox, f"an order.csv of {len(order)} trials where the manifest says {planned}")
    return order


def planned_trials(outbox: str | Path) -> list[PlannedTrial]:
    """The presentations in force: those of ``order.csv``, and from block N on those of ``order_from_block_N.csv`` where
    an interim look wrote one.

    Raises
    ------
    DataError
        As `read_order`; X07: a later order is not the one that the look wrote.
    """
    outbox = Path(outbox)
    order = read_order(outbox)
    for block, path in later_orders(outbox).items():
        record = read_json(path.with_suffix(".json"))
        data = read_bytes(path) if path.is_file() else b""
        known = record if isinstance(record, dict) else {}
        manifest = sha256_file(outbox / "manifest.json")
        if (known.get("order_sha256"), known.get("manifest_sha256")) != (sha256_bytes(data), manifest):
            raise _altered(outbox, f"{path.name}, which is not the order that the interim look wrote")
        order = [t for t in order if t.block < block] + _parsed(outbox, path.name, data)
        _refuse_repeated(outbox, order)
    return order


def replaced_order(outbox: Path) -> list[PlannedTrial]:
    """The exported order where an interim look wrote another in its place; [] where none did."""
    return read_order(outbox) if later_orders(outbox) else []


def later_orders(outbox: Path) -> dict[int, Path]:
    """The orders that interim looks wrote, by the first block that each is for; one without its record does not count.

    The record is written last. A folder that is not there is an error (OSError), not one without orders: a share may be
    away for a moment.
    """
    found = {}
    for path in sorted(outbox.iterdir()):
        number = path.stem.removeprefix("order_from_block_")
        if path.suffix == ".json" and path.stem != number and number.isdecimal():
            found[int(number)] = path.with_suffix(".csv")
    return dict(sorted(found.items()))


def order_path(outbox: Path, block: int) -> Path:
    """Where an interim look puts the presentations from `block` on."""
    return outbox / f"order_from_block_{block:02d}.csv"


def publish_order(outbox: Path, block: int, trials: list[PlannedTrial]) -> Path:
    """Write the presentations from `block` on beside ``order.csv``, which stays as it is, and then their record.

    Both files are written atomically; nothing in them tells the role of an image.
    """
    path = order_path(outbox, block)
    rows = [[getattr(t, name) for name in COLUMNS[:-2]] + [f"{t.on_ms:g}", f"{t.off_ms:g}"] for t in trials]
    write_table(path, COLUMNS, rows)
    record = {
        "schema": "order/1",
        "from_block": block,
        "trials": len(trials),
        "order_sha256": sha256_file(path),
        "manifest_sha256": sha256_file(outbox / "manifest.json"),
    }
    write_json(path.with_suffix(".json"), record)
    return path


def _parsed(outbox: Path, name: str, data: bytes) -> list[PlannedTrial]:
    """The presentations of one table of them; X07 where it cannot be read."""
    try:
        _, rows = parse_table(data.decode("utf-8"))
        order = [
            PlannedTrial(
                trial=int(r["trial"]),
                block=int(r["block"]),
                rep=int(r["rep"]),
                image_id=r["image_id"],
                filename=r["filename"],
                on_ms=float(r["on_ms"]),
                off_ms=float(r["off_ms"]),
            )
            for r in rows
        ]
        if any(None in r for r in rows):
            raise ValueError("a line is longer than the header")
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise _altered(outbox, f"an {name} that cannot be read ({error})") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise _altered(outbox, f"an {name} that cannot be read ({error})") from error
    return order


def _refuse_repeated(outbox: Path, order: list[PlannedTrial]) -> None:
    """Each trial, and each repetition of an image, stands once."""
    trials = Counter(t.trial for t in order)
    shown = Counter((t.image_id, t.rep) for t in order)
    twice = [f"the trial {t}" for t, n in trials.items() if n > 1]
    twice += [f"repetition {rep} of {image}" for (image, rep), n in shown.items() if n > 1]
    if twice:
        raise _altered(outbox, f"an order.csv that lists {', '.join(twice[:3])} twice")


def read_images(outbox: str | Path) -> dict[str, Pixels]:
    """All images of an outbox by id, uint8 (H, W, C), after its checksums were verified."""
    outbox = Path(outbox)
    verify_outbox(outbox)
    return {e["image_id"]: read_png(inside(outbox, e["filename"])) for e in read_manifest(outbox)["images"]}


def broken_seals(sealed: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """The files of the folder ``sealed`` that are missing or are not those of the export.

    Parameters
    ----------
    sealed : Path
        ``Round.sealed``.
    manifest : dict
        The manifest of the round's outbox, which holds the SHA-256 of the sealed files.

    Returns
    -------
    dict of file name to the manifest's entry for it
    """
    wanted = {name: (entry, manifest.get(entry)) for name, entry in SEALS.items()}
    if isinstance(honoured := manifest.get("decisions"), dict):
        wanted["decisions.json"] = ("decisions", honoured.get("sealed_sha256"))
    return {
        name: entry
        for name, (entry, digest) in wanted.items()
        if not (sealed / name).is_file() or sha256_file(sealed / name) != digest
    }


def verify_outbox(outbox: str | Path) -> None:
    """Refuse an outbox that is incomplete or altered.

    Raises
    ------
    DataError
        X06: not exported (no ``_READY``); X07: a file is missing, altered or added.
    """
    outbox = Path(outbox)
    _require_ready(outbox)
    problems = verify_checksums(outbox, most=MOST_PICTURE)
    listed = _digests(outbox)
    present = [p.name for p in (outbox / "images").glob("*.png") if not is_litter(p.name)]
    added = sorted(name for name in present if f"images/{name}" not in listed)
    problems += [f"images/{name} was added" for name in added]
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise _altered(outbox, "; ".join(problems[:5]) + more)


def _verified(outbox: Path, name: str) -> bytes:
    """The bytes of one file, checked against the checksums."""
    _require_ready(outbox)
    path = outbox / name
    data = read_bytes(path) if path.is_file() else b""
    if _digests(outbox).get(name) != sha256_bytes(data):
        raise _altered(outbox, f"{name} is missing or not the file that was exported")
    return data


def _digests(outbox: Path) -> dict[str, str]:
    path = outbox / "checksums.sha256"
    if not path.is_file():
        raise _altered(outbox, "no checksums.sha256")
    lines = read_text(path, errors="replace").splitlines()
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
