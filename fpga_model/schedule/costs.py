"""What a tile asks of the three units, in closed form: for ranking tilings, and for the analytic model."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import BufferWords, FeatureTile
from fpga_model.machine.timing import (
    LOAD_DONE,
    LOAD_FIRST_ADDRESS,
    STORE_DONE,
    STORE_FIRST_BEAT,
    bus_cycles,
    last_beat,
)
from fpga_model.numerics.tensors import Shape
from fpga_model.operators.job import TileExtent
from fpga_model.schedule.dram import record_bytes, run_sizes, weight_bytes
from fpga_model.schedule.tiling import DESTINATION, SHORTCUT, SOURCE, Extent, LayerShape, Tiling

if TYPE_CHECKING:
    from fpga_model.schedule.pipeline import TileDemand, Totals


@dataclass(frozen=True)
class Access:
    """A DRAM access: its bytes on the bus and its cycles."""

    bytes: int = 0
    cycles: int = 0

    def __add__(self, other: Access) -> Access:
        return Access(self.bytes + other.bytes, self.cycles + other.cycles)


NOTHING = Access()


@dataclass
class TileCosts:
    """Costs of the tiles of one layer; equal tiles are costed once.

    Attributes:
        shape: the layer.
        platform: with an AXI port that fits the accelerator.
        travel: the roles whose tensors travel through DRAM.
        interleave: of the layer's sources that stay on chip, by their index.
        demands: what the tiles of a pipeline demand; totals: their sums; times: what a layer takes alone. They are kept
            for `Pipeline`.
    """

    shape: LayerShape
    platform: Platform
    travel: frozenset[str]
    interleave: dict[int, int]

    def __post_init__(self) -> None:
        self._compute: dict[tuple[int, int, bool, int], int] = {}
        self._words: dict[tuple[int, int, bool, int], BufferWords] = {}
        self.totals: dict[Hashable, Totals] = {}
        self._parameters: dict[int, Access] = {}
        self._loads: dict[tuple[int, int], Access] = {}
        self._stores: dict[tuple[int, int], Access] = {}
        self._ranks: dict[tuple[Tiling, bool], int] = {}
        self.demands: dict[Hashable, tuple[TileDemand, ...]] = {}
        self.times: dict[Hashable, list[tuple[int, int, bool, int]]] = {}

    @property
    def accelerator(self) -> Accelerator:
        return self.shape.accelerator

    @cached_property
    def _lanes(self) -> int:
        """Output maps after which the array groups of a tile repeat: 1 where only its number of maps counts."""
        groups = getattr(self.shape.operator, "Gof", self.shape.output.channels)
        return 1 if groups >= self.shape.output.channels else groups

    def compute(self, tile: Extent) -> int:
        """Cycles of COMPUTE."""
        key = self._extent_key(tile)
        if key not in self._compute:
            self._compute[key] = self.shape.operator.tile_cost(self._extent(tile, key)).cycles
        return self._compute[key]

    def words(self, tile: Extent) -> BufferWords:
        """Accesses of buffer words by COMPUTE."""
        key = self._extent_key(tile)
        if key not in self._words:
            self._words[key] = self.shape.operator.tile_words(self._extent(tile, key))
        return self._words[key]

    def _extent_key(self, tile: Extent) -> tuple[int, int, bool, int]:
        """What the costs of a tile depend on: where its maps begin in a group, its size, shortcut and interleave."""
        of, Tof, _, Toy = tile
        shape = self.shape
        adds = shape.adds(of, Tof)
        interleave = self.interleave.get(shape.operator.source_index(of))
        if interleave is None:
            interleave = shape.source_tile(*tile).interleave
        return of % self._lanes if self._lanes > 1 else 0, (Tof << 20) | Toy, adds, interleave

    def _extent(self, tile: Extent, key: tuple[int, int, bool, int]) -> TileExtent:
        of, Tof, _, Toy = tile
        shape = self.shape
        return TileExtent(shape.accelerator, shape.inputs, shape.output, of, Tof, Toy, key[2], key[3])

    def parameters(self, Tof: int) -> Access:
        """The load of the records and weights of `Tof` maps."""
        if not self.shape.weights_per_map:
            return NOTHING
        if Tof not in self._parameters:
            records = record_bytes(Tof, self.accelerator, self.platform)
            weights = weight_bytes(Tof, self.shape.weights_per_map, self.accelerator, self.platform)
            cycles = load_cycles(records, 1, self.platform) + load_cycles(weights, 1, self.platform)
            self._parameters[Tof] = Access(records + weights, cycles)
        return self._parameters[Tof]

    def source(self, tile: Extent) -> Access:
        """The load of a tile's source, where it travels."""
        if SOURCE not in self.travel or self.shape.operator.source_index(tile[0]) in self.interleave:
            return NOTHING
        return self.load(self.shape.source_tile(*tile), self.shape.inputs[0])

    def shortcut(self, tile: Extent) -> Access:
        """The load of a tile's shortcut, where it travels."""
        wanted = self.shape.shortcut_tile(*tile) if SHORTCUT in self.travel else None
        return NOTHING if wanted is None else self.load(wanted, self.shape.inputs[1])

    def store(self, tile: Extent) -> Access:
        """The store of a tile's output, where it travels."""
        return self.stored(tile) if DESTINATION in self.travel else NOTHING

    def stored(self, tile: Extent) -> Access:
        """The store of a tile's output."""
        run, count = run_sizes(self.shape.destination_tile(*tile), self.shape.output, self.accelerator)
        if (run, count) not in self._stores:
            cycles = STORE_FIRST_BEAT + _bus(run, count, self.platform)[0] + self.platform.write_latency + STORE_DONE
            self._stores[run, count] = Access(run * count, cycles)
        return self._stores[run, count]

    def rank(self, tiling: Tiling, sides: int) -> int:
        """About how many cycles a layer takes with a tiling: from a tile of every size and how often it occurs."""
        key = tiling, sides < 2
        if key not in self._ranks:
            self._ranks[key] = _rank(self, tiling, sides)
        return self._ranks[key]

    def load(self, tile: FeatureTile, shape: Shape) -> Access:
        """The load of any tile of a tensor of that shape."""
        run, count = run_sizes(tile, shape, self.accelerator)
        if (run, count) not in self._loads:
            self._loads[run, count] = Access(run * count, load_cycles(run, count, self.platform))
        return self._loads[run, count]


def _rank(costs: TileCosts, tiling: Tiling, sides: int) -> int:
    shape = costs.shape
    maps, rows = tiling.maps(shape.output), tiling.rows(shape.output)
    middle = rows[len(rows) // 2]
    row_kinds = {rows[0]: 1, rows[-1]: 1} | ({middle: len(rows) - 2} if len(rows) > 2 else {})
    map_kinds: dict[tuple[int, int], tuple[tuple[int, int], int]] = {}
    for of, Tof in maps:
        key = (Tof, shape.operator.source_index(of))
        first, count = map_kinds.get(key, ((of, Tof), 0))
        map_kinds[key] = first, count + 1
    differ = shape.sources_differ(maps)
    once = len(rows) == 1 and not differ
    compute = load = store = 0
    for (of, Tof), map_count in map_kinds.values():
        reload = len(rows) if tiling.rows_outside and len(maps) > 1 else 1
        load += costs.parameters(Tof).cycles * map_count * reload
        for (oy, Toy), row_count in row_kinds.items():
            tile, number = (of, Tof, oy, Toy), map_count * row_count
            compute += costs.compute(tile) * number
            load += costs.shortcut(tile).cycles * number
            store += costs.store(tile).cycles * number
            if not once and not (tiling.rows_outside and not differ):
                load += costs.source(tile).cycles * number
    first_tile = (*maps[0], *rows[0])
    if once:
        load += costs.source(first_tile).cycles
    elif tiling.rows_outside and not differ:
        load += sum(costs.source((*maps[0], *row)).cycles * count for row, count in row_kinds.items())
    opening = costs.parameters(maps[0][1]) + costs.source(first_tile) + costs.shortcut(first_tile)
    last = costs.store((*maps[-1], *rows[-1])).cycles
    if sides < 2:
        return compute + load + store
    return max(compute + opening.cycles + last, load + last, opening.cycles + store)


def _bus(run: int, count: int, platform: Platform) -> tuple[int, int, int]:
    """Cycles from the first beat to the last of `count` runs of `run` bytes; how many bursts, and beats of each."""
    beats = run // platform.beat_bytes
    per_run = ceil_div(run, platform.burst_bytes)
    bursts = per_run * count
    return bus_cycles(beats * count, platform) + (bursts - 1) * platform.burst_gap, bursts, ceil_div(beats, per_run)


def load_cycles(run: int, count: int, platform: Platform) -> int:
    """Cycles of a load: bound by the bus, or by the latency that `outstanding` bursts hide no longer."""
    bus, bursts, n = _bus(run, count, platform)
    rounds, rest = divmod(bursts - 1, platform.outstanding)
    waiting = rounds * (platform.read_latency + 1 + last_beat(n, platform))
    waiting += rest * (bus_cycles(n, platform) + platform.burst_gap) + bus_cycles(n, platform)
    return LOAD_FIRST_ADDRESS + platform.read_latency + max(bus, waiting) + LOAD_DONE
