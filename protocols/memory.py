"""The C library's memory: a process that frees memory in every step has to request it again in the next one."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # parameters of mallopt(3)


def keep_memory() -> None:
    """Let glibc keep freed memory (other C libraries ignore it).

    Image gradients allocate and free the same blocks in every step; kept memory makes them twice as fast.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
