"""Many who poll a served project at once: how many are answered, how fast, and how often its files are read.

    python scripts/serve_polling.py PROJECT --clients 50 --seconds 60

Each client is a thread with a connection of its own that asks for the status twice a second, as pages do, for the round board after
each answer and for one view after another, while the log of a copy of the project is written to ten times a second. The copy is
made in a temporary folder; the project stays as it is.
"""

from __future__ import annotations

import argparse
import http.client
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

VIEWS = ("board", "log", "decisions", "gallery", "site", "array", "population", "learning")


class Client(threading.Thread):
    """Polls until `end`; keeps seconds and status of every answer."""

    def __init__(self, host: str, token: str, end: float, number: int) -> None:
        super().__init__(daemon=True)
        self.host, self.token, self.end, self.number = host, token, end, number
        self.seconds, self.statuses = list[float](), list[int]()

    def run(self) -> None:
        """Ask again and again."""
        connection, tags = http.client.HTTPConnection(self.host, timeout=60), dict[str, str]()
        turn = self.number
        while time.monotonic() < self.end:
            turn += 1
            begun = time.monotonic()
            for path in ("/api/status", "/api/view/board", f"/api/view/{VIEWS[turn % len(VIEWS)]}"):
                self.ask(connection, path, tags)
            time.sleep(max(0.0, 0.5 - (time.monotonic() - begun)))
        connection.close()

    def ask(self, connection: http.client.HTTPConnection, path: str, tags: dict[str, str]) -> None:
        """One request."""
        begun = time.monotonic()
        headers = {"X-Stimsynth-Token": self.token, "If-None-Match": tags.get(path, "")}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        self.seconds.append(time.monotonic() - begun)
        self.statuses.append(answer.status)
        tags[path] = answer.headers.get("etag", "")


def poll(folder: Path, clients: int, seconds: float) -> str:
    """Serve `folder`, ask, and say what came of it."""
    command = [sys.executable, "-m", "protocols", "--quiet", "serve", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = next(line.strip() for line in server.stdout if line.startswith("http://"))
        host, _, token = url.removeprefix("http://").partition("/?token=")
        end = time.monotonic() + seconds
        asking = [Client(host, token, end, number) for number in range(clients)]
        for client in asking:
            client.start()
        log = next(iter(sorted(folder.glob("sessions/*/round_*/log.jsonl"))), None)
        while time.monotonic() < end:
            if log is not None:
                with log.open("a") as file:
                    file.write('{"utc": "2026-11-21T09:30:00Z", "event": "poll"}\n')
            time.sleep(0.1)
        for client in asking:
            client.join(60)
    finally:
        server.terminate()
        server.wait()
    taken = np.array([s for client in asking for s in client.seconds])
    statuses = [s for client in asking for s in client.statuses]
    good = sum(s in (200, 304) for s in statuses)
    middle, most = np.percentile(taken, [50, 99])
    return (
        f"{clients} clients, {seconds:g} s: {len(statuses)} requests, {good} answered, {len(statuses) - good} not; "
        f"{statuses.count(304)} unchanged; {1000 * middle:.0f} ms in the median, {1000 * most:.0f} ms at 99 %, "
        f"{1000 * taken.max():.0f} ms at most"
    )


def main() -> None:
    """Copy, serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(given.project, copy, ignore=shutil.ignore_patterns("cache"))
        print(poll(copy, given.clients, given.seconds))


if __name__ == "__main__":
    main()
