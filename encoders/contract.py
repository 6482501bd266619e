"""Type aliases that all folders of this package share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
Ints = NDArray[np.int64]
