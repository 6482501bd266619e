"""Offline evaluation: did control succeed?

You have responses, and you know which image is which. You need no project, no encoder and no images for a verdict: two
files are enough. This page writes both by hand, gets the verdict, and reads it line by line. It runs in seconds.
"""

# %%
# ## The responses
#
# A trial table: one row per presentation, one column per site ([all that may stand in it](../responses.md)). The numbers
# here are drawn at random, so that we know the truth: `made_a` drives `v4_001` twice as much as its best photograph does, `made_b` does nothing more for `v4_002` than a photograph does, and `made_c` and its photograph were shown only twice.
import h5py
import numpy as np

from lab import terminal, write

chance = np.random.default_rng(1)
sites = ["v4_001", "v4_002", "v4_003"]
truth = {  # expected spikes of the three sites
    "made_a": [12.0, 3.0, 2.0],
    "made_b": [2.0, 6.0, 2.0],
    "made_c": [2.0, 2.0, 9.0],
    "park": [6.0, 2.0, 3.0],
    "face": [5.0, 6.0, 2.0],
    "tree": [2.0, 5.5, 5.0],
    "grey": [0.5, 0.5, 0.5],
}
shown = {name: 2 if name in ("made_c", "tree") else 40 for name in truth}
order = chance.permutation([name for name, times in shown.items() for _ in range(times)])
with h5py.File("responses.h5", "w") as file:
    file["responses"] = chance.poisson([truth[name] for name in order])
    file["image_id"] = order.tolist()
    file["site_id"] = sites
    file.attrs.update(units="spikes", window_ms=[70.0, 170.0])

# %%
# ## The key
#
# The key says what each image is. A spreadsheet saved as CSV will do ([all columns](../key.md)). *confirmatory* is 1 for the
# one image per site that you had chosen before you saw responses; the verdict is about that image. *reference_for* says to
# which sites' verdicts a photograph belongs.
write(
    "key.csv",
    """
image_id,role,objective,target,confirmatory,reference_for
made_a,controller,stretch,v4_001,1,
made_b,controller,stretch,v4_002,1,
made_c,controller,stretch,v4_003,1,
park,reference,,,,stretch:v4_001
face,reference,,,,stretch:v4_002
tree,reference,,,,stretch:v4_003
grey,blank,,,,
""",
)

# %%
# ## The verdict
terminal("stimsynth evaluate --responses responses.h5 --key key.csv --out control.csv")

# %%
# ## How to read it
#
# Begin at the table.
#
# - **verdict**: *control* means that the response to the made image is above that to the best photograph, by a test that is
#   wrong once in a hundred sites at most (*alpha* 0.01). *no control* means that this was not shown; it does not mean that
#   there is none. *not testable* means that so few trials could not have shown it, whatever they were: two
#   presentations of `made_c` and two of `tree` are too few.
# - **measured** and **reference** are mean responses with the numbers of trials (*n*) behind them.
# - **gain** is how far the response lies above that to the reference, in per cent of it, both counted from the blank; in
#   brackets its 95 % interval.
# - **predicted** is empty here: no encoder made these images.
#
# Then the line of counts. *chance* says how many sites would be called controlled where nothing is. *group p* asks whether
# anything at all was controlled. The *Benjamini-Hochberg list* holds the sites that stand although several were tested. A
# sentence says which effect these trials could have found: read it before you believe a "no".
#
# The same from Python, for a figure of your own:
from protocols import evaluate, read_key, read_responses

report = evaluate(read_responses("responses.h5"), read_key("key.csv"), alpha=0.01)
for row in report.confirmatory("stretch"):
    gain = "" if row.gain is None else f"gain {row.gain:+.0%}"
    print(f"{row.site}  {row.verdict:<13} {gain}")

# %%
import matplotlib.pyplot as plt

tested = [row for row in report.confirmatory("stretch") if row.gain is not None and row.verdict != "not testable"]
figure, axes = plt.subplots(figsize=(5, 2), layout="constrained")
for place, row in enumerate(tested):
    colour = "tab:green" if row.verdict == "control" else "tab:orange"
    axes.plot([row.gain_low, row.gain_high], [place, place], color=colour, linewidth=3)
    axes.plot(row.gain, place, "o", color=colour, markersize=9)
axes.axvline(0, color="0.7", linewidth=1)
axes.set(yticks=range(len(tested)), yticklabels=[row.site for row in tested], ylim=(-0.6, len(tested) - 0.4))
axes.set_xlabel("gain over the reference, with its 95 % interval")
axes.xaxis.set_major_formatter("{x:.0%}")
figure.savefig("gains.png", dpi=160)

# %%
# ![Gain of two sites with its interval: one far above zero, one around zero](gains.png)
#
# ## When the key is wrong
#
# A reference that names no site is refused, and so is a target that was not recorded. The message says what was found, what
# was expected, and the way out; its code is in [the list](../errors.md).
write(
    "wrong.csv",
    """
image_id,role,objective,target,confirmatory,reference_for
made_a,controller,stretch,v4_001,1,
park,reference,,,,v4_001
""",
)

# %%
terminal("stimsynth evaluate --responses responses.h5 --key wrong.csv", exit_code=3)

# %%
# ## What next
#
# - [What the verdicts mean and how they were tested](../verdicts.md).
# - [How many trials a gain takes](../planning.md): `stimsynth plan --reference 6 --blank 0.5`.
# - [A closed loop](closed_loop.md), where the key is written for you and sealed.
