"""The network's input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from fpga_model.numerics.fixed_point import FloatArray, IntArray
from fpga_model.numerics.tensors import FloatParameters, LayerNumbers, Shape
from fpga_model.operators.base import Operator, register


@register
@dataclass(frozen=True)
class Input(Operator):
    """The image, as it lies in DRAM before the first layer. Its reference is given the image itself."""

    kind: ClassVar[str] = "input"
    template: ClassVar[str] = "input"

    shape: Shape

    @property
    def arity(self) -> int:
        return 0

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        return self.shape

    def forward(self, inputs: Sequence[FloatArray], parameters: FloatParameters | None) -> FloatArray:
        return inputs[0]

    def reference(self, inputs: Sequence[IntArray], numbers: LayerNumbers) -> tuple[IntArray, int]:
        return inputs[0], 0

    def accumulator_bound(self, numbers: LayerNumbers, input_bits: Sequence[int]) -> int:
        return 1 << (numbers.output.wide_bits - 1)

    def to_json(self) -> dict[str, Any]:
        return {"shape": asdict(self.shape)}

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Operator:
        return cls(Shape(**settings["shape"]))
