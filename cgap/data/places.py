"""Where data sets lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from fpga_model.errors import UserError


def cache_folder() -> Path:
    """The user's cache folder for data sets: `$XDG_CACHE_HOME/cgap/data`, by default `~/.cache/cgap/data`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cgap" / "data"


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
        found = path.stat().st_size
        if found > limit or (size is not None and found != size):
            raise UserError(f"{path}: {found:,} bytes, expected {f'{size:,}' if size else f'at most {limit:,}'}")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
