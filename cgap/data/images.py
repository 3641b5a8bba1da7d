"""Labelled images in memory, and the one scale in which networks read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Images:
    """Labelled images: `images` uint8 [N, C, H, W] (C = 3: red, green, blue planes), `labels` uint8 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Images:
        return Images(self.images[index], self.labels[index])


def normalise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The network's input contract: float32 (pixel - 128) / 128, exact as int8 `pixel - 128` with 7 fraction bits."""
    return (images.astype(np.float32) - 128.0) / 128.0
