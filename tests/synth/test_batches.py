"""What every generator of images shares."""

from __future__ import annotations

import synth
from synth.batches import package_version


def test_the_recorded_version_is_that_of_the_package() -> None:
    assert package_version() == synth.__version__
