"""What an operator is given to make the operation of one tile, and to tell its cost."""

from __future__ import annotations

from dataclasses import dataclass

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.tiles import FeatureTile
from fpga_model.numerics.tensors import LayerNumbers, Shape


@dataclass(frozen=True)
class TileExtent:
    """What the cycles of a tile depend on: its output maps `of ... of+Tof-1` and `Toy` rows.

    `adds` says whether its maps get a shortcut, `interleave` how the rows of its source lie in the banks.
    """

    accelerator: Accelerator
    inputs: tuple[Shape, ...]
    output: Shape
    of: int
    Tof: int
    Toy: int
    adds: bool
    interleave: int


@dataclass(frozen=True)
class Rounding:
    """What a convolution's operation clamps its results to, and by how much less than them it shifts a shortcut."""

    low: int = -128
    high: int = 127
    shift_delta: int = 0


@dataclass(frozen=True)
class Job:
    """One tile of a layer: output maps `of ... of+Tof-1`, rows `oy ... oy+Toy-1`, with everything it touches placed.

    `weights` and `parameters` are addresses in their buffers; `shortcut_frac` is the shortcut's fraction. `numbers` is
    None for a network whose integers are not known: what an operation touches and costs does not depend on them.
    """

    layer: str
    accelerator: Accelerator
    numbers: LayerNumbers | None
    inputs: tuple[Shape, ...]
    output: Shape
    of: int
    Tof: int
    oy: int
    Toy: int
    source: FeatureTile
    destination: FeatureTile
    weights: int = 0
    parameters: int = 0
    shortcut: FeatureTile | None = None
    shortcut_frac: int = 0
