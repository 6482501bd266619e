"""What cannot be used here, told in words: a library that is not installed, a cluster that does not answer."""

from __future__ import annotations

from protocols.errors import DataError

__all__ = ["no_library", "no_service"]


def no_library(name: str, purpose: str) -> DataError:
    """G08: the library for a kind of cluster is not installed."""
    return DataError(
        "--executor",
        found=f"no library {name}",
        expected=f"{name}, which sends work to {purpose}",
        cause="the optional libraries for clusters were not installed",
        fix="pip install 'stimsynth[cluster]'",
        code="G08",
    )


def no_service(where: str, *, found: str, expected: str, fix: str) -> DataError:
    """G09: there is no such cluster, or it takes no work."""
    return DataError(
        where,
        found=found,
        expected=expected,
        cause="the cluster does not run, the address or a setting is wrong, or this machine may not use it",
        fix=f"{fix}; or use --workers N here",
        code="G09",
    )
