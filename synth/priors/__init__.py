"""Priors: denoisers D(x, sigma) that know what images look like. `guide` samples them towards an objective."""

from .blind import blind
from .natural import natural
from .pretrained import pretrained
from .prior import PixelPrior, Prior
from .spectral import spectral

__all__ = ["PixelPrior", "Prior", "blind", "natural", "pretrained", "spectral"]
