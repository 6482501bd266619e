"""`stimsynth describe`: a description is computed, then written as a folder with one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from encoders.analysis.neighbours import embed, neighbour_agreement
from protocols.arrays import Pixels
from protocols.disk.drawing import thumbnails
from protocols.disk.files import check_new, new_folder, write_json, write_text
from protocols.disk.tables import write_table
from protocols.models.pair import load_encoder
from protocols.packages import version
from protocols.progress import Reporter
from protocols.project.folder import Project

from . import figures
from .asked import check_asked
from .boxes import Box, site_boxes
from .description import Description
from .material import Material, look_over
from .reading import find_clusters, map_layers
from .record import to_dict
from .sections import page_sections
from .vectors import read_vectors
from .word_list import read_words
from .wording import Wording, put_into_words

IMAGE_BYTES = 2_500_000  # of the page, for thumbnails
NEIGHBOURS = 10


def describe(
    project: Project,
    batches: Sequence[Path] = (),
    *,
    sites: Sequence[str] = (),
    clip: Path | None = None,
    words: Path | None = None,
    earlier: str | None = None,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> Description:
    """Describe the sites of a fitted project in figures and, where vectors are given, in words.

    Parameters
    ----------
    project : Project
    batches : sequence of Path
        Folders of `stimsynth generate --out`, for their controllers.
    sites : sequence of str
        None = all targets.
    clip : Path, optional
        Folder with vectors; see `protocols.insilico.describe.vectors.read_vectors`.
    words : Path, optional
        Text file with one word per line. Default: all words that have a vector.
    earlier : str, optional
        Folder in ``fitted/`` of an encoder whose layers are mapped beside those of the newest.
    device : str
    progress : callable, optional

    Raises
    ------
    DataError
        D06, S07; V60 to V67: see the modules of this folder.
    """
    check_asked(project, batches, sites=sites, clip=clip, words=words)
    if earlier is not None:
        load_encoder(project, earlier)
    listed = None if words is None else read_words(words)
    material = look_over(project, batches, sites=sites, device=device, progress=progress)
    opened = material.opened
    wording = None
    if clip is not None:
        vectors = read_vectors(clip, opened.source_ids, opened.natural, words=listed, device=device, progress=progress)
        wording = put_into_words(material, vectors, progress=progress)
    natural, made = material.standardised
    together = embed(natural)
    axes = np.linalg.lstsq(natural - natural.mean(0), together.coordinates, rcond=None)[0]
    return Description(
        material=material,
        boxes=site_boxes(material),
        embedding=together,
        made_points=(made - natural.mean(0)) @ axes,
        agreement=neighbour_agreement(natural, material.measured, min(NEIGHBOURS, len(natural) - 1)),
        clusters=find_clusters(material, progress=progress),
        layers=map_layers(material, earlier, device=device, progress=progress),
        wording=wording,
        seed=0,
    )


def write_description(found: Description, out: Path) -> None:
    """Write the folder `out`: index.html, figures, tables, describe.json; whole or not at all.

    Raises
    ------
    DataError
        W05: `out` is there already.
    """
    check_new(out)
    images = _images(found)
    with new_folder(out) as folder:
        write_text(folder / "index.html", page(found, images))
        rows = _strongest(found)
        figures.montage(rows, images).savefig(folder / "montage.png", dpi=130)
        natural = found.material.opened.natural
        drawings = {
            "map": figures.space_map(found.embedding, found.made_points, natural),
            "site_maps": figures.site_maps(found.embedding, found.material, found.agreement),
            "clusters": figures.cluster_figure(found.clusters),
            "layers": figures.layer_figure(found.layers),
        }
        if found.wording is not None:
            drawings["words"] = figures.word_figure(found.wording)
        for name, figure in drawings.items():
            figure.savefig(folder / f"{name}.png", dpi=120)
        _write_tables(found, folder)
        write_json(folder / "describe.json", to_dict(found))
        if found.wording is None:
            script = resources.files("protocols").joinpath("insilico/describe/make_vectors.txt")
            write_text(folder / "make_vectors.py", script.read_text(encoding="utf-8"))
            write_text(folder / "words.txt", "\n".join(read_words()) + "\n")


def page(found: Description, images: dict[str, Pixels]) -> str:
    """The page as text; ids and words are escaped, and it loads nothing from elsewhere."""
    from jinja2 import Environment

    template = resources.files("protocols").joinpath("insilico/describe/page.html").read_text(encoding="utf-8")
    material = found.material
    display = material.opened.project.display
    return (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            project=material.opened.project.config.project.name,
            summary=(
                f"{len(material.sites)} sites, {len(material.opened.source_ids)} photographs, "
                f"{len(material.controllers)} controllers · encoder {material.opened.encoder.fingerprint}"
            ),
            notes=() if material.controllers else ("No controllers: give batches with --batch.",),
            sections=page_sections(found),
            boxes=found.boxes,
            about={site: _about(found, v) for v, site in enumerate(material.sites)},
            thumbs=thumbnails(images, IMAGE_BYTES),
            width=display.width_px,
            height=display.height_px,
            words=found.wording is not None,
            version=version(),
        )
    )


def _about(found: Description, v: int) -> str:
    """One line on a site: layer, cluster, words."""
    parts = [f"best layer {found.layers.now.best[v]}"] if found.layers.now.best[v] else []
    for name, one in (("weights", found.clusters.by_weights), ("responses", found.clusters.by_responses)):
        if one is not None and one.k > 1:
            parts.append(f"cluster {one.labels[v] + 1} by {name}")
    if found.material.fields[v].reason:
        parts.append("receptive field unknown")
    if found.wording is not None:
        words = ", ".join(f"{'-' if r < 0 else ''}{word}" for word, r in found.wording.words_of(v)[:5])
        parts.append(words or "no words better than chance")
    return "; ".join(parts)


def _images(found: Description) -> dict[str, Pixels]:
    """All images of the boxes by id."""
    opened = found.material.opened
    place = {source: i for i, source in enumerate(opened.source_ids)}
    made = {c.name: c.pixels for c in found.material.controllers}
    ids = {shown.image for box in found.boxes for _, images in box.rows for shown in images}
    return {i: made[i] if i in made else opened.natural[place[i]] for i in sorted(ids)}


def _strongest(found: Description) -> list[Box]:
    """At most eight sites, those of which the best layer explains most, in the order of the sites."""
    explained = np.nan_to_num(found.layers.now.explained, nan=-1.0).max(0)
    return [found.boxes[v] for v in sorted(np.argsort(-explained, kind="stable")[: figures.ROWS].tolist())]


def _write_tables(found: Description, folder: Path) -> None:
    material = found.material
    header = ["site", "area", "best_layer", "layer_before", "cluster_by_weights", "cluster_by_responses"]
    header += ["stability", "neighbour_r", "rf_x_deg", "rf_y_deg", "rf_sd_major_deg", "rf_sd_minor_deg", "best_images"]
    rows = []
    for v, site in enumerate(material.sites):
        labels = [
            "" if one is None or one.k == 1 else int(one.labels[v]) + 1
            for one in (found.clusters.by_weights, found.clusters.by_responses)
        ]
        main = found.clusters.by_weights or found.clusters.by_responses
        field, best = material.fields[v], found.boxes[v].rows[0][1]
        before = "" if found.layers.before is None else found.layers.before.best[v]
        numbers = [found.agreement[v], field.x_deg, field.y_deg, field.sd_major_deg, field.sd_minor_deg]
        stability = "" if main is None else _cell(main.site_stability[v])
        cells = [site, material.areas[v], found.layers.now.best[v], before, *labels, stability]
        rows.append([*cells, *map(_cell, numbers), " ".join(shown.image for shown in best)])
    write_table(folder / "sites.csv", header, rows)
    write_table(
        folder / "neighbours.csv",
        ["site", "controller", "space", "rank", "image", "distance", "measured"],
        [
            [box.site, n.controller, n.space, n.rank, n.image, _cell(n.distance), _cell(n.measured)]
            for box in found.boxes
            for n in box.neighbours
        ],
    )
    if found.wording is not None:
        _write_words(found.wording, material, folder)


def _write_words(wording: Wording, material: Material, folder: Path) -> None:
    header = ["site", "word", "rank", "correlation", "shrunken", "p", "site_p", "projected_cosine"]
    ranking, rows = wording.ranking, []
    for v, site in enumerate(material.sites):
        for rank, w in enumerate(np.argsort(-np.abs(ranking.correlation[v]), kind="stable").tolist()):
            numbers = (ranking.correlation[v, w], ranking.shrunken[v, w], ranking.word_p[v, w], ranking.site_p[v])
            rows.append([site, wording.words[w], rank + 1, *map(_cell, (*numbers, wording.projected[v, w]))])
    write_table(folder / "words.csv", header, rows)
    write_table(
        folder / "percentiles.csv",
        ["site", "random_directions_p", "left_out_r", "highest", "p_highest", "lowest", "p_lowest",
         "highest_predicted", "lowest_predicted"],
        [
            [site, *map(_cell, (
                wording.direction_p[v], wording.left_out_r[v],
                wording.measured.highest[v, v], wording.measured.p_highest[v],
                wording.measured.lowest[v, v], wording.measured.p_lowest[v],
                wording.predicted.highest[v, v], wording.predicted.lowest[v, v],
            ))]
            for v, site in enumerate(material.sites)
        ],
    )  # fmt: skip


def _cell(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else ""
