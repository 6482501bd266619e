"""Progress for people: a bar on a terminal, one line a finished step elsewhere, nothing where quiet is asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

Reporter = Callable[[str, int, int], None]


class Progress:
    """A callable ``(label, done, total)`` that draws one bar a label on a terminal and prints one line a label elsewhere.

    Parameters
    ----------
    stream : text stream, default standard error
        Where to write; the results themselves go to standard output.
    quiet : bool
        Write nothing.
    """

    WIDTH = 28

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.quiet = quiet
        self.started: dict[str, float] = {}
        self.drawn = 0.0

    def __call__(self, label: str, done: int, total: int) -> None:
        """Report that `done` of `total` parts of the step `label` are finished."""
        if self.quiet:
            return
        now = time.monotonic()
        begun = self.started.setdefault(label, now)
        finished = done >= total
        if self.stream.isatty():
            if finished or now - self.drawn > 0.1:
                self.drawn = now
                filled = self.WIDTH * done // max(total, 1)
                bar = "#" * filled + "." * (self.WIDTH - filled)
                end = "\n" if finished else ""
                self.stream.write(f"\r  {label:<34} [{bar}] {done}/{total}  {now - begun:5.1f} s{end}")
                self.stream.flush()
        elif finished:
            self.stream.write(f"  {label:<34} {done}/{total}  {now - begun:.1f} s\n")
            self.stream.flush()
        if finished:
            self.started.pop(label, None)
