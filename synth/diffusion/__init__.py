"""Diffusion guidance: samples of a prior that drive the targets. `guide` uses a method, a solver and a prior."""

from .guidance import STRENGTHS, guide
from .methods import Method
from .schedulers import scheduler
from .solvers import coarse_to_fine, ddim

__all__ = ["STRENGTHS", "Method", "coarse_to_fine", "ddim", "guide", "scheduler"]
