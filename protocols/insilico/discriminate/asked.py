"""Which sites are clustered, checked before any network is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.errors import DataError
from protocols.insilico.sites import check_sites, targets_of
from protocols.project.folder import Project


def check_asked(project: Project, sites: Sequence[str], clusters: int) -> None:
    """Refuse sites that the newest fit cannot drive, and too few of them; without a fit, opening it refuses (D06).

    Raises
    ------
    DataError
        V25, V41
    """
    if known := [site.site_id for site in targets_of(project)]:
        chosen_sites(known, sites, clusters)


def chosen_sites(known: Sequence[str], wanted: Sequence[str], clusters: int) -> list[str]:
    """The sites to cluster, in the order of the known ones.

    Raises
    ------
    DataError
        V25: too few of them; V41: an unknown one.
    """
    check_sites(wanted, known)
    chosen = [s for s in known if not wanted or s in wanted]
    if len(chosen) >= max(2, clusters):
        return chosen
    raise DataError(
        "--sites",
        found=f"{len(chosen)} sites for {clusters} clusters",
        expected="sites that may be controlled, at least two and one per cluster",
        cause="few sites",
        fix=f"name some of the {len(known)} sites that `stimsynth status` counts as targets, or lower --clusters",
        code="V25",
    )
