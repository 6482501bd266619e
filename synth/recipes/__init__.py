"""Recipes of gradient ascent, as arguments of `ascend`: ``ascend(encoder, objective, **walker_2019(shape, ...))``.

Each published recipe reproduces the update rule of its authors' released code in our units: an image value v in [0, 1]
is the pixel value / 255. Two things are those of `ascend`. First, the best of the checked 8-bit images is kept; these
recipes check at the start and at the end, so that this is the last image, as published, unless it scores below the
start. Second, no image leaves the range of the screen. To show a recipe's images at the statistics of the other arms,
replace its constraints: ``{**recipe, "constraints": [...]}``.
"""

from .bashivan2019 import bashivan_2019
from .few_steps import quick
from .pierzchlewicz2023 import v4_gradient_ascent
from .walker2019 import walker_2019

__all__ = ["bashivan_2019", "quick", "v4_gradient_ascent", "walker_2019"]
