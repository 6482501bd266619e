"""Cut the demo's photographs out of freely licensed pictures that other Python packages ship.

    python scripts/cut_photographs.py            write protocols/data/{photographs.zip,photographs.csv,ATTRIBUTION.md}
    python scripts/cut_photographs.py --check    cut again and compare with what is there, byte for byte

Needs scikit-image, scikit-learn, matplotlib and PyWavelets (extra ``dev``); nothing is downloaded. The same package versions give the
same bytes: there is no randomness, and the archive carries no dates. Pictures whose package states no free licence are left out:
skimage moon and stereo_motorcycle, PyWavelets aero; skimage cell is a computed phase map, not a photograph.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import sys
import zipfile
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

import numpy as np
from PIL import Image

DATA = Path(__file__).parents[1] / "protocols" / "data"
SIDE, TOTAL, BUDGET = 128, 600, 3_000_000  # px, crops, bytes of the archive
SCALES = tuple(2 ** (-k / 2) for k in range(8))
MIN_CONTRAST = 14.0  # standard deviation of the crop's grey levels, of 255
COLUMNS = ("filename", "group", "package", "original_file", "title", "author", "licence", "sha256")


@dataclass(frozen=True)
class Source:
    """A picture, where it lies, and what its package says about it (`statement`: where it says so)."""

    group: str
    package: str  # distribution name
    file: str  # "module:path inside the module's folder"
    title: str
    author: str
    licence: str
    statement: str


CC0, CC_BY, PUBLIC, NO_KNOWN = "CC0-1.0", "CC-BY-2.0", "public domain", "no known copyright restrictions"
_SKIMAGE = "scikit-image", "skimage:data/"


def _skimage(group: str, file: str, title: str, *, author: str, licence: str) -> Source:
    package, folder = _SKIMAGE
    return Source(
        group=group,
        package=package,
        file=folder + file,
        title=title,
        author=author,
        licence=licence,
        statement=f"docstring of skimage.data.{group}",
    )


SOURCES = (
    _skimage(
        "astronaut",
        "astronaut.png",
        "Eileen Collins",
        author="NASA (Great Images in NASA, flic.kr/p/r9qvLn)",
        licence=PUBLIC,
    ),
    _skimage("brick", "brick.png", "Brick wall", author="CC0Textures, Bricks25", licence=CC0),
    _skimage("camera", "camera.png", "Photographer with a camera", author="Lav Varshney", licence=CC0),
    _skimage("chelsea", "chelsea.png", "Chelsea the cat", author="Stefan van der Walt", licence=CC0),
    _skimage("clock", "clock_motion.png", "Motion-blurred clock", author="Stefan van der Walt", licence=PUBLIC),
    _skimage(
        "coffee", "coffee.png", "Coffee cup, courtesy of Pikolo Espresso Bar", author="Rachel Michetti", licence=CC0
    ),
    _skimage(
        "coins",
        "coins.png",
        "Greek coins from Pompeii",
        author="Brooklyn Museum Collection, image 51611",
        licence=NO_KNOWN,
    ),
    _skimage("grass", "grass.png", "Grass", author="linolafett (DeviantArt, Grass-01-434853879)", licence=CC0),
    _skimage("gravel", "gravel.png", "Gravel", author="CC0Textures, Gravel04", licence=CC0),
    _skimage(
        "hubble_deep_field",
        "hubble_deep_field.jpg",
        "Hubble eXtreme Deep Field",
        author="NASA (HubbleSite 2012/37)",
        licence=PUBLIC,
    ),
    _skimage(
        "immunohistochemistry",
        "ihc.png",
        "Colonic glands, immunohistochemical staining",
        author="Center for Microscopy and Molecular Imaging (CMMI)",
        licence=NO_KNOWN,
    ),
    _skimage("retina", "retina.jpg", "Fundus photograph of a normal left eye", author="Mikael Häggström", licence=CC0),
    _skimage(
        "rocket",
        "rocket.jpg",
        "Launch of DSCOVR on Falcon 9",
        author="SpaceX (flickr.com/photos/spacexphotos/16511594820)",
        licence=PUBLIC,
    ),
    Source(
        group="china",
        package="scikit-learn",
        file="sklearn:datasets/images/china.jpg",
        title="Chinese temple (flickr.com/photos/danielbuechele/6061409035)",
        author="danielbuechele",
        licence=CC_BY,
        statement="sklearn/datasets/images/README.txt",
    ),
    Source(
        group="flower",
        package="scikit-learn",
        file="sklearn:datasets/images/flower.jpg",
        title="Flower (flickr.com/photos/vultilion/6056698931)",
        author="vultilion (by the address given; the README's text says danielbuechele)",
        licence=CC_BY,
        statement="sklearn/datasets/images/README.txt",
    ),
    Source(
        group="grace_hopper",
        package="matplotlib",
        file="matplotlib:mpl-data/sample_data/grace_hopper.jpg",
        title="Grace Murray Hopper (commons.wikimedia.org/wiki/File:Grace_Hopper.jpg)",
        author="United States Navy",
        licence=PUBLIC,
        statement="source in the file's JPEG comment; public domain by matplotlib pull request 1599, which added it",
    ),
    Source(
        group="ascent",
        package="PyWavelets",
        file="pywt:data/ascent.npz",
        title="Accent to the top (accent-to-the-top.jpg)",
        author="public-domain-image.com",
        licence=PUBLIC,
        statement="docstring of pywt.data.ascent",
    ),
)


def read_source(source: Source) -> Image.Image:
    """The whole picture, 8-bit grey or RGB."""
    module, _, relative = source.file.partition(":")
    data = resources.files(module).joinpath(relative).read_bytes()
    if relative.endswith(".npz"):
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return Image.fromarray(archive["data"].astype(np.uint8))
    picture = Image.open(io.BytesIO(data))
    return picture if picture.mode in ("L", "RGB") else picture.convert("RGB")


def cut(picture: Image.Image) -> list[Image.Image]:
    """Crops of `SIDE` px, best spread first: at every scale those that do not touch, then those that overlap by at most a half."""
    apart: list[Image.Image] = []
    between: list[Image.Image] = []
    for scale in reversed(SCALES):
        size = round(picture.width * scale), round(picture.height * scale)
        if min(size) < SIDE:
            continue
        small = picture if scale == 1 else picture.resize(size, Image.Resampling.LANCZOS)
        taken: list[tuple[int, int]] = []
        for top in _positions(size[1]):
            for left in _positions(size[0]):
                crop = small.crop((left, top, left + SIDE, top + SIDE))
                if np.asarray(crop.convert("L"), dtype=float).std() < MIN_CONTRAST:
                    continue
                touches = any(abs(left - x) < SIDE and abs(top - y) < SIDE for x, y in taken)
                (between if touches else apart).append(crop)
                if not touches:
                    taken.append((left, top))
    return apart + between[::2] + between[1::2]


def _positions(length: int) -> list[int]:
    """Left edges of crops at least half a crop apart, spread evenly over `length` pixels."""
    count = 1 + (length - SIDE) // (SIDE // 2)
    return [round(i * (length - SIDE) / max(count - 1, 1)) for i in range(count)]


def shares(available: list[int], total: int) -> list[int]:
    """How many crops each source gives: as equal as the poorest sources allow, `total` together."""
    given = [0] * len(available)
    while sum(given) < min(total, sum(available)):
        poorest = min((g, i) for i, g in enumerate(given) if g < available[i])[1]
        given[poorest] += 1
    return given


def encode(crops: dict[str, list[Image.Image]], quality: int) -> dict[str, bytes]:
    """JPEG bytes a file name; grey sources stay grey."""
    files = {}
    for group, images in crops.items():
        for number, image in enumerate(images):
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality, optimize=True, subsampling=2)
            files[f"{group}_{number:02d}.jpg"] = buffer.getvalue()
    return files


def archive(files: dict[str, bytes]) -> bytes:
    """A ZIP of the files, stored, without dates, so that equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            target.writestr(info, data)
    return buffer.getvalue()


def table(files: dict[str, bytes]) -> bytes:
    """photographs.csv: one line a crop."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    by_group = {s.group: s for s in SOURCES}
    for name, data in sorted(files.items()):
        s = by_group[name.rpartition("_")[0]]
        original = s.file.partition(":")[2]
        writer.writerow(
            [name, s.group, s.package, original, s.title, s.author, s.licence, hashlib.sha256(data).hexdigest()]
        )
    return buffer.getvalue().encode()


def attribution(counts: dict[str, int], quality: int) -> bytes:
    """ATTRIBUTION.md: one line a source."""
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in [*dict.fromkeys(s.package for s in SOURCES), "pillow"]
    )
    lines = [
        "# The demo's photographs",
        "",
        f"`photographs.zip` holds {sum(counts.values())} crops of {SIDE} x {SIDE} px, JPEG quality {quality}, cut by "
        "`scripts/cut_photographs.py` at several",
        f"scales out of the {len(counts)} pictures below, as shipped in {versions}.",
        "Cutting, resampling and JPEG coding are the only changes. Two pictures are under the Creative Commons Attribution 2.0 licence",
        "(https://creativecommons.org/licenses/by/2.0/): name their authors where you show them.",
        "",
        "| crops | group | package | file | title | author | licence | stated in |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for s in SOURCES:
        file = s.file.partition(":")[2]
        cells = [str(counts[s.group]), s.group, s.package, file, s.title, s.author, s.licence, s.statement]
        lines.append(f"| {' | '.join(cells)} |")
    return ("\n".join(lines) + "\n").encode()


def build() -> dict[str, bytes]:
    """The three files, by name."""
    candidates = {s.group: cut(read_source(s)) for s in SOURCES}
    given = shares([len(c) for c in candidates.values()], TOTAL)
    crops = {group: images[:n] for (group, images), n in zip(candidates.items(), given, strict=True)}
    for quality in range(92, 40, -2):
        files = encode(crops, quality)
        packed = archive(files)
        if len(packed) <= BUDGET:
            break
    else:
        raise ValueError(f"{len(packed)} bytes at JPEG quality {quality}; expected at most {BUDGET}")
    counts = {group: len(images) for group, images in crops.items()}
    return {"photographs.zip": packed, "photographs.csv": table(files), "ATTRIBUTION.md": attribution(counts, quality)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Cut the demo's photographs.")
    parser.add_argument("--check", action="store_true", help="compare with the files that are there, write nothing")
    check = parser.parse_args().check
    differing = 0
    for name, data in build().items():
        path = DATA / name
        same = path.is_file() and path.read_bytes() == data
        differing += not same
        if not check:
            DATA.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        print(f"{name}: {len(data)} bytes, {'as before' if same else 'different' if check else 'written'}")
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
