"""The same readers by coverage-guided fuzzing with atheris, by hand: bytes that reach new lines of the product are kept.

    pip install atheris
    python -m scripts.soak.inputs.guided "MATLAB 7" -max_total_time=60      # further words go to libFuzzer

`make soak` mutates without coverage (`trial`), in bounded time and with known seeds. This looks longer at one reader whose
input is one file, and ends at the first input that is neither read nor refused in words.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

PACKAGES = ("protocols", "encoders", "synth")


def main() -> int:
    """Fuzz the reader that is named first."""
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    atheris: Any = importlib.import_module("atheris")
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=list(PACKAGES)):
        catalogue = importlib.import_module("scripts.soak.inputs.catalogue")
        trial = importlib.import_module("scripts.soak.inputs.trial")
    reader = next(r for r in catalogue.READERS if r.name == name)
    home = Path(tempfile.mkdtemp(prefix="guided-"))
    given = trial.Trial.of(reader, home / "whole")
    (file,) = [n for n in given.whole if not n.endswith("/") and not any(Path(n).match(s) for s in reader.spared)][:1]
    corpus = home / "corpus"
    corpus.mkdir()
    (corpus / "whole").write_bytes(given.whole[file])
    folder = given.fresh()

    def one(data: bytes) -> None:
        (folder / file).write_bytes(data)
        ended, _, why = trial.outcome(reader, folder)
        if ended not in ("read", "refused"):
            raise AssertionError(f"{ended}: {why}")

    atheris.Setup([sys.argv[0], *sys.argv[1:], str(corpus)], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
