"""What guidance adds to a step of sampling: guided steps against unguided ones, timed in turn in one run; ratios only.

The prior is the network of `natural` at 64 px with untrained weights (the time does not depend on them), the encoder EfficientNet-Lite0 up to
block 4, the display exact. What the encoder costs is in the ratio: the rows with a limit show it images at the prior's own 64 px, the others at
112 px, where its forward and backward pass alone outweigh a step of the prior. Run: ``python scripts/diffusion_bench.py [--repeats 5]``.
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
BATCH, STEPS = 8, 6


@dataclass(frozen=True)
class Pair:
    """Two callables, guided and unguided, and the most that the first may take of the second's time."""

    what: str
    ours: Callable[[], object]
    bare: Callable[[], object]
    limit: float | None


class Pooled(nn.Module):
    """The truncated network with the cheapest readout there is: means of feature maps as sites."""

    def __init__(self) -> None:
        super().__init__()
        self.network = backbone("offline:efficientnet_lite0", [LAYER], weights="random")

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, U)."""
        features: Tensor = self.network(images)[LAYER]
        return features.mean((2, 3))


def guided_steps(method: str, size: int, limit: float | None) -> Pair:
    """Steps of `guide` against the same steps at strength 0."""
    encoder = Pooled().eval()
    prior = natural({"widths": [32, 64, 128, 128]}, (3, 64, 64))
    constraints = [exact_statistics((3, size, size), mean=0.43, rms=0.2)]

    def run(strength: float) -> None:
        guide(encoder, stretch(range(BATCH)), prior, method=method, strength=strength, constraints=constraints, steps=STEPS)  # fmt: skip

    return Pair(
        f"{STEPS} steps of {method} / {STEPS} unguided steps, {BATCH} images, encoder at {size} px",
        lambda: run(0.2),
        lambda: run(0.0),
        limit,
    )


ROWS: dict[str, Callable[[], Pair]] = {
    "through": lambda: guided_steps("guided", 64, 3.0),
    "clean": lambda: guided_steps("guided_fast", 64, 1.8),
    "through_112": lambda: guided_steps("guided", 112, None),
    "clean_112": lambda: guided_steps("guided_fast", 112, None),
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
    print(f"{'row':<12}{'ratio':>7}{'range':>16}{'limit':>8}{'s bare':>9}  what")
    for row in given.rows:
        pair = ROWS[row]()
        pair.bare(), pair.ours()
        times = [(seconds(pair.ours), seconds(pair.bare)) for _ in range(given.repeats)]
        ratios = [a / b for a, b in times]
        ratio = statistics.median(a for a, _ in times) / statistics.median(b for _, b in times)
        limit = "-" if pair.limit is None else f"{pair.limit:.2f}"
        span = f"{min(ratios):.2f} - {max(ratios):.2f}"
        print(f"{row:<12}{ratio:>7.2f}{span:>16}{limit:>8}{statistics.median(b for _, b in times):>9.2f}  {pair.what}")


if __name__ == "__main__":
    main()
