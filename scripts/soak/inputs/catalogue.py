"""Every reader and loader of files that another program or person may have made."""

from __future__ import annotations

from collections.abc import Sequence

from . import arrays, foreign, images, projects, weights
from .reader import Reader

READERS: Sequence[Reader] = (*arrays.READERS, *foreign.READERS, *images.READERS, *projects.READERS, *weights.READERS)
