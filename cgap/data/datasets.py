"""The table of data sets that networks are trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

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
    hashes: Callable[[], dict[str, str]]
    """SHA-256 of each of its files by name, or of each split of an image folder, for run records."""


def _sample(split: Split) -> Images:
    sample = cifar10.load_sample()
    return sample[:SAMPLE_TRAIN] if split == "train" else sample[SAMPLE_TRAIN:]


def _hashes(files: Callable[[Split], list[Path]]) -> dict[str, str]:
    paths = [*files("train"), *files("test")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _published(name: str, module: ModuleType) -> Dataset:
    """One that is read from its publishers' files."""
    return Dataset(name, module.CLASSES, module.SHAPE, module.load, partial(_hashes, module.files))


_TABLE = (
    Dataset("sample", cifar10.CLASSES, cifar10.SHAPE, _sample, dict),
    Dataset("cifar10", cifar10.CLASSES, cifar10.SHAPE, cifar10.load_cifar10, partial(_hashes, cifar10.files)),
    _published("cifar100", cifar100),
    _published("mnist", mnist),
    _published("svhn", svhn),
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
        load, hashes = partial(folders.load, path, size=size), partial(folders.digests, path)
        return Dataset(name, count, (3, size, size), load, hashes)
    if name not in _DATASETS:
        raise UserError(f"unknown data set '{name}': choose one of {', '.join(_DATASETS)}, or folder:PATH")
    return _DATASETS[name]
