"""Which sites are clustered, checked before any network is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.disk.toml import nearest
from protocols.errors import DataError
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project


def check_asked(project: Project, sites: Sequence[str], clusters: int) -> None:
    """Refuse sites that the newest fit cannot drive, and too few of them; without a fit, opening it refuses (D06).

    Raises
    ------
    DataError
        V25
    """
    record = fitted_for(project.fitted, project.newest_fit() or 1)
    if record is not None and record.sites:
        check_sites([site.site_id for site in record.sites if site.eligible_target], sites, clusters)


def check_sites(known: Sequence[str], wanted: Sequence[str], clusters: int) -> list[str]:
    """The sites to cluster, in the order of the known ones.

    Raises
    ------
    DataError
        V25
    """
    unknown = [s for s in wanted if s not in known]
    chosen = [s for s in known if not wanted or s in wanted]
    if not unknown and len(chosen) >= max(2, clusters):
        return chosen
    few, near = f"{len(chosen)} sites for {clusters} clusters", nearest(unknown[0], known) if unknown else ""
    raise DataError(
        "--sites",
        found=f"{', '.join(unknown[:5])}{f': did you mean {near!r}?' if near else ''}" if unknown else few,
        expected="sites that may be controlled, at least two and one per cluster",
        cause="a slip of the pen, or sites whose reliability is below reliability_target" if unknown else "few sites",
        fix=f"name some of the {len(known)} sites that `stimsynth status` counts as targets, or lower --clusters",
        code="V25",
    )
