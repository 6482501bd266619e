"""The objectives that a round can test: those that its controllers were made for and its sites allow."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.errors import DataError
from protocols.project.objectives import OBJECTIVES


def planned_objectives(
    asked: Sequence[str], made: Sequence[str] | None, *, sites: int
) -> tuple[tuple[str, ...], list[str]]:
    """The objectives of a round, and notes on those that differ from what is asked.

    Parameters
    ----------
    asked : sequence of str
        Of project.toml.
    made : sequence of str or None
        Objectives of the controllers, where they are made already: they are shown and judged, whatever project.toml
        says now.
    sites : int
        Sites of the encoder.

    Raises
    ------
    DataError
        C18: no objective is left, since all compare sites and there is one.
    """
    listed = tuple(dict.fromkeys(asked if made is None else made))
    notes = list[str]()
    if made is not None and set(listed) != set(asked):
        notes.append(
            f"the controllers were made for {', '.join(listed)}, project.toml says {', '.join(asked)}: what was made "
            "is shown; generate the round again for other objectives"
        )
    left_out = [o for o in listed if OBJECTIVES[o].all_sites and sites < 2]
    kept = tuple(o for o in listed if o not in left_out)
    if not kept:
        raise DataError(
            "project.toml [synthesis] objectives",
            found=f"{', '.join(left_out)} with {sites} site in the encoder",
            expected="two sites or more, whose responses are compared",
            cause="the objective is a site's response against that of the others",
            fix='set objectives to ["stretch"], or record more sites',
            code="C18",
        )
    if left_out:
        notes.append(f"{', '.join(left_out)} is not shown: it compares sites, and the encoder has one")
    return kept, notes
