"""A closed loop with your rig

A round is one recording with images that are exported, shown, read back and judged. This page runs a baseline of
photographs, one round, and the refit after it. Your rig takes part by files alone: it reads a folder called *outbox* and
writes one file into a folder called *inbox*. It takes ten minutes to read; with an animal each step "show it" is a day.
"""

# %%
# ## The project
#
# The photographs are those of the package; with your own, give their folder. `rig` stands for your rig: a simulated
# subject that sees the outbox and nothing else of the project.
from lab import edit, photographs, rig, terminal

photographs("photographs")

# %%
terminal("stimsynth init myloop --width 96 --degrees 8 --colour grey")

# %%
# In `myloop/project.toml` a quick fit and few steps, three sites and one round, so that this page is soon done, and a refit
# that may not predict photographs any worse. Leave out these lines for real work.
edit(
    "myloop/project.toml",
    """
[encoder]
effort = "quick"
[synthesis]
targets = ["sim_000", "sim_002", "sim_005"]
steps = 30
[loop]
rounds = 1
[refit]
tolerance = 0.0
""",
)

# %%
# ## Round 0: the baseline
#
# The photographs are brought into the size and colour of your display, ordered at random, and exported.
terminal("stimsynth export myloop --baseline photographs")

# %%
# What the rig gets:
from pathlib import Path

outbox = next(Path("myloop").glob("sessions/*/round_00/outbox"))
print("\n".join(sorted(path.name for path in outbox.iterdir())))
print("\n".join((outbox / "order.csv").read_text().splitlines()[:4]))

# %%
# `README.txt` says all that follows to whoever runs the rig: show `images/` in the order of `order.csv`, one row per
# presentation. The names tell nothing about the images, on purpose. Programs for PsychoPy, Psychtoolbox, MonkeyLogic, MWorks
# and Presentation come with `stimsynth export ... --rig psychtoolbox` ([your software](../rigs/README.md)).
#
# ## The answer, from MATLAB or Python
#
# When the recording is done, count the spikes of each trial and write one file. In MATLAB, with `R` trials x sites, `ids`
# and `sites` as columns of strings:
#
# ```matlab
# p = fullfile(inbox, 'responses.h5.part');
# h5create(p,'/responses',size(R),'Datatype','single');     h5write(p,'/responses',single(R));
# h5create(p,'/image_id',size(ids),'Datatype','string');    h5write(p,'/image_id',ids);
# h5create(p,'/site_id',size(sites),'Datatype','string');   h5write(p,'/site_id',sites);
# h5writeatt(p,'/','units','spikes');   h5writeatt(p,'/','window_ms',[70 170]);   h5writeatt(p,'/','writer','matlab');
# movefile(p, fullfile(inbox,'responses.h5'));   fclose(fopen(fullfile(inbox,'responses.h5.done'),'w'));
# ```
#
# The empty file `responses.h5.done` comes last: it says that the answer is whole. Trials that failed are left out or
# marked; nobody needs to sort anything ([the form, and Python](../responses.md)). Here the simulated rig does it, as MATLAB
# would. It loses 5 % of the trials, and writes rows and sites in a random order:
rig("myloop")

# %%
# ## One command, again and again
#
# `run` does all that can be done now, then says what it waits for. Exit code 4 means "waiting for the rig". It may be killed
# at any time and started again.
terminal("stimsynth run myloop", exit_code=4)

# %%
# It read the answer, fitted the encoder, made the images, planned the round and exported it. Two things to read before
# you go on:
#
# - the table of the sites: a site with a low *noise-corrected r* will hardly be controlled;
# - *expect to find*: how many sites will be found controlled with so many presentations, if control is as strong as the plan
#   assumes. When that is few, ask for more time (`minutes` in `[protocol]`) or fewer sites ([planning](../planning.md)).
#
# Beside each *controller* (an image that was made to drive a site) the round shows *references*, the best photographs of
# that site. Only a comparison within the same day counts.
#
# ## Look at the images before the day
#
# Whoever shows the images should not see this page: it tells which is which.
terminal("stimsynth preview myloop")

# %%
# ## The day of the round, and the verdict
#
# The rig shows the outbox of round 1 and answers. The same command goes on.
rig("myloop")

# %%
terminal("stimsynth run myloop")

# %%
# The counts per objective: *stretch* drives the site as high as it goes, *one_hot* drives it and no other site. [Offline
# evaluation](evaluation.md) reads such lines word by word. `report.html` says it at length, site by site; this is its first
# figure:
import shutil

shutil.copy(next(Path("myloop").glob("sessions/*/round_01/controllers.png")), "controllers.png")

# %%
# ![The best photograph of each site, and the images made for it, with what was predicted and what was recorded](controllers.png)
#
# ## Learn from the round
#
# The responses to the new images say where the encoder was wrong. A refit takes them in. It is accepted only if it predicts
# held-out photographs no worse than before (by no more than 0.02 of r, where `tolerance` is left out):
terminal("stimsynth refit myloop")

# %%
# Refused means that the earlier encoder serves on, and nothing is lost: the responses stay, and the next round adds more
# ([refit](../refit.md)). With `[loop] rounds = 2` or more, `stimsynth run` refits by itself, makes the images of the next round and exports it.
# Where does the project stand?
terminal("stimsynth status myloop")

# %%
# The remark on safety is for human subjects: it compares the sequence with limits for flashes and stripes. Nothing is
# refused for a simulated subject or a macaque ([safety](../safety.md)).
#
# ## Honest numbers
#
# This subject is easy: its sites are made from a network like the encoder's, and 240 photographs teach it in a minute. In a
# brain expect fewer controlled sites and smaller gains ([what was measured on models of V4](../results.md)). A baseline of
# 1200 photographs takes half an hour of presentations, a full fit ten minutes of one core.
#
# ## What next
#
# - [What the verdict means](evaluation.md), line by line.
# - [The report](../report.md) and [what is shown beside a controller](../arms.md).
# - [Look at a round while it runs](../interim.md), [deliver block by block](../delivery.md).
# - [Decide in the browser](../serve.md) which images are shown.
