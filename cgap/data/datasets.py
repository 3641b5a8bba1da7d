"""The table of data sets that networks are trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cgap.data import cifar10, cifar100, folders, mnist, svhn
from cgap.data.images import Images, Split
from fpga_model.errors import UserError

SAMPLE_TRAIN = 200
"""Images of the shipped sample that trials train on; they test on the others."""


@dataclass(frozen=True)
class Dataset:
    """One data set: what its images are like, and how a split is loaded and where its files are."""

    name: str
    classes: int
    shape: tuple[int, int, int]
    load: Callable[[Split], Images]
    files: Callable[[Split], list[Path]]

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each of the files by name, for run records."""
        paths = [*self.files("train"), *self.files("test")]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _sample(split: Split) -> Images:
    sample = cifar10.load_sample()
    return sample[:SAMPLE_TRAIN] if split == "train" else sample[SAMPLE_TRAIN:]


def _no_files(_split: Split) -> list[Path]:
    return []


_TABLE = (
    Dataset("sample", cifar10.CLASSES, cifar10.SHAPE, _sample, _no_files),
    Dataset("cifar10", cifar10.CLASSES, cifar10.SHAPE, cifar10.load_cifar10, cifar10.files),
    Dataset("cifar100", cifar100.CLASSES, cifar100.SHAPE, cifar100.load, cifar100.files),
    Dataset("mnist", mnist.CLASSES, mnist.SHAPE, mnist.load, mnist.files),
    Dataset("svhn", svhn.CLASSES, svhn.SHAPE, svhn.load, svhn.files),
)
_DATASETS = {entry.name: entry for entry in _TABLE}


def names() -> list[str]:
    """Data sets that `dataset` knows by name."""
    return list(_DATASETS)


def dataset(name: str, size: int = 32) -> Dataset:
    """A data set by name, or an image folder as `folder:PATH`, scaled to `size` pixels.

    Raises UserError if there is no such data set or folder.
    """
    if name.startswith("folder:"):
        path = Path(name.removeprefix("folder:"))
        count = len(folders.classes(path))
        return Dataset(
            name, count, (3, size, size), partial(folders.load, path, size=size), partial(folders.files, path)
        )
    if name not in _DATASETS:
        raise UserError(f"unknown data set '{name}': choose one of {', '.join(_DATASETS)}, or folder:PATH")
    return _DATASETS[name]
