"""What became of a mutated input, judged against an answer that is known by construction; counts per family and kind.

Every case names what is right before the product sees it:

- ``taken``: the product must take it and give the expected result;
- ``refused``: the product must refuse it with a code of `CODES`;
- ``either``: the expected result or a refusal, nothing else;
- ``told``: the expected result with a note that `note` matches, or a refusal.

Another exception, another result, or a refusal that changed a file is a failure.
"""

from __future__ import annotations

import json
import os
import re
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols.errors import CODES, DataError

from .page import promised

RIGHT = ("taken", "refused", "either", "told")


@dataclass(frozen=True)
class Case:
    """A mutated input: `kind` (the mutation), what is `right`, the expected `result`, a `note` that must be there."""

    kind: str
    right: str
    result: Any = None
    note: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        assert self.right in RIGHT, self.right


@dataclass
class Family:
    """The cases of one test and what became of them."""

    name: str
    known: dict[str, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def judge(self, case: Case, run: Callable[[], Any], differs: Callable[[Any, Any], str]) -> bool:
        """Run one case; True where the product took it. `differs` says how a result is not the expected one ("" = equal).

        `run` returns (result, notes).
        """
        self.kinds[case.kind] += 1
        try:
            result, notes = run()
        except DataError as error:
            if error.code not in CODES:
                self.fail(case, f"the code {error.code} is not in CODES")
            elif case.right == "taken":
                self.fail(case, f"good input refused: {error}")
            return False
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            self.fail(case, f"{type(error).__name__} at {place}: {error}")
            return False
        self.taken[case.kind] += 1
        if case.right == "refused":
            self.fail(case, f"taken, must be refused{_told(notes)}")
        elif difference := differs(result, case.result):
            self.fail(case, f"taken with another result: {difference}{_told(notes)}")
        elif case.note and not any(re.search(case.note, note, re.IGNORECASE) for note in notes):
            self.fail(case, f"taken without a note like /{case.note}/{_told(notes)}")
        return True

    def fail(self, case: Case, what: str) -> None:
        """Remember a failure."""
        self.failures.append((case.kind, case.label, " ".join(what.split())[:600]))

    def close(self, *, share: float) -> None:
        """Print the counts; assert that nothing failed, that `share` was taken, and that the page promises no more."""
        total, taken = sum(self.kinds.values()), sum(self.taken.values())
        print(f"\n{self.name}: {total} inputs of {len(self.kinds)} kinds, {taken} taken, {len(self.failures)} wrong")
        if out := os.environ.get("TRUST_OUT"):
            record = {
                "family": self.name,
                "total": total,
                "taken": taken,
                "kinds": self.kinds,
                "failures": self.failures,
            }
            with open(out, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(record) + "\n")
        wrong = [f for f in self.failures if f[0] not in self.known]
        assert not wrong, "\n".join(f"{kind} [{label}]: {what}" for kind, label, what in wrong[:20])
        mended = set(self.known) - {kind for kind, _, _ in self.failures}
        assert not mended, f"these faults are mended: take them out of `known`: {sorted(mended)}"
        assert taken >= share * total, (
            f"{self.name}: only {taken} of {total} inputs were taken; at least {share:.0%} are good"
        )
        assert total >= promised(self.name), (
            f"{self.name}: {total} inputs, docs/trust.md promises {promised(self.name)}"
        )


def _told(notes: list[str]) -> str:
    return f" (notes: {'; '.join(notes)[:200]})" if notes else ""


@dataclass
class Place:
    """A folder that a case may change only as `run` is meant to: its files are remembered and put back."""

    folder: Path
    files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = contents(self.folder)

    def changed(self, now: dict[str, bytes] | None = None) -> list[str]:
        """Files that are new, gone or other than remembered."""
        now = contents(self.folder) if now is None else now
        return sorted(n for n in now.keys() | self.files.keys() if now.get(n) != self.files.get(n))

    def restore(self) -> None:
        """Put the remembered files back and remove all others."""
        now = contents(self.folder)
        for name in self.changed(now):
            path = self.folder / name
            if name in now:
                path.unlink()
            if name in self.files:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.files[name])


def contents(folder: Path) -> dict[str, bytes]:
    """Relative name to bytes of every file in `folder`; of a link, where it points."""
    found = {}
    for top, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(top, name)
            relative = os.path.relpath(path, folder)
            if os.path.islink(path):
                found[relative] = b"->" + os.readlink(path).encode()
            else:
                with open(path, "rb") as handle:
                    found[relative] = handle.read()
    return found
