"""A faster image gradient of the first, strided convolution of a network; the forward pass is unchanged."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["StridedConv2d", "quicken_first_convolution"]

SMALLEST_KERNEL = 7  # faster for 7 x 7 and 11 x 11, not for 3 x 3 (docs/speed.md)
MOST_CHANNELS = 4  # of the image; with more channels the ordinary backward pass is fast


class StridedConv2d(nn.Conv2d):
    """A convolution of stride s > 1 over few channels whose gradient with respect to the image is cheap on a CPU.

    A kernel of k x k with stride s equals one of k/s x k/s (rounded up) with stride 1, where the s x s pixels of each
    cell are channels (the sub-pixel arrangement of Shi et al. 2016). The forward pass is the ordinary one, bit for bit.
    Only the backward pass to the image uses that arrangement, where the library's kernels have enough channels to be
    fast. With trainable weights, or on another device, both passes are the ordinary ones.
    """

    @staticmethod
    def suits(module: nn.Module) -> bool:
        """Whether `module` is a convolution for which this is faster."""
        if type(module) is not nn.Conv2d or isinstance(module.padding, str) or module.padding_mode != "zeros":
            return False
        (k, k2), (s, s2), (p, p2) = module.kernel_size, module.stride, module.padding
        square = k == k2 and s == s2 and p == p2 and module.dilation == (1, 1) and module.groups == 1
        return square and 1 < s <= k and k >= SMALLEST_KERNEL and module.in_channels <= MOST_CHANNELS

    @staticmethod
    def of(convolution: nn.Conv2d) -> StridedConv2d:
        """The same convolution, with the same parameters (not copies)."""
        strided = StridedConv2d(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            stride=convolution.stride,  # type: ignore[arg-type]
            padding=convolution.padding,  # type: ignore[arg-type]
            bias=convolution.bias is not None,
            device="meta",
        )
        strided.weight, strided.bias = convolution.weight, convolution.bias
        return strided.train(convolution.training)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', h, w)."""
        tuned = self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)
        if tuned or not input.requires_grad or input.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        result: Tensor = _Convolve.apply(input, self.weight, self.bias, self.stride[0], int(self.padding[0]))
        return result


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.stride, ctx.padding, ctx.size = stride, padding, images.shape[-2:]
        return F.conv2d(images, weight, bias, stride=stride, padding=padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        s = ctx.stride
        cells = F.conv_transpose2d(gradient, _by_cells(weight, s))  # (B, s s C, h + k/s - 1, w + k/s - 1)
        batch, channels, rows, columns = cells.shape
        split = cells.permute(0, 2, 3, 1).reshape(batch, rows, columns, s, -1)
        spread = split.transpose(2, 3).reshape(batch, rows * s, columns * s, channels // s**2).permute(0, 3, 1, 2)
        # `spread` is the padded image, from its first row and column
        missing = [full + ctx.padding - side for full, side in zip(ctx.size, spread.shape[-2:], strict=True)]
        cut = (
            -ctx.padding,
            missing[1],
            -ctx.padding,
            missing[0],
        )  # rows and columns that no kernel reached have gradient 0
        return F.pad(spread, cut), None, None, None, None


def _by_cells(weight: Tensor, stride: int) -> Tensor:
    """Kernels (O, C, k, k) as (O, s s C, k', k'), k' = ceil(k / s): cells of s x s pixels as channels, a pixel's
    colours side by side.
    """
    out, channels, k, _ = weight.shape
    cells = -(-k // stride)
    padded = F.pad(weight, (0, cells * stride - k, 0, cells * stride - k))
    split = padded.reshape(out, channels, cells, stride, cells, stride).permute(0, 3, 5, 1, 2, 4)
    return split.reshape(out, stride**2 * channels, cells, cells)


def quicken_first_convolution(network: nn.Module) -> bool:
    """Replace the first convolution of `network`, in the order of definition, by a `StridedConv2d` where that is
    faster; in place.

    Its path and parameters keep their names. Returns whether it was replaced.
    """
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            if not path or not StridedConv2d.suits(module):
                return False
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, StridedConv2d.of(module))
            return True
    return False
