"""A finished experiment as one folder that is read without stimsynth and can be cited."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json, verify_checksums, write_checksums, write_json
from protocols.disk.tables import read_table
from protocols.errors import DataError
from protocols.packages import package_versions
from protocols.progress import Reporter
from protocols.project.folder import Project, utc_now
from protocols.project.generations.files import Evolution
from protocols.project.outbox import later_orders
from protocols.recordings.readers.hdf5 import read_kept
from protocols.recordings.responses import Responses
from protocols.sharing.finished import Recorded, answered, unfinished
from protocols.sharing.pictures import UNKNOWN, Photographs, is_photograph, photographs_of
from protocols.sharing.place import check_place, place, zipped

from .building import Building
from .citation import Citation
from .columns import ORDER, ROUNDS, control_columns, key_columns, photograph_columns, site_columns
from .readme import licences_text, readme_text
from .tables import cell, images_table, sites_table, trials_table
from .weights import add_encoders

__all__ = ["ArchiveOptions", "archive"]


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions:
    """What the command asks for.

    Attributes
    ----------
    citation : Citation
    partial : bool
        Go on where the project lacks something, and say what.
    with_photographs : bool
        Put photographs of unknown licence in.
    photographs_licence : str
        The licence of the photographs that are not built in; puts them in.
    with_weights : bool
        Put network weights under other licences in.
    as_zip : bool
        One zip archive.
    """

    citation: Citation = field(default_factory=Citation)
    partial: bool = False
    with_photographs: bool = False
    photographs_licence: str = ""
    with_weights: bool = False
    as_zip: bool = False


def archive(
    project: Project, out: Path, options: ArchiveOptions, *, progress: Reporter | None = None
) -> dict[str, Any]:
    """Write the archive of a project to `out`, which appears when it is whole; returns what to tell.

    Raises
    ------
    DataError
        N01 to N08, N16, N17, and those of `verify_outbox` where an outbox was altered. Nothing is left behind.
    """
    options.citation.check()
    check_place(out, project.folder, as_zip=options.as_zip)
    project = project.for_stage()
    missing = unfinished(project)
    if missing and not options.partial:
        raise _unfinished(project, missing)
    rounds = answered(project)
    with (zipped if options.as_zip else place)(out) as folder:
        made = Building(folder=folder, project=project.folder, partial=options.partial, notes=missing)
        fill(made, project, rounds, options=options, progress=progress)
        problems = verify_checksums(folder)
        assert not problems, problems
    return told(out, made, rounds)


def fill(
    made: Building,
    project: Project,
    rounds: list[Recorded],
    *,
    options: ArchiveOptions,
    progress: Reporter | None = None,
) -> None:
    """Put everything into the folder of `made`: the rounds first, the index and the checksums last."""
    photographs = photographs_of(project, options.photographs_licence)
    tables = [(r.number, r.responses) for r in rounds]
    baseline = add_baseline(made, project)
    for number, recorded in enumerate(rounds, start=1):
        add_round(made, recorded, photographs, every=options.with_photographs)
        if progress is not None:
            progress("archive rounds", number, len(rounds))
    made.table("rounds.csv", "One row per round.", (ROUNDS, [_round_row(r) for r in rounds]))
    sites = sites_table([*([(0, baseline)] if baseline is not None else []), *tables])
    made.table("sites.csv", "One row per round and recorded site.", sites)
    made.copy(
        project.data / "natural.csv",
        "photographs.csv",
        "The photographs that the experiment could show.",
        columns=photograph_columns(),
    )
    add_encoders(made, project, with_weights=options.with_weights)
    made.copy(
        project.folder / "project.toml", "project.toml", "The settings of the experiment, with comments.", required=True
    )
    toolkit, environment = package_versions()
    made.json(
        "versions.json",
        {"archived_utc": utc_now(), "archived_with": toolkit | environment, "exported_with": _exported_with(rounds)},
        "Versions of the programs that archived the experiment and that exported each round.",
    )
    finish(made, project, photographs, options=options, rounds=rounds)


def finish(
    made: Building, project: Project, photographs: Photographs, *, options: ArchiveOptions, rounds: list[Recorded]
) -> None:
    """The texts about the archive, its index and its checksums."""
    citation = options.citation
    if citation.missing():
        made.notes.append(f"CITATION.cff is not written: {' and '.join(citation.missing())} not given")
    else:
        made.text("CITATION.cff", citation.cff(), "How to cite these data (Citation File Format 1.2.0).")
    made.text("LICENCES.md", licences_text(made, citation.licence, rounds, photographs=photographs), "Who owns what.")
    name = project.config.project.name
    made.text("README.md", readme_text(made, citation, rounds, name=name), "What every file and column is.")
    about = {"description": f"Closed-loop stimulus synthesis: the experiment {name}."} | citation.package()
    write_json(made.folder / "datapackage.json", made.package(name, about))
    files = [p for p in made.folder.rglob("*") if p.is_file()]
    write_checksums(made.folder, files)


def add_baseline(made: Building, project: Project) -> Responses | None:
    """The baseline that was recorded elsewhere, where there is one."""
    source = project.data / "responses.h5"
    if not source.is_file():
        return None
    responses = read_kept(source)
    about = "a baseline that was recorded elsewhere; image_id is the source_id of photographs.csv"
    made.copy(source, "baseline/trials.h5", f"Trial table of {about} (schema responses/1).", required=True)
    made.table("baseline/trials.csv", f"Trial table of {about}.", trials_table(responses))
    made.copy(project.data / "recording.json", "baseline/recording.json", "What was checked when it was taken.")
    return responses


def add_round(made: Building, recorded: Recorded, photographs: Photographs, *, every: bool) -> None:
    """All files of one round."""
    round_, name = recorded.round_, recorded.name
    made.copy(round_.responses_path, f"{name}/trials.h5", "Trial table as HDF5 (schema responses/1).", required=True)
    made.table(f"{name}/trials.csv", "The same trial table as text.", trials_table(recorded.responses))
    files = add_images(made, recorded, photographs, every=every)
    made.table(f"{name}/images.csv", "One row per image shown.", images_table(recorded, photographs, files=files))
    header = read_table(round_.key_path)[0]
    about = "The unblinded key: what each image is, and what was predicted for it."
    made.copy(round_.key_path, f"{name}/key.csv", about, columns=key_columns(header), required=True)
    made.copy(
        round_.key_path.with_name("sites.csv"),
        f"{name}/sites.csv",
        "The sites frozen at the export, empty in a baseline.",
        columns=site_columns(),
    )
    made.copy(
        round_.outbox / "manifest.json",
        f"{name}/manifest.json",
        "Display, timing, settings and image hashes.",
        required=True,
    )
    made.copy(round_.outbox / "order.csv", f"{name}/order.csv", "The planned trials.", columns=ORDER, required=True)
    for block, path in later_orders(round_.outbox).items():
        about = f"The planned trials from block {block} on, after an interim look."
        made.copy(path, f"{name}/{path.name}", about, columns=ORDER, required=True)
    made.copy(
        round_.ingest_path, f"{name}/ingest.json", "What the check of the responses found and left out.", required=True
    )
    made.copy(round_.log_path, f"{name}/log.jsonl", "What was done when: one JSON record per line.")
    about = "Which images people took out before the export, who and why, and what stands in their place."
    made.copy(round_.sealed / "decisions.json", f"{name}/decisions.json", about)
    about = "The evolution before the round: its course, and which images entered the round."
    made.copy(Evolution(round_).record_path, f"{name}/evolution.json", about)
    if recorded.report is not None:
        made.copy(round_.evaluation_path, f"{name}/evaluation.json", "The verdicts, with every number.", required=True)
        about = "The verdicts, one row per controller."
        made.copy(round_.folder / "control.csv", f"{name}/control.csv", about, columns=control_columns())
        made.copy(round_.drift_path, f"{name}/drift.json", "Gain, offset and identity of each site since the baseline.")
        made.copy(round_.report_path, f"{name}/report.html", "The report of the round, a page without links.")


def add_images(made: Building, recorded: Recorded, photographs: Photographs, *, every: bool) -> dict[str, str]:
    """The PNG files of a round that may be passed on, by image id."""
    rows, files, left_out = {r.image_id: r for r in recorded.key.rows}, {}, 0
    for image in recorded.image_ids:
        row = rows[image]
        licence = photographs.licence(row)
        if licence == UNKNOWN and not every:
            left_out += 1
            continue
        path = f"{recorded.name}/images/{image}.png"
        about = f"Image {image} as shown ({'a photograph' if is_photograph(row) else 'made by stimsynth'})."
        if made.copy(recorded.round_.image_path(image), path, about, licence=licence, required=True):
            files[image] = path
    if left_out:
        made.notes.append(
            f"{recorded.name}: {left_out} photographs of unknown licence are left out "
            "(--photographs-licence TEXT or --with-photographs puts them in)"
        )
    if left_out and recorded.report is not None:
        made.notes.append(f"{recorded.name}/report.html shows photographs of unknown licence as small pictures")
    return files


def _round_row(recorded: Recorded) -> list[Any]:
    responses = recorded.responses
    window = responses.window_ms or (None, None)
    found = read_json(recorded.round_.ingest_path)
    dropped = found.get("dropped") if isinstance(found, dict) else None
    return [
        recorded.number,
        recorded.round_.session_id,
        recorded.name,
        responses.unit,
        *map(cell, window),
        len(recorded.image_ids),
        len(responses.site_ids),
        len(responses.values),
        sum(dropped.values()) if isinstance(dropped, dict) else "",
        int(recorded.report is not None),
    ]


def _exported_with(rounds: list[Recorded]) -> dict[str, Any]:
    return {r.name: {k: r.manifest.get(k) for k in ("toolkit", "environment", "created_utc")} for r in rounds}


def told(out: Path, made: Building, rounds: list[Recorded]) -> dict[str, Any]:
    """What the command prints for scripts."""
    return {
        "archive": out.name,
        "rounds": [r.number for r in rounds],
        "files": len(made.entries) + 2,
        "images": sum("/images/" in e.path for e in made.entries),
        "photographs_of_unknown_licence": len({e.path for e in made.entries if e.licence == UNKNOWN}),
        "notes": made.notes,
    }


def _unfinished(project: Project, missing: list[str]) -> DataError:
    more = f" (and {len(missing) - 4} more)" if len(missing) > 4 else ""
    return DataError(
        str(project.folder),
        found="; ".join(missing[:4]) + more,
        expected="a finished experiment: every round answered, evaluated and reported",
        cause="the experiment goes on, or a stage was not run",
        fix="run `stimsynth run`, or archive what there is with --partial",
        code="N16",
    )
