"""Compare what two runs of the loop made: images, order, key and evaluation of every round.

    make demo && cp -r demo before        # then change the code
    stimsynth demo --out after
    python scripts/compare_projects.py before/project after/project

Exit code 0: every PNG is the same byte for byte, and order.csv, sealed/key.csv, sealed/sites.csv and evaluation.json hold the same
text. Times, versions and the day in a session's name are not compared. Exit code 1: the differences are listed.
"""

from __future__ import annotations

import sys
from pathlib import Path

FILES = (
    "outbox/order.csv",
    "outbox/images.csv",
    "sealed/key.csv",
    "sealed/sites.csv",
    "evaluation.json",
    "control.csv",
)


def rounds(project: Path) -> list[Path]:
    """The folders of all rounds, in the order of their numbers."""
    return sorted(project.glob("sessions/*/round_*"), key=lambda folder: folder.name)


def differences(before: Path, after: Path) -> tuple[int, list[str]]:
    """Number of files compared, and one line per file that is missing or differs, of two folders of the same round."""
    names = {
        f"outbox/images/{p.name}" for folder in (before, after) for p in (folder / "outbox" / "images").glob("*.png")
    }
    names |= {name for name in FILES if (before / name).exists() or (after / name).exists()}
    found: list[str] = []
    for name in sorted(names):
        one, other = before / name, after / name
        if not one.exists() or not other.exists():
            found.append(f"{before.name}/{name} exists {'after' if other.exists() else 'before'} only")
        elif one.read_bytes() != other.read_bytes():
            found.append(f"{before.name}/{name} differs")
    return len(names), found


def main(arguments: list[str]) -> int:
    """Compare two project folders; returns the exit code."""
    if len(arguments) != 2:
        print("usage: python scripts/compare_projects.py BEFORE AFTER (two project folders)", file=sys.stderr)
        return 2
    before, after = (rounds(Path(a)) for a in arguments)
    if not before or [r.name for r in before] != [r.name for r in after]:
        print(
            f"rounds {[r.name for r in before]} before, {[r.name for r in after]} after: nothing to compare",
            file=sys.stderr,
        )
        return 1
    compared, found = 0, list[str]()
    for one, other in zip(before, after, strict=True):
        count, lines = differences(one, other)
        compared, found = compared + count, found + lines
    print("\n".join([*found, f"{compared} files of {len(before)} rounds compared, {len(found)} differ"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
