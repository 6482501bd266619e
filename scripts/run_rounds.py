"""Scripted closed-loop rounds: does what can be done, waits for the rig, goes on; kill it and start it again at any time.

Run: python scripts/run_rounds.py PROJECT [--timeout 36000] [--device cuda]
"""

import argparse

from protocols import Project, run

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("project")
parser.add_argument("--timeout", type=float, default=36_000, help="seconds to wait for the rig before saying so")
parser.add_argument("--device", default="cpu")
given = parser.parse_args()

project = Project.open(given.project)
while (
    state := run(project, timeout_s=given.timeout, device=given.device)
).waiting_for:  # fit, generate, export; ingest ...
    print(state.summary(), flush=True)
    if state.waiting_for != "responses":  # a person must act first
        raise SystemExit(4)
print(state.summary())
