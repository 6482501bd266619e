"""What guidance adds to a step of sampling: guided steps against unguided ones, timed in turn in one run; ratios only.

The prior is the network of `natural` at 64 px with untrained weights (the time does not depend on them), the encoder EfficientNet-Lite0 up to
block 4 at 112 px, the display exact. Run: ``python scripts/diffusion_bench.py [--repeats 5]``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from encoders.backbones import backbone
from synth import exact_statistics, stretch
from synth.diffusion import guide
from synth.priors import natural

LAYER = "blocks.4.0"
SHAPE = (3, 112, 112)
BATCH, STEPS = 8, 6


@dataclass(frozen=True)
class Pair:
    """Two callables, guided and unguided, and the most that the first may take of the second's time."""

    what: str
    ours: Callable[[], object]
    bare: Callable[[], object]
    limit: float


class Pooled(nn.Module):
    """The truncated network with the cheapest readout there is: means of feature maps as sites."""

    def __init__(self) -> None:
        super().__init__()
        self.network = backbone("offline:efficientnet_lite0", [LAYER], weights="random")

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, U)."""
        features: Tensor = self.network(images)[LAYER]
        return features.mean((2, 3))


def guided_steps(method: str, limit: float) -> Pair:
    """Steps of `guide` against the same steps at strength 0."""
    encoder = Pooled().eval()
    prior = natural({"widths": [32, 64, 128, 128]}, (3, 64, 64))
    constraints = [exact_statistics(SHAPE, mean=0.43, rms=0.2)]

    def run(strength: float) -> None:
        guide(encoder, stretch(range(BATCH)), prior, method=method, strength=strength, constraints=constraints, steps=STEPS)  # fmt: skip

    return Pair(f"{STEPS} steps of {method} / {STEPS} unguided steps", lambda: run(0.2), lambda: run(0.0), limit)


ROWS: dict[str, Callable[[], Pair]] = {
    "through": lambda: guided_steps("guided", 3.0),
    "clean": lambda: guided_steps("guided_fast", 1.8),
}


def seconds(function: Callable[[], object]) -> float:
    """CPU time of one call: on a busy machine the wall clock measures the others."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(f"{'row':<10}{'ratio':>7}{'range':>16}{'limit':>8}{'s bare':>9}  what")
    for row in given.rows:
        pair = ROWS[row]()
        pair.bare(), pair.ours()
        times = [(seconds(pair.ours), seconds(pair.bare)) for _ in range(given.repeats)]
        ratios = [a / b for a, b in times]
        ratio = statistics.median(a for a, _ in times) / statistics.median(b for _, b in times)
        span = f"{min(ratios):.2f} - {max(ratios):.2f}"
        print(
            f"{row:<10}{ratio:>7.2f}{span:>16}{pair.limit:>8.2f}{statistics.median(b for _, b in times):>9.2f}  {pair.what}"
        )


if __name__ == "__main__":
    main()
