"""Sliding windows over feature maps, shared by convolution and pooling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from fpga_model.errors import UserError
from fpga_model.machine.tiles import Window
from fpga_model.numerics.fixed_point import FLOAT32_EXACT
from fpga_model.numerics.tensors import Shape

Kernel = tuple[int, int]
"""(Nky, Nkx)"""
Steps = tuple[int, int]
"""(of rows, of columns): a stride or a dilation."""
Pad = tuple[int, int, int, int]
"""(top, left, bottom, right)"""


def pair(values: Iterable[int]) -> tuple[int, int]:
    """Exactly two numbers, as JSON holds them."""
    rows, columns = values
    return rows, columns


def check_window(kernel: Kernel, stride: Steps, pad: Pad) -> None:
    """Refuse windows that no hardware can have.

    Raises:
        UserError: sizes below one, or padding as wide as the kernel (a window would see nothing but padding).
    """
    if min(*kernel, *stride) < 1:
        raise UserError(f"kernel {kernel} and stride {stride} must be at least one")
    top, left, bottom, right = pad
    if min(pad) < 0 or max(top, bottom) >= kernel[0] or max(left, right) >= kernel[1]:
        raise UserError(f"padding (top, left, bottom, right) {pad} must be from zero to less than the kernel {kernel}")


def window_shape(shape: Shape, kernel: Kernel, stride: Steps, pad: Pad, channels: int) -> Shape:
    """Output maps of a window that slides over maps of `shape`.

    Raises:
        UserError: the kernel is larger than the padded map.
    """
    height = shape.height + pad[0] + pad[2] - kernel[0]
    width = shape.width + pad[1] + pad[3] - kernel[1]
    if height < 0 or width < 0:
        raise UserError(f"kernel {kernel} is larger than its input {shape} with padding {pad}")
    return Shape(channels, height // stride[0] + 1, width // stride[1] + 1)


def extent(kernel: Kernel, dilation: Steps) -> Kernel:
    """Rows and columns from the first to the last that a dilated window takes."""
    return (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1


def windows(
    maps: npt.NDArray[Any], kernel: Kernel, stride: Steps, pad: Pad, fill: float, dilation: Steps = (1, 1)
) -> npt.NDArray[Any]:
    """View of maps [N, C, H, W], padded with `fill`, as windows [N, C, Noy, Nox, Nky, Nkx]."""
    top, left, bottom, right = pad
    if any(pad):
        batch, channels, height, width = maps.shape
        padded = np.full((batch, channels, height + top + bottom, width + left + right), fill, dtype=maps.dtype)
        padded[:, :, top : top + height, left : left + width] = maps
        maps = padded
    view = np.lib.stride_tricks.sliding_window_view(maps, extent(kernel, dilation), axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def magnitude(maps: npt.NDArray[Any]) -> int:
    """Bound on the stored integers of `maps`, from their type where it is a storage type."""
    if maps.dtype in (np.int8, np.int16):
        return -int(np.iinfo(maps.dtype).min)
    if maps.dtype in (np.uint8, np.uint16):
        return int(np.iinfo(maps.dtype).max)
    return int(np.abs(maps.astype(np.int64)).max(initial=0))


def exact_dtype(bound: int) -> np.dtype[Any]:
    """The fastest number type in which sums of integers that stay within `bound` are exact in any order."""
    if bound < FLOAT32_EXACT:
        return np.dtype(np.float32)
    return np.dtype(np.float64 if bound < 1 << 53 else np.int64)


def sliding(kernel: Kernel, stride: Steps, pad: Pad, source: Shape, dilation: Steps = (1, 1)) -> Window:
    """The window as operations describe it, over maps of `source`."""
    return Window(*kernel, *stride, *pad[:2], source.height, source.width, *dilation)
