"""MNIST in its publishers' IDX format (LeCun, Cortes, Burges): a magic number, sizes, then bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cgap.data.images import Images, Split
from cgap.data.places import locate, read, require_counts, require_pictures
from fpga_model.errors import UserError

CLASSES = 10
SHAPE = (1, 28, 28)
FOLDER = "mnist"
SOURCE = "http://yann.lecun.com/exdb/mnist (unpacked)"
_PREFIX = {"train": "train", "test": "t10k"}
COUNT = {"train": 60_000, "test": 10_000}
DIGITS = {
    "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
}
"""How often each digit occurs."""


def files(split: Split) -> list[Path]:
    """Images and labels of a split. Raises UserError, saying what to put where, if they are not on this machine."""
    images, labels = (f"{_PREFIX[split]}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    folder = locate(FOLDER, images, SOURCE)
    return [folder / images, folder / labels]


def load(split: Split) -> Images:
    """60,000 training or 10,000 test images of digits.

    Raises UserError if a file is missing, is not IDX, or has another size, impossible labels or blank images.
    """
    count = COUNT[split]
    images, labels = files(split)
    pixels = read_idx(images, (count, *SHAPE[1:])).reshape(count, *SHAPE)
    digits = read_idx(labels, (count,))
    if digits.max() >= CLASSES:
        raise UserError(f"{labels}: has label {digits.max()}, digits are 0 to 9")
    require_counts(labels, digits, DIGITS[split])
    require_pictures(images, pixels)
    return Images(pixels, digits)


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An IDX file of bytes in this shape. Raises UserError if it is anything else."""
    header = struct.pack(f">{1 + len(shape)}i", 0x800 + len(shape), *shape)
    data = read(path, len(header) + int(np.prod(shape)))
    if not data.startswith(header):
        raise UserError(f"{path}: is not an IDX file of bytes in the shape {list(shape)}")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape).copy()
