"""Pages that are made from the code: troubleshooting by error code, the keys of project.toml.

`python -m scripts.handbook.write` writes docs/errors.md, docs/commands.md, docs/settings.md and docs/schemas.md; tests/handbook/test_made_pages.py compares the pages with the code.
"""

from __future__ import annotations

from collections.abc import Sequence

from .refusals import Refusal, of_protocols

MADE = "<!-- made by `python -m scripts.handbook.write`; edit the code, not this page -->"
GROUPS = {
    "A": "Files to import",
    "B": "Photographs and recordings made elsewhere",
    "C": "project.toml",
    "D": "Fits, encoders and targets",
    "E": "Evaluation",
    "F": "Files and disks",
    "G": "Generators, shards and clusters",
    "H": "Formats of other laboratories",
    "I": "Answers of the rig",
    "J": "Files for presentation software",
    "K": "The key",
    "L": "Interim looks",
    "M": "The demo",
    "N": "Archives and exports",
    "O": "Evolution on the rig",
    "P": "Photographs, pictures and pages",
    "Q": "Pairing of responses and pictures",
    "R": "Files of responses",
    "S": "Projects, sessions and rounds",
    "T": "Refits",
    "U": "Reproduction",
    "V": "Libraries and experiments on an encoder",
    "W": "Files of objectives and batches",
    "X": "Exports to the rig",
    "Y": "The simulated rig",
    "Z": "Safety",
}
ELSEWHERE = {
    "E06": "raise the number of repeats, raise `alpha` or `permutations` in `[evaluation]`: the message says how many would do",
    "S13": "look at what was decided since, and decide again where it still holds",
    "Z01": "change what the message names (rate of flashes, saturated red, stripes, luminance) in the images or in `[protocol]`; "
    "limits and their sources: [safety.md](safety.md)",
}
"""Ways out that are worded by computed text alone."""


def cell(text: str) -> str:
    """A text as a cell of a table in Markdown, with nothing in it that is read as a tag, a link or a column."""
    for sign in ("\\", "|", "<", ">", "[", "]", "*"):
        text = text.replace(sign, f"\\{sign}") if "`" not in text or sign == "|" else text
    return " ".join(text.split()) or "..."


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def errors_page() -> str:
    """What every error code means, how it comes about, and the way out, as the code says it."""
    from protocols.errors import CODES

    said = of_protocols()
    lines = [
        "# Troubleshooting by error code",
        "",
        MADE,
        "",
        "Every refusal prints `error[CODE] where: found ...; expected .... Likely cause: .... Fix: ....` and changes nothing on disk. Look the code up",
        "here; `...` stands for what the message fills in. Codes are stable: scripts may match on them. Exit codes of the commands: 0 ok, 2 usage,",
        "3 invalid data (all codes below but Z01), 4 waiting or timed out, 5 safety stop (Z01), 6 interrupted and resumable.",
        "",
    ]
    for letter, title in GROUPS.items():
        lines += [f"## {letter}: {title}", ""]
        for code in (code for code in CODES if code[0] == letter):
            lines += [f"### {code}", "", CODES[code], ""]
            lines += [*_ways(said.get(code, []), ELSEWHERE.get(code, "")), ""]
    return "\n".join(lines).rstrip() + "\n"


def _ways(places: Sequence[Refusal], elsewhere: str) -> list[str]:
    """One row per cause and way out, with what was found there."""
    rows: dict[tuple[str, str], list[str]] = {}
    for one in places:
        if one.cause or one.fix:
            rows.setdefault((one.cause, one.fix or elsewhere), []).append(one.found)
    if not rows:
        return [f"Way out: {elsewhere}."]
    lines = []
    for (cause, fix), found in rows.items():
        kinds = [text for text in dict.fromkeys(found) if text.strip(". ")]
        lines.append([cell("; or ".join(kinds[:4])), cell(cause), fix if fix == elsewhere and fix else cell(fix)])
    return table(["found", "likely cause", "way out"], lines)


def settings_page() -> str:
    """Every key of project.toml with its meaning, default and unit."""
    from pydantic_core import PydanticUndefined

    from protocols.disk.toml import described_keys, toml_value
    from protocols.project.config.keys import SECTIONS

    lines = [
        "# project.toml, key by key",
        "",
        MADE,
        "",
        "`stimsynth init` writes the file with these words above each key. Unknown keys are errors, `stimsynth check` says what cannot work",
        "([check.md](check.md)). The six keys that matter on the first day, and `init --template` for electrophysiology, two-photon, fMRI and human subjects:",
        "[first_day.md](first_day.md).",
        "",
    ]
    for section, model in SECTIONS.items():
        rows = []
        for key in described_keys(model):
            default = "required" if key.default is PydanticUndefined else f"`{toml_value(key.default)}`"
            default = "left out" if key.default is None else default
            rows.append([f"`{key.name}`", cell(key.description), default.replace("|", "\\|")])
        lines += [
            f"## {section}",
            "",
            *table(["key", "[unit] meaning".replace("[", "\\[").replace("]", "\\]"), "default"], rows),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"
