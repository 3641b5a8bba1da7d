"""The images that a build is calibrated, checked and measured with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.data import load_cifar10, load_sample, normalise
from fpga_model.errors import UserError
from fpga_model.numerics.tensors import Shape

CIFAR_SHAPE = Shape(3, 32, 32)
MAX_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class Inputs:
    """Images in a network's input scale, float32 [N, C, H, W] in [-1, 1), exact in 8 bits with 7 fraction bits.

    `labels` [N] is None where there are none; `dataset` names the data set, None for the user's own images.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8] | None
    dataset: str | None

    def first(self, count: int) -> Inputs:
        """The first `count` images, or all if there are fewer."""
        return Inputs(self.images[:count], None if self.labels is None else self.labels[:count], self.dataset)

    def integers(self) -> npt.NDArray[np.int8]:
        """The images as the accelerator reads them: value * 128."""
        return np.rint(self.images * 128).astype(np.int8)


def load_inputs(shape: Shape, images: Path | None) -> Inputs:
    """The shipped CIFAR-10 sample, or the user's images from a .npy file. Raises UserError if neither fits."""
    if images is not None:
        return Inputs(_read_images(images, shape), None, None)
    if shape != CIFAR_SHAPE:
        raise UserError(
            f"the network reads images of {shape}, and the shipped sample is CIFAR-10 ({CIFAR_SHAPE}): give images to "
            f"calibrate with, a .npy file of float32 [N, {shape.channels}, {shape.height}, {shape.width}] in [-1, 1), "
            f"by --images-file"
        )
    sample = load_sample()
    return Inputs(normalise(sample.images), sample.labels, "cifar10")


def load_test_set() -> Inputs:
    """All 10,000 test images. Raises UserError, saying what to put where, if they are not on this machine."""
    data = load_cifar10("test")
    return Inputs(normalise(data.images), data.labels, "cifar10")


def _read_images(path: Path, shape: Shape) -> npt.NDArray[np.float32]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: larger than {MAX_BYTES >> 30} GiB; give fewer images")
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: not a .npy file of numbers ({error})") from error
    expected = (shape.channels, shape.height, shape.width)
    if (
        not isinstance(array, np.ndarray)
        or array.dtype.kind != "f"
        or array.ndim != 4
        or array.shape[1:] != expected
        or not len(array)
    ):
        found = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        raise UserError(f"{path}: holds {found}, the network reads floats [N, {', '.join(map(str, expected))}]")
    images = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(images).all() or images.min() < -1 or images.max() >= 1:
        raise UserError(f"{path}: values must lie in [-1, 1): they are stored as 8 bits with 7 fraction bits")
    return np.rint(images * 128).clip(-128, 127).astype(np.float32) / np.float32(128)
