"""The analytic model: closed forms for what the simulator measures.

Compute cycles are exact (docs/microarchitecture.md, sections 5 and 6, summed over the four kinds of groups a ragged tile has).
DRAM time of a layer is a pipeline of tiles, `first load + sum of max(compute, next load, previous store) + last store`, with weights
prefetched under earlier layers as far as the weight buffer reaches; it neglects how commands of one unit interleave.
"""

from __future__ import annotations

from dataclasses import dataclass

from fpga_model.accelerator import Accelerator, ceil_div
from fpga_model.graph import Layer
from fpga_model.operators import ComputeOperator
from fpga_model.platform import INTERVAL_UNIT, Platform
from fpga_model.schedule.commands import FeatureTile
from fpga_model.schedule.dram import record_bytes, round_up, weight_bytes
from fpga_model.schedule.schedule import Schedule
from fpga_model.schedule.tiling import LayerShape
from fpga_model.timing import (
    LOAD_DONE,
    LOAD_FIRST_ADDRESS,
    PAGE_BYTES,
    STORE_DONE,
    STORE_FIRST_BEAT,
    beat_interval,
    tile_bytes,
)


@dataclass(frozen=True)
class LayerEstimate:
    """One layer: cycles it adds to the network, its compute alone, and bytes on the bus."""

    cycles: int
    compute_cycles: int
    dram_read_bytes: int
    dram_write_bytes: int


@dataclass(frozen=True)
class _Tile:
    compute: int
    parameters: int
    features: int
    store: int


@dataclass(frozen=True)
class _Access:
    """A DRAM access: its bytes on the bus and its cycles."""

    bytes: int = 0
    cycles: int = 0


def estimate(schedule: Schedule) -> dict[str, LayerEstimate]:
    """Closed-form costs of every computed layer, in layer order."""
    estimates: dict[str, LayerEstimate] = {}
    ends: list[tuple[int, int]] = []
    free, end = 0, 0
    for layer in schedule.graph.layers:
        if not isinstance(layer.operator, ComputeOperator):
            continue
        tiles, read, written, words = _layer_tiles(schedule, layer, layer.operator, first=not estimates)
        ready = max(free, _ring_free(ends, words, schedule.accelerator)) + tiles[0].parameters
        ready = max(ready, end) + tiles[0].features
        overlapped = 0
        for index, tile in enumerate(tiles[:-1]):
            following = tiles[index + 1]
            stored = tiles[index - 1].store if index else 0
            overlapped += max(tile.compute, following.parameters + following.features, stored)
        stored = tiles[-2].store if len(tiles) > 1 else 0
        done = ready + overlapped + max(tiles[-1].compute, stored) + tiles[-1].store
        free = ready + overlapped
        ends.append((words, done))
        compute = sum(tile.compute for tile in tiles)
        estimates[layer.name] = LayerEstimate(done - end, compute, read, written)
        end = done
    return estimates


def _ring_free(ends: list[tuple[int, int]], words: int, accelerator: Accelerator) -> int:
    """When the weight buffer has room for `words` more: the end of the last layer that must have left it."""
    total = words
    for taken, done in reversed(ends):
        total += taken
        if total > accelerator.weight_depth:
            return done
    return 0


def _layer_tiles(
    schedule: Schedule, layer: Layer, operator: ComputeOperator, first: bool
) -> tuple[list[_Tile], int, int, int]:
    """Tiles of a layer with bytes read and written and weight words held."""
    graph, accelerator, platform = schedule.graph, schedule.accelerator, schedule.platform
    output = graph.shape(layer.name)
    packed = layer == graph.output and output.pixels == 1
    shape = LayerShape(operator, tuple(graph.input_shapes(layer.name)), output, accelerator, packed)
    resident = [name in schedule.residents for name in layer.inputs]
    tiles, read, written, words = [], 0, 0, 0
    last_of, last_source = None, None
    for of, Tof, oy, Toy in schedule.tilings[layer.name].tiles(output):
        parameters, features, store = _Access(), _Access(), _Access()
        if shape.weights_per_map and last_of != of:
            last_of = of
            parameters = _parameter_access(shape, Tof, platform)
            words = max(words, ceil_div(Tof, accelerator.Pof) * shape.weights_per_map)
        source = shape.source_tile(of, Tof, oy, Toy)
        if not resident[0] and source != last_source:
            last_source = source
            features = _tile_access(source, shape.window.height, accelerator, platform)
        elif resident[0] and first and not tiles:
            features = _tile_access(schedule.residents[layer.inputs[0]], shape.window.height, accelerator, platform)
        shortcut = shape.shortcut_tile(of, Tof, oy, Toy)
        if shortcut is not None and not resident[1]:
            extra = _tile_access(shortcut, shape.inputs[1].height, accelerator, platform)
            features = _Access(features.bytes + extra.bytes, features.cycles + extra.cycles)
        if layer.name not in schedule.residents:
            store = _tile_access(shape.destination_tile(of, Tof, oy, Toy), output.height, accelerator, platform, True)
        compute = operator.tile_cycles(shape.inputs, output, Tof, Toy, shortcut is not None, accelerator)
        tiles.append(_Tile(compute, parameters.cycles, features.cycles, store.cycles))
        read += parameters.bytes + features.bytes
        written += store.bytes
    return tiles, read, written, words


def _parameter_access(shape: LayerShape, Tof: int, platform: Platform) -> _Access:
    records = record_bytes(Tof, shape.accelerator, platform)
    weights = weight_bytes(Tof, shape.weights_per_map, shape.accelerator, platform)
    interval = beat_interval(shape.accelerator, platform, feature=False)
    cycles = sum(_load_cycles(size, 1, interval, platform) for size in (records, weights))
    return _Access(records + weights, cycles)


def _tile_access(
    tile: FeatureTile, height: int, accelerator: Accelerator, platform: Platform, store: bool = False
) -> _Access:
    """A tile's DRAM access; maps whose rows are all there form one run."""
    run, count = tile_bytes(tile, accelerator), 1 if tile.packed else tile.maps
    if tile.rows == height:
        run, count = run * count, 1
    interval = beat_interval(accelerator, platform, feature=True)
    cycles = _store_cycles(run, count, interval, platform) if store else _load_cycles(run, count, interval, platform)
    return _Access(round_up(run, platform.beat_bytes) * count, cycles)


def _bus_cycles(run: int, count: int, interval: int, platform: Platform) -> int:
    """Cycles from the first beat to the last of `count` runs of `run` bytes."""
    beats = ceil_div(run, platform.beat_bytes) * count
    bursts = ceil_div(run, min(PAGE_BYTES, platform.burst_beats * platform.beat_bytes)) * count
    return beats * interval // INTERVAL_UNIT + (bursts - 1) * platform.burst_gap


def _load_cycles(run: int, count: int, interval: int, platform: Platform) -> int:
    return LOAD_FIRST_ADDRESS + platform.read_latency + _bus_cycles(run, count, interval, platform) + LOAD_DONE


def _store_cycles(run: int, count: int, interval: int, platform: Platform) -> int:
    return STORE_FIRST_BEAT + _bus_cycles(run, count, interval, platform) + platform.write_latency + STORE_DONE
