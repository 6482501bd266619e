"""Mutation testing of `evaluate`, the metrics, the trial design and the constraints: how many small faults do the tests notice?

    pip install -e ".[dev,mutation]"
    python scripts/mutation.py                          # all four areas
    python scripts/mutation.py metrics --survivors      # one area, with the differences nobody noticed
    python scripts/mutation.py --sample 200 --seed 1    # of every area 200 faults drawn at random: an estimate
    python scripts/mutation.py metrics --json out.json  # also for a later --again out.json, which repeats the survivors only

The faults are those of mutmut (operators, comparisons, numbers, strings, missing and empty arguments, conditions, assignments), made
in every function and method of an area's modules, those with decorators included. The tests of the area are collected once; a first
run notes which test executes which line. Then each mutant lives in a forked process of its own, in which the code of one function is
replaced: the tests that execute the faulty statement run there, until one fails. Tests marked `slow` are left out. A mutant that no
test executes survives; one that takes over three times the processor time of its tests, or too much memory, counts as noticed ("timeout").
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from mutants import ROOT, Mutant, apply, mutants_of

AREAS = {  # name: (modules, tests)
    "metrics": (["encoders/metrics.py"], ["tests/encoders/test_metrics*.py"]),
    "constraints": (
        [
            "synth/constraints/exact.py",
            "synth/constraints/limits.py",
            "synth/constraints/solve.py",
            "synth/constraints/quantise.py",
        ],
        ["tests/synth/constraints/test_*.py", "tests/scripts/test_constraint_exactness.py"],
    ),
    "design": (["protocols/rounds/order.py"], ["tests/protocols/rounds/test_order*.py"]),
    "evaluate": (
        [
            "protocols/verdict/evaluate.py",
            "protocols/verdict/checks.py",
            "protocols/verdict/summary.py",
            "protocols/verdict/scores.py",
            "protocols/verdict/reference.py",
            "protocols/verdict/gain.py",
            "protocols/verdict/objectives.py",
            "protocols/verdict/headline.py",
            "protocols/stats/permutation.py",
            "protocols/stats/choice.py",
            "protocols/stats/joint.py",
            "protocols/stats/selectivity.py",
            "protocols/stats/reach.py",
            "protocols/stats/intervals.py",
            "protocols/stats/trials.py",
        ],
        [
            "tests/protocols/verdict/test_evaluate*.py",
            "tests/protocols/verdict/test_checks.py",
            "tests/protocols/verdict/test_scores.py",
            "tests/protocols/verdict/test_reference.py",
            "tests/protocols/verdict/test_gain.py",
            "tests/protocols/verdict/test_objectives.py",
            "tests/protocols/verdict/test_headline.py",
            "tests/protocols/stats/test_permutation*.py",
            "tests/protocols/stats/test_choice.py",
            "tests/protocols/stats/test_selectivity.py",
            "tests/protocols/stats/test_reach.py",
            "tests/protocols/stats/test_intervals*.py",
            "tests/protocols/stats/test_trials.py",
        ],
    ),
}
MEMORY = 4 << 30  # bytes of address space that a mutant may take beyond the parent's
OUTCOMES = ("killed", "timeout", "survived")


# --- the tests ---------------------------------------------------------------------------------------------------------


class Watcher:
    """A pytest plugin that runs the collected tests in forked processes; see the head of this file."""

    def __init__(self, mutants: Sequence[Mutant], report: Callable[[Mutant, str, str], None]) -> None:
        self.mutants, self.report = mutants, report
        self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        self.failed |= report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests that a mutant concerns, mutant by mutant."""
        covered, seconds = self._measure(session.items)
        killers: dict[str, Counter[int]] = {}
        for mutant in self.mutants:
            first, last = mutant.lines
            path = str(ROOT / (mutant.module.replace(".", "/") + ".py"))
            tests = [i for i, lines in covered.items() if any((path, n) in lines for n in range(first, last + 1))]
            history = killers.setdefault(mutant.name.split("#")[0], Counter())
            tests.sort(key=lambda i: (-history[i], seconds[i]))
            outcome, killer = self._try(mutant, [session.items[i] for i in tests], sum(seconds[i] for i in tests))
            if killer >= 0:
                history[tests[killer]] += 1
            self.report(mutant, outcome, session.items[tests[killer]].nodeid if killer >= 0 else "")
        return True

    def _measure(self, items: Sequence[pytest.Item]) -> tuple[dict[int, set[tuple[str, int]]], dict[int, float]]:
        """Lines that each test executes, its fixtures included, and its processor time; in a fork, which leaves no trace."""
        files = {str(ROOT / (m.module.replace(".", "/") + ".py")) for m in self.mutants}

        def measure(send: Callable[[Any], None]) -> None:
            for item in items:
                lines: set[tuple[str, int]] = set()
                sys.settrace(_tracer(files, lines))
                start = time.process_time()
                self._run(item, None)
                sys.settrace(None)
                if self.failed:
                    raise SystemExit(f"{item.nodeid} fails without any fault")
                send([sorted(lines), time.process_time() - start])

        answers, status = _forked(measure, math.inf)
        if status:
            raise SystemExit(f"{items[len(answers)].nodeid} fails without any fault")
        return {i: {(p, n) for p, n in a[0]} for i, a in enumerate(answers)}, {i: a[1] for i, a in enumerate(answers)}

    def _try(self, mutant: Mutant, items: Sequence[pytest.Item], seconds: float) -> tuple[str, int]:
        """Outcome, and which of `items` noticed."""
        if not items:
            return "survived", -1

        def run(send: Callable[[Any], None]) -> None:
            memory = resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, memory))
            apply(mutant)
            for i, item in enumerate(items):
                self._run(item, items[i + 1] if i + 1 < len(items) else None)
                if self.failed:
                    send(i)
                    return

        answers, status = _forked(run, 3 * seconds + 3)
        if answers:
            return "killed", int(answers[0])
        return ("survived" if status == 0 else "timeout" if os.WIFSIGNALED(status) else "killed"), -1

    def _run(self, item: pytest.Item, following: pytest.Item | None) -> None:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _forked(work: Callable[[Callable[[Any], None]], None], limit: float) -> tuple[list[Any], int]:
    """What `work` sends, line by line, and how its process ended; it may take `limit` seconds of processor time."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if limit < math.inf:
            signal.setitimer(signal.ITIMER_PROF, limit)
        try:
            work(lambda message: _send(writing, message))
        except BaseException:  # whatever a mutant raises, it is noticed
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answers = [json.loads(line) for line in pipe if line.endswith("\n")]
    return answers, os.waitpid(child, 0)[1]


def _send(pipe: int, message: Any) -> None:
    data = (json.dumps(message) + "\n").encode()
    while data:
        data = data[os.write(pipe, data) :]


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _tracer(files: set[str], lines: set[tuple[str, int]]) -> Any:
    def local(frame: types.FrameType, event: str, _: Any) -> Any:
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return local

    return lambda frame, event, _: local if frame.f_code.co_filename in files else None


# --- the table ---------------------------------------------------------------------------------------------------------


def run_area(
    area: str,
    rows: list[dict[str, Any]],
    *,
    survivors: bool,
    sample: int | None,
    seed: int,
    again: Sequence[dict[str, Any]] | None,
) -> None:
    """Add one row per mutant to `rows`: area, name, outcome, difference."""
    modules, patterns = AREAS[area]
    mutants = [m for path in modules for m in mutants_of(path)]
    if sample is not None and sample < len(mutants):
        chosen = set(random.Random(seed).sample(range(len(mutants)), sample))
        mutants = [m for i, m in enumerate(mutants) if i in chosen]
    if again is not None:
        wanted = {(r["name"], r["difference"]) for r in again if r["outcome"] == "survived"}
        mutants = [m for m in mutants if (m.name, m.difference()) in wanted]

    def report(mutant: Mutant, outcome: str, test: str) -> None:
        rows.append(
            {
                "area": area,
                "module": mutant.module,
                "name": mutant.name,
                "outcome": outcome,
                "test": test,
                "difference": mutant.difference(),
            }
        )
        if sys.stderr.isatty():
            print(f"\r{area}: {len(mutants)} mutants, {len(rows)} tried in all", end="", file=sys.stderr)
        if survivors and outcome == "survived":
            print(f"{mutant.name}, line {mutant.lines[0]}\n{mutant.difference()}", flush=True)

    files = sorted(str(p) for pattern in patterns for p in ROOT.glob(pattern))
    options = ["-q", "-s", "-p", "no:cacheprovider", "--assert=plain", "--tb=no", "--no-header", "--no-summary", "-m", "not slow and not gpu"]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        status = pytest.main([*options, f"--basetemp={folder}/tests", *files], plugins=[Watcher(mutants, report)])
    if status:
        raise SystemExit(f"the tests of {area} could not be run (pytest ended with {status!r})")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Counts by area and module, as a table of Markdown."""
    groups: dict[str, Counter[str]] = {}
    for row in rows:
        module = row["module"]
        for key in (row["area"], f"{row['area']}: {module}"):
            groups.setdefault(key, Counter())[row["outcome"]] += 1
    lines = ["| module | mutants | killed | timeout | survived | noticed |", "| --- | --- | --- | --- | --- | --- |"]
    for key, count in groups.items():
        share = 100 * (1 - count["survived"] / count.total())
        numbers = " | ".join(str(count[outcome]) for outcome in OUTCOMES)
        lines.append(f"| {key} | {count.total()} | {numbers} | {share:.1f} % |")
    return "\n".join(lines)


def estimates(rows: Sequence[dict[str, Any]]) -> str:
    """Per area: how many of those tried were noticed, with Wilson's 95 % interval, and how many mutants there are in all."""
    from protocols.stats.intervals import wilson_interval  # not before: it is mutated itself

    lines = []
    for area in dict.fromkeys(row["area"] for row in rows):
        noticed = [row["outcome"] != "survived" for row in rows if row["area"] == area]
        low, high = wilson_interval(sum(noticed), len(noticed))
        every = sum(len(mutants_of(path)) for path in AREAS[area][0])
        lines.append(
            f"{area}: {sum(noticed)} of {len(noticed)} noticed, {100 * sum(noticed) / len(noticed):.1f} %, "
            f"95 % interval {100 * low:.1f}-{100 * high:.1f} %, of {every} mutants in all"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", help=", ".join(AREAS))
    parser.add_argument("--survivors", action="store_true", help="print every difference that no test noticed")
    parser.add_argument("--sample", type=int, help="try this many mutants of every area, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--json", type=Path, help="write one row per mutant")
    parser.add_argument("--again", type=Path, help="repeat only the survivors of this earlier --json")
    arguments = parser.parse_args()
    if unknown := set(arguments.areas) - set(AREAS):
        parser.error(f"unknown areas {sorted(unknown)}; known: {', '.join(AREAS)}")
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: threads do not survive a fork
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    hypothesis.settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    )
    hypothesis.settings.load_profile("mutation")
    earlier = json.loads(arguments.again.read_text()) if arguments.again else None
    rows: list[dict[str, Any]] = []
    try:
        for area in arguments.areas or AREAS:
            run_area(
                area, rows, survivors=arguments.survivors, sample=arguments.sample, seed=arguments.seed, again=earlier
            )
    finally:
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
        print(table(rows))
        print(estimates(rows))


if __name__ == "__main__":
    main()
