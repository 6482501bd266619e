"""How many photographs must an encoder look at to find the best of a library: climbing, random draws, every one.

    python scripts/studies/natural_search.py v4 --shared ../shared/data --out natural_search

The library is made of the pictures of all recordings of Cowley et al., of samples of ImageNet and BSDS500, and of crops
of the latter two: tar archives under ``--out``. It is indexed once with the encoder of the project (first argument), which
gives the true order of all photographs for every site. Then each site is climbed and searched at random from several
seeds; the share of the true best ten that was found is given after so many photographs looked at, with 95 % intervals
over sites (bootstrap). As a control the features are dealt out at random, so that neighbours mean nothing. A killed run
goes on: the index stays.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from protocols.disk.files import write_json
from protocols.insilico.library.library import LibrarySearch
from protocols.insilico.opened import open_fitted
from protocols.progress import Progress
from protocols.project.folder import Project
from synth import stretch
from synth.contract import attributes_of
from synth.search import RowScorer, climb, neighbour_graph, random_search

STEPS = (100, 200, 400, 800, 1600, 3200, 6400)
TOP = 10


def pictures(shared: Path) -> Iterator[tuple[str, str, bytes]]:
    """Archive, name and bytes of every picture of the library."""
    for path in sorted((shared / "v4_cowley2023" / "images").glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield path.stem, name, archive.read(name)
    for archive_name, folder in (("imagenet", "imagenet_sample_1000/images"), ("bsds", "bsds500/test")):
        for path in sorted((shared / folder).iterdir()):
            yield archive_name, path.name, path.read_bytes()
            for number, crop in enumerate(crops(path)):
                yield f"{archive_name}_crops", f"{path.stem}_{number}.jpg", crop


def crops(path: Path) -> Iterator[bytes]:
    """Four quarters and the middle of a picture, each half as wide and high as it."""
    picture = Image.open(path).convert("RGB")
    width, height = picture.size
    for left, upper in ((0, 0), (2, 0), (0, 2), (2, 2), (1, 1)):
        box = (left * width // 4, upper * height // 4, (left + 2) * width // 4, (upper + 2) * height // 4)
        buffer = io.BytesIO()
        picture.crop(box).save(buffer, "JPEG", quality=92)
        yield buffer.getvalue()


def make_library(shared: Path, folder: Path) -> None:
    """Write the pictures into tar archives, once."""
    if folder.exists():
        return
    building = folder.with_name("library.tmp")
    building.mkdir(parents=True, exist_ok=True)
    files: dict[str, tarfile.TarFile] = {}
    for shard, name, data in pictures(shared):
        if shard not in files:
            files[shard] = tarfile.open(building / f"{shard}.tar", "w")  # noqa: SIM115 - closed below
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        files[shard].addfile(entry, io.BytesIO(data))
    for file in files.values():
        file.close()
    building.rename(folder)


def shares(visited: np.ndarray, best: set[int]) -> list[float]:
    """Share of the true best that lies among the first of those visited, at each of `STEPS`."""
    hits = np.isin(visited, list(best))
    return [float(hits[:step].sum()) / len(best) for step in STEPS]


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over sites (S,)."""
    drawn = np.random.default_rng(seed).choice(values, (4000, len(values))).mean(1)
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def searches(
    predicted: np.ndarray, features: np.ndarray, scorer: RowScorer, *, seeds: int, neighbours: int
) -> dict[str, np.ndarray]:
    """Shares (R, len(STEPS)) of each way to search, averaged over seeds."""
    began = time.monotonic()
    graph = neighbour_graph(features, neighbours=neighbours)
    print(
        f"graph of {len(graph)}: {time.monotonic() - began:.1f} s, {len(graph.others) / len(graph):.1f} neighbours each"
    )
    permuted = neighbour_graph(features[np.random.default_rng(7).permutation(len(features))], neighbours=neighbours)
    found: dict[str, list[np.ndarray]] = {"climb": [], "permuted graph": [], "random": []}
    for r, name in enumerate(scorer.names):
        scores = scorer.row(r, predicted)
        best = {int(i) for i in np.argsort(-scores, kind="stable")[:TOP]}
        most, rows = min(STEPS[-1], len(scores)), {key: list[list[float]]() for key in found}
        for seed in range(seeds):
            asked: dict[str, Any] = {"name": name, "evaluations": most, "seed": seed}
            rows["climb"].append(shares(climb(scores.__getitem__, graph, **asked).visited, best))
            rows["permuted graph"].append(shares(climb(scores.__getitem__, permuted, **asked).visited, best))
            rows["random"].append(shares(random_search(scores.__getitem__, len(scores), **asked).visited, best))
        for key, values in rows.items():
            found[key].append(np.mean(values, axis=0))
    return {key: np.array(values) for key, values in found.items()}


def draw(found: dict[str, np.ndarray], images: int, path: Path) -> None:
    """Share of the true best ten against photographs looked at."""
    from protocols.disk.drawing import new_figure

    drawing = new_figure(5.2, 3.4)
    axis = drawing.subplots()
    for (key, values), colour in zip(found.items(), ("#1f78b4", "#999999", "#d95f02"), strict=True):
        low, high = np.array([interval(v) for v in values.T]).T
        axis.plot(STEPS, values.mean(0), marker="o", color=colour, label=key)
        axis.fill_between(STEPS, low, high, color=colour, alpha=0.25, linewidth=0)
    axis.axvline(images, color="black", linestyle="--", label=f"every one of {images}")
    axis.set(xscale="log", xlabel="photographs looked at", ylabel="share of the true best ten", ylim=(0, 1.02))
    axis.legend(fontsize=8)
    drawing.savefig(path, dpi=120)


def main() -> None:
    """Make the library, index it, search it, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--neighbours", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    words = parser.parse_args()
    make_library(words.shared, words.out / "library")
    opened = open_fitted(Project.open(words.project), device=words.device)
    search = LibrarySearch.prepare(
        opened, words.out / "library", index=words.out / "index", as_is=False, device=words.device
    )
    missing = len(search.index.rows(search.contents).missing)
    began = time.monotonic(), time.process_time()
    search.update(Progress())
    wall, cpu = time.monotonic() - began[0], time.process_time() - began[1]
    if missing:
        print(f"indexed {missing} pictures: {missing / wall:.1f} per second, {missing / cpu:.1f} per CPU second")
    rows = search.index.rows(search.contents)
    parts = list(search.index.scan(rows))
    predicted, features = np.concatenate([p.predicted for p in parts], 1), np.concatenate([p.features for p in parts])
    objective = stretch(list(opened.targets))
    scorer = RowScorer(objective, attributes_of(opened.encoder))
    began_scoring = time.monotonic()
    scorer(predicted)
    print(f"{len(objective)} rows of {len(features)} photographs scored in {time.monotonic() - began_scoring:.1f} s")
    print(
        f"{len(search.contents.items)} pictures, {rows.copies} copies, {len(rows.why)} unusable, {len(features)} searched"
    )
    found = searches(predicted, features, scorer, seeds=words.seeds, neighbours=words.neighbours)
    table = {
        key: [[round(float(v.mean()), 3), *(round(x, 3) for x in interval(v))] for v in values.T]
        for key, values in found.items()
    }
    print(f"share of the true best {TOP} of {len(features)}, mean over {len(objective)} sites (95 % interval)")
    for key, values in table.items():
        cells = "  ".join(
            f"{step}: {mean:.2f} ({low:.2f}-{high:.2f})" for step, (mean, low, high) in zip(STEPS, values, strict=True)
        )
        print(f"  {key:<15} {cells}")
    write_json(words.out / "natural_search.json", {"steps": list(STEPS), "images": len(features), "shares": table})
    draw(found, len(features), words.out / "natural_search.png")
    print(json.dumps({"settings": search.index.folder.name}))


if __name__ == "__main__":
    main()
