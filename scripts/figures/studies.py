"""The studies that fill a record by themselves: their commands, how their output is read, and what may differ when they run again."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from . import benchmarks, readers, recorded
from .readers import Outcome, Reader
from .records import ROOT, Record
from .tables import Table
from .workshop import Missing, Workshop, environment, stamp

WORK = ROOT / "build" / "figures"
"""Where studies and pictures are made; not tracked."""
DATA = "v4_cowley2023"
TAILS = tuple((kind, site) for kind in ("suppress", "stretch") for site in ("v4_027", "v4_005", "v4_034", "v4_023"))
"""Objectives of docs/suppress.md."""
STRONGEST = tuple(("stretch", site) for site in ("v4_023", "v4_036", "v4_041", "v4_049"))
"""Objectives of docs/search.md."""


@dataclass(frozen=True)
class Study:
    """How a record is filled.

    Attributes
    ----------
    steps : tuple of str
        Commands; `{data}` is the folder of the recordings, `{shared}` the one above it, `{work}` a folder of the study that is kept, so that a
        study which resumes goes on, `{v4}` the project of recording 210325, `{natural_search}` the folder of that study, which is run first.
        A command of stimsynth runs beside that project.
    read : Reader
        From the output to the tables.
    when : str
        "check" (seconds: run by `--check` too), "quick" (minutes) or "all".
    relative, absolute : float
        What a number may differ by when the record is checked.
    stay : tuple of str
        First cells of rows that the study does not print, which stay as they are.
    partial : bool
        Whether the reader takes rows or columns from the old record.
    """

    steps: tuple[str, ...]
    read: Reader
    when: str = "all"
    relative: float = 0.0
    absolute: float = 0.0
    stay: tuple[str, ...] = ()
    partial: bool = False


def _study(name: str, words: str = "") -> str:
    return f"python scripts/studies/{name}.py {words}".strip()


NETWORKS = (
    _study("v4_fine_tuning", "--data {data} --sessions 210224 210225 --save {work}/networks/201025"),
    _study("v4_fine_tuning", "--data {data} --sessions 201025 210224 --save {work}/networks/210225"),
)
"""Networks of other recordings, for arms of v4_control that begin with them."""
STUDIES: dict[str, Study] = {
    "selectivity": Study(
        (_study("selectivity_weights", "--pairs 1500"),), readers.printed_tables("weights"), when="check", absolute=0.3
    ),
    "planner": Study((_study("planner_check"),), readers.planner, when="quick", absolute=0.02, relative=0.03),
    "spectrum_start": Study((_study("spectrum_start"),), readers.spectrum, when="quick", relative=0.05),
    "calibration": Study((_study("verdict_calibration"),), readers.printed_tables("questions"), absolute=0.1),
    "suppress": Study(
        (_study("suppress_calibration", "--experiments 400"),), readers.printed_tables("questions"), absolute=0.1
    ),
    "interim": Study(
        (
            _study("interim_calibration", '--rounds 400 --powered 140 --only "one look"'),
            _study("interim_calibration", '--rounds 400 --powered 0 --only "one look, other seeds"'),
            _study("interim_calibration", '--rounds 400 --powered 60 --only "two looks"'),
        ),
        readers.interim,
        absolute=0.1,
    ),
    "scale": Study(
        (_study("scale"),),
        readers.scale,
        relative=1.0,
        stay=(
            "`stimsynth evaluate`, stretch and one-hot, without the start of Python",
            "the page of such a round, without the start of Python (about 2.5 s)",
        ),
    ),
    "prior_quality": Study(
        (_study("prior_quality", "--out {work}"),), readers.printed_tables("statistics", "errors"), absolute=0.02
    ),
    "two_days": Study((_study("v4_two_days", "{data}"),), readers.printed_tables("sites"), absolute=0.02),
    "pairing": Study(
        (_study("pairing_check", "--data {data} --out {work}"),),
        readers.printed_tables("simulated", "recordings"),
        absolute=0.02,
    ),
    "generators": Study(
        (
            _study("v4_benchmark", "--data {data} --out {work}/V4"),
            _study(
                "v4_generators",
                "--benchmark {work}/V4 --photographs {shared}/imagenet_sample_1000/images --out {work}/out --seeds 2 --objectives stretch "
                '--arms "gradient,gradient matched,natural,unguided"',
            ),
        ),
        readers.generators,
        relative=0.05,
    ),
    "rounds": Study(
        (_study("v4_rounds", "--data {data} --out {work} --seeds 0,1,2 --jobs 2"),), benchmarks.rounds, relative=0.02
    ),
    "control_draws": Study(
        (
            *(_study("v4_benchmark", f"--data {{data}} --seed {seed} --out {{work}}/V4_{seed}") for seed in range(3)),
            *NETWORKS,
            *(
                _study(
                    "v4_control",
                    f"--benchmark {{work}}/V4_{seed} --out {{work}}/control_{seed} --networks {{work}}/networks "
                    '--arms "photographs,1/f baseline,Bashivan 2019,one readout,default final,by a project final,other days final"',
                )
                for seed in range(3)
            ),
            _study("v4_control_draws", "{work}/control_0 {work}/control_1 {work}/control_2 --json"),
        ),
        benchmarks.control_draws,
        relative=0.02,
    ),
    "control_parts": Study(
        (
            _study("v4_benchmark", "--data {data} --out {work}/V4"),
            *NETWORKS,
            _study("v4_control", "--benchmark {work}/V4 --out {work}/control --networks {work}/networks"),
        ),
        benchmarks.control_parts,
        relative=0.05,
    ),
    "families": Study(
        (
            _study("v4_benchmark", "--data {data} --out {work}/V4"),
            _study(
                "v4_control",
                "--benchmark {work}/V4 --out {work}/control --sessions 210225 --sites 12 "
                '--arms "by a project final,ridge on tuned final,families final"',
            ),
        ),
        benchmarks.families,
        relative=0.05,
    ),
    "benchmark": Study(
        (_study("v4_benchmark", "--data {data} --out {work}/V4 --repeats 24"),),
        benchmarks.truth,
        relative=0.05,
        partial=True,
    ),
    "verdicts_v4": Study(
        tuple(
            _study(
                "v4_benchmark",
                f"--data {{data}} --seed {seed} --out {{work}}/V4_{session}_{seed} --sessions {session} --sites 40 --effort full",
            )
            for session, seed in (("210225", 0), ("210225", 1), ("201025", 0))
        ),
        benchmarks.defaults,
        relative=0.05,
    ),
    "readouts": Study(
        (
            _study("v4_readouts", "--data {data} --out {work} --sessions 210325"),
            _study("v4_readouts", "--data {data} --out {work} --sessions 210225 201025 --only ridge factorised"),
        ),
        readers.printed_text("printed", begins="recording"),
        relative=1.0,
    ),
    "uncertainty": Study(
        (_study("v4_uncertainty", "--data {data}"),), readers.printed_text("printed", begins="50 sites"), absolute=0.5
    ),
    "few_shot": Study(
        (
            _study("v4_few_shot", "--data {data}"),
            _study("v4_few_shot", "--data {data} --known-from 201025 --sessions 210225 210325"),
        ),
        readers.printed_text("same_day", "other_day", begins="session"),
        relative=1.0,
    ),
    "fine_tuning": Study((_study("v4_fine_tuning", "--data {data}"),), readers.tunings, relative=1.0),
    "seed_dropping": Study(
        (
            _study("v4_benchmark", "--data {data} --out {work}/V4 --sessions 201025"),
            _study("seed_dropping", "--benchmark {work}/V4"),
        ),
        readers.dropped,
        absolute=0.03,
    ),
    "evolution_published": Study(
        (
            _study("evolution_published", "--out {work}/later.json --units 6 --runs 1"),
            _study("evolution_published", "--out {work}/earlier.json --layer blocks.1 --noise 0.5 --units 8 --runs 1"),
        ),
        readers.published,
        absolute=0.02,
    ),
    "speed": Study(
        ("python scripts/bench.py --rows lite0_px lite0_full res18_px res18_full alex_px alex_full loop --repeats 5",),
        readers.benched("speed", "steps"),
        absolute=0.3,
    ),
    "fits": Study(
        ("python scripts/bench.py --rows ridge himalaya factorised --repeats 7",),
        readers.benched("fits", "peers", joined="now"),
        absolute=0.6,
    ),
    "guided_step": Study(
        ("python scripts/bench.py --rows guided guided_fast guided_112 fast_112 --repeats 5",),
        readers.benched("guided_step", "cost"),
        absolute=0.5,
    ),
    "evolution_rig": Study(
        (_study("evolution_rig", "--data {data} --out {work}"),), readers.control_of_sites, absolute=0.02
    ),
    "controversial": Study(
        ("stimsynth controversial v4 --out apart --steps 40",), readers.spoken("printed", 3), absolute=0.2
    ),
    "triplets": Study(("stimsynth triplets v4 --out triplets",), readers.spoken("printed", 3), absolute=0.02),
    "levels": Study(
        ("stimsynth accentuate v4 --out levels --sites v4_020",), readers.spoken("printed", 2), absolute=5.0
    ),
    "simple": Study(
        (
            "stimsynth generate v4 --out controllers",
            "stimsynth simplify v4 --batch controllers --out simple --sites v4_020,v4_042",
        ),
        readers.simplest,
        relative=0.1,
    ),
    "suppress_tails": Study(
        ("stimsynth generate v4 --wanted tails.toml --out tails --steps 25",), readers.tails, absolute=0.2
    ),
    "natural_search": Study(
        (_study("natural_search", "{v4} --shared {shared} --out {work}"),), readers.search, absolute=0.02
    ),
    "solvers": Study(
        ("python -m scripts.studies.guided_gaussian",), readers.printed_tables("gaussian"), when="quick", absolute=0.002
    ),
    "memory": Study(
        ("python -m scripts.studies.table_memory",), readers.memory, when="quick", absolute=0.05, partial=True
    ),
    "library": Study(
        (
            "stimsynth generate v4 --out strongest --generator search --library {natural_search}/library "
            "--index {natural_search}/index --wanted strongest.toml --seeds 8",
        ),
        recorded.library,
        absolute=0.02,
    ),
    "metamers": Study(
        ("stimsynth invariance v4 --out metamers --kind metamers --photographs 2 --count 4 --steps 150",),
        recorded.metamers,
        absolute=0.02,
    ),
    "mutation": Study(
        ("python scripts/mutation.py metrics --sample 40 --seed 1",), readers.mutation, absolute=5.0, partial=True
    ),
    "quality": Study(
        tuple(
            f"python scripts/bench_quality.py --peers --photographs 300 --sites {draw} "
            '--only "ours, best photograph" quick "quick, shifted"'
            for draw in range(3)
        ),
        readers.quality,
        relative=0.3,
    ),
    "tuning": Study(
        ("stimsynth generate v4 --out controllers", "stimsynth tuning v4 --batch controllers --out all_series"),
        recorded.tuning,
        relative=0.1,
    ),
    "evolution_benchmark": Study(
        (_study("evolution_benchmark", "--data {data} --out {work} --generations 25"),), recorded.evolved, absolute=0.05
    ),
    "invariance_truth": Study(
        (_study("invariance_v4", "--data {data} --out {work}"),), recorded.invariant, absolute=2.0
    ),
    "synthesised": Study(
        (
            _study("v4_synthesised", "--data {data} --make-trunk {work}/trunks --cache {work}/cache"),
            _study(
                "v4_synthesised",
                "--data {data} --trunk {work}/trunks --cache {work}/cache --rows default tuned full two_networks_ridge trunk_population",
            ),
        ),
        recorded.synthesised,
        absolute=0.02,
        partial=True,
    ),
    "discriminative": Study(
        (_study("discriminative_v4", "--data {data} --out {work}/discriminative.json --seeds 1"),),
        recorded.discriminative,
        absolute=0.02,
    ),
    "predictivity": Study(
        (_study("v4_predictivity", "--data {data} --random --json {work}/predictivity.json"),),
        recorded.predictivity,
        absolute=0.003,
    ),
}
"""Studies whose output fills their record. The record of earlier_networks was taken from its page: no command prints its errors together."""


def arguments(step: str, places: dict[str, Path]) -> list[str]:
    """A command as a list of words, `python` being the one that runs this."""
    words = [word.format_map(places) for word in shlex.split(step)]
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def run(name: str, places: dict[str, Path], *, fresh: bool = False) -> Outcome:
    """Run the commands of a study that have not been run yet, and keep what they print.

    Raises
    ------
    RuntimeError
        Where a command ends with another code than 0, with its last words; what it printed is kept as STEP.failed.
    """
    folder = WORK / "studies" / name
    folder.mkdir(parents=True, exist_ok=True)
    own = places | {"work": folder, "natural_search": WORK / "studies" / "natural_search"}
    printed, measured = [], ""
    for number, step in enumerate(STUDIES[name].steps):
        kept = folder / f"printed_{number}.txt"
        done = folder / f"printed_{number}.command"
        if step.startswith("stimsynth "):
            shop = Workshop(WORK, places.get("data"))
            if "{natural_search}" in step:
                _library_of(places)
            words = [word.format_map(own) for word in shlex.split(step)[1:]]
            folder = shop.v4()
            shop.wanted(folder, "tails.toml", *TAILS)
            shop.wanted(folder, "strongest.toml", *STRONGEST)
            printed.append(shop.stimsynth(folder, *words))
            measured = shop.stamp_of(folder, *words)
            continue
        if "{v4}" in step:
            Workshop(WORK, places.get("data")).v4()
        if any(f"{{{name}}}" in step and name not in places for name in ("data", "shared", "v4")):
            raise Missing("recordings: pass --data with the folder v4_cowley2023")
        words = arguments(step, own)
        if fresh or not done.is_file() or done.read_text(encoding="utf-8") != " ".join(words[1:]):
            ended = subprocess.run(words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, check=False)
            if ended.returncode:
                kept.with_suffix(".failed").write_text(ended.stdout, encoding="utf-8")
                raise RuntimeError(f"{name}: {step} ended with {ended.returncode}: {ended.stdout[-300:]}")
            kept.write_text(ended.stdout, encoding="utf-8")
            done.write_text(" ".join(words[1:]), encoding="utf-8")
            kept.with_suffix(".measured").write_text(stamp(), encoding="utf-8")
        measured = kept.with_suffix(".measured").read_text(encoding="utf-8")
        printed.append(kept.read_text(encoding="utf-8"))
    return Outcome(printed, folder, measured)


def _library_of(places: dict[str, Path]) -> None:
    """Index the library of photographs, where it has not been."""
    if "shared" not in places or not (places["shared"] / "imagenet_sample_1000").is_dir():
        raise Missing(f"pictures of ImageNet and BSDS500: pass --data with the folder {DATA} that lies beside them")
    run("natural_search", places)


def filled(record: Record, places: dict[str, Path], *, fresh: bool = False) -> Record:
    """The record as its study gives it now; tables and rows that the study does not print stay."""
    study = STUDIES[record.name]
    tables = dict(record.tables)
    outcome = run(record.name, places, fresh=fresh)
    found = study.read(outcome)
    for name, table in found.items():
        old = tables.get(name)
        if isinstance(old, Table) and isinstance(table, Table):
            rest = tuple(row for row in old.rows if row[0] in study.stay)
            align = old.align if len(old.columns) == len(table.columns) else table.align
            table = replace(table, rows=(*table.rows, *rest), align=align)
        tables[name] = table
    partial = study.partial or study.stay or set(tables) - set(found)
    return replace(record, tables=tables, how="in part" if partial else "rerun", measured=outcome.measured)


def of_kind(kinds: Iterable[str]) -> list[str]:
    """Names of the studies of these kinds, in order."""
    return [name for name, study in STUDIES.items() if study.when in set(kinds)]
