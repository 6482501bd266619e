"""The commands of a page, run as a reader types them."""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
CODE = re.compile(r"#\s*exit (\d+)\s*$")


@contextmanager
def _captured() -> Iterator[io.StringIO]:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        yield out


def commands(page: str | Path) -> list[tuple[str, int]]:
    """Every line of the ```bash blocks of a page that runs stimsynth, and the exit code that is noted behind it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            noted = CODE.search(line)
            if line.strip().startswith("stimsynth "):
                found.append((line.split(" #")[0].strip(), int(noted[1]) if noted else 0))
    return found


def run_page(page: str | Path, folder: Path) -> list[str]:
    """Run the commands of a page in `folder`, one after another, in this process; returns what each printed.

    Parameters
    ----------
    page : path, relative to the repository
    folder : Path
        The working folder, with the files that the page speaks of.
    """
    from protocols.cli.app import main, options

    printed = []
    for line, code in commands(page):
        words = shlex.split(line)
        assert not set(words) & {"|", ">", "&&", ";"}, f"one command per line: {line}"
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(sys, "argv", words)
            with _captured() as out, pytest.raises(SystemExit) as stop:
                main()
        options.update(json=False, quiet=False, verbose=False, device=None, workers=None, executor=None)
        assert int(stop.value.code or 0) == code, f"{page}: {line}\nexit code {stop.value.code}\n{out.getvalue()}"
        printed.append(out.getvalue())
    assert printed, f"{page} has no commands in ```bash blocks"
    return printed
