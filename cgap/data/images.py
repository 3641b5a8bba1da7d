"""Labelled images, and the one scale in which networks read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cgap.data.pictures import Pictures

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Images:
    """Labelled images: `images` uint8 [N, C, H, W] (C = 3: red, green, blue planes), `labels` [N]."""

    images: NDArray[np.uint8] | Pictures
    """In memory, or in files that `numpy.asarray` reads."""
    labels: NDArray[np.integer]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Images:
        return Images(self.images[index], self.labels[index])


def normalise(images: NDArray[np.uint8] | Pictures) -> NDArray[np.float32]:
    """The network's input contract: float32 (pixel - 128) / 128, exact as int8 `pixel - 128` with 7 fraction bits."""
    return (np.asarray(images).astype(np.float32) - 128.0) / 128.0
