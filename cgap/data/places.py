"""Where data sets lie on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cgap.boundary import files
from cgap.boundary.files import read_bounded
from fpga_model.errors import UserError


def cache_folder() -> Path:
    """The user's cache folder for data sets: `$XDG_CACHE_HOME/cgap/data`, by default `~/.cache/cgap/data`."""
    return files.cache_folder("data")


def places(folder: str) -> list[Path]:
    """Where a data set's own `folder` is looked for: `$CGAP_DATA`, which may be that folder or the one above it, alone
    where it is set, else the cache."""
    chosen = os.environ.get("CGAP_DATA")
    return [Path(chosen), Path(chosen) / folder] if chosen else [cache_folder() / folder]


def locate(folder: str, file: str, source: str) -> Path:
    """The place of `folder` that holds `file`.

    Raises UserError, saying what to fetch from `source` and where to put it.
    """
    for place in places(folder):
        if (place / file).is_file():
            return place
    raise UserError(f"{places(folder)[-1] / file} does not exist: put the files of {source} there")


def read(path: Path, size: int | None = None, limit: int = 1 << 31) -> bytes:
    """The bytes of a file, `size` of them if given. Raises UserError if it cannot be read or has another size."""
    try:
        data = read_bounded(path, limit)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if size is not None and len(data) != size:
        raise UserError(f"{path}: {len(data):,} bytes, expected {size:,}")
    return data


def require_counts(path: Path, labels: NDArray[np.uint8], counts: Sequence[int]) -> None:
    """Raise UserError unless each class has as many labels as it has in the published file."""
    if not np.array_equal(np.bincount(labels, minlength=len(counts)), counts):
        raise UserError(f"{path}: has the right size and other labels than the published file: fetch it again")


def require_pictures(path: Path, images: NDArray[np.uint8]) -> None:
    """Raise UserError if any of the images is blank, as in the holes that an unfinished download leaves."""
    rows = images.reshape(len(images), -1)
    blank = np.flatnonzero(rows.min(axis=1) == rows.max(axis=1))
    if blank.size:
        raise UserError(
            f"{path}: has the right size and {blank.size:,} blank images, the first of them number {blank[0]:,}; the "
            f"published file has none: fetch it again"
        )
