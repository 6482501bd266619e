"""`check_project`: every look of the rooms beside, in the order in which they are told."""

from __future__ import annotations

from protocols.progress import counted
from protocols.project.folder import Project

from .data import decided, display, near_duplicates, photographs, recordings, shown, sites, split, windows
from .findings import Finding, Look, collected
from .networks import earlier, encoder, networks, prior, statistics
from .settings import configuration, device, disk, safety, schedule, settings

LOOKS: dict[str, Look] = {
    "photographs": photographs,
    "split": split,
    "near duplicates": near_duplicates,
    "recordings": recordings,
    "windows": windows,
    "sites": sites,
    "encoder": encoder,
    "backbone": networks,
    "networks": earlier,
    "display": display,
    "rounds shown": shown,
    "decisions": decided,
    "contrast": statistics,
    "schedule": schedule,
    "settings": settings,
    "safety": safety,
    "prior": prior,
    "disk": disk,
}
"""What is looked at beside the configuration and the device; a look with nothing to tell gives no finding."""

OF_PHOTOGRAPHS = ("split", "near duplicates", "display", "contrast")
"""Looks that need the photographs; left out where these cannot be read."""


def check_project(project: Project, *, device: str = "cpu") -> list[Finding]:
    """Findings on a whole project, never an exception.

    Where project.toml cannot be read, that is the only finding. `device` is the name of a device of torch.
    """
    findings = collected("configuration", configuration, project)
    if any(f.status == "fail" for f in findings):
        return findings
    project = project.for_stage()
    for what, look in counted(LOOKS.items(), "check"):
        if what in OF_PHOTOGRAPHS and any(f.what == "photographs" and f.status == "fail" for f in findings):
            continue
        told = {f.text for f in findings if f.status == "fail"}  # several looks read the same damaged file
        findings += [f for f in collected(what, look, project) if f.text not in told]
    return [*findings, *collected("device", lambda _: device_of(device), project)]


device_of = device
"""The look at a device, which the parameter of `check_project` hides."""
