"""Recipes of gradient ascent, as arguments of `ascend`: ``ascend(encoder, objective, **walker_2019(shape, ...))``.

Each published recipe reproduces the update rule of its authors' released code in our units: an image value v in [0, 1] is the pixel value
/ 255. Two things stay `ascend`'s own. The best of the checked 8-bit images is kept; with checks at the start and the end alone, as
here, that is the last image, as published, unless it scores below the start. And no image leaves the range of the screen.
To show a recipe's images at the statistics of the other arms, replace its constraints: ``{**recipe, "constraints": [...]}``.
"""

from .bashivan2019 import bashivan_2019
from .few_steps import quick
from .pierzchlewicz2023 import v4_gradient_ascent
from .walker2019 import walker_2019

__all__ = ["bashivan_2019", "quick", "v4_gradient_ascent", "walker_2019"]
