"""The images that a build is calibrated, checked and measured with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.data import load_calibration_sample, load_cifar10, load_sample, normalise
from cgap.lowering.onnx.axes import FileTensor
from fpga_model.errors import UserError
from fpga_model.numerics.tensors import Shape

CALIBRATION_IMAGES = 100
CIFAR_SHAPE = Shape(3, 32, 32)
MAX_BYTES = 4 << 30
HALF_STEP = 0.5 / 128


@dataclass(frozen=True, eq=False)
class Inputs:
    """Images in a network's input scale, float32 [N, C, H, W] in [-1, 1), exact in 8 bits with 7 fraction bits.

    `labels` [N] is None where there are none; `dataset` names the data set, None for the user's own images.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.integer] | None
    dataset: str | None

    def first(self, count: int) -> Inputs:
        """The first `count` images, or all if there are fewer."""
        return Inputs(self.images[:count], None if self.labels is None else self.labels[:count], self.dataset)

    def calibration(self) -> Inputs:
        """What number formats are chosen with: training images for CIFAR-10, the first images of the user's own."""
        if self.dataset is None:
            return self.first(CALIBRATION_IMAGES)
        sample = load_calibration_sample()
        return Inputs(normalise(sample.images), sample.labels, self.dataset).first(CALIBRATION_IMAGES)

    def integers(self) -> npt.NDArray[np.int8]:
        """The images as the accelerator reads them: value * 128."""
        return np.rint(self.images * 128).astype(np.int8)


def load_inputs(image: FileTensor, images: Path | None) -> Inputs:
    """The shipped CIFAR-10 sample, or the user's images from a .npy file. Raises UserError if neither fits.

    Args:
        image: how the network's file has its image.
        images: a file of images as the network's file has them.
    """
    if images is not None:
        return Inputs(_read_images(images, image), None, None)
    shape = Shape(*image.maps)
    if shape != CIFAR_SHAPE:
        kind = "float32" if image.kind == "float32" else image.kind
        values = " in [-1, 1)" if kind == "float32" and (image.scale, image.offset) == (1, 0) else ""
        sizes = ", ".join(map(str, image.shape[1:]))
        raise UserError(
            f"the network reads images of {shape}, and the shipped sample is CIFAR-10 ({CIFAR_SHAPE}): give images to "
            f"calibrate with, a .npy file of {kind} [N, {sizes}]{values}, by --images-file"
        )
    sample = load_sample()
    return Inputs(normalise(sample.images), sample.labels, "cifar10")


def load_test_set() -> Inputs:
    """All 10,000 test images. Raises UserError, saying what to put where, if they are not on this machine."""
    data = load_cifar10("test")
    return Inputs(normalise(data.images), data.labels, "cifar10")


def _read_images(path: Path, image: FileTensor) -> npt.NDArray[np.float32]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: larger than {MAX_BYTES >> 30} GiB; give fewer images")
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: not a .npy file of numbers ({error})") from error
    if (
        not isinstance(array, np.ndarray)
        or not (array.dtype.kind == "f" or array.dtype in (np.int8, np.uint8))
        or array.shape[1:] != image.shape[1:]
        or not len(array)
    ):
        found = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        sizes = ", ".join(map(str, image.shape[1:]))
        kind = "floats" if image.kind == "float32" else image.kind
        raise UserError(f"{path}: holds {found}, the network reads {kind} [N, {sizes}]")
    given = np.ascontiguousarray(array, dtype=np.float32)
    images = image.from_file(given) if np.isfinite(given).all() else np.full((1, 1, 1, 1), np.nan, np.float32)
    if not np.isfinite(images).all() or images.min() < -1 - HALF_STEP or images.max() >= 1 + HALF_STEP:
        raise UserError(f"{path}: {_outside(given, image)}")
    return np.rint(images * 128).clip(-128, 127).astype(np.float32) / np.float32(128)


def _outside(given: npt.NDArray[np.float32], image: FileTensor) -> str:
    """What is wrong with images that the accelerator's input does not hold."""
    if not np.isfinite(given).all():
        return "values must be finite, and lie in [-1, 1) unless --image-range says otherwise"
    low, high = float(given.min()), float(given.max())
    if (image.scale, image.offset) != (1, 0):
        return f"its values, {low:g} to {high:g}, lie outside the range that the network's image has"
    usual = next((pair for pair in ((0, 1), (-1, 1), (0, 255)) if pair[0] <= low and high <= pair[1]), (low, high))
    return (
        f"its values, {low:g} to {high:g}, must lie in [-1, 1): they are stored as 8 bits with 7 fraction bits; or say "
        f"by --image-range {usual[0]:g},{usual[1]:g} what images hold"
    )
