"""The errors a person at the rig reads: what was found, what was expected, the likely cause, the way out."""

from __future__ import annotations


class DataError(ValueError):
    """Invalid data or project state (exit code 3). Nothing has been changed on disk when it is raised.

    Parameters
    ----------
    where : str
        The file or folder, as the user would name it.
    found, expected : str
        What stands there and what should.
    cause, fix : str
        The likely cause and the way out, each one sentence.
    code : str
        Short stable code, such as ``R07``; tests and scripts match on it.
    """

    def __init__(self, where: str, *, found: str, expected: str, cause: str, fix: str, code: str) -> None:
        self.where, self.found, self.expected, self.cause, self.fix, self.code = (
            where,
            found,
            expected,
            cause,
            fix,
            code,
        )
        super().__init__(
            f"error[{code}] {where}: found {found}; expected {expected}. Likely cause: {cause}. Fix: {fix}."
        )


class SafetyStop(RuntimeError):
    """A display limit would be exceeded (exit code 5)."""
