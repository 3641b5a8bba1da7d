"""Image folders as PyTorch's ImageFolder and ImageNet have them: FOLDER/train/CLASS/*.png, FOLDER/test/CLASS/*.png."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cgap.data.images import Images, Split
from cgap.data.pictures import Pictures
from fpga_model.errors import UserError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
_MOST_CLASSES = 65_536
_IN_MEMORY = 2 << 30
"""Bytes of pixels up to which a split is decoded once and kept; above it each batch is decoded when it is needed."""
_HASHED = 8 << 30
"""Bytes of files up to which a split's digest covers their content; above it, names and sizes."""
_TEST_NAMES = ("test", "val")


def classes(folder: Path) -> list[str]:
    """Names of the classes, in alphabetical order. Raises UserError if there are none, too many, or others to test."""
    found: dict[str, list[str]] = {}
    for split in ("train", "test"):
        place = _place(folder, split)
        try:
            found[split] = sorted(path.name for path in place.iterdir() if path.is_dir())
        except OSError as error:
            raise UserError(f"{place}: cannot be read ({error.strerror})") from error
    if not found["train"] or len(found["train"]) > _MOST_CLASSES:
        raise UserError(
            f"{folder / 'train'}: {len(found['train'])} folders of classes, expected 1 to {_MOST_CLASSES:,}"
        )
    if found["train"] != found["test"]:
        differing = sorted(set(found["train"]) ^ set(found["test"]))
        raise UserError(f"{folder}: {differing[0]!r} is a class of only one of the splits")
    return found["train"]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each split: of the pictures' names and sizes, and of their content up to 8 GiB."""
    return {split: _digest(_place(folder, split), list(_files(folder, split))) for split in ("train", "test")}


def load(folder: Path, split: Split, size: int) -> Images:
    """All images of a split as uint8 [N, 3, size, size]; as `Pictures`, which are decoded later, if they are many.

    Raises UserError if a class has no images, one cannot be decoded, or Pillow, which decodes them, is not installed.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise UserError("image folders are read by Pillow: pip install 'cgap[train]'") from error
    found = [(path, label) for label, name in enumerate(classes(folder)) for path in _images(folder, split, name)]
    paths = np.empty(len(found), object)
    paths[:] = [path for path, _ in found]
    pictures = Pictures(paths, size)
    labels = np.array([label for _, label in found], np.int64)
    return Images(np.asarray(pictures) if np.prod(pictures.shape) <= _IN_MEMORY else pictures, labels)


def _place(folder: Path, split: Split) -> Path:
    """Where a split lies; the one to test on may be called `val`, as ImageNet's is."""
    names = ("train",) if split == "train" else _TEST_NAMES
    return next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])


def _files(folder: Path, split: Split) -> Iterator[Path]:
    return (path for name in classes(folder) for path in _images(folder, split, name))


def _images(folder: Path, split: Split, name: str) -> list[Path]:
    place = _place(folder, split) / name
    found = sorted(path for path in place.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise UserError(f"{place}: no images ({', '.join(sorted(_SUFFIXES))})")
    for path in found:
        if not path.is_file():  # a pipe, which would be waited for
            raise UserError(f"{path}: is not a regular file")
    return found


def _digest(place: Path, paths: list[Path]) -> str:
    sizes = [path.stat().st_size for path in paths]
    whole, with_content = hashlib.sha256(), sum(sizes) <= _HASHED
    for path, size in zip(paths, sizes, strict=True):
        whole.update(f"{path.relative_to(place)}\0{size}\0".encode(errors="surrogateescape"))
        if with_content:
            whole.update(path.read_bytes())
    return whole.hexdigest()
