"""The published analytic model of the reference accelerator, as far as its papers state it.

Y. Ma, Y. Cao, S. Vrudhula, J. Seo, "Performance Modeling for CNN Inference Accelerators on FPGA", IEEE TCAD 2020,
with the loop tiling of their FPGA 2017 and TVLSI 2018 papers: every map travels through DRAM, nothing overlaps inside a
layer of one tile, an addition of two maps is a layer of its own, every burst costs 32 bytes. It stands beside the
project's own model (fpga_model/models/analytic.py), so that published ratios can be discussed; docs/analytic.md
compares them.

What the papers leave open is chosen here: the drain moves one row of one map (`Pox` pixels) a cycle; pooling keeps the
array's loop nest with one window position a cycle; of the tile sizes whose doubled tiles fit the accelerator's buffers,
those of least DRAM traffic are taken, and of these the largest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fpga_model.errors import UserError
from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import Window
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import ComputeOperator
from fpga_model.schedule.dram import round_up

BURST_COST_BYTES = 32
"""Bus time that every burst costs beyond its data, in bytes."""

DRAM_EFFICIENCY = 0.7
"""Share of the peak DRAM bandwidth that is usable."""


@dataclass(frozen=True)
class ReferenceCost:
    """One layer of the published model: cycles and bytes; reads and writes without what bursts cost.

    Attributes:
        cycles: latency of the layer.
        compute_cycles: of all tiles.
        read_bytes, write_bytes: data moved.
        tiles: how many; a layer of one tile overlaps nothing.
        Tof, Toy: output maps and rows of a tile.
    """

    cycles: int
    compute_cycles: int
    read_bytes: int
    write_bytes: int
    tiles: int
    Tof: int
    Toy: int


@dataclass(frozen=True)
class _Traffic:
    """Data of some bursts, and the bus time they take, both in bytes."""

    data: int = 0
    bus: int = 0

    def __add__(self, other: _Traffic) -> _Traffic:
        return _Traffic(self.data + other.data, self.bus + other.bus)


@dataclass(frozen=True)
class _Machine:
    accelerator: Accelerator
    word: int  # bytes of a number
    beat: int  # bytes of the DMA port
    bytes_per_cycle: float

    def bursts(self, count: int, numbers: int) -> _Traffic:
        data = count * numbers * self.word
        return _Traffic(data, data + count * BURST_COST_BYTES)

    def row(self, shape: Shape) -> int:
        """Numbers of one row, padded to the DMA word."""
        return round_up(shape.width * self.word, self.beat) // self.word

    def cycles(self, traffic: _Traffic) -> int:
        return math.ceil(traffic.bus / self.bytes_per_cycle)


@dataclass(frozen=True)
class _Loops:
    """One layer with its tile sizes."""

    machine: _Machine
    source: Shape
    output: Shape
    window: Window
    products: int  # Nif: input maps summed for an output map
    weights: int  # weights of one output map
    Tof: int
    Toy: int

    @property
    def Tiy(self) -> int:
        return min((self.Toy - 1) * self.window.stride_y + self.window.rows, self.source.height)

    @property
    def counts(self) -> tuple[int, int]:
        """(n_tof, n_toy)."""
        return ceil_div(self.output.channels, self.Tof), ceil_div(self.output.height, self.Toy)

    @property
    def compute(self) -> int:
        """Cycles of one tile: a group sums, and drains under the next group's sums."""
        array = self.machine.accelerator
        groups = ceil_div(self.output.width, array.Pox) * ceil_div(self.Toy, array.Poy) * ceil_div(self.Tof, array.Pof)
        sums = self.products * self.window.Nky * self.window.Nkx
        return groups * max(sums, array.Poy * array.Pof)

    @property
    def pixels(self) -> _Traffic:
        maps = self.products if self.weights else self.Tof
        return self.machine.bursts(maps, self.machine.row(self.source) * self.Tiy)

    @property
    def parameters(self) -> _Traffic:
        return self.machine.bursts(1, self.weights * self.Tof) if self.weights else _Traffic()

    @property
    def stored(self) -> _Traffic:
        return self.machine.bursts(self.Tof, self.machine.row(self.output) * self.Toy)

    def fits(self) -> bool:
        """Whether two of each tile fit the buffers, whose sizes are counted in bytes."""
        array = self.machine.accelerator
        features = 2 * (self.pixels.data + self.stored.data) <= array.feature_bytes
        return features and 2 * self.parameters.data <= array.weight_bytes

    def cost(self) -> ReferenceCost:
        n_tof, n_toy = self.counts
        reads = [
            (self.pixels if n_toy > 1 or not index else _Traffic()) + (_Traffic() if row else self.parameters)
            for index, (_, row) in enumerate((tof, toy) for tof in range(n_tof) for toy in range(n_toy))
        ]
        if not self.weights:  # a pooled map is read by its own tile only
            reads = [self.pixels] * len(reads)
        load, store = self.machine.cycles, self.machine.cycles(self.stored)
        if len(reads) == 1:
            cycles = self.compute + load(reads[0]) + store
        else:
            cycles = load(reads[0]) + store + sum(max(self.compute, load(read), store) for read in reads)
        return ReferenceCost(
            cycles=cycles,
            compute_cycles=len(reads) * self.compute,
            read_bytes=sum(read.data for read in reads),
            write_bytes=len(reads) * self.stored.data,
            tiles=len(reads),
            Tof=self.Tof,
            Toy=self.Toy,
        )


def reference_estimate(
    graph: LayerGraph, accelerator: Accelerator, platform: Platform, bytes_per_word: int = 1
) -> dict[str, ReferenceCost]:
    """Costs of every layer under the published model; the shortcut of layer `x` is the layer `x + shortcut`.

    Args:
        graph: the network.
        accelerator: its array and the bytes of its buffers; they hold `bytes_per_word` bytes a number.
        platform: clock, DMA width and peak DRAM bandwidth.
        bytes_per_word: 1, or 2 as in the papers.

    Raises:
        UserError: a layer whose smallest tile fits no buffer, or a grouped convolution, which the papers leave open.
    """
    peak = platform.dram_width_bits / 8 * platform.dram_megatransfers * DRAM_EFFICIENCY / platform.clock_mhz
    rate = min(float(platform.beat_bytes), peak)
    machine = _Machine(accelerator, bytes_per_word, platform.beat_bytes, rate)
    costs: dict[str, ReferenceCost] = {}
    for layer in graph.layers:
        if isinstance(layer.operator, ComputeOperator):
            costs[layer.name] = _best(graph, layer, layer.operator, machine)
            if layer.operator.added is not None:
                costs[f"{layer.name} + shortcut"] = _addition(graph, layer, machine)
    return costs


def _best(graph: LayerGraph, layer: Layer, operator: ComputeOperator, machine: _Machine) -> ReferenceCost:
    inputs, output = graph.input_shapes(layer.name), graph.shape(layer.name)
    weights = operator.weights() // output.channels
    window = operator.window(inputs)
    products = inputs[0].channels if weights else 1
    if weights and operator.source_maps(0, 1)[1] != products:
        raise UserError(f"layer {layer.name!r}: the published model has no grouped convolutions")
    options = [
        _Loops(machine, inputs[0], output, window, products, weights, Tof, Toy)
        for Tof in _sizes(output.channels, machine.accelerator.Pof)
        for Toy in _sizes(output.height, machine.accelerator.Poy)
    ]
    fitting = [loops.cost() for loops in options if loops.fits()]
    if not fitting:
        raise UserError(
            f"layer {layer.name!r}: its smallest tile does not fit the buffers twice; choose larger buffers"
        )
    return min(fitting, key=lambda cost: (cost.read_bytes + cost.write_bytes, cost.tiles))


def _sizes(full: int, parallel: int) -> Iterator[int]:
    """Tile sizes: the full one, then halves rounded up to whole groups."""
    parts = [1 << k for k in range(full.bit_length() + 1)]
    yield from dict.fromkeys(min(full, round_up(ceil_div(full, part), parallel)) for part in parts)


def _addition(graph: LayerGraph, layer: Layer, machine: _Machine) -> ReferenceCost:
    """The addition as a layer of its own: reads two maps, writes one, and computes while it reads."""
    output, shortcut = graph.shape(layer.name), graph.input_shapes(layer.name)[1]
    stored = machine.bursts(output.channels, machine.row(output) * output.height)
    read = stored + machine.bursts(shortcut.channels, machine.row(shortcut) * shortcut.height)
    cycles = machine.cycles(read) + machine.cycles(stored)
    return ReferenceCost(cycles, 0, read.data, stored.data, 1, output.channels, output.height)
