"""SVHN's cropped digits in their publishers' MATLAB files (Netzer et al., 2011)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cgap.data.images import Images, Split
from cgap.data.places import locate, require_counts
from fpga_model.errors import UserError

CLASSES = 10
SHAPE = (3, 32, 32)
FOLDER = "svhn"
SOURCE = "http://ufldl.stanford.edu/housenumbers, format 2,"
DIGITS = {
    "train": (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
    "test": (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
}
"""How often each digit occurs."""
_LIMIT = 1 << 30


def files(split: Split) -> list[Path]:
    """The file of a split. Raises UserError, saying what to put where, if it is not on this machine."""
    name = f"{split}_32x32.mat"
    return [locate(FOLDER, name, SOURCE) / name]


def load(split: Split) -> Images:
    """The 73,257 training or 26,032 test images; the digit 0, which the files call 10, is class 0.

    Raises UserError if the file is missing, is not one of SVHN's, or scipy, which reads it, is not installed.
    """
    (path,) = files(split)
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise UserError("SVHN's files are read by scipy: pip install 'cgap[train]'") from error
    if path.stat().st_size > _LIMIT:
        raise UserError(f"{path}: larger than {_LIMIT >> 30} GiB, which is not SVHN's cropped digits")
    try:
        content: dict[str, Any] = loadmat(path, variable_names=("X", "y"))
    except Exception as error:  # whatever a damaged file makes of the reader
        raise UserError(f"{path}: is not a readable MATLAB file ({error})") from error
    pixels, digits = content.get("X"), content.get("y")
    if (
        not isinstance(pixels, np.ndarray)
        or not isinstance(digits, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.shape != (32, 32, 3, digits.size)
        or not digits.size
        or digits.min() < 1
        or digits.max() > 10
    ):
        raise UserError(f"{path}: needs X, bytes [32, 32, 3, N], and y, N digits from 1 to 10")
    labels = (digits.reshape(-1) % 10).astype(np.uint8)
    require_counts(path, labels, DIGITS[split])
    return Images(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), labels)
