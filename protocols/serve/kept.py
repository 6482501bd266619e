"""Answers that are built once per change of the project, whoever asks and how often: one reader at a time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

__all__ = ["Answer", "Kept", "Stamp"]


class Stamp:
    """What changes with a project, looked at once in `every_s` seconds, whoever asks."""

    def __init__(
        self, look: Callable[[], str], *, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.look, self.every_s, self.clock = look, every_s, clock
        self._known: tuple[str, float] | None = None
        self._looking = threading.Lock()

    def __call__(self) -> str:
        """The stamp."""
        with self._looking:
            if self._known is None or self.clock() - self._known[1] >= self.every_s:
                at = self.clock()  # what changes while it is looked at is seen the next time
                self._known = (self.look(), at)
            return self._known[0]

    def forget(self) -> None:
        """Look again when it is asked for."""
        with self._looking:
            self._known = None


@dataclass(frozen=True)
class Answer:
    """Bytes, their digest (the ETag), the stamp that they were built at, and when that was looked at."""

    data: bytes
    tag: str
    stamp: str
    looked: float


class Kept:
    """Built answers by key, at most `most` of them.

    An answer younger than `every_s` is given as it is. An older one is built again only where the stamp changed; while
    somebody does that, others get the old one, unless it is older than `old_s`.

    Parameters
    ----------
    stamp : callable
        What changes with all that answers are built from.
    every_s, old_s : float
    most : int
    clock : callable
    """

    def __init__(
        self,
        stamp: Callable[[], str],
        *,
        every_s: float = 1.0,
        old_s: float = 10.0,
        most: int = 64,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stamp, self.every_s, self.old_s, self.most, self.clock = stamp, every_s, old_s, most, clock
        self._answers: OrderedDict[Hashable, Answer] = OrderedDict()
        self._reading, self._guard = threading.Lock(), threading.Lock()
        self._forgotten = 0
        self.built = 0

    def fresh(self, key: Hashable) -> Answer | None:
        """The answer where nothing need be looked at; None else."""
        with self._guard:
            found = self._answers.get(key)
        return found if found is not None and self.clock() - found.looked < self.every_s else None

    def get(self, key: Hashable, build: Callable[[str], tuple[bytes, str]]) -> Answer:
        """The answer for `key`; `build` gets the stamp and gives its bytes and their digest."""
        if (found := self.fresh(key)) is not None:
            return found
        with self._guard:
            old = self._answers.get(key)
        usable = old is not None and self.clock() - old.looked < self.old_s
        if not self._reading.acquire(blocking=not usable):
            assert old is not None
            return old
        try:
            if (found := self.fresh(key)) is not None:
                return found
            return self._renewed(key, build)
        finally:
            self._reading.release()

    def _renewed(self, key: Hashable, build: Callable[[str], tuple[bytes, str]]) -> Answer:
        looked, stamp = self.clock(), self.stamp()
        with self._guard:
            old, known = self._answers.get(key), self._forgotten
        if old is not None and old.stamp == stamp:
            new = replace(old, looked=looked)
        else:
            self.built += 1
            data, tag = build(stamp)
            new = Answer(data, tag, stamp, looked)
        with self._guard:
            if known == self._forgotten:  # else it may be older than what was forgotten for
                self._answers[key] = new
                self._answers.move_to_end(key)
                while len(self._answers) > self.most:
                    self._answers.popitem(last=False)
        return new

    def forget(self) -> None:
        """Build everything again when it is asked for: what was written here must be seen at once."""
        with self._guard:
            self._answers.clear()
            self._forgotten += 1
