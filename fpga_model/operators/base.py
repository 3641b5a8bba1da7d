"""The base class of operators and their registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from fpga_model.errors import UserError
from fpga_model.machine.operations import ComputeOp
from fpga_model.machine.tiles import BufferWords, Cost, Window
from fpga_model.numerics.fixed_point import FloatArray, IntArray
from fpga_model.numerics.tensors import FloatParameters, LayerNumbers, Shape
from fpga_model.operators.job import Job, TileExtent


class Operator(ABC):
    """What one layer computes. Subclasses are frozen dataclasses that own every fact about their operator.

    Errors raised here do not know the layer's name; the graph adds it.

    Attributes:
        kind: name in graph files, the key of the registry.
        template: name of the template that emits the layer.
    """

    kind: ClassVar[str]
    template: ClassVar[str]

    @property
    def arity(self) -> int:
        """Tensors that the operator reads."""
        return 1

    @abstractmethod
    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Size of the output maps.

        Raises:
            UserError: the operator does not fit its inputs.
        """

    @abstractmethod
    def forward(self, inputs: Sequence[FloatArray], parameters: FloatParameters | None) -> FloatArray:
        """The real-valued layer on maps [N, C, H, W]."""

    @abstractmethod
    def reference(self, inputs: Sequence[IntArray], numbers: LayerNumbers) -> tuple[IntArray, int]:
        """The integer layer on stored maps [N, C, H, W]: its stored output and how many of its values saturated."""

    @abstractmethod
    def accumulator_bound(self, numbers: LayerNumbers, input_bits: Sequence[int]) -> int:
        """A bound on every partial sum's magnitude, in accumulator units, whatever the stored inputs are.

        `input_bits` are those of the two's complement numbers that hold the inputs (`Format.wide_bits`).
        """

    @property
    def keeps_format(self) -> bool:
        """Whether the stored output has the format of the first input, because nothing is computed."""
        return False

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """Whether no output is negative, given which inputs are known to hold no negative numbers."""
        return False

    def macs(self, inputs: Sequence[Shape]) -> int:
        """Multiply-accumulate operations for one image."""
        return 0

    def weights(self) -> int:
        """Number of weights (biases are not counted)."""
        return 0

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The operator's settings, without its kind."""

    @classmethod
    @abstractmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Operator:
        """The inverse of `to_json`."""


class Added(Protocol):
    """Geometry of a tensor added to a layer's output: its channel c goes to output channel c + channel_offset."""

    @property
    def stride(self) -> tuple[int, int]: ...

    @property
    def channel_offset(self) -> int: ...

    @property
    def channels(self) -> int: ...


class ComputeOperator(Operator):
    """An operator that the COMPUTE unit executes, one operation a tile."""

    @abstractmethod
    def window(self, inputs: Sequence[Shape]) -> Window:
        """The window that slides over the first input, and over others that are read like it."""

    @abstractmethod
    def operation(self, job: Job) -> ComputeOp:
        """What COMPUTE does for one tile; its waits are set by the schedule."""

    @abstractmethod
    def tile_cost(self, tile: TileExtent) -> Cost:
        """What a tile costs COMPUTE, from its sizes alone."""

    @abstractmethod
    def tile_words(self, tile: TileExtent) -> BufferWords:
        """What a tile reads and writes of the buffers, from its sizes alone."""

    @property
    def added(self) -> Added | None:
        """How a second input is added to the output; None when there is none."""
        return None

    @property
    def cuts(self) -> tuple[int, ...]:
        """Output maps at which a tile has to begin, in order."""
        return ()

    def source_index(self, of: int) -> int:
        """The input that the window of a tile from map `of` on slides over."""
        return 0

    def source_maps(self, of: int, Tof: int) -> tuple[int, int]:
        """First map and number of maps of that input that output maps `of ... of+Tof-1` need."""
        return of, Tof


_REGISTRY: dict[str, type[Operator]] = {}
_O = TypeVar("_O", bound=type[Operator])


def register(operator: _O) -> _O:
    """Class decorator: make the operator known under its `kind`."""
    if _REGISTRY.setdefault(operator.kind, operator) is not operator:
        raise ValueError(f"two operators are called {operator.kind!r}")
    return operator


def operator_from_json(settings: Mapping[str, Any]) -> Operator:
    """Build an operator from `{"kind": ..., settings}`.

    Raises:
        UserError: an unknown kind, or settings that do not fit it.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in _REGISTRY:
        raise UserError(f"unknown operator {kind!r}; known: {', '.join(sorted(_REGISTRY))}")
    rest = {key: value for key, value in settings.items() if key != "kind"}
    try:
        return _REGISTRY[kind].from_json(rest)
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"operator {kind!r}: unreadable settings {rest} ({error})") from error


def operator_to_json(operator: Operator) -> dict[str, Any]:
    """`{"kind": ..., settings}`."""
    return {"kind": operator.kind, **operator.to_json()}
