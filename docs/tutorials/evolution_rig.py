"""Evolution on the rig

Recorded responses give the scores, and no model stands between you and the site. This page runs a short evolution with a
simulated subject, generation by generation. It costs many presentations: read the last section before you plan one. Five
minutes to read.
"""

# %%
# ## Ask for it
#
# A project with named targets. The evolution needs no encoder, but it needs the baseline: the best photographs of a site are
# shown again in each generation, and scores are counted from them.
from lab import edit, photographs, rig, terminal

photographs("photographs", 100)

# %%
terminal("stimsynth init myrig --width 96 --degrees 8 --colour grey")

# %%
# The numbers are small to be soon done. Twenty generations are the least for real work.
edit(
    "myrig/project.toml",
    """
[encoder]
effort = "quick"
[evolution]
generations = 3
targets = ["sim_002"]
population = 20
repeats = 2
cutoff = 5.0
[arms]
kinds = ["evolved"]
""",
)

# %%
terminal("stimsynth export myrig --baseline photographs")

# %%
rig("myrig")

# %%
# ## Generation by generation
#
# `run` takes the baseline in and exports the first generation. Exit code 4 means that it waits for the rig. A rig that
# serves rounds serves generations: the same files, some dozens of presentations.
terminal("stimsynth run myrig", exit_code=4)

# %%
# The rig answers, and the command goes on. On a real rig `stimsynth run myrig --timeout 36000` waits by itself. Here both
# take turns until the last generation is through:
for _ in range(3):
    rig("myrig")
    terminal("stimsynth run myrig", exit_code=4)

# %%
# A score is how far the response to an image lies above that to the photographs of the same generation, in natural SDs. The
# scores here are below zero: after three generations the images are far from the best photographs.
# After the last generation the best images are shown again as *candidates*, ten times each: the highest of many single
# scores is mostly luck.
rig("myrig")

# %%
# `evolve` is the same for the evolution alone, and stops when it is over:
terminal("stimsynth evolve myrig")

# %%
import shutil
from pathlib import Path

shutil.copy(next(Path("myrig").glob("sessions/*/round_01/evolution/learning.png")), "learning.png")

# %%
# ![Scores of each generation](learning.png)
#
# Read the curve of the mean. That of the highest score climbs by luck alone. Three generations gain little.
#
# ## The verdict
#
# **No score of an evolution is a result.** The image that won enters round 1 and is judged there by trials of its own,
# against photographs that are shown again: beside the controller of the encoder where there is one, else as the controller
# of its site. This is why `[arms]` above lists *evolved*, and a project without it is refused. `stimsynth run` goes on to
# that round, as in [a closed loop](closed_loop.md).
#
# ## Honest costs
#
# On models of two V4 sites, twenty generations with a thousand single trials per site did not reach the best photograph;
# count on several thousand presentations per site ([measured](../evolution_rig.md)). An encoder is fitted once for all
# sites. Evolve on the rig where no encoder predicts the site, or as an independent check of one that does.
#
# ## What next
#
# - [All keys of an evolution on the rig](../evolution_rig.md), and what happens when a generation is lost.
# - [Evolution in the computer](evolution.md).
# - [What is shown beside a controller](../arms.md).
