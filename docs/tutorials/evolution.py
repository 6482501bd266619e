"""Evolution in the computer

Evolution shows images, keeps those that drive the site most, changes them a little, and shows those. It takes no gradient.
So its scores may come from any model, or from recorded responses ([evolution on the rig](evolution_rig.md)). On this page
they are the predictions of an encoder. Five minutes to read.
"""

# %%
# ## A fitted project
#
# Photographs, a recording of a simulated subject, a quick fit: step by step in [a batch for tomorrow](batch.md).
from lab import fitted_project, terminal, write

fitted_project("mylab")

# %%
write(
    "wanted.toml",
    """
[[objective]]
kind = "stretch"
sites = ["sim_002", "sim_005"]
""",
)

# %%
# Thirty generations of 40 images per site. Each image is a short code: its low spatial frequencies.
terminal("stimsynth generate mylab --out evolved --wanted wanted.toml --generator evolution --generations 30")

# %%
# ![The best score so far against the images that were scored, and the images](evolved/evolution.png)
#
# The same wish by gradient ascent, in 40 steps per image:
terminal("stimsynth generate mylab --out climbed --wanted wanted.toml --steps 40")

# %%
# Where there is a gradient, use it: it reached far higher scores in less time. Evolution in the computer is for encoders
# without one, and for a control that owes nothing to gradients ([measured on models of V4](../evolution.md)).
#
# ## Other ways to evolve
#
# - `--optimiser genetic`: the genetic algorithm of XDream in place of CMA-ES.
# - `--latent prior`: codes of the prior of [diffusion](diffusion.md), whose images look more natural; ten times slower.
# - `--latent FILE`: the weights of a decoder, such as the generator that XDream used.
# - `--hybrid`: gradients first, evolution from there.
#
# ## A score of your own
#
# An optimiser proposes codes and learns their scores. Where the scores come from is your affair:
import numpy as np

from synth.evolution.optimisers import make_optimiser

optimiser = make_optimiser("cma", np.zeros(20), population=40, seed=1)
for generation in range(30):
    codes = optimiser.ask()  # 40 codes of 20 numbers
    scores = -np.square(codes - 1).sum(1)  # yours; NaN where a trial was lost
    optimiser.tell(scores)
    if generation % 10 == 9:
        print(f"generation {generation + 1:2d}: mean score {scores.mean():.2f}")

# %%
# The best score possible is 0, at a code of ones.
#
# ## What next
#
# - [Evolution on the rig](evolution_rig.md): recorded responses give the scores.
# - [All of evolution](../evolution.md): optimisers, codes, what was measured.
# - [Bring your own model](own_model.md), with or without a gradient.
