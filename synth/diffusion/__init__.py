"""Diffusion guidance: samples of a prior that drive the targets. `guide` is the door; methods, solvers and priors are its parts."""

from .guidance import STRENGTHS, guide
from .methods import Method
from .schedulers import scheduler
from .solvers import coarse_to_fine, ddim

__all__ = ["STRENGTHS", "Method", "coarse_to_fine", "ddim", "guide", "scheduler"]
