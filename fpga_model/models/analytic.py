"""The analytic model: closed forms for what the simulator measures (docs/analytic.md).

Compute cycles and DRAM bytes are exact: sums over the four kinds of groups that a ragged tile has, and over tiles. The
time of a layer is a pipeline of tiles that take turns on two pages, with weights prefetched under earlier layers as far
as the weight buffer reaches; it neglects how commands of one unit interleave and where bursts meet 4 KiB boundaries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from fpga_model.graph import Layer
from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.commands import Convolve, FeatureTile, PoolRows, Store
from fpga_model.machine.hazards import footprint
from fpga_model.machine.platform import Platform
from fpga_model.machine.timing import (
    LOAD_DONE,
    LOAD_FIRST_ADDRESS,
    PAGE_BYTES,
    STORE_DONE,
    STORE_FIRST_BEAT,
    bus_cycles,
    last_beat,
    tile_bytes,
)
from fpga_model.operators import ComputeOperator
from fpga_model.operators.job import TileExtent
from fpga_model.schedule.dram import is_packed, record_bytes, weight_bytes, weight_words
from fpga_model.schedule.schedule import Schedule
from fpga_model.schedule.tiling import LayerShape


@dataclass(frozen=True)
class LayerEstimate:
    """One layer: cycles it adds to the network, its compute alone, and bytes on the bus."""

    cycles: int
    compute_cycles: int
    dram_read_bytes: int
    dram_write_bytes: int


@dataclass(frozen=True)
class _Access:
    """A DRAM access: its bytes on the bus and its cycles."""

    bytes: int = 0
    cycles: int = 0

    def __add__(self, other: _Access) -> _Access:
        return _Access(self.bytes + other.bytes, self.cycles + other.cycles)


@dataclass(frozen=True)
class _Tile:
    """What one tile asks of the three units, and the weight words and records it holds."""

    compute: int
    parameters: _Access
    features: _Access
    store: _Access
    words: int
    records: int


def estimate(schedule: Schedule) -> dict[str, LayerEstimate]:
    """Closed-form costs of every computed layer, in layer order."""
    clock = _Clock(schedule.accelerator)
    estimates: dict[str, LayerEstimate] = {}
    for layer in schedule.graph.layers:
        if isinstance(layer.operator, ComputeOperator):
            tiles = _layer_tiles(schedule, layer, layer.operator, first=not estimates)
            estimates[layer.name] = LayerEstimate(
                cycles=clock.layer(tiles, _meetings(schedule, layer)),
                compute_cycles=sum(tile.compute for tile in tiles),
                dram_read_bytes=sum(tile.parameters.bytes + tile.features.bytes for tile in tiles),
                dram_write_bytes=sum(tile.store.bytes for tile in tiles),
            )
    return estimates


@dataclass
class _Clock:
    """After a layer: when LOAD is free, when everything has ended, who holds the parameter memories until when."""

    accelerator: Accelerator
    load: int = 0
    end: int = 0
    holders: list[tuple[_Tile, int]] = field(default_factory=list)

    def layer(self, tiles: list[_Tile], meetings: list[bool]) -> int:
        """Run a layer; returns the cycles that it adds.

        Two pages take turns: a tile is loaded where the tile before the last was computed and stored. Where
        neighbouring tiles meet in a page (`meetings`), they go through it one after the other.
        """
        first = tiles[0]
        loaded = self._parameters(first, self.load)
        if first.features.cycles:
            loaded = max(loaded, self.end) + first.features.cycles
        begin = max(loaded, self.end)
        self._hold(first, begin)
        ends = [begin + first.compute + first.store.cycles]
        for (before, tile), meet in zip(pairwise(tiles), meetings, strict=True):
            left = ends[-1] if meet else ends[-2] if len(ends) > 1 else 0  # when the tile's page is free
            fetched = max(self._parameters(tile, begin), left) + tile.features.cycles
            begin = max(begin + before.compute, fetched)
            loaded = begin if tile.parameters.cycles or tile.features.cycles else loaded
            self._hold(tile, begin)
            ends.append(max(begin + tile.compute, ends[-1]) + tile.store.cycles)
        self.load = loaded
        added, self.end = ends[-1] - self.end, ends[-1]
        return added

    def _parameters(self, tile: _Tile, free: int) -> int:
        """When a tile's weights and records are loaded, LOAD being free at `free`: they wait for room."""
        if not tile.parameters.cycles:
            return free
        words, records = tile.words, tile.records
        for holder, done in reversed(self.holders):
            words += holder.words
            records += holder.records
            if words > self.accelerator.weight_depth or records > self.accelerator.parameter_depth:
                return max(free, done) + tile.parameters.cycles
        return free + tile.parameters.cycles

    def _hold(self, tile: _Tile, begin: int) -> None:
        """The tile's parameters, or those of the tile before that it shares, stay until it is computed."""
        if tile.words:
            holder = tile if tile.parameters.cycles else self.holders.pop()[0]
            self.holders.append((holder, begin + tile.compute))


def _meetings(schedule: Schedule, layer: Layer) -> list[bool]:
    """For each tile but the first: whether it meets the one before at port B of a page.

    Then its load, or the store of the one before, cannot overlap computing the other. The load of an input that stays
    on chip does not count: it is not repeated.
    """
    loaded: list[set[int]] = [set()]
    computed: list[set[int]] = []
    stored: list[set[int]] = []
    for command in schedule.layer_commands(layer.name):
        ports = set(footprint(command, schedule.accelerator).port_b)
        if isinstance(command, Store):
            stored[-1] |= ports
        elif isinstance(command, (Convolve, PoolRows)):
            computed.append(ports)
            stored.append(set())
            loaded.append(set())
        elif command.tile not in schedule.residents.values():
            loaded[-1] |= ports
    return [bool(stored[t] & computed[t + 1] or loaded[t + 1] & computed[t]) for t in range(len(computed) - 1)]


def _layer_tiles(schedule: Schedule, layer: Layer, operator: ComputeOperator, first: bool) -> list[_Tile]:
    """What the tiles of a layer cost, one by one."""
    graph, accelerator, platform = schedule.graph, schedule.accelerator, schedule.platform
    output = graph.shape(layer.name)
    inputs = tuple(graph.input_shapes(layer.name))
    shape = LayerShape(operator, inputs, output, accelerator, is_packed(graph, layer.name))
    places = [schedule.residents.get(name) for name in layer.inputs]
    interleave = places[0].interleave if places[0] else shape.window.stride_y
    tiles: list[_Tile] = []
    last_of, last_source = None, None
    for of, Tof, oy, Toy in schedule.tilings[layer.name].tiles(output):
        parameters, features, store = _Access(), _Access(), _Access()
        if shape.weights_per_map and last_of != of:
            last_of = of
            parameters = _parameter_access(shape, Tof, platform)
        index, source = operator.source_index(of), shape.source_tile(of, Tof, oy, Toy)
        resident = places[index]
        if resident is None and (index, source) != last_source:
            last_source = index, source
            features += _load(source, accelerator, platform)
        elif first and not tiles and resident is not None:
            features += _load(resident, accelerator, platform)
        shortcut = shape.shortcut_tile(of, Tof, oy, Toy)
        if shortcut is not None and places[1] is None:
            features += _load(shortcut, accelerator, platform)
        if layer.name not in schedule.residents:
            store = _store(shape.destination_tile(of, Tof, oy, Toy), accelerator, platform)
        adds = shortcut is not None
        extent = TileExtent(accelerator, tuple(inputs), output, of, Tof, Toy, adds, interleave)
        compute = operator.tile_cycles(extent)
        words = weight_words(Tof, shape.weights_per_map, accelerator)
        tiles.append(_Tile(compute, parameters, features, store, words, Tof if words else 0))
    return tiles


def _parameter_access(shape: LayerShape, Tof: int, platform: Platform) -> _Access:
    records = record_bytes(Tof, shape.accelerator, platform)
    weights = weight_bytes(Tof, shape.weights_per_map, shape.accelerator, platform)
    return _Access(records + weights, sum(_load_cycles(size, 1, platform) for size in (records, weights)))


def _load(tile: FeatureTile, accelerator: Accelerator, platform: Platform) -> _Access:
    run = tile_bytes(tile, accelerator)
    return _Access(run * tile.maps, _load_cycles(run, tile.maps, platform))


def _store(tile: FeatureTile, accelerator: Accelerator, platform: Platform) -> _Access:
    run, count = tile_bytes(tile, accelerator), 1 if tile.packed else tile.maps
    cycles = STORE_FIRST_BEAT + _bus(run, count, platform)[0] + platform.write_latency + STORE_DONE
    return _Access(run * count, cycles)


def _bus(run: int, count: int, platform: Platform) -> tuple[int, int, int]:
    """Cycles from the first beat to the last of `count` runs of `run` bytes; how many bursts, and beats of each."""
    beats = run // platform.beat_bytes
    per_run = ceil_div(run, min(PAGE_BYTES, platform.burst_beats * platform.beat_bytes))
    bursts = per_run * count
    return bus_cycles(beats * count, platform) + (bursts - 1) * platform.burst_gap, bursts, ceil_div(beats, per_run)


def _load_cycles(run: int, count: int, platform: Platform) -> int:
    """Cycles of a load: bound by the bus, or by the latency that `outstanding` bursts hide no longer."""
    bus, bursts, n = _bus(run, count, platform)
    rounds, rest = divmod(bursts - 1, platform.outstanding)
    waiting = rounds * (platform.read_latency + 1 + last_beat(n, platform))
    waiting += rest * (bus_cycles(n, platform) + platform.burst_gap) + bus_cycles(n, platform)
    return LOAD_FIRST_ADDRESS + platform.read_latency + max(bus, waiting) + LOAD_DONE
