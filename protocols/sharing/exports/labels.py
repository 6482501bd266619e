"""Names of a project as labels of other formats: letters and digits only, and told where something was changed."""

from __future__ import annotations

import re
import unicodedata

from protocols.errors import DataError


def label(text: str, what: str) -> str:
    """`text` without what is neither a letter a to z nor a digit; accents are taken off: Müsli gives Musli.

    Raises
    ------
    DataError
        N18: nothing is left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    made = re.sub(r"[^A-Za-z0-9]", "", plain)
    if not made:
        raise DataError(
            what,
            found=repr(text),
            expected="a name with letters a to z or digits",
            cause="the format allows no other characters in file names",
            fix=f"give another {what} in facts.toml",
            code="N18",
        )
    return made


def session_label(session: str) -> str:
    """A session id as a label: ses_20261121 gives 20261121."""
    return label(session.removeprefix("ses_") or session, "session")


def camel(name: str) -> str:
    """An id as one word: my_project gives MyProject."""
    return "".join(part.capitalize() for part in name.split("_"))
