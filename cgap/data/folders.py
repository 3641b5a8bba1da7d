"""Image folders: FOLDER/train/CLASS/*.png and FOLDER/test/CLASS/*.png, classes in alphabetical order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cgap.data.images import Images, Split
from fpga_model.errors import UserError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
_MOST_CLASSES = 256


def classes(folder: Path) -> list[str]:
    """Names of the classes. Raises UserError if there are none, too many for a byte, or others in the test split."""
    found: dict[str, list[str]] = {}
    for split in ("train", "test"):
        try:
            found[split] = sorted(path.name for path in (folder / split).iterdir() if path.is_dir())
        except OSError as error:
            raise UserError(f"{folder / split}: cannot be read ({error.strerror})") from error
    if not found["train"] or len(found["train"]) > _MOST_CLASSES:
        raise UserError(f"{folder / 'train'}: {len(found['train'])} folders of classes, expected 1 to {_MOST_CLASSES}")
    if found["train"] != found["test"]:
        differing = sorted(set(found["train"]) ^ set(found["test"]))
        raise UserError(f"{folder}: {differing[0]!r} is a class of only one of the splits")
    return found["train"]


def files(folder: Path, split: Split) -> list[Path]:
    """All images of a split, by class and name."""
    return [path for name in classes(folder) for path in _images(folder / split / name)]


def load(folder: Path, split: Split, size: int) -> Images:
    """All images of a split as uint8 [N, 3, size, size]: the shorter side is scaled to `size`, the rest cut evenly.

    Raises UserError if a class has no images, one cannot be decoded, or Pillow, which decodes them, is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise UserError("image folders are read by Pillow: pip install 'cgap[train]'") from error
    pixels, labels = [], []
    for label, name in enumerate(classes(folder)):
        for path in _images(folder / split / name):
            try:
                with Image.open(path) as image:
                    fitted = ImageOps.fit(image.convert("RGB"), (size, size))
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                raise UserError(f"{path}: is not a readable image ({error})") from error
            pixels.append(np.asarray(fitted, np.uint8).transpose(2, 0, 1))
            labels.append(label)
    return Images(np.stack(pixels), np.array(labels, np.uint8))


def _images(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise UserError(f"{folder}: no images ({', '.join(sorted(_SUFFIXES))})")
    for path in found:
        if not path.is_file():  # a pipe, which would be waited for
            raise UserError(f"{path}: is not a regular file")
    return found
