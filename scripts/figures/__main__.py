"""`python -m scripts.figures`: see the docstring of the package."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from . import __doc__ as about
from .pictures import DOCS, PICTURES, elsewhere, gallery_page, present
from .places import OWN, marked, pages, rendered
from .quoted import of_page, requoted, sentences
from .readers import differences
from .real import places
from .records import ROOT, records
from .studies import STUDIES, WORK, filled, of_kind
from .workshop import Missing, Workshop, unlike


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.figures", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print every record and picture, its command and its cost")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--render", action="store_true", help="pages and plots from the records alone (the default)")
    what.add_argument(
        "--quick", action="store_true", help="also the studies and pictures that need nothing but the package: minutes"
    )
    what.add_argument("--all", action="store_true", help="every study and picture; goes on where it was killed")
    what.add_argument("--only", nargs="+", metavar="NAME", help="these records and pictures alone")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; make the same and compare with what is committed; exit 1 where something differs",
    )
    parser.add_argument(
        "--data", type=Path, help="the folder v4_cowley2023; ImageNet and BSDS500 samples are looked for beside it"
    )
    parser.add_argument("--fresh", action="store_true", help="run studies again that have run in build/figures")
    options = parser.parse_args(words)
    if unknown := [n for n in options.only or [] if n not in PICTURES and n not in STUDIES]:
        by_hand = [n for n in unknown if n in records()]
        parser.error(
            f"{', '.join(by_hand)}: the record was taken from its page; its command prints another layout (--list shows it)"
            if by_hand
            else f"{', '.join(unknown)}: no such record or picture; --list prints their names"
        )
    return options


def chosen(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Names of the studies that run and of the pictures that are made."""
    if options.only:
        return [n for n in options.only if n in STUDIES], [n for n in options.only if n in PICTURES]
    kinds = ["check"] * options.check + ["check", "quick"] * (options.quick or options.all) + ["all"] * options.all
    sources = ["records"] + ["simulated"] * (options.quick or options.all) + ["recordings"] * options.all
    return of_kind(kinds), [name for name, picture in PICTURES.items() if picture.source in sources]


def listed() -> str:
    """Every record and picture with its command."""
    on: dict[str, list[str]] = {}
    for page in pages():
        for name in marked(page.read_text(encoding="utf-8")):
            on.setdefault(name.partition("/")[0], []).append(page.relative_to(ROOT).as_posix())
    lines = []
    for name, record in records().items():
        way = (
            {"check": "--check", "quick": "--quick", "all": "--all"}[STUDIES[name].when]
            if name in STUDIES
            else "by hand"
        )
        lines.append(
            f"record  {name:<22} {way:<8} {record.inputs:<10} {', '.join(dict.fromkeys(on.get(name, [])))}; {record.cost}; measured: {record.measured}, {record.how}"
        )
        lines += [f"{'':<40}{command}" for command in record.commands]
    for name, picture in PICTURES.items():
        way = {"records": "default", "simulated": "--quick", "recordings": "--all"}[picture.source]
        lines.append(f"picture {name:<22} {way:<8} {picture.source:<10} {picture.cost}")
        lines += [f"{'':<40}{command}" for command in picture.commands]
    lines += [f"page    {page:<22} {'own':<8} {command}" for page, (_, command) in OWN.items()]
    return "\n".join(lines)


def texts() -> Iterable[tuple[Path, str]]:
    """Every page of README and docs as the records, the quoted sentences and the pictures have it."""
    some, every = sentences(), records()
    for page in pages():
        text = page.read_text(encoding="utf-8")
        yield page, requoted(rendered(text, every), of_page(page, some), every)
    yield DOCS / "gallery.md", gallery_page()


def attempt(name: str, do: Callable[[], object], faults: list[str]) -> None:
    """Do one thing, tell how long it took, and keep what went wrong."""
    begin = time.monotonic()
    try:
        do()
    except Missing as wants:
        faults.append(f"{name}: not made, it needs {wants}")
    except Exception as fault:  # whatever one picture ends with, the others are made
        faults.append(f"{name}: {type(fault).__name__}: {fault}")
    print(f"{name}: {time.monotonic() - begin:.1f} s", flush=True)


def write(options: argparse.Namespace, shop: Workshop) -> list[str]:
    """Fill the records, write the pages, make the pictures; what could not be done."""
    faults: list[str] = []
    studies, names = chosen(options)
    for name in studies:
        attempt(name, lambda name=name: filled(records()[name], places(shop), fresh=options.fresh).save(), faults)  # type: ignore[misc]
    records.cache_clear()
    for name in names:
        attempt(name, lambda name=name: PICTURES[name].make(shop, DOCS / name), faults)  # type: ignore[misc]
    for page, text in texts():
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
            print(f"{page.relative_to(ROOT).as_posix()}: written")
    if not options.only:
        lost = [name for name in PICTURES if not (DOCS / name).is_file()]
        faults += [
            f"{name}: missing; `python -m scripts.figures --only {name}{' --data DIR' * (PICTURES[name].source == 'recordings')}` makes it ({PICTURES[name].cost})"
            for name in lost
        ]
    return faults


def check(options: argparse.Namespace, shop: Workshop) -> list[str]:
    """Where what is made now differs from what is committed."""
    faults: list[str] = []
    for page, text in texts():
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            faults.append(
                f"{page.relative_to(ROOT).as_posix()}: not as the records have it; run `python -m scripts.figures`"
            )
    faults += [
        f"docs/{name}: nobody makes it; add it to scripts/figures/pictures.py"
        for name in present()
        if name not in PICTURES and not elsewhere(name)
    ]
    studies, names = chosen(options)

    def again(name: str) -> None:
        study, old = STUDIES[name], records()[name]
        new = filled(old, places(shop), fresh=True)
        for table in new.tables:
            found = differences(old.tables[table], new.tables[table], relative=study.relative, absolute=study.absolute)
            faults.extend(f"docs/measured/{name}.json, {table}: {difference}" for difference in found)

    for name in studies:
        attempt(name, lambda name=name: again(name), faults)  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as scratch:

        def compared(name: str) -> None:
            if not (DOCS / name).is_file():
                faults.append(f"docs/{name}: missing")
                return
            made = Path(scratch) / name
            PICTURES[name].make(shop, made)
            if told := unlike(DOCS / name, made, mean=PICTURES[name].mean, worst=PICTURES[name].worst):
                faults.append(f"docs/{name}: {told}")

        for name in names:
            attempt(name, lambda name=name: compared(name), faults)  # type: ignore[misc]
    faults += [f"docs/{name}: missing" for name in PICTURES if name not in names and not (DOCS / name).is_file()]
    return faults


def main() -> None:
    options = parse()
    if options.list:
        print(listed())
        return
    shop = Workshop(WORK, options.data.resolve() if options.data else None)
    faults = (check if options.check else write)(options, shop)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
