"""Concatenation: ranges of channels of stored tensors, stacked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fpga_model.errors import UserError
from fpga_model.machine.operations import ComputeOp
from fpga_model.machine.tiles import BufferWords, Cost, PoolMode, Window
from fpga_model.machine.timing import pool_words
from fpga_model.numerics.fixed_point import FloatArray, IntArray, per_channel, requantise
from fpga_model.numerics.tensors import FloatParameters, LayerNumbers, Shape
from fpga_model.operators.base import ComputeOperator, Operator, register
from fpga_model.operators.job import Job, TileExtent
from fpga_model.operators.pooling import pool_rows, rows_cost


@dataclass(frozen=True)
class Part:
    """Channels `first ... first+channels-1` of input `source` of a concatenation."""

    source: int
    first: int
    channels: int

    def __post_init__(self) -> None:
        if self.source < 0 or self.first < 0 or self.channels < 1:
            raise UserError(f"{self} is no range of channels")

    def take(self, inputs: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The part's maps, of `inputs` [N, C, H, W]."""
        return inputs[self.source][:, self.first : self.first + self.channels]


@register
@dataclass(frozen=True)
class Concatenation(ComputeOperator):
    """Ranges of channels of stored tensors, one after the other; with one part it is a slice.

    Where an input has more fraction bits than the output its numbers are rounded once, otherwise they are copied;
    `LayerNumbers.shift` says so for each output channel.

    Attributes:
        parts: in the order of the output's channels. They read every input, and may read one more than once.
    """

    kind: ClassVar[str] = "concatenation"
    template: ClassVar[str] = "concatenation"

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        sources = {part.source for part in self.parts}
        if not sources or max(sources) >= len(sources):
            raise UserError("the parts of a concatenation must read all its inputs, numbered from zero")

    @property
    def arity(self) -> int:
        return 1 + max(part.source for part in self.parts)

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return sum(part.channels for part in self.parts)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        height, width = inputs[0].height, inputs[0].width
        for shape in inputs:
            if (shape.height, shape.width) != (height, width):
                raise UserError(f"maps {inputs[0]} and {shape} cannot be concatenated: their sizes differ")
        for part in self.parts:
            if part.first + part.channels > inputs[part.source].channels:
                raise UserError(f"{part} reaches beyond the channels of {inputs[part.source]}")
        return Shape(self.channels, height, width)

    def sources(self) -> npt.NDArray[np.int64]:
        """The input [Nof] that each output channel is read from."""
        return np.repeat([part.source for part in self.parts], [part.channels for part in self.parts])

    def _stack(self, inputs: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.concatenate([part.take(inputs) for part in self.parts], axis=1)

    def forward(self, inputs: Sequence[FloatArray], parameters: FloatParameters | None) -> FloatArray:
        return self._stack(inputs)

    def reference(self, inputs: Sequence[IntArray], numbers: LayerNumbers) -> tuple[IntArray, int]:
        output = numbers.output
        stored = self._stack(inputs)
        return requantise(stored, per_channel(numbers.shift), output.bits, relu=False, signed=output.signed)

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return all(inputs)

    def accumulator_bound(self, numbers: LayerNumbers, input_bits: Sequence[int]) -> int:
        return 1 << (max(input_bits) - 1)

    @property
    def cuts(self) -> tuple[int, ...]:
        return self._begins[1:]

    @cached_property
    def _begins(self) -> tuple[int, ...]:
        """First output map of each part."""
        return tuple(accumulate((part.channels for part in self.parts[:-1]), initial=0))

    def _part(self, of: int) -> tuple[Part, int]:
        """The part that output map `of` copies, and its first output map."""
        index = bisect_right(self._begins, of) - 1
        return self.parts[index], self._begins[index]

    def source_index(self, of: int) -> int:
        return self._part(of)[0].source

    def source_maps(self, of: int, Tof: int) -> tuple[int, int]:
        part, begin = self._part(of)
        return part.first + of - begin, Tof

    def window(self, inputs: Sequence[Shape]) -> Window:
        return Window(1, 1, 1, 1, 0, 0, inputs[0].height, inputs[0].width)

    def tile_cost(self, tile: TileExtent) -> Cost:
        return rows_cost(self.window(tile.inputs), tile)

    def tile_words(self, tile: TileExtent) -> BufferWords:
        return pool_words(self.window(tile.inputs), tile.Tof, tile.Toy, tile.output.width, tile.accelerator)

    def operation(self, job: Job) -> ComputeOp:
        return pool_rows(self, PoolMode.SUM, job)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Operator:
        rest = dict(settings)
        return cls(parts=tuple(Part(**part) for part in rest.pop("parts")), **rest)
