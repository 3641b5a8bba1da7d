"""CIFAR-100 in its publisher's binary format (Krizhevsky, 2009): a byte each for coarse and fine label, then pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cgap.data.images import Images, Split
from cgap.data.places import locate, read, require_counts, require_pictures
from fpga_model.errors import UserError

CLASSES = 100
SHAPE = (3, 32, 32)
FOLDER = "cifar-100-binary"
SOURCE = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
COUNT = {"train": 50_000, "test": 10_000}
_RECORD = 2 + 3 * 32 * 32


def files(split: Split) -> list[Path]:
    """The file of a split. Raises UserError, saying what to put where, if it is not on this machine."""
    return [locate(FOLDER, f"{split}.bin", SOURCE) / f"{split}.bin"]


def load(split: Split) -> Images:
    """50,000 training or 10,000 test images, with their 100 fine labels.

    Raises UserError if the file is missing, cut short or has impossible labels.
    """
    (path,) = files(split)
    records = np.frombuffer(read(path, COUNT[split] * _RECORD), np.uint8).reshape(-1, _RECORD)
    labels = records[:, 1].copy()
    if labels.max() >= CLASSES:
        raise UserError(f"{path}: has label {labels.max()}, CIFAR-100 labels are 0 to 99")
    require_counts(path, labels, [COUNT[split] // CLASSES] * CLASSES)
    pixels = records[:, 2:].reshape(-1, *SHAPE).copy()
    require_pictures(path, pixels)
    return Images(pixels, labels)
