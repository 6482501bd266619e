"""Diffusion: controllers that look more natural

Gradient ascent finds what drives a site most, and its images look like nothing an animal has ever seen. A *prior* knows
what natural images look like: it is a small network that takes noise off photographs. Guided diffusion lets the prior draw
an image and bends each of its steps towards a higher response. Ten minutes to read.
"""

# %%
# ## A fitted project
#
# Photographs, a recording of a simulated subject, a quick fit: step by step in [a batch for tomorrow](batch.md).
from lab import edit, fitted_project, terminal, write

fitted_project("mylab")

# %%
# ## What is wanted
write(
    "wanted.toml",
    """
[[objective]]
kind = "stretch"
sites = ["sim_002", "sim_003", "sim_005"]
""",
)

# %%
# ## Guided images
#
# The prior `natural64` comes with the package. It knows the spectrum, edges and surfaces of photographs. It knows no
# objects: a result with it says nothing about objects ([what it was trained on](../natural64.md)).
terminal("stimsynth generate mylab --out guided --wanted wanted.toml --generator diffusion --prior-steps 30")

# %%
# ![Guided images of three sites](guided/contact_sheet.png)
#
# ## How much guidance?
#
# `--strength` says how far each step is bent: `weak`, `natural` (the default), `strong`, `optimum`. More drives harder and
# looks less natural. There is no right value; it is what you want to show.
terminal(
    "stimsynth generate mylab --out strong --wanted wanted.toml --generator diffusion --prior-steps 30 --strength strong"
)

# %%
# ![The same with strong guidance](strong/contact_sheet.png)
#
# ## A fair comparison with gradient ascent
#
# Two images may look different only because one drives the site more. With `--match drive,contrast` both generators get the
# same contrast, and of each ascent the step is taken whose predicted drive equals that of the guided image.
terminal(
    "stimsynth generate mylab --out both --wanted wanted.toml --generator gradient,diffusion --match drive,contrast "
    "--prior-steps 30 --steps 40"
)

# %%
# ![Rows: gradient ascent, the ascent stopped at the same drive, guided samples, the prior alone](both/comparison.png)
#
# *gradient* is the ascent to its end, *gradient_matched* the ascent stopped at the drive of the guided image, *diffusion*
# the guided image, *unguided* what the prior draws by itself. The columns:
#
# - *slope*: how fast the power of an image falls from coarse to fine. Images with a steeper slope than the photographs'
#   are smoother.
# - *kurtosis*: high where an image is mostly flat and has few sharp edges, as photographs do.
# - *distance*: how far an image is from all that the encoder was fitted on; 1 is the median photograph. The farther, the
#   less its prediction is worth.
# - *score* and *validator*: the prediction by the encoder, and by the second one, which made no image.
#
# Compare *diffusion* with *gradient_matched*, which drives the sites as much: what is nearer to the line *photographs*?
#
# ## In rounds
#
# With these lines in `project.toml` the rounds of a [closed loop](closed_loop.md) show guided images:
edit(
    "mylab/project.toml",
    """
[synthesis]
generator = "diffusion"
[diffusion]
prior = "natural64"
strength = "natural"
""",
)

# %%
# ## Honest expectations
#
# In the studies with models of V4 sites the images of gradient ascent drove the sites most; at equal drive neither
# generator was better ([measured](../diffusion.md)). Choose diffusion for what the images look like, or to ask whether the
# effect holds for images nearer to natural ones.
#
# ## What next
#
# - [All of guided diffusion](../diffusion.md): other priors, diffusers models, methods.
# - [Evolution](evolution.md), which needs no gradient.
# - [Graded photographs](../levels.md), which change a photograph and keep its scene.
