"""Pooling: sums and maxima over windows of one map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import ceil_div
from fpga_model.machine.operations import ComputeOp, PoolOp
from fpga_model.machine.tiles import NO_WAITS, BufferWords, Cost, PoolMode, Window
from fpga_model.machine.timing import pool_cycles, pool_words
from fpga_model.numerics.fixed_point import FloatArray, IntArray, per_channel, requantise
from fpga_model.numerics.tensors import FloatParameters, LayerNumbers, Shape
from fpga_model.operators.base import ComputeOperator, Operator, register
from fpga_model.operators.job import Job, TileExtent
from fpga_model.operators.windows import Kernel, Pad, Steps, check_window, extent, pair, sliding, window_shape, windows


@register
@dataclass(frozen=True)
class Pooling(ComputeOperator):
    """The sum or the maximum of every window of each map.

    Average pooling is a sum whose division is folded into the weights of the next layer, so that it rounds once
    like everything else. Padding counts as zero in a sum and is never the maximum.

    Attributes:
        mode: "sum" or "max".
        kernel: (Nky, Nkx).
        stride: (Sy, Sx).
        pad: padding at (top, left, bottom, right), less than the kernel's, as onnxruntime demands.
        dilation: (Ey, Ex), the distance of the rows and columns that a window takes.
    """

    kind: ClassVar[str] = "pooling"
    template: ClassVar[str] = "pooling"

    mode: Literal["sum", "max"]
    kernel: Kernel
    stride: Steps
    pad: Pad = (0, 0, 0, 0)
    dilation: Steps = (1, 1)

    def __post_init__(self) -> None:
        if self.mode not in ("sum", "max"):
            raise UserError(f"pooling takes the 'sum' or the 'max', not {self.mode!r}")
        if min(self.dilation) < 1:
            raise UserError(f"dilation {self.dilation} must be at least one")
        check_window(self.kernel, self.stride, self.pad)

    @property
    def Nky(self) -> int:
        return self.kernel[0]

    @property
    def Nkx(self) -> int:
        return self.kernel[1]

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        source = inputs[0]
        for taken, step, size in zip(self.kernel, self.dilation, (source.height, source.width), strict=True):
            if taken > 1 and step > size:
                raise UserError(f"dilation {self.dilation} is larger than its input {source}: a window may miss it")
        return window_shape(source, extent(self.kernel, self.dilation), self.stride, self.pad, source.channels)

    def forward(self, inputs: Sequence[FloatArray], parameters: FloatParameters | None) -> FloatArray:
        fill = 0.0 if self.mode == "sum" else -math.inf
        return self._reduce(inputs[0], fill)

    def reference(self, inputs: Sequence[IntArray], numbers: LayerNumbers) -> tuple[IntArray, int]:
        maps = inputs[0].astype(np.int64)
        fill = 0 if self.mode == "sum" else np.iinfo(np.int64).min
        acc = self._reduce(maps, fill)
        output = numbers.output
        return requantise(acc, per_channel(numbers.shift), output.bits, relu=False, signed=output.signed)

    @property
    def keeps_format(self) -> bool:
        return self.mode == "max"

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0]

    def _reduce(self, maps: npt.NDArray[Any], fill: float) -> npt.NDArray[Any]:
        views = windows(maps, self.kernel, self.stride, self.pad, fill, self.dilation)
        reduced: npt.NDArray[Any] = views.sum(axis=(4, 5)) if self.mode == "sum" else views.max(axis=(4, 5))
        return reduced

    def accumulator_bound(self, numbers: LayerNumbers, input_bits: Sequence[int]) -> int:
        terms = math.prod(self.kernel) if self.mode == "sum" else 1
        return terms << (input_bits[0] - 1)

    def window(self, inputs: Sequence[Shape]) -> Window:
        return sliding(self.kernel, self.stride, self.pad, inputs[0], self.dilation)

    def tile_cost(self, tile: TileExtent) -> Cost:
        return rows_cost(self.window(tile.inputs), tile)

    def tile_words(self, tile: TileExtent) -> BufferWords:
        return pool_words(self.window(tile.inputs), tile.Tof, tile.Toy, tile.output.width, tile.accelerator)

    def operation(self, job: Job) -> ComputeOp:
        return pool_rows(self, PoolMode(self.mode), job)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Operator:
        rest = dict(settings)
        kernel, stride, dilation = (pair(rest.pop(name)) for name in ("kernel", "stride", "dilation"))
        top, left, bottom, right = rest.pop("pad")
        return cls(kernel=kernel, stride=stride, pad=(top, left, bottom, right), dilation=dilation, **rest)


def rows_cost(window: Window, tile: TileExtent) -> Cost:
    """Cost of a tile that the drain makes from one window at a time."""
    cycles = pool_cycles(window, tile.Tof, tile.Toy, tile.output.width, tile.accelerator)
    return Cost(cycles, drains=cycles, groups=tile.Tof * tile.Toy * ceil_div(tile.output.width, tile.accelerator.Pox))


def pool_rows(operator: ComputeOperator, mode: PoolMode, job: Job) -> PoolOp:
    """The operation of one tile of an operator that the drain executes."""
    return PoolOp(
        layer=job.layer,
        waits=NO_WAITS,
        mode=mode,
        source=job.source,
        window=operator.window(job.inputs),
        first_if=operator.source_maps(job.of, job.Tof)[0],
        of=job.of,
        Tof=job.Tof,
        oy=job.oy,
        Toy=job.Toy,
        Nox=job.output.width,
        shift=0 if job.numbers is None else int(job.numbers.shift[job.of]),
        destination=job.destination,
    )
