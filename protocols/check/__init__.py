"""What `stimsynth check` looks at before a recording day: whatever cannot work is found before the subject waits."""

from __future__ import annotations

from .findings import Finding
from .look import check_project

__all__ = ["Finding", "check_project"]
