"""Opening a page in the reader's browser, from a command that must neither wait for it nor hang without a screen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

OPEN = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"
PATIENCE_S = 10.0
"""How long a browser may take to say that it could not be opened; one that runs on is left alone."""
LEFT: list[subprocess.Popen[bytes]] = []
"""Browsers that run on: kept, since Python warns of a process that is forgotten before it ended."""


def has_screen(environment: Mapping[str, str], platform: str) -> bool:
    """Whether a browser can show a page here: a desktop, or a browser that the environment names.

    Without either, Python's `webbrowser` would start a text browser in the terminal and wait for it.
    """
    if platform in ("win32", "darwin", "cygwin"):
        return True
    return any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def opened(url: str, *, patience_s: float = PATIENCE_S) -> bool:
    """Open `url` by a process of its own; False where that cannot be done.

    Parameters
    ----------
    url : str
        An address, or the ``file:`` address of a page.
    patience_s : float
        Seconds to wait for a failure; 0: do not wait, and take it that the page opens.
    """
    if not has_screen(os.environ, sys.platform):
        return False
    nowhere = subprocess.DEVNULL
    try:
        browser = subprocess.Popen(
            [sys.executable, "-c", OPEN, url], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
        )
        return not browser.wait(patience_s)
    except subprocess.TimeoutExpired:
        LEFT.append(browser)
        return True
    except OSError:
        return False
