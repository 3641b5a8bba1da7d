"""Pictures in files of any common format, decoded when they are asked for."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpga_model.errors import UserError


class Pictures:
    """Pictures by their files: `numpy.asarray` decodes them to uint8 [N, 3, size, size].

    The shorter side is scaled to `size`, and the rest cut off evenly. An index (slice, indices) gives fewer of them.
    """

    def __init__(self, paths: NDArray[np.object_], size: int) -> None:
        self._paths, self._size = paths, size

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self._paths), 3, self._size, self._size)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Pictures:
        return Pictures(self._paths[index], self._size)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        pixels = np.empty(self.shape, np.uint8)
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:  # the decoders release the GIL
            for row, picture in zip(pixels, pool.map(self._decoded, self._paths), strict=True):
                row[:] = picture
        return pixels if dtype is None else pixels.astype(dtype)

    def _decoded(self, path: Path) -> NDArray[np.uint8]:
        from PIL import Image, ImageOps

        try:
            with Image.open(path) as image:
                fitted = ImageOps.fit(image.convert("RGB"), (self._size, self._size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{path}: is not a readable image ({error})") from error
        return np.asarray(fitted, np.uint8).transpose(2, 0, 1)
