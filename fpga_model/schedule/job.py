"""What an operator is given to make the COMPUTE command of one tile."""

from __future__ import annotations

from dataclasses import dataclass

from fpga_model.accelerator import Accelerator
from fpga_model.schedule.commands import FeatureTile
from fpga_model.tensors import LayerNumbers, Shape


@dataclass(frozen=True)
class Job:
    """One tile of a layer: output maps `of ... of+Tof-1`, rows `oy ... oy+Toy-1`, with everything it touches placed.

    `weights` and `parameters` are addresses in their buffers; `shortcut_frac` is the shortcut's fraction.
    """

    layer: str
    accelerator: Accelerator
    numbers: LayerNumbers
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
