"""Parts of matrices."""

from __future__ import annotations

import numpy as np


def upper(matrix):
    return matrix[np.triu_indices(len(matrix), 1)]
