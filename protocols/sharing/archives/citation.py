"""How an archive is cited: what its makers say of it, and nothing that they did not say."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from protocols.errors import DataError

ORCID = re.compile(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]")
DOI = re.compile(r"10\.\d{4,9}/\S+")


@dataclass(frozen=True, kw_only=True)
class Citation:
    """What the options say.

    Attributes
    ----------
    title : str
    authors : tuple of str
        ``Family, Given`` or ``Family, Given (ORCID)``; a name without a comma is that of a group.
    licence : str
        Of the lab's own data: an SPDX identifier such as CC-BY-4.0.
    doi : str
    """

    title: str = ""
    authors: tuple[str, ...] = ()
    licence: str = ""
    doi: str = ""

    def missing(self) -> list[str]:
        """The options that a citation needs and that are not given."""
        return [o for o, given in (("--title", self.title), ("--author", self.authors)) if not given]

    def cff(self) -> str:
        """The text of CITATION.cff (version 1.2.0)."""
        lines = [
            "cff-version: 1.2.0",
            "message: If you use these data, please cite them as below.",
            "type: dataset",
            f"title: {_quoted(self.title)}",
            "authors:",
        ]
        for author in self.authors:
            first, *more = _author(author).items()
            lines += [f"  - {first[0]}: {_quoted(first[1])}", *(f"    {key}: {_quoted(text)}" for key, text in more)]
        lines += [f"{key}: {_quoted(text)}" for key, text in (("license", self.licence), ("doi", self.doi)) if text]
        return "\n".join(lines) + "\n"

    def package(self) -> dict[str, Any]:
        """Properties of a Data Package."""
        about: dict[str, Any] = {"title": self.title} if self.title else {}
        if self.licence:
            about["licenses"] = [{"name": self.licence}]
        if self.authors:
            about["contributors"] = [{"title": _plain(a), "role": "author"} for a in self.authors]
        return about | ({"id": f"https://doi.org/{self.doi}"} if self.doi else {})

    def check(self) -> None:
        """Refuse what a citation cannot hold.

        Raises
        ------
        DataError
            N07
        """
        for option, texts in (("--title", (self.title,)), ("--author", self.authors), ("--licence", (self.licence,))):
            for text in texts:
                if text and (any(ord(c) < 32 or ord(c) == 127 for c in text) or not any(c.isalnum() for c in text)):
                    raise _unusable(option, text, "one line with letters")
        for author in self.authors:
            names, _, bracket = author.partition("(")
            if bracket and not (ORCID.fullmatch(bracket.rstrip(") ")) and bracket.rstrip().endswith(")")):
                raise _unusable("--author", author, 'a name, and in brackets an ORCID such as "0000-0002-1825-0097"')
            if not all(part.strip() for part in names.split(",")) or names.count(",") > 1:
                raise _unusable("--author", author, '"Family, Given", or the name of a group without a comma')
        if self.licence and not re.fullmatch(r"[A-Za-z0-9.+-]+", self.licence):
            raise _unusable("--licence", self.licence, "an SPDX identifier without blanks, such as CC-BY-4.0")
        if self.doi and not DOI.fullmatch(self.doi):
            raise _unusable("--doi", self.doi, "a DOI such as 10.5281/zenodo.1234567, without https://doi.org/")


def _author(text: str) -> dict[str, str]:
    names, _, bracket = text.partition("(")
    family, comma, given = (part.strip() for part in names.partition(","))
    found = {"family-names": family, "given-names": given} if comma else {"name": family}
    return found | ({"orcid": f"https://orcid.org/{bracket.rstrip(') ')}"} if bracket else {})


def _plain(text: str) -> str:
    return text.partition("(")[0].strip()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _unusable(option: str, found: str, expected: str) -> DataError:
    return DataError(
        option,
        found=repr(found),
        expected=expected,
        cause="a slip of the pen, or a text with a line end",
        fix="correct the option; `stimsynth archive --help` lists them",
        code="N07",
    )
