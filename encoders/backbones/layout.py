"""Which axes of a layer's output are channels and which are positions: `Layout`, and tensors that carry theirs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHANNELS_FIRST = (0, 1, 2, 3)
MOVING = {  # functions that may exchange axes and keep the shape
    *("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "rot90", "einsum"),
    *("view", "reshape", "flatten", "unflatten", "as_strided", "matmul", "bmm", "tensordot", "__get__"),
    *("transpose_", "swapaxes_", "swapdims_", "t_", "as_strided_", "reshape_as", "view_as", "resize_"),
}


@dataclass(frozen=True)
class Layout:
    """Where channels and positions are in the output of a layer.

    Attributes
    ----------
    axes : tuple of int
        Of an output of four axes: those that are (B, C, h, w), in this order.
    token_axis : int
        Of an output of three axes: the one that counts tokens.
    grid : (h, w) or None
        Rows and columns of the map that the tokens form.
    first : int
        Place of the map's first token; tokens before it and after the map (class, register) are no positions.
    by_columns : bool
        The tokens go through the map column by column.
    unknown : str
        Why axes or grid could not be told, "" where they were.
    """

    axes: tuple[int, ...] = CHANNELS_FIRST
    token_axis: int = 1
    grid: tuple[int, int] | None = None
    first: int = 0
    by_columns: bool = False
    unknown: str = ""

    @property
    def of_one_size(self) -> bool:
        """Whether images of another size need a look of their own: tokens, and what could not be told."""
        return self.grid is not None or bool(self.unknown)

    def maps(self, features: Tensor) -> Tensor:
        """Plain features of this layout as maps (B, C, h, w).

        Raises
        ------
        ValueError
            If the layout is unknown.
        """
        if self.unknown:
            raise ValueError(
                f"features of shape {tuple(features.shape)}: their layout as a map could not be told ({self.unknown}). "
                "Likely cause: a layer inside a block, such as attention weights or windows, or a network that mixes "
                "all places. Fix: name the output of a block or of a convolution; a layer of tokens may also be read "
                "by a readout without maps, such as ridge"
            )
        if features.ndim == 4:
            return features.permute(self.axes)
        assert self.grid is not None
        tokens = features if self.token_axis == 1 else features.transpose(1, 2)
        height, width = self.grid
        tokens = tokens[:, self.first : self.first + height * width].transpose(1, 2)  # (B, C, h w)
        if self.by_columns:
            return tokens.reshape(*tokens.shape[:2], width, height).transpose(2, 3)
        return tokens.reshape(*tokens.shape[:2], height, width)


class LaidOut(Tensor):
    """A layer's output, as the network gives it, with its `Layout`; only where that is not (B, C, h, w) or (B, C).

    The layout stays with what keeps the axes in place, such as ``torch.cat`` over images, indexing and conversions;
    what may move them gives a plain tensor.
    """

    arrangement: Layout

    def __deepcopy__(self, memo: Any) -> Tensor:
        """A copy with the same layout."""
        return lay_out(copy.deepcopy(plain_features(self), memo), self.arrangement)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run `func` on plain tensors; hand the layout on where the axes stay."""
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
            source = _first_laid_out(args)
            if source is None or getattr(func, "__name__", "") in MOVING:
                return _plain(result)
            return _handed_on(result, source)


def lay_out(features: Tensor, layout: Layout) -> Tensor:
    """`features` with its layout; a plain tensor where it is (B, C, h, w) or (B, C) already."""
    plain: Tensor = _plain(features)
    if plain.ndim not in (3, 4) or (plain.ndim == 4 and layout.axes == CHANNELS_FIRST and not layout.unknown):
        return plain
    marked = plain.as_subclass(LaidOut)
    marked.arrangement = layout
    return marked


def layout_of(features: Tensor) -> Layout | None:
    """The layout that a tensor carries, None for a plain one."""
    return features.arrangement if isinstance(features, LaidOut) else None


def plain_features(features: Tensor) -> Tensor:
    """The tensor without its layout."""
    return features.as_subclass(Tensor) if isinstance(features, LaidOut) else features


def square_layout(tokens: int) -> Layout:
    """The layout of so many tokens that nothing more is known of: a square, without the first token if one is left.

    Raises
    ------
    ValueError
        If they form no square.
    """
    side = math.isqrt(tokens)
    if side * side == tokens:
        return Layout(grid=(side, side))
    if side * side + 1 == tokens and tokens > 2:
        return Layout(grid=(side, side), first=1)
    raise ValueError(
        f"{tokens} tokens form no square map, with or without a class token; expected features that carry their "
        "layout. Likely cause: images that are not square, or register tokens, and a tensor that lost its layout on "
        "the way from the backbone. Fix: pass what backbone(images) or extract_features gave, or maps (B, C, h, w)"
    )


def earlier_layout(shape: Sequence[int]) -> Layout:
    """How versions that did not look at the network read an output of that shape; saved encoders are read so."""
    if len(shape) != 3:
        return Layout()
    try:
        return square_layout(shape[1])
    except ValueError:
        return Layout(grid=(1, shape[1]))


def _first_laid_out(args: Sequence[Any]) -> LaidOut | None:
    for arg in args:
        if isinstance(arg, LaidOut):
            return arg
        if isinstance(arg, list | tuple) and (found := _first_laid_out(arg)) is not None:
            return found
    return None


def _plain(result: Any) -> Any:
    if isinstance(result, LaidOut):
        return result.as_subclass(Tensor)
    if type(result) in (list, tuple):
        return type(result)(_plain(part) for part in result)
    return result


def _handed_on(result: Any, source: LaidOut) -> Any:
    if isinstance(result, Tensor):
        if result is source or not hasattr(source, "arrangement"):
            return result
        same = result.ndim == source.ndim and result.shape[1:] == source.shape[1:]
        return lay_out(result, source.arrangement) if same else _plain(result)
    if type(result) in (list, tuple):
        return type(result)(_handed_on(part, source) for part in result)
    return result
