"""Every HTML page that the program makes, each of sites whose names are hostile, and what of the source makes one."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from encoders.analysis.neighbours import embed, neighbour_agreement
from encoders.fields.receptive_field import ReceptiveField
from encoders.readouts.base import Readout
from encoders.tuning.change import LayerMap
from protocols.arrays import Pixels
from protocols.insilico.describe.boxes import site_boxes
from protocols.insilico.describe.controllers import Controller
from protocols.insilico.describe.description import Description
from protocols.insilico.describe.door import page
from protocols.insilico.describe.material import Material, Seen
from protocols.insilico.describe.reading import Layers, find_clusters
from protocols.insilico.describe.vectors import Vectors
from protocols.insilico.describe.wording import put_into_words
from protocols.pages.frozen import write_frozen
from protocols.pages.views import VIEWS
from protocols.preview.page import write_preview
from protocols.preview.proposals import Preview, Proposal, Range
from protocols.project.display import Display
from protocols.project.fitted import write_fitted
from protocols.project.folder import Project
from protocols.report.fits.page import write_fit
from protocols.report.page import write_report
from protocols.report.project.page import write_project_report
from tests.protocols.helpers import decided_project, large_project
from tests.protocols.helpers.served_project import serving
from tests.protocols.report.test_fit_page import record, site

ROOT = Path(__file__).parents[3]
PACKAGES = ("protocols", "encoders", "synth")
HOSTILE = (
    "<script>alert(1)</script>", "<img/src=x/onerror=alert(1)>", "a\"b'onload=alert(1)", "&lt&amp", "{{7*7}}{%x%}", "=1+1",
    "\u05d0\u202eünï", "constructor", "__proto__", "javascript:alert(1)", "a" * 100,
)  # fmt: skip
"""Names without white space, commas and semicolons, which no key can hold."""


def hostile_names(count: int) -> list[str]:
    """So many different names of sites."""
    return [HOSTILE[i] if i < len(HOSTILE) else f"{HOSTILE[i % (len(HOSTILE) - 1)]}{i:03d}" for i in range(count)]


@dataclass(frozen=True)
class Opened:
    """A page that can be opened: its address, what it may ask for, the addresses of its views, if it has any."""

    url: str
    own: str
    views: Sequence[str] = ()
    drawn: str = "body"
    """What is there once a view (its name for ``{}``) is drawn."""


Maker = Callable[[Path, list[str]], AbstractContextManager[Opened]]


def _file(make: Callable[[Path, list[str]], Path]) -> Maker:
    """The maker of a page that is a file."""

    @contextmanager
    def opened(folder: Path, names: list[str]) -> Iterator[Opened]:
        path = make(folder, names)
        yield Opened(path.as_uri(), path.as_uri())

    return opened


def _project(folder: Path, names: list[str]) -> Project:
    """A recorded, fitted and evaluated project of small images."""
    return large_project.make(folder / "lab", sites=names, photographs=30, text=HOSTILE[0])


def report(folder: Path, names: list[str]) -> Path:
    """Of one round."""
    lab = _project(folder, names)
    return write_report(lab, lab.round(1))


def project_report(folder: Path, names: list[str]) -> Path:
    """Of all rounds; the second is not evaluated yet."""
    lab = _project(folder, names)
    lab.new_round(2, "ses_20261122")
    return write_project_report(lab)


def fit_page(folder: Path, names: list[str]) -> Path:
    """Of a fit."""
    lab = Project.create(folder / "lab", large_project.settings())
    sites = [site(name, rf_x_deg=0.01 * i, eligible_target=i % 3 > 0) for i, name in enumerate(names)]
    write_fitted(lab.fitted, 1, record(sites))
    return write_fit(lab)


@contextmanager
def frozen(folder: Path, names: list[str]) -> Iterator[Opened]:
    """All views in one page."""
    path = write_frozen(_project(folder, names), folder / "page.html", plan=False)
    yield Opened(path.as_uri(), path.as_uri(), [f"#{name}" for name in VIEWS], "#tab-{}[aria-selected=true]")


@contextmanager
def served(folder: Path, names: list[str]) -> Iterator[Opened]:
    """All views over a server, while the log of the project is written to."""
    lab = _project(folder, names)
    decided_project.batch(names, channels=1).save(lab.new_round(2, "ses_20261122").controllers_path)
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(0.3):
            lab.round(2).log("test", text=HOSTILE[0], sites=names[:3])

    with serving(lab, decisions=True, unblinded=True) as (address, behind):
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        own = f"http://127.0.0.1:{address.port}/"
        yield Opened(address.url, own, [f"#/{name}" for name in behind.views], "#panel[data-shown='{}']")
        ended.set()
        writer.join()


def _images(rng: np.random.Generator, count: int) -> Pixels:
    return rng.integers(0, 256, (count, 32, 32, 1), dtype=np.uint8)


def preview(folder: Path, names: list[str]) -> Path:
    """Of a round before its export."""
    rng = np.random.default_rng(0)
    proposals = []
    for i, name in enumerate(names):
        z = rng.normal(1, 1, len(names))
        proposals.append(
            Proposal(
                name=f"c{i:04d}", objective="stretch", site=name, seed=0, best=True, pixels=_images(rng, 1)[0], start=HOSTILE[0],
                z=z, low=z - 0.5, high=z + 0.5, validator_z=1.0, distance=1.2, outside=bool(i % 2), clipped=0.1, contrast=0.2,
                chroma=0.0, decision=HOSTILE[2],
            )
        )  # fmt: skip
    found = Preview(
        project=HOSTILE[0], session="ses_a", encoder="enc_a", validator="enc_b", number=1, exported=False, site_ids=names,
        proposals=proposals, best={name: (HOSTILE[1], _images(rng, 1)[0], 2.0) for name in names},
        circles={name: (16.0, 16.0, 5.0) if i % 2 else None for i, name in enumerate(names)},
        contrast=Range(0.1, 0.2, 0.3), chroma=Range(0.0, 0.0, 0.0), warnings=[HOSTILE[0]],
    )  # fmt: skip
    display = Display(width_px=32, height_px=32, size_deg=4.0, background=128)
    return write_preview(found, folder / "preview.html", display=display, plan=HOSTILE[0])


def described(folder: Path, names: list[str]) -> Path:
    """What the sites of an encoder prefer, in words that are hostile too."""
    rng, photographs = np.random.default_rng(0), 40
    words = (*HOSTILE, *(f"word {i}" for i in range(20)))
    lab = Project.create(folder / "lab", large_project.settings())
    z = rng.normal(size=(photographs, len(names)))
    hidden = np.concatenate([z[:, :8], rng.normal(size=(photographs, len(words)))], 1)
    made = [
        Controller(name=f"b1_{i:03d}", kind="stretch", site=name, seed=0, pixels=image)
        for i, (name, image) in enumerate(zip(names, _images(rng, len(names)), strict=True))
    ]
    numbers = dict.fromkeys(
        ("x_deg", "y_deg", "sd_x_deg", "sd_y_deg", "sd_major_deg", "sd_minor_deg", "orientation_deg"), 0.5
    )
    field = ReceptiveField(**numbers, within_2sd=0.8, inside_image=1.0, explained=0.9, reason="")
    natural = Seen(features=rng.normal(size=(photographs, 12)), widths=(12,), members=z[None])
    material = Material(
        opened=SimpleNamespace(
            project=lab, natural=_images(rng, photographs), source_ids=[f"img_{i:03d}" for i in range(photographs)],
            encoder=SimpleNamespace(fingerprint="enc_0", readouts=[Readout()]), validator=SimpleNamespace(fingerprint="enc_1"),
        ),
        sites=tuple(names), columns=np.arange(len(names)), groups=tuple(map(str, range(photographs))), scored=None,
        held_out=np.arange(photographs) % 2 > 0, areas=("V4",) * len(names), measured=z, natural=natural,
        made=Seen(features=rng.normal(size=(len(made), 12)), widths=(12,), members=rng.normal(size=(1, len(made), len(names)))),
        recorded=z, validated=z, unseen=None, checked=rng.normal(size=(len(made), len(names))), controllers=tuple(made),
        fields=tuple(field if i % 2 else replace(field, reason="flat") for i in range(len(names))),
    )  # type: ignore[arg-type]  # fmt: skip
    layers = LayerMap(("a", "b"), rng.uniform(size=(2, len(names))), ("a",) * len(names))
    embedding = embed(material.standardised[0])
    vectors = Vectors(hidden, hidden, words, np.eye(hidden.shape[1])[: len(words)], (HOSTILE[1],))
    found = Description(
        material=material, boxes=site_boxes(material), embedding=embedding, made_points=rng.normal(size=(len(made), 2)),
        agreement=neighbour_agreement(material.standardised[0], z, 5), clusters=find_clusters(material, draws=9),
        layers=Layers(now=layers, before=layers, gradient=None, n_images=20, held_out=True),
        wording=put_into_words(material, vectors, permutations=99), seed=0,
    )  # fmt: skip
    shown = {f"img_{i:03d}": pixels for i, pixels in enumerate(material.opened.natural)}
    (folder / "index.html").write_text(page(found, shown | {c.name: c.pixels for c in made}), encoding="utf-8")
    return folder / "index.html"  # `write_description` draws every figure once more beside it


PAGES: dict[str, Maker] = {
    "protocols/insilico/describe/door.py:write_description": _file(described),
    "protocols/pages/frozen.py:write_frozen": frozen,
    "protocols/preview/page.py:write_preview": _file(preview),
    "protocols/report/fits/page.py:write_fit": _file(fit_page),
    "protocols/report/page.py:write_report": _file(report),
    "protocols/report/project/page.py:write_project_report": _file(project_report),
    "protocols/serve/app.py:Server": served,
}
"""By the function or class that writes or serves the page."""


# --- what of the source makes pages -----------------------------------------------------------------------------------


def page_makers(root: Path = ROOT) -> set[str]:
    """Functions and classes of the packages from which a page comes: those that lead to one that fills a template, up to
    the one that writes it or answers with it.
    """
    sources = {p: p.read_text(encoding="utf-8") for package in PACKAGES for p in sorted((root / package).rglob("*.py"))}
    calls: dict[str, set[str]] = {}
    leading, words = set[str](), {"from_string"}
    while words:  # a module that calls none of these leads to no page
        called = re.compile(rf"\b({'|'.join(words)})\(")
        for path in [p for p, text in sources.items() if called.search(text)]:
            calls |= _calls(path, sources.pop(path), root)
        more = {name for name, used in calls.items() if used & {*leading, ".from_string"}} - leading
        leading |= more
        words = {name.rpartition(":")[2] for name in more}
    return {name for name in leading if calls[name] & {".write_text", "write_text", ".Response", "Response", "_bytes"}}


def _calls(path: Path, text: str, root: Path) -> dict[str, set[str]]:
    """What each function and class of a module calls: ``FILE:NAME`` where it is of this package, the bare word (with a
    point before it where it is a method) always.
    """
    tree, place = ast.parse(text), path.relative_to(root)
    known = {
        node.name: f"{place.as_posix()}:{node.name}"
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            folder = place.parents[node.level - 1] / node.module.replace(".", "/") if node.level else None
            module = (folder or Path(node.module.replace(".", "/"))).as_posix()
            known |= {alias.asname or alias.name: f"{module}.py:{alias.name}" for alias in node.names}
    found = {}
    for top in tree.body:
        if not isinstance(top, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        words = {
            node.func.id for node in ast.walk(top) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        words |= {known[word] for word in words if word in known}
        words |= {
            f".{node.func.attr}"
            for node in ast.walk(top)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        }
        found[f"{place.as_posix()}:{top.name}"] = words
    return found
