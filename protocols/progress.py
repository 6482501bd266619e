"""Progress for people: a bar on a terminal, one line per finished step elsewhere, nothing where quiet is asked for."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

Reporter = Callable[[str, int, int], None]
"""Called with the label of a step, the parts that are done, and the parts in all."""
T = TypeVar("T")
LISTENER: ContextVar[Reporter | None] = ContextVar("listener", default=None)
"""What `counted` reports to: set by the command line for one command; None: nobody listens."""
SHORT_S = 1.0
"""Steps of `counted` that take less are not worth a word, in seconds."""
NOTE = " | "
"""Between the name of a step in a label, which stays, and what is told of it beside the count, which may change."""


def counted(items: Collection[T], label: str) -> Iterator[T]:
    """The `items` one by one; once that takes longer than a moment, `LISTENER` is told how many are done.

    For loops deep inside a stage, which get no reporter of their own: their callers need not know of it.
    """
    report, begun, told = LISTENER.get(), time.monotonic(), 0.0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if report is None or now - begun < SHORT_S:
            continue
        if isinstance(report, Progress):
            report.started.setdefault(label, begun)
        if now - told >= Progress.REFRESH_S or done == len(items):
            report(label, done, len(items))
            told = now


class Progress:
    """A callable ``(label, done, total)`` that draws a bar on a terminal, and prints one line per finished label
    everywhere.

    What stands behind `NOTE` in a label may change while the step goes on. The bar is that of the label that was
    reported last. rich draws it, and is imported with the first bar.

    Parameters
    ----------
    stream : text stream, default standard error
        Where to write; the results themselves go to standard output.
    quiet : bool
        Write nothing.
    told : callable, optional
        Also called with every report: what tells others how far the step is.
    """

    WIDTH = 28
    """Characters of a bar."""
    REFRESH_S = 0.1
    """Least time between two drawings of a bar, in seconds."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, told: Reporter | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.quiet = quiet
        self.told = told
        self.started: dict[str, float] = {}
        self.drawn = 0.0
        self.bars: Bars | None = None
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Report that `done` of `total` parts of the step `label` are finished."""
        if self.told is not None:
            self.told(label, done, total)
        if self.quiet or self.stream.closed:
            return
        now = time.monotonic()
        name, _, note = label.partition(NOTE)
        begun = self.started.setdefault(name, now)
        finished = done >= total
        line = f"  {name:<34} {note or f'{done}/{total}'}  {now - begun:.1f} s"
        if finished:
            self.started.pop(name)
        if self.stream.isatty():
            self._draw(label, done, total, line=line if finished else "")
        elif finished:
            self.stream.write(f"{line}\n")
            self.stream.flush()

    def _draw(self, label: str, done: int, total: int, *, line: str) -> None:
        """Move the bar of `label`; with its finished `line`, print that above the bar and remove the bar."""
        bars = self.bars = self.bars or self._begin()
        name = label.partition(NOTE)[0]
        if name not in self.tasks:
            self.tasks[name] = bars.add_task(label, total=total)
        for other, task in self.tasks.items():
            bars.update(task, visible=other == name)
        bars.update(self.tasks[name], description=label, completed=done, total=total)
        if line:
            from rich.text import Text

            bars.remove_task(self.tasks.pop(name))
            bars.console.print(Text(line), no_wrap=True, overflow="ellipsis")
            if not self.tasks:
                self.close()
        elif time.monotonic() - self.drawn > self.REFRESH_S:
            self.drawn = time.monotonic()
            bars.refresh()

    def _begin(self) -> Bars:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("  {task.description:<34}", markup=False),
            BarColumn(self.WIDTH),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        console = Console(file=self.stream)
        bars = Bars(
            *columns,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # results go to standard output as they are
            redirect_stderr=False,
        )
        bars.start()
        atexit.register(self.close)
        return bars

    def close(self) -> None:
        """Remove the bar and give the terminal back; the next report begins a new bar."""
        if self.bars is not None:
            self.bars.stop()
            self.bars = None
            self.tasks.clear()
            atexit.unregister(self.close)
