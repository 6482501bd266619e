"""The commands by the day of an experiment on which they are used: what ``stimsynth --help`` lists."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["DAYS", "ByDay"]

DAYS: dict[str, dict[str, str]] = {
    "Before the day": {
        "init": "make a project folder with a commented project.toml",
        "check": "find what cannot work before the animal waits",
        "run": "do every stage that can be done now (safe to repeat)",
        "status": "say where the project stands",
        "fit": "fit the encoder on the baseline recording",
        "generate": "make the images of a round, or a batch of your own",
        "preview": "look at the images before they are exported",
        "plan": "say how many repeats a gain takes at one site",
        "export": "write the round for the rig: images, order, key",
        "rig": "write files for PsychoPy, MonkeyLogic and others",
    },
    "On any day": {
        "serve": "see the project in a browser, and decide on images",
        "decide": "veto an image, stop a site, choose targets",
        "page": "write every view of the project as one page",
    },
    "At the rig": {
        "ingest": "check recorded responses and keep them",
        "interim": "look at the blocks so far, stop what is decided",
        "evolve": "evolve images on the rig, generation by generation",
    },
    "After the day": {
        "evaluate": "say at which sites control succeeded",
        "report": "write the page of an evaluated round",
        "refit": "fit the encoder again for the next round",
        "archive": "write the experiment as a folder that can be cited",
        "share": "write rounds as NWB, BIDS or BrainIO",
    },
    "Looking at the encoder": {
        "describe": "what each site prefers, as a page",
        "discriminate": "functional types of sites, one image each",
        "invariance": "what changes an image and not the response",
        "tuning": "controllers at graded contrasts, sizes and places",
        "simplify": "take away what a controller does not need",
        "accentuate": "photographs changed to graded levels of a response",
        "controversial": "images that two encoders order differently",
        "triplets": "photographs whose likeness two layers see differently",
    },
    "Other people's data": {
        "import": "turn files of any laboratory into one recording",
        "trunk": "tune a network on several earlier recordings",
    },
    "Tools": {
        "demo": "a whole closed loop on a simulated subject",
        "selftest": "try whether this installation works",
        "reproduce": "make a round again and compare it pixel by pixel",
        "cluster": "write the scripts of an array job",
        "shards": "say how far work shared among processes is",
    },
}
"""Day of use: command: what it does, in at most 56 characters. A command that stands nowhere is listed under the last
heading, with the first words of its own help."""


class ByDay(TyperGroup):
    """A group of commands whose help lists them as `DAYS` does; their order in that table is the order of use."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands in the order of `DAYS`, others last."""
        known = [name for commands in DAYS.values() for name in commands]
        there = super().list_commands(ctx)
        return [name for name in known if name in there] + [name for name in there if name not in known]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per day of use, one line per command."""
        names = self.list_commands(ctx)
        widest = max(map(len, names))
        for number, (day, lines) in enumerate(DAYS.items(), start=1):
            rows = [(name.ljust(widest), line) for name, line in lines.items() if name in names]
            if number == len(DAYS):
                rows += [(name.ljust(widest), self._own_line(ctx, name)) for name in names if not _placed(name)]
            with formatter.section(day):
                formatter.write_dl(rows)

    def _own_line(self, ctx: Any, name: str) -> str:
        command = self.get_command(ctx, name)
        return "" if command is None else str(command.get_short_help_str(56))


def _placed(name: str) -> bool:
    return any(name in lines for lines in DAYS.values())
