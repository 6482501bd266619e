"""A batch for tomorrow

You recorded some sites while photographs were shown. Tomorrow you want to show images that drive these sites. This page
goes from the recording to a folder of PNG files. It takes ten minutes to read.
"""

# %%
# ## What you need
#
# A folder of the photographs that were shown, and one file with the responses to them ([its form](../responses.md); files
# of another form are [imported](own_files.md)). This page uses 240 photographs of the package and a simulated subject in
# place of both. Each photograph was "shown" 8 times. With your own files leave these three lines out.
from lab import edit, photographs, recording, terminal

photographs("photographs")
recording("photographs", "responses.h5")

# %%
# ## A project
#
# A project is a folder with the file `project.toml`. Say how your images are shown: width in pixels and in degrees of
# visual angle, grey or colour.
terminal("stimsynth init mylab --width 96 --degrees 8 --colour grey")

# %%
# Now open `mylab/project.toml` in an editor. Every key stands there with its meaning; [six of them](../first_day.md) decide
# whether the recording can be used. Here two keys are changed to be quick, seconds in place of minutes. Leave the
# fit at "full" and the steps at 60 for real work.
edit(
    "mylab/project.toml",
    """
[encoder]
effort = "quick"
[synthesis]
steps = 30
""",
)

# %%
# ## Do the files belong together?
#
# A dry run reads photographs and responses and writes nothing.
terminal("stimsynth fit mylab --images photographs --responses responses.h5 --dry-run")

# %%
# ## Fit
#
# The encoder learns to predict the responses of each site from the photograph. A second one, the validator, learns the
# same from another network. It makes no image; it is there to doubt the first.
terminal("stimsynth fit mylab --images photographs --responses responses.h5")

# %%
# How to read the table: *reliability* is the correlation between two halves of the trials, and *held-out r* that between
# prediction and response on photographs that the fit never saw. No prediction can come above the *ceiling*. Look at
# *noise-corrected r*, which is held-out r over the ceiling: from a site with 0.3 expect little, from one with 0.8 a lot. A
# site below `reliability_target` is not controlled. The last one here answers to nothing, and the fit says so.
#
# `mylab/fitted/for_round_01/fit.html` shows the same with receptive fields ([how to read it](../fit.md)).
#
# ## A first look, in seconds
terminal("stimsynth generate mylab --out look --quick")

# %%
# ![Contact sheet of the quick batch](look/contact_sheet.png)
#
# Each image is made for one site. *stretch* drives the site as high as it goes, *one_hot* drives it and no other site. Look
# at the sheet before you go on. An image that lies outside the receptive field, or is like its photograph with more
# contrast, is worth a second thought.
#
# ## The batch
#
# More steps make better images. A file says what is wanted, when not all sites are
# ([all kinds of wishes](../objectives.md)).
terminal("stimsynth generate mylab --out tomorrow")

# %%
# For *stretch* a score of 4 means: predicted 4 natural SDs above the site's mean response to photographs, less a
# part for the encoder's own doubt. For *one_hot* 0 is the most. The validator's number is the one to believe, since
# nothing was made to please it. Compare the quick images above: the encoder likes them better than these; the validator
# mostly does not.
#
# `tomorrow/images/` holds the PNG files for the rig, `tomorrow/images.csv` one line per image. These images have the
# luminance and contrast of your photographs.
import csv

with open("tomorrow/images.csv", encoding="utf-8") as file:
    for row in list(csv.DictReader(file))[:3]:
        print({key: row[key] for key in ("image", "objective", "score", "validator_score", "outside")})

# %%
# ## The same from Python
#
# The commands are thin: all of it can be called. This loads the encoder of the project and makes two images.
from protocols import Project
from protocols.models.pair import load_pair
from synth import ascend, fourier, one_hot, stretch

project = Project.open("mylab")
encoder, validator = load_pair(project, 1)
site = encoder.target_ids[0]
batch = ascend(
    encoder,
    stretch([site]) | one_hot([site]),
    fourier(project.display.shape),
    constraints=project.display.constraints(rms=0.18),
    seeds=range(2),
    steps=20,
)
best = batch.validate(validator).best_per_target()
best.save("tomorrow.h5")
for name, score, judged in zip(best.row_names, best.scores, best.validator_scores, strict=True):
    print(f"{name:<20} score {float(score):5.2f}, by the validator {float(judged):5.2f}")

# %%
# ## What this batch cannot tell
#
# Nothing here is randomised or blinded, and no photograph is shown again beside the new images. If a site answers
# strongly tomorrow, you will not know by how much more than to its best photograph. For a verdict, let the program make a
# whole round.
#
# ## What next
#
# - [A closed loop with your rig](closed_loop.md): rounds with references, trial order and verdicts.
# - [Your own files by a map](own_files.md): when the recording has another form.
# - [Diffusion](diffusion.md) and [evolution](evolution.md): other ways to make images.
# - [Which photographs to show](../photographs.md), [how long a round is](../planning.md).
