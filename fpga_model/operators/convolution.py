"""Convolution with a fused shortcut and ReLU, and the fully connected layer as its special case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fpga_model.errors import UserError
from fpga_model.machine.operations import ComputeOp, ConvolveOp
from fpga_model.machine.tiles import NO_WAITS, BufferWords, Cost, ShortcutRead, Window
from fpga_model.machine.timing import (
    convolve_costs,
    convolve_words,
    fetch_cycles,
    line_words,
    shortcut_reads,
    step_cycles,
)
from fpga_model.numerics.fixed_point import MAX_SHIFT, FloatArray, Format, IntArray, per_channel, requantise
from fpga_model.numerics.tensors import FloatParameters, LayerNumbers, Shape
from fpga_model.operators.base import ComputeOperator, Operator, register
from fpga_model.operators.job import Job, Rounding, TileExtent
from fpga_model.operators.windows import (
    Kernel,
    Pad,
    Steps,
    check_window,
    exact_dtype,
    magnitude,
    pair,
    sliding,
    window_shape,
    windows,
)


@dataclass(frozen=True)
class Shortcut:
    """How an earlier tensor is added to a convolution's accumulators.

    Channel c of the shortcut is added to output channel c + channel_offset, at every `stride[0]`-th row and
    `stride[1]`-th column; the other output channels get nothing. The identity has strides 1; option A of the ResNet
    paper has strides 2 and fewer channels than the output.

    Attributes:
        stride: subsampling of the shortcut's (rows, columns).
        channel_offset: first output channel that receives something.
        channels: channels of the shortcut.
    """

    stride: Steps
    channel_offset: int
    channels: int

    def __post_init__(self) -> None:
        if min(self.stride) < 1 or self.channel_offset < 0 or self.channels < 1:
            raise UserError(f"{self} is not a shortcut")

    @property
    def reach(self) -> slice:
        """The output channels that receive the shortcut."""
        return slice(self.channel_offset, self.channel_offset + self.channels)

    def check(self, source: Shape, output: Shape) -> None:
        """Refuse a shortcut that does not fit between `source` and `output`."""
        rows, columns = self.stride
        taken = Shape(source.channels, (source.height - 1) // rows + 1, (source.width - 1) // columns + 1)
        if source.channels != self.channels or self.reach.stop > output.channels:
            raise UserError(f"{self} does not map {source.channels} channels into {output.channels}")
        if (taken.height, taken.width) != (output.height, output.width):
            raise UserError(f"shortcut maps {source} at stride {self.stride} do not match the output {output}")

    def take(self, source: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The pixels of [N, C, H, W] that are added."""
        return source[:, :, :: self.stride[0], :: self.stride[1]]


@register
@dataclass(frozen=True)
class Convolution(ComputeOperator):
    """Convolution over maps; optionally a shortcut is added before the one rounding, and an activation follows it.

    Attributes:
        in_channels, out_channels: maps read and made (Nif, Nof).
        kernel: (Nky, Nkx).
        stride: (Sy, Sx).
        pad: zeros at (top, left, bottom, right).
        relu: whether negative results become zero.
        shortcut: how the second input is added; None when there is none.
        groups: output channels [g*Nof/groups, ...) read input channels [g*Nif/groups, ...) only; as many groups as
            channels make a depthwise convolution.
        ceiling: larger results become this real number (6 for ReLU6), rounded to the output's format.
        leak: negative results are multiplied by 2^-leak (a leaky ReLU), before the one rounding; 0 for none.
    """

    kind: ClassVar[str] = "convolution"
    template: ClassVar[str] = "convolution"

    in_channels: int
    out_channels: int
    kernel: Kernel
    stride: Steps = (1, 1)
    pad: Pad = (0, 0, 0, 0)
    relu: bool = False
    shortcut: Shortcut | None = None
    groups: int = 1
    ceiling: float | None = None
    leak: int = 0

    def __post_init__(self) -> None:
        if self.in_channels < 1 or self.out_channels < 1:
            raise UserError(f"{self.in_channels} input and {self.out_channels} output channels: both must be positive")
        if self.groups < 1 or self.in_channels % self.groups or self.out_channels % self.groups:
            raise UserError(f"{self.groups} groups do not divide {self.in_channels} and {self.out_channels} channels")
        if self.ceiling is not None and not 0 < self.ceiling < math.inf:
            raise UserError(f"results are cut at a positive number, not {self.ceiling}")
        if not 0 <= self.leak <= MAX_SHIFT or (self.leak and self.relu):
            raise UserError(f"a leaky ReLU has a slope of 2^-1 to 2^-{MAX_SHIFT}, and no ReLU beside it")
        check_window(self.kernel, self.stride, self.pad)

    @property
    def Nif(self) -> int:
        return self.in_channels

    @property
    def Nof(self) -> int:
        return self.out_channels

    @property
    def Nky(self) -> int:
        return self.kernel[0]

    @property
    def Nkx(self) -> int:
        return self.kernel[1]

    @property
    def arity(self) -> int:
        return 1 if self.shortcut is None else 2

    @property
    def Gif(self) -> int:
        """Input maps of a group."""
        return self.Nif // self.groups

    @property
    def Gof(self) -> int:
        """Output maps of a group."""
        return self.Nof // self.groups

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """[Nof, Nif / groups, Nky, Nkx]."""
        return self.Nof, self.Gif, self.Nky, self.Nkx

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        source = inputs[0]
        if source.channels != self.Nif:
            raise UserError(f"reads {self.Nif} channels but is given {source}")
        output = window_shape(source, self.kernel, self.stride, self.pad, self.Nof)
        if self.shortcut is not None:
            self.shortcut.check(inputs[1], output)
        return output

    def macs(self, inputs: Sequence[Shape]) -> int:
        return self.weights() * self.output_shape(inputs).pixels

    def weights(self) -> int:
        return math.prod(self.weight_shape)

    def accumulate(self, maps: npt.NDArray[Any], weights: npt.NDArray[Any], bias: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """bias + sum(w * x), [N, Nif, Niy, Nix] -> [N, Nof, Noy, Nox], in the arguments' common number type."""
        views = windows(maps, self.kernel, self.stride, self.pad, 0)
        batch, _, height, width = views.shape[:4]
        rows = math.prod(self.weight_shape[1:])
        matrices = weights.reshape(self.groups, -1, rows)
        sums = np.empty((batch, self.groups, self.Gof, height * width), np.result_type(maps, weights))
        if self.kernel == (1, 1) and views.shape[2:4] == maps.shape[2:]:
            np.matmul(matrices, maps.reshape(batch, self.groups, rows, height * width), out=sums)
        else:
            # One image after the other, so that its columns are still in the cache when they are multiplied.
            columns = np.empty((self.Nif, *self.kernel, height, width), maps.dtype)
            for image, windows_of_image in enumerate(views.transpose(0, 1, 4, 5, 2, 3)):
                np.copyto(columns, windows_of_image)
                np.matmul(matrices, columns.reshape(self.groups, rows, height * width), out=sums[image])
        sums = sums.reshape(batch, self.Nof, height, width)
        sums += per_channel(bias)
        return sums

    def forward(self, inputs: Sequence[FloatArray], parameters: FloatParameters | None) -> FloatArray:
        if parameters is None:
            raise ValueError("a convolution needs parameters")
        kind = inputs[0].dtype
        acc = self.sums(inputs, parameters)
        if self.leak:
            acc = np.where(acc < 0, acc * kind.type(2.0**-self.leak), acc)
        if self.relu:
            np.maximum(acc, 0, out=acc)
        if self.ceiling is not None:
            np.minimum(acc, self.ceiling, out=acc)
        return acc

    def sums(self, inputs: Sequence[FloatArray], parameters: FloatParameters) -> FloatArray:
        """The real sums [N, Nof, Noy, Nox], shortcut included, before the activation."""
        kind = inputs[0].dtype
        sums = self.accumulate(inputs[0], parameters.weights.astype(kind), parameters.bias.astype(kind))
        if self.shortcut is not None:
            sums[:, self.shortcut.reach] += self.shortcut.take(inputs[1])
        return sums

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return self.relu

    def reference(self, inputs: Sequence[IntArray], numbers: LayerNumbers) -> tuple[IntArray, int]:
        acc, output = self._exact_sums(inputs, numbers), numbers.output
        bound = self._bound(output)
        return requantise(
            acc, per_channel(numbers.shift), output.bits, self.relu, bound, self.leak, signed=output.signed
        )

    def _bound(self, output: Format) -> int | None:
        """The ceiling as a stored integer."""
        return None if self.ceiling is None else int(output.quantise(np.array(self.ceiling)))

    def accumulators(self, inputs: Sequence[IntArray], numbers: LayerNumbers) -> npt.NDArray[np.int64]:
        """Exact accumulators [N, Nof, Noy, Nox], shortcut included, before the rounding."""
        return self._exact_sums(inputs, numbers).astype(np.int64)

    def _exact_sums(self, inputs: Sequence[IntArray], numbers: LayerNumbers) -> npt.NDArray[Any]:
        """The accumulators in the fastest number type that holds them."""
        weights, bias = _given(numbers)
        kind = exact_dtype(int(self.channel_bounds(numbers, [magnitude(maps) for maps in inputs]).max()))
        acc = self.accumulate(inputs[0].astype(kind), weights.astype(kind), bias.astype(kind))
        if self.shortcut is not None:
            assert numbers.shortcut_shift is not None
            factor = per_channel(np.left_shift(1, numbers.shortcut_shift[self.shortcut.reach]))
            acc[:, self.shortcut.reach] += self.shortcut.take(inputs[1]).astype(kind) * factor.astype(kind)
        return acc

    def accumulator_bound(self, numbers: LayerNumbers, input_bits: Sequence[int]) -> int:
        return int(self.channel_bounds(numbers, [1 << (bits - 1) for bits in input_bits]).max())

    def channel_bounds(self, numbers: LayerNumbers, magnitudes: Sequence[int]) -> npt.NDArray[np.int64]:
        """Bound [Nof] on each output channel's partial sums, for inputs of at most `magnitudes` (data, shortcut)."""
        weights, bias = _given(numbers)
        total: npt.NDArray[np.int64] = np.abs(weights.astype(np.int64)).sum(axis=(1, 2, 3)) * magnitudes[0]
        total += np.abs(bias)
        if self.shortcut is not None:
            assert numbers.shortcut_shift is not None
            total[self.shortcut.reach] += magnitudes[1] << numbers.shortcut_shift[self.shortcut.reach]
        return total

    def window(self, inputs: Sequence[Shape]) -> Window:
        return sliding(self.kernel, self.stride, self.pad, inputs[0])

    def tile_cost(self, tile: TileExtent) -> Cost:
        accelerator, width = tile.accelerator, tile.output.width
        fetch = fetch_cycles(self.window(tile.inputs), width, tile.Toy, tile.interleave, accelerator)
        return Cost(
            *convolve_costs(
                of=tile.of,
                Tof=tile.Tof,
                Toy=tile.Toy,
                Nox=width,
                Gof=self.Gof,
                sums=self.Gif * self.Nky * max(self.Nkx, fetch),
                reads=shortcut_reads(self.shortcut.stride[1], accelerator) if self.shortcut and tile.adds else 0,
                fetch=fetch,
                accelerator=accelerator,
            )
        )

    def tile_words(self, tile: TileExtent) -> BufferWords:
        accelerator, width = tile.accelerator, tile.output.width
        return convolve_words(
            of=tile.of,
            Tof=tile.Tof,
            Toy=tile.Toy,
            Nox=width,
            Gof=self.Gof,
            taps=(self.Gif * self.Nky, self.Nkx),
            line=line_words(self.window(tile.inputs), width, accelerator),
            reads=shortcut_reads(self.shortcut.stride[1], accelerator) if self.shortcut and tile.adds else 0,
            accelerator=accelerator,
        )

    @property
    def added(self) -> Shortcut | None:
        return self.shortcut

    def source_maps(self, of: int, Tof: int) -> tuple[int, int]:
        first, last = of // self.Gof, (of + Tof - 1) // self.Gof
        return first * self.Gif, (last - first + 1) * self.Gif

    def operation(self, job: Job) -> ComputeOp:
        window, rounding = self.window(job.inputs), self.rounding(job)
        shortcut = None
        if self.shortcut is not None and job.shortcut is not None:
            shortcut = ShortcutRead(
                tile=job.shortcut,
                stride_y=self.shortcut.stride[0],
                stride_x=self.shortcut.stride[1],
                map_offset=self.shortcut.channel_offset,
                maps=self.shortcut.channels,
                shift_delta=rounding.shift_delta,
            )
        return ConvolveOp(
            layer=job.layer,
            waits=NO_WAITS,
            source=job.source,
            window=window,
            step=step_cycles(window, job.output.width, job.Toy, job.source.interleave, job.accelerator),
            Nif=self.Gif,
            Gof=self.Gof,
            of=job.of,
            Tof=job.Tof,
            oy=job.oy,
            Toy=job.Toy,
            Nox=job.output.width,
            weights=job.weights,
            parameters=job.parameters,
            low=rounding.low,
            high=rounding.high,
            leak=self.leak,
            destination=job.destination,
            shortcut=shortcut,
        )

    def rounding(self, job: Job) -> Rounding:
        """The numbers of a command; those of a network without integers are as for a plain sum."""
        if job.numbers is None:
            return Rounding()
        output = job.numbers.output
        bound = self._bound(output)
        return Rounding(
            low=0 if self.relu else output.low,
            high=output.high if bound is None else bound,
            shift_delta=job.shortcut_frac - output.frac,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Operator:
        rest = dict(settings)
        shortcut = rest.pop("shortcut")
        if shortcut is not None:
            shortcut = Shortcut(**{**shortcut, "stride": pair(shortcut["stride"])})
        top, left, bottom, right = rest.pop("pad")
        return cls(
            kernel=pair(rest.pop("kernel")),
            stride=pair(rest.pop("stride")),
            pad=(top, left, bottom, right),
            shortcut=shortcut,
            **rest,
        )


@register
@dataclass(frozen=True, init=False)
class FullyConnected(Convolution):
    """A convolution whose kernel covers its input map: [C, H, W] -> [Nof, 1, 1], weights [Nof, C, H, W]."""

    kind: ClassVar[str] = "fully_connected"
    template: ClassVar[str] = "fully_connected"

    def __init__(
        self, in_shape: Shape, out_channels: int, relu: bool = False, ceiling: float | None = None, leak: int = 0
    ) -> None:
        kernel = in_shape.height, in_shape.width
        super().__init__(in_shape.channels, out_channels, kernel, relu=relu, ceiling=ceiling, leak=leak)

    @property
    def in_shape(self) -> Shape:
        """The maps it reads, all of them for every output."""
        return Shape(self.in_channels, *self.kernel)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        if inputs[0] != self.in_shape:
            raise UserError(f"reads {self.in_shape} but is given {inputs[0]}")
        return super().output_shape(inputs)

    def to_json(self) -> dict[str, Any]:
        settings = asdict(self)
        return {
            "in_shape": asdict(self.in_shape),
            **{name: settings[name] for name in ("out_channels", "relu", "ceiling", "leak")},
        }

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Operator:
        rest = dict(settings)
        return cls(in_shape=Shape(**rest.pop("in_shape")), **rest)


def _given(numbers: LayerNumbers) -> tuple[IntArray, npt.NDArray[np.int64]]:
    if numbers.weights is None or numbers.bias is None:
        raise ValueError("a convolution needs integer weights and bias")
    return numbers.weights, numbers.bias
