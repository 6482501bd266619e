"""What an input may not do: write outside its folder, start a program, open a connection, or open a pickle."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_RUN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "marshal.loads", "ctypes.dlopen",
        "socket.connect", "socket.getaddrinfo", "urllib.Request", "webbrowser.open")  # fmt: skip
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "shutil.rmtree",
    "shutil.move",
)


class Watch:
    """Hears what the interpreter does between `begin` and `end`.

    Parameters
    ----------
    folder : Path
        The only place that may be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.active = os.path.realpath(folder), False
        self.heard: list[str] = []
        sys.addaudithook(self._hear)

    def begin(self) -> None:
        """Listen from now on."""
        self.heard, self.active = [], True

    def end(self) -> list[str]:
        """What was heard and may not be, once each."""
        self.active = False
        return list(dict.fromkeys(self.heard))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
            self._outside("written", arguments[0])
        elif event in _CHANGES:
            self._outside(
                event, arguments[1] if event in ("os.rename", "os.link", "os.symlink", "shutil.move") else arguments[0]
            )
        elif event in _RUN and not (event == "marshal.loads" and "importlib" in _caller()):
            self.heard.append(f"{event} {str(arguments)[:80]}")

    def _outside(self, what: str, path: object) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            real = os.path.realpath(os.fsdecode(path))
            if not real.startswith(self.folder + os.sep) and real != os.devnull and "__pycache__" not in real:
                self.heard.append(f"{what} {real[:120]}")


def _caller() -> str:
    frame, names = sys._getframe(2), ""
    for _ in range(6):
        names += frame.f_code.co_filename
        if frame.f_back is None:
            break
        frame = frame.f_back
    return names
