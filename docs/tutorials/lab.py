"""What the tutorials do in place of a laboratory: the terminal, an editor, photographs, a simulated subject with its rig.

You need none of this with your own recording. The simulated subject has sites that pool features of a network over a
receptive field, with the noise of single trials; the network is of the same family as the encoder, so that all is easier
than in a brain.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import h5py
import numpy as np


def terminal(command: str, exit_code: int = 0) -> None:
    """Type a command in the terminal and print what it answers; errors and their texts where one is expected."""
    words = shlex.split(command.replace("\\\n", " "))
    if words[0] in ("stimsynth", "python"):
        words = [sys.executable, *(["-m", "protocols"] if words[0] == "stimsynth" else []), *words[1:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != exit_code:
        raise RuntimeError(
            f"{command}\nexit code {done.returncode}, expected {exit_code}\n{done.stdout}\n{done.stderr}"
        )
    refusal = re.search(r"^(error|Usage).*", done.stderr, re.DOTALL | re.MULTILINE) if exit_code in (2, 3) else None
    print(done.stdout + (refusal[0] if refusal else ""), end="", flush=True)


def write(path: str, text: str) -> None:
    """Save a file as with an editor."""
    Path(path).write_text(text.lstrip("\n"), encoding="utf-8")


def edit(path: str, keys: str) -> None:
    """Change keys of a TOML file as with an editor: `keys` holds sections and lines of the form key = value."""
    text, section = Path(path).read_text(encoding="utf-8"), ""
    for line in keys.strip().splitlines():
        if line.startswith("["):
            section = line
            continue
        key = line.partition("=")[0].strip()
        found = re.compile(rf"(^{re.escape(section)}\n(?:(?!^\[).*\n)*?)^{key} = .*$", re.MULTILINE)
        text, count = found.subn(lambda match, line=line: match[1] + line, text)
        if count != 1:
            raise KeyError(f"{path} has no key {key} in {section}")
    Path(path).write_text(text, encoding="utf-8")


def photographs(folder: str, count: int = 240) -> list[str]:
    """Save built-in photographs in a new folder; returns the names of the files."""
    from protocols.project.photograph_import import demo_photographs

    chosen = demo_photographs()[:: 600 // count][:count]
    Path(folder).mkdir()
    for one in chosen:
        (Path(folder) / one.filename).write_bytes(one.data)
    return sorted(one.filename for one in chosen)


def simulated_counts(folder: str, *, sites: int, repeats: int = 8, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Spike counts of a simulated subject: photographs x repeats x sites, in the order of the file names; names of the sites."""
    from PIL import Image

    from protocols.simulate import Noise, Subject, make_lite2_subject, simulate_counts

    files = sorted(Path(folder).iterdir())
    pixels = np.stack([np.asarray(Image.open(file).convert("L").resize((96, 96)))[..., None] for file in files])
    with tempfile.TemporaryDirectory() as place:
        subject = Subject.load(
            make_lite2_subject(Path(place) / "subject", pixels, n_sites=sites, n_noise_sites=1, seed=seed)
        )
    expected = np.repeat(subject.natural_expected, repeats, 0)
    order = np.random.default_rng(seed).permutation(len(expected))
    counts = np.empty(expected.shape)
    counts[order] = simulate_counts(
        expected[order], 0.2 * np.arange(len(order)), Noise(), generator=np.random.default_rng([seed, 1])
    )
    return counts.reshape(len(files), repeats, -1), list(subject.site_ids)


def recording(folder: str, out: str, *, sites: int = 6) -> None:
    """Record a simulated subject: every photograph of `folder` 8 times, spikes of 70 to 170 ms; see docs/responses.md."""
    counts, names = simulated_counts(folder, sites=sites)
    images = [file.name for file in sorted(Path(folder).iterdir())]
    with h5py.File(out, "w") as file:
        file["responses"] = counts.reshape(-1, len(names))
        file["image_id"] = [name for name in images for _ in range(counts.shape[1])]
        file["site_id"] = names
        file.attrs.update(units="spikes", window_ms=[70.0, 170.0])


def rig(project: str, *, sites: int = 6) -> None:
    """Let the simulated subject see the newest outbox of a project and write the answer into its inbox."""
    home = Path(project)
    outbox = max(home.glob("sessions/*/round_*/**/outbox"), key=lambda path: path.stat().st_mtime_ns)
    program, subject = [sys.executable, "-m", "protocols.simulate", "-q"], f"{project}_subject"
    if not Path(subject).is_dir():
        words = [
            "lite2",
            "--subject",
            subject,
            "--images",
            str(home / "data"),
            "--sites",
            str(sites),
            "--noise-sites",
            "1",
        ]
        subprocess.run([*program, *words], check=True, stdout=subprocess.DEVNULL)
    words = [
        "rig",
        "--subject",
        subject,
        "--outbox",
        str(outbox),
        "--inbox",
        str(outbox.with_name("inbox")),
        "--layout",
        "matlab",
    ]
    subprocess.run([*program, *words], check=True)


def fitted_project(name: str) -> None:
    """Make photographs, a recording and a project with a quick fit, as the tutorial "a batch for tomorrow" does step by step."""
    photographs("photographs")
    recording("photographs", "responses.h5")
    quick = """
    [encoder]
    effort = "quick"
    """
    for command in (
        f"init {name} --width 96 --degrees 8 --colour grey",
        f"fit {name} --images photographs --responses responses.h5",
    ):
        subprocess.run(
            [sys.executable, "-m", "protocols", "-q", *command.split()], check=True, stdout=subprocess.DEVNULL
        )
        if command.startswith("init"):
            edit(f"{name}/project.toml", textwrap.dedent(quick))
