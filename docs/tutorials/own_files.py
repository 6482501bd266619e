"""Your own files by a map

Your recording lies in a MATLAB file, an HDF5 file or a table that somebody's script wrote. A *map* of a few lines says what
is what in it; `stimsynth import` turns the file into the form that all other commands take. Nothing is cleaned and nothing
is guessed silently. Ten minutes to read.
"""

# %%
# ## A foreign file
#
# This one is like many: `session.mat` with counts as sites x trials, the number of the picture per trial, counted from 1 as
# MATLAB does, and the names of the sites. A simulated subject stands for yours.
import numpy as np
from scipy.io import savemat

from lab import photographs, simulated_counts, terminal, write

photographs("pictures", 150)
counts, names = simulated_counts("pictures", sites=5, repeats=6)
trials = np.random.default_rng(0).permutation(counts.shape[0] * counts.shape[1])
savemat(
    "session.mat",
    {
        "resp": counts.reshape(len(trials), -1)[trials].T,
        "stim_id": 1.0 + trials // counts.shape[1],
        "unit_id": np.arange(101, 101 + len(names)),
        "notes": "left hemisphere, good day",
    },
)

# %%
# ## What is in the file?
terminal("stimsynth import session.mat --preview")

# %%
# ## A first map
#
# The program can write down what it takes each array for. "sure" is what the file states, "guess" is what is likely, and a
# question begins with TODO.
terminal("stimsynth import session.mat --guess --map guessed.toml --images pictures")

# %%
# No file can tell the unit and the window in which spikes were counted, so these are questions.
# A map with an open question is refused:
terminal("stimsynth import session.mat --map guessed.toml --images pictures --out recording.h5", exit_code=3)

# %%
# ## The map
#
# Answer the questions in an editor. This is the whole map:
write(
    "map.toml",
    """
unit = "spikes"
window_ms = [70, 170]          # after image onset
subject = "m1"

[responses]
array = "resp"
axes = ["site", "trial"]       # in the order that --preview shows

[image]
id = "stim_id"                 # one number per trial ...
counted_from = 1               # ... which counts the pictures in the order of their names, from 1

[site]
id = "unit_id"
prefix = "unit_"
""",
)

# %%
# ## Look before you write
terminal("stimsynth import session.mat --map map.toml --images pictures --preview")

# %%
# ![The five pictures with the highest and the five with the lowest response of a site](recording.preview.png)
#
# Is this the site that you know? Pictures that have nothing in common in the upper row are a bad sign.
#
# The lines on pairing are the most important check. The program tries to predict the responses from the pictures that they
# are said to belong to, and from the pictures one further on the list. Here it says that a shift by one cannot be excluded:
# the built-in pictures are cut from a few photographs, so that neighbours in the list look alike.
#
# ## Import
terminal("stimsynth import session.mat --map map.toml --images pictures --out recording.h5")

# %%
# `recording.import.json` keeps the map, the digest of each file and all decisions. Now the recording goes where
# [a batch for tomorrow](batch.md) begins:
terminal("stimsynth init mylab --width 96 --degrees 8 --colour grey")
terminal("stimsynth fit mylab --images pictures --responses recording.h5 --dry-run")

# %%
# ## Mistakes, and what is said about them
#
# **Pictures counted from 0.** The numbers go from 1 to 150, so that the last one would not exist:
terminal(
    "stimsynth import session.mat --map map.toml --set image.counted_from=0 --images pictures --out a.h5", exit_code=3
)

# %%
# **The axes exchanged.** The lengths of the lists give it away:
terminal(
    """stimsynth import session.mat --map map.toml --set 'responses.axes=["trial", "site"]' --images pictures --out b.h5""",
    exit_code=3,
)

# %%
# **The wrong pictures.** Somebody renamed them, and each response now belongs to another picture. Every number is in its
# range, so only the pairing can tell:
from pathlib import Path

Path("renamed").mkdir()
files = sorted(Path("pictures").iterdir())
for number, place in enumerate(np.random.default_rng(1).permutation(len(files))):
    Path(f"renamed/{number:03d}.jpg").write_bytes(files[place].read_bytes())

# %%
terminal("stimsynth import session.mat --map map.toml --images renamed --out c.h5", exit_code=3)

# %%
# **A word that is no key.**
terminal(
    "stimsynth import session.mat --map map.toml --set image.count_from=1 --images pictures --out d.h5", exit_code=3
)

# %%
# ## Tables
#
# A CSV file with one row per presentation and one column per site needs even less:
lines = ["trial,picture," + ",".join(names)]
for trial, place in enumerate(trials):
    picture, repeat = divmod(place, counts.shape[1])
    spikes = ",".join(f"{value:.0f}" for value in counts[picture, repeat])
    lines.append(f"{trial},{files[picture].name},{spikes}")
Path("session.csv").write_text("\n".join(lines), encoding="utf-8")
print("\n".join(lines[:4]))

# %%
write(
    "table.toml",
    """
unit = "spikes"
window_ms = [70, 170]

[responses]
arrays = ["sim_*"]             # one column per site
axes = ["trial"]

[image]
id = "picture"
""",
)

# %%
terminal("stimsynth import session.csv --map table.toml --images pictures --out table.h5")

# %%
# ## What next
#
# - [All keys of a map](../import.md), with recipes and traps.
# - Maps that come with the package: [known layouts](../formats/presets.md), [NWB](../formats/nwb.md),
#   [Kilosort and phy](../formats/phy.md), [suite2p](../formats/suite2p.md), [fMRI betas](../formats/bids.md).
# - [How pairing is judged](../pairing.md).
# - [A batch for tomorrow](batch.md).
