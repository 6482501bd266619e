"""Sites that an experiment on a fitted encoder is asked for, checked before networks are loaded."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.disk.toml import nearest
from protocols.errors import DataError
from protocols.project.fitted import SiteFit, fitted_for
from protocols.project.folder import Project

__all__ = ["check_sites", "site_list", "targets_of"]


def site_list(text: str | None) -> tuple[str, ...]:
    """The names in an option such as ``v4_012,v4_047``; none where it was left out."""
    return tuple(dict.fromkeys(word.strip() for word in (text or "").split(",") if word.strip()))


def targets_of(project: Project) -> list[SiteFit]:
    """The sites that the newest fit may control, from its record alone; none where nothing was fitted."""
    newest = project.newest_fit()
    fitted = None if newest is None else fitted_for(project.fitted, newest)
    return [] if fitted is None else [site for site in fitted.sites if site.eligible_target]


def check_sites(sites: Sequence[str], known: Sequence[str], *, where: str = "the newest fit") -> None:
    """Refuse the first sites that are not among `known`, those of `where`.

    Raises
    ------
    DataError
        V41
    """
    unknown = [site for site in sites if site not in known]
    if unknown:
        near = nearest(unknown[0], known)
        few = f"{', '.join(list(dict.fromkeys(known))[:8])}{' ...' if len(set(known)) > 8 else ''}"
        raise DataError(
            "--sites",
            found=", ".join(unknown[:5]),
            expected=f"targets of {where}: {few}" + (f" (did you mean {near}?)" if near else ""),
            cause="a slip of the pen, or a site that is not reliable enough to be controlled",
            fix="correct --sites, or leave it out; `stimsynth status` lists the sites",
            code="V41",
        )
