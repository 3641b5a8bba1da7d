"""Tensors as they lie in DRAM: feature words in row order, zeros beyond the width (docs/microarchitecture.md, 2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fpga_model.machine.accelerator import Accelerator, ceil_div


def pack_tensor(tensor: npt.NDArray[Any], accelerator: Accelerator) -> bytes:
    """A tensor [maps, rows, columns] as `[map][row][word]`."""
    maps, rows, columns = tensor.shape
    padded = np.zeros((maps, rows, ceil_div(columns, accelerator.word_pixels) * accelerator.word_pixels), np.int8)
    padded[:, :, :columns] = tensor
    return padded.tobytes()


def unpack_tensor(
    data: bytes, shape: tuple[int, int, int], accelerator: Accelerator, packed: bool
) -> npt.NDArray[np.int8]:
    """The inverse of `pack_tensor`; `packed` maps of one pixel lie side by side in words."""
    maps, rows, columns = shape
    pixels = np.frombuffer(data, np.int8)
    if packed:
        return pixels[:maps].reshape(shape).copy()
    width = ceil_div(columns, accelerator.word_pixels) * accelerator.word_pixels
    return pixels[: maps * rows * width].reshape(maps, rows, width)[:, :, :columns].copy()
