"""Lists of words that may describe a site, one word or short phrase per line."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from protocols.disk.foreign import read_text
from protocols.errors import DataError

MOST, LONGEST = 5000, 100
"""Words of a list, and characters of a word."""


def read_words(path: Path | None = None) -> tuple[str, ...]:
    """The words of a text file in UTF-8, or of the list that comes with stimsynth; each once, in their order.

    Empty lines and lines that begin with # are passed over.

    Raises
    ------
    DataError
        V65: the file cannot be read, or holds no word, too many, or lines that are no words.
    """
    try:
        if path is None:
            text = resources.files("protocols").joinpath("data/attributes.txt").read_text(encoding="utf-8")
        else:
            text = read_text(path, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _no_list(path, f"a file that cannot be read ({type(error).__name__})") from error
    lines = [" ".join(line.split()) for line in text.splitlines()]
    words = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    broken = [word for word in words if len(word) > LONGEST or not word.isprintable()]
    if not words or len(words) > MOST or broken:
        raise _no_list(path, f"the line {broken[0][:60]!r}" if broken else f"{len(words)} words")
    return words


def _no_list(path: Path | None, found: str) -> DataError:
    return DataError(
        "--words" if path is None else path.name,
        found=found,
        expected=f"text in UTF-8 with 1 to {MOST} words, one per line of at most {LONGEST} characters",
        cause="another file, or one that was saved in another encoding",
        fix="write one word or short phrase per line; without --words the list of stimsynth is taken",
        code="V65",
    )
