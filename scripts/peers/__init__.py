"""stimsynth beside its peers: `python scripts/bench.py --peers`, and the page that is made of what it measured."""

import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]
for folder in (SCRIPTS, SCRIPTS / "studies"):  # its modules import programs that stand there by their names alone
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
