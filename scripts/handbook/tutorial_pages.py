"""A tutorial as text: its script in parts, its page in Markdown, and whether two pages say the same.

A script is plain Python. Its docstring is the title and the first paragraphs of the page. A line ``# %%`` begins a part: the comment lines
right below it are Markdown, what follows is code. ``![words](picture.png)`` in a comment shows a file that the code above has written.
Parts that only call `terminal`, `write` or `edit` of docs/tutorials/lab.py appear as what a reader types: commands, or lines of a file.
"""

from __future__ import annotations

import ast
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

MARK = "# %%"
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
WIDTH = 130
"""Sentences that are printed in one line are wrapped at so many characters; tables are not."""
OUTPUT = re.compile(r"^```output\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TOLERANCE = 0.15
"""Numbers that depend on the order of floating-point sums may differ by this share, and by two units of their last printed digit."""
CHANCE = {
    r"\benc_[0-9a-f]{8}\b": "enc_ID",
    r"\bses_\d{8}\b": "ses_DATE",
    r"\br(\d\d)_(\d{4})_[a-z0-9]{4}\b": r"r\1_\2_ID",
    r"\b[0-9a-f]{12,64}\b": "DIGEST",
    r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?\b": "DATE",
    r", \d+ s of one core": "",
    r"\b\d+(?:\.\d+)? (?:s|seconds)\b": "SECONDS",
}
"""What differs from run to run or from day to day."""
TIMED = re.compile(r"s per image\n(?:.+\n)+")
"""A table whose last column is a time."""


@dataclass(frozen=True)
class Part:
    """Text and code between two marks.

    Attributes
    ----------
    text : str
        Markdown; may be empty.
    code : str
        May be empty.
    line : int
        Of the mark in the script, from 0.
    """

    text: str
    code: str
    line: int


def split(script: str) -> tuple[str, list[Part]]:
    """The Markdown of a script's docstring, and its parts.

    Raises
    ------
    ValueError
        Where the script has no docstring with a title, or code above the first mark.
    """
    intro = ast.get_docstring(ast.parse(script)) or ""
    lines = script.splitlines()
    marks = [i for i, line in enumerate(lines) if line.rstrip() == MARK]
    above = ast.parse("\n".join(lines[: marks[0]] if marks else lines)).body
    if not intro or not marks or len(above) > 1:
        raise ValueError("expected a docstring whose first line is the title, then parts that begin with a line '# %%'")
    parts = []
    for begin, end in zip(marks, [*marks[1:], len(lines)], strict=True):
        body = lines[begin + 1 : end]
        words = next((i for i, line in enumerate(body) if not line.startswith("#")), len(body))
        text = "\n".join(line[1:].removeprefix(" ") for line in body[:words])
        parts.append(Part(text.strip(), "\n".join(body[words:]).strip(), begin))
    return intro, parts


def marked(script: str, sign: str) -> str:
    """The script with a statement in place of each mark that prints `sign` on a line, so that what a part prints can be told apart."""
    lines = [f"print({sign!r}, flush=True)" if line.rstrip() == MARK else line for line in script.splitlines()]
    return "\n".join(lines) + "\n"


def page(script: str, outputs: Sequence[str], *, name: str, seconds: float | None = None) -> str:
    """The page of a script in Markdown.

    Parameters
    ----------
    script : str
    outputs : sequence of str
        What each part printed.
    name : str
        Of the script, without ending.
    seconds : float, optional
        CPU time of the run.
    """
    intro, parts = split(script)
    title, _, rest = intro.partition("\n")
    took = "" if seconds is None else f", {seconds:.0f} s of one core"
    lines = [
        f"# {title}",
        "",
        f"<!-- made by `python -m scripts.handbook.tutorials {name}` from {name}.py; edit the script, not this page -->",
    ]
    lines += ["", rest.strip()] if rest.strip() else []
    lines += [
        "",
        f"All that follows was run as it stands: [{name}.py]({name}.py){took}. [lab.py](lab.py) stands in for a laboratory.",
    ]
    for part, output in zip(parts, outputs, strict=True):
        if part.text:
            lines += ["", PICTURE.sub(lambda m: f"![{m[1]}]({picture_name(name, m[2])})", part.text)]
        if part.code:
            lines += ["", fence(part.code)]
        if output.strip():
            lines += ["", f"```output\n{wrapped(output)}\n```"]
    return "\n".join(lines) + "\n"


def pictures(script: str) -> dict[str, str]:
    """Files that a script shows, each with the name of the picture beside the page; the script's name stands before it as `{}`."""
    shown = [match[2] for part in split(script)[1] for match in PICTURE.finditer(part.text)]
    return {place: picture_name("{}", place) for place in shown}


def picture_name(name: str, place: str) -> str:
    """The name beside the page of a file that the tutorial `name` wrote at `place`."""
    inside = PurePosixPath(place)
    words = [part for part in (*inside.parent.parts, inside.stem) if part not in (".", "")]
    return f"{name}-{'-'.join(words).replace('_', '-')}.jpg"


def fence(code: str) -> str:
    """Code as a fence of the kind that a reader would type."""
    body = ast.parse(code).body
    calls = [node.value for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    names = {ast.unparse(call.func) for call in calls} if len(calls) == len(body) else set()
    if names == {"terminal"}:
        given = [_constants(call) for call in calls]
        typed = [line[0] + (f"    # exit code {line[1]}" if len(line) > 1 else "") for line in given]
        return "```bash\n" + "\n".join(typed) + "\n```"
    if names in ({"write"}, {"edit"}) and len(calls) == 1:
        place, text = _constants(calls[0])
        return f"```{PurePosixPath(place).suffix[1:]}\n{text.strip()}\n```"
    return f"```python\n{code}\n```"


def _constants(call: ast.Call) -> list[str]:
    """The values of a call, all of which are written out."""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    return [str(ast.literal_eval(value)) for value in values]


def wrapped(output: str) -> str:
    """Printed text with long sentences wrapped; lines with columns stay as they are."""
    lines = []
    for line in output.rstrip().splitlines():
        prose = len(line) > WIDTH and "  " not in line.strip()
        lines += (
            textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False) if prose else [line.rstrip()]
        )
    return "\n".join(lines)


def differences(old: str, new: str) -> list[str]:
    """Where two pages of one tutorial do not say the same: other text or code, other words in an output, numbers beyond the tolerance."""
    if _steady(OUTPUT.sub("```output", old)) != _steady(OUTPUT.sub("```output", new)):
        return ["its text, its code or the number of its outputs is another one"]
    pairs = zip(OUTPUT.findall(old), OUTPUT.findall(new), strict=True)
    return [fault for number, (one, other) in enumerate(pairs, 1) for fault in _unlike(one, other, f"output {number}")]


def _steady(text: str) -> str:
    text = TIMED.sub(lambda table: re.sub(r"[\d.]+$", "SECONDS", table[0], flags=re.MULTILINE), text)
    for pattern, word in CHANCE.items():
        text = re.sub(pattern, word, text)
    return text


def _unlike(one: str, other: str, where: str) -> list[str]:
    """What differs in two outputs: at most one sentence."""
    a, b = (" ".join(_steady(text).split()) for text in (one, other))
    words, others = NUMBER.split(a), NUMBER.split(b)
    for before, after in zip(words, others, strict=False):
        if before.strip() != after.strip():
            return [f"{where}: {before.strip()[-80:]!r} is now {after.strip()[-80:]!r}"]
    if len(words) != len(others):
        return [f"{where}: {a[-80:]!r} is now {b[-80:]!r}"]
    numbers = zip(NUMBER.findall(a), NUMBER.findall(b), strict=True)
    return [f"{where}: {before} is now {after}" for before, after in numbers if not near(before, after)][:1]


def near(one: str, other: str) -> bool:
    """Whether two printed numbers agree but for rounding."""
    digit = max(10.0 ** -len(text.partition("e")[0].partition(".")[2]) for text in (one, other))
    return math.isclose(float(one), float(other), rel_tol=TOLERANCE, abs_tol=2 * digit)
