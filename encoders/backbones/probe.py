"""What a network does with probe images: whether it can be used, and how the outputs of its layers are laid out.

The layout is never guessed from numbers of tokens alone. Images of twice the height and of twice the width show which
axes grow with which side. Images that differ in one spot show where in the output that spot is: this also tells the
places of networks that take one size only, class tokens before or after the map, and the order of the tokens.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layout import Layout

SPOTS = (  # centres, as part of the sides; corners tell tokens before the map from tokens behind it
    *((0.06, 0.06), (0.94, 0.94), (0.06, 0.94), (0.2, 0.5), (0.35, 0.25)),
    *((0.5, 0.75), (0.65, 0.4), (0.8, 0.1), (0.9, 0.6)),
)
SPOT_SIZE = 1 / 8  # of a side
MOST_EXTRA_TOKENS = 16  # class, distillation and register tokens together
SEEN, APART = 0.4, 0.08  # least correlation of the right layout with the spots; least distance to any other
AGREEMENT = 1e-3  # largest difference of a feature between two runs, over the layer's largest value

Run = Callable[[Tensor], Mapping[str, Tensor]]


class _Sizes(NamedTuple):
    """Shapes of one layer's output for one image: as it is, of twice the height, of twice the width."""

    plain: tuple[int, ...]
    higher: tuple[int, ...]
    wider: tuple[int, ...]


@torch.no_grad()
def look(run: Run, size: tuple[int, int], *, like: Tensor) -> dict[str, Layout]:
    """Check what a network gives for images of `size`, and tell the layout of every layer.

    Parameters
    ----------
    run : callable
        Images (B, 3, H, W) in [0, 1] -> the outputs of the layers.
    size : (H, W)
    like : Tensor
        Has the network's device and dtype. On the device ``meta`` there are no numbers: shapes alone decide.

    Raises
    ------
    ValueError
        If outputs are not finite, are no features per image, or depend on chance or on the other images of a batch.
    """
    with torch.random.fork_rng(devices=[]):
        pair = torch.cat([_texture(size, seed) for seed in (0, 1)]).to(like)
        together, alone = run(pair), run(pair[:1])
        for name, features in together.items():
            _check_shape(name, features, alone[name])
        numbers = like.device.type != "meta"
        again = run(pair[:1]) if numbers else {}
        for name, repeated in again.items():
            _check_numbers(name, together[name], alone[name], again=repeated)
        if all(features.ndim == 2 for features in alone.values()):
            return {name: Layout() for name in alone}
        grown = _grown(run, size, like)
        shapes = {
            name: _Sizes(*(tuple(part[name].shape[1:]) for part in (alone, *grown))) if grown else None
            for name, features in alone.items()
        }
        layouts = {name: _by_shape(f, shapes[name]) for name, f in alone.items()}
        unsure = [name for name, layout in layouts.items() if layout is None]
        if unsure:
            changes = _changes(run, alone, unsure, size=size) if numbers else {}
            for name in unsure:
                change = changes.get(name)
                layouts[name] = _best(_candidates(alone[name], size, shapes[name]), change, size=size)
    return {name: layout for name, layout in layouts.items() if layout is not None}


def used_tensors(network: nn.Module, run: Callable[[], Mapping[str, Tensor]]) -> tuple[set[str], set[str]]:
    """Names of the tensors that the layers of `run` depend on, and paths of the modules that run for them.

    Parameters are those with a gradient; buffers count where their module runs.
    """
    running: set[str] = set()
    handles = [
        module.register_forward_pre_hook(lambda *_, path=path: running.add(path))
        for path, module in network.named_modules(remove_duplicate=False)
    ]
    parameters = {n: p for n, p in network.named_parameters(remove_duplicate=False) if p.is_floating_point()}
    before = {name: p.requires_grad for name, p in parameters.items()}
    try:
        with torch.enable_grad():
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            total = torch.stack([f.float().square().sum() for f in run().values()]).sum()
            grads = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
        for name, parameter in parameters.items():
            parameter.requires_grad_(before[name])
    needed = {name for name, grad in zip(parameters, grads, strict=True) if grad is not None}
    buffers = {name for name in network.state_dict() if name not in parameters}
    return needed | {name for name in buffers if name.rpartition(".")[0] in running}, running


def _texture(size: tuple[int, int], seed: int) -> Tensor:
    """Noise on two scales, (1, 3, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, *(max(side // 8, 2) for side in size), generator=generator)
    fine = torch.rand(1, 3, *size, generator=generator)
    return 0.7 * F.interpolate(coarse, size, mode="bilinear") + 0.3 * fine


def _plain(size: tuple[int, int]) -> Tensor:
    """A grey image with little noise, so that a spot is the same everywhere."""
    return 0.5 + 0.02 * (_texture(size, 1) - 0.5)


def _check_shape(name: str, features: Tensor, alone: Tensor) -> None:
    shape = tuple(features.shape)
    if features.ndim not in (2, 3, 4) or len(features) != 2 or alone.shape != (1, *shape[1:]):
        raise ValueError(
            f"layer {name!r} gives shape {shape} for 2 images and {tuple(alone.shape)} for one; expected one entry per "
            "image: (B, C, h, w), (B, T, C) or (B, C). Likely cause: a layer inside windows or frames, or a network "
            "for videos. Fix: name the output of a whole block"
        )
    if not features.is_floating_point():
        raise ValueError(f"layer {name!r} gives {features.dtype}; expected floating features. Fix: name another layer")


def _check_numbers(name: str, features: Tensor, alone: Tensor, *, again: Tensor) -> None:
    if not bool(torch.isfinite(features).all()):
        raise ValueError(
            f"layer {name!r} gives NaN or infinity for plain images; expected finite features. Likely cause: weights "
            "that are missing in the file, or that overflowed. Fix: name other weights, or an earlier layer"
        )
    if _differ(alone, again):
        raise ValueError(
            f"layer {name!r} gives other features to the same image a second time. Likely cause: dropout or noise "
            "that does not follow the evaluation mode. Fix: remove it from the network's forward pass"
        )
    if _differ(features[:1], alone):
        raise ValueError(
            f"layer {name!r} gives other features to an image alone and within a batch. Likely cause: batch "
            "statistics, or another step that mixes images. Fix: use statistics of the training in evaluation mode"
        )


def _differ(a: Tensor, b: Tensor) -> bool:
    return bool((a.double() - b.double()).abs().max() > AGREEMENT * a.double().abs().max())


def _grown(run: Run, size: tuple[int, int], like: Tensor) -> list[Mapping[str, Tensor]]:
    """Outputs for an image of twice the height and one of twice the width; none where the network takes one size."""
    height, width = size
    try:
        return [run(_texture(other, 0).to(like)) for other in ((2 * height, width), (height, 2 * width))]
    except Exception:  # a network of one size refuses others in its own way; the spots tell its layout
        return []


def _by_shape(features: Tensor, sizes: _Sizes | None) -> Layout | None:
    """The layout of an output of two or four axes, if the shapes tell it; None = they do not."""
    if features.ndim == 2:
        return Layout()
    if features.ndim == 3:
        single = [axis for axis in (1, 2) if features.shape[axis] == 1]
        return Layout(token_axis=single[0], grid=(1, 1)) if single else None
    if sizes is not None and len({len(shape) for shape in sizes}) == 1:
        rows, columns = ({i for i in range(3) if sizes.plain[i] != other[i]} for other in sizes[1:])
        if len(rows) == len(columns) == 1 and not rows & columns:
            (h,), (w,) = rows, columns
            (c,) = {0, 1, 2} - {h, w}
            return Layout(axes=(0, c + 1, h + 1, w + 1))
        if rows or columns:
            axes = ", ".join(str(i + 1) for i in sorted(rows | columns)) or "none"
            return Layout(
                unknown=f"axes {axes} grow with the image; expected one with its height and one with its width"
            )
    long = [i for i in (1, 2, 3) if features.shape[i] > 1]
    if len(long) <= 1:  # one position; all that there is are channels
        c = long[0] if long else 1
        h, w = (i for i in (1, 2, 3) if i != c)
        return Layout(axes=(0, c, h, w))
    return None


def _candidates(features: Tensor, size: tuple[int, int], sizes: _Sizes | None) -> list[Layout]:
    """Every layout that the shapes allow."""
    if features.ndim == 4:
        shape = features.shape
        orders = ((0, *order) for order in itertools.permutations((1, 2, 3)))
        return [Layout(axes=o) for o in orders if _even(size, (shape[o[2]], shape[o[3]]))]
    found: dict[bool, list[Layout]] = {True: [], False: []}
    for axis in (1, 2):
        for extra, grid in _grids(features.shape[axis], size):
            doubled = _doubled(axis - 1, extra, grid, sizes=sizes)
            if doubled is None:
                continue
            for first in dict.fromkeys((extra, 0)):
                found[doubled].append(Layout(token_axis=axis, grid=grid, first=first))
                if min(grid) > 1:
                    found[doubled].append(Layout(token_axis=axis, grid=grid, first=first, by_columns=True))
    return found[True] or found[False]


def _grids(tokens: int, size: tuple[int, int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Numbers of tokens that are no positions, each with a grid of the image's aspect that the others fill."""
    for extra in range(min(MOST_EXTRA_TOKENS, tokens // 2) + 1):
        places = tokens - extra
        near = int(math.sqrt(places * size[0] / size[1]))  # rows of an even grid
        for height in range(max(near - 1, 1), min(near + 2, places) + 1):
            if places >= 4 and places % height == 0 and _even(size, (height, places // height)):
                yield extra, (height, places // height)


def _even(size: tuple[int, int], grid: tuple[int, int]) -> bool:
    """Whether a grid covers an image with one stride in both directions, to the rounding of its sides."""
    if size[0] == size[1]:
        return grid[0] == grid[1]
    stride = math.sqrt(size[0] * size[1] / (grid[0] * grid[1]))
    return all(abs(cells - side / stride) < 1 for cells, side in zip(grid, size, strict=True))


def _doubled(axis: int, extra: int, grid: tuple[int, int], *, sizes: _Sizes | None) -> bool | None:
    """Whether the tokens of larger images fill a grid of exactly twice the rows, or columns; None = of about as many
    neither.
    """
    if sizes is None or sizes.plain == sizes.higher == sizes.wider:  # one size, or a fixed number of places
        return True
    if any(len(shape) != 2 or shape[1 - axis] != sizes.plain[1 - axis] for shape in sizes):
        return None
    rows, columns = sizes.higher[axis] - extra, sizes.wider[axis] - extra
    off = [n / other - 2 * side for n, other, side in zip((rows, columns), grid[::-1], grid, strict=True)]
    return not any(off) if all(o == int(o) and abs(o) <= 1 for o in off) else None


def _changes(run: Run, base: Mapping[str, Tensor], layers: list[str], *, size: tuple[int, int]) -> dict[str, Tensor]:
    """How much each output changes with each spot, (K, ...)."""
    image = _plain(size)
    pattern = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2)).round()  # the same in every spot
    base = run(image.to(base[layers[0]]))
    changes: dict[str, list[Tensor]] = {name: [] for name in layers}
    for centre in SPOTS:
        rows, columns = (_span(c, side) for c, side in zip(centre, size, strict=True))
        other = image.clone()
        other[..., rows, columns] = pattern[..., : rows.stop - rows.start, : columns.stop - columns.start]
        features = run(other.to(base[layers[0]]))
        for name in layers:
            changes[name].append((features[name] - base[name])[0].abs().double().cpu())
    return {name: torch.stack(parts) for name, parts in changes.items()}


def _span(centre: float, side: int) -> slice:
    length = max(round(SPOT_SIZE * side), 1)
    start = min(max(round(centre * side - length / 2), 0), side - length)
    return slice(start, start + length)


def _best(candidates: list[Layout], change: Tensor | None, *, size: tuple[int, int]) -> Layout:
    """The layout that puts the changes where the spots are, or one that says why there is none."""
    if not candidates:
        return Layout(unknown="no grid of the image's aspect has so many places")
    if change is None:  # no numbers on this device
        return candidates[0]
    scores = {layout: _score(layout.maps(change).sum(1)) for layout in candidates}
    best = max(scores.values())
    near = [layout for layout, score in scores.items() if score > best - APART]
    even = [c for c in scores if c.grid and size[0] * c.grid[1] == size[1] * c.grid[0] and scores[c] > best - 3 * APART]
    near += [layout for layout in even if layout not in near]
    if best < SEEN:
        return Layout(unknown="a spot in the image changes all places alike")
    if len(near) > 1:
        sure = [c for c in even if scores[c] > max(scores[e] for e in even) - APART]
        near = sure if len(sure) == 1 else near
    same = all(torch.equal(c.maps(change), near[0].maps(change)) for c in near)
    return near[0] if len(near) == 1 or same else Layout(unknown="several layouts fit alike")


def _score(energy: Tensor) -> float:
    """Correlation between where the output changed (K, h, w) and where the spots are."""
    total = energy.sum(0)
    share = energy / (total + 1e-6 * total.max() + 1e-300)
    height, width = energy.shape[1:]
    expected = torch.stack([_bump(r, height)[:, None] * _bump(c, width)[None] for r, c in SPOTS])
    share, expected = share - share.mean(0), expected - expected.mean(0)
    norm = float(share.norm() * expected.norm())
    return float((share * expected).sum()) / norm if norm > 0 else 0.0


def _bump(centre: float, cells: int) -> Tensor:
    places = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    return torch.exp(-0.5 * ((places - centre) / (0.5 * SPOT_SIZE + 0.5 / cells)) ** 2)
