"""What flows between layers and what a layer holds: map sizes, float parameters, integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fpga_model.errors import UserError
from fpga_model.numerics.fixed_point import FloatArray, Format, IntArray


@dataclass(frozen=True)
class Shape:
    """Size of the feature maps of one image.

    Raises:
        UserError: a size below one.
    """

    channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width) < 1:
            raise UserError(f"feature maps of size {self} are empty")

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"

    @property
    def pixels(self) -> int:
        """Pixels of one map."""
        return self.height * self.width

    @property
    def size(self) -> int:
        """Numbers in all maps of one image."""
        return self.channels * self.pixels


@dataclass(frozen=True, eq=False)
class FloatParameters:
    """Real parameters of a convolution or fully connected layer.

    Attributes:
        weights: [Nof, Nif, Nky, Nkx].
        bias: [Nof].
    """

    weights: FloatArray
    bias: FloatArray


@dataclass(frozen=True, eq=False)
class LayerNumbers:
    """The integers of one layer. The accumulator of output channel `of` has in_frac + weight_frac[of] fraction bits.

    Attributes:
        output: format of the stored output.
        shift: [Nof], in_frac + weight_frac - output.frac, each 0..31. Zeros where a layer does not round.
        weights: [Nof, Nif, Nky, Nkx], int8 or int16 like the output's bits; None in a layer without weights.
        weight_frac: [Nof], fraction bits of the weights of each output channel.
        bias: [Nof], int64, at the accumulator's fraction.
        shortcut_shift: [Nof], left shift that aligns the shortcut with the accumulator
            (in_frac + weight_frac - shortcut_frac), each 0..31; None without a shortcut.
    """

    output: Format
    shift: npt.NDArray[np.int64]
    weights: IntArray | None = None
    weight_frac: npt.NDArray[np.int64] | None = None
    bias: npt.NDArray[np.int64] | None = None
    shortcut_shift: npt.NDArray[np.int64] | None = None
