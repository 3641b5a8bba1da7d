"""Laws that every schedule obeys, whatever the network, the buffers and the DRAM are like."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import groupby, product
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph
from fpga_model.machine import hazards
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import LoadOp
from fpga_model.machine.platform import load_platform
from fpga_model.machine.tiles import Buffer, FeatureTile, Footprint, Unit
from fpga_model.machine.timeline import execute, port_conflicts
from fpga_model.models.simulator import simulate
from fpga_model.numerics.tensors import Shape
from fpga_model.schedule.document import ScheduleDocument
from fpga_model.schedule.plan import BUFFERS, BuffersTooSmall, enough_buffers, make_plan
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from tests.fpga_model import stepper
from tests.fpga_model.networks import ROOMY, Network, conv, fitting, mobilenet, networks, resnet, schedules
from tests.fpga_model.symbolic import Machine

RANDOM = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
KINDS = pytest.mark.parametrize("kind", list(Kind))


@RANDOM
@given(schedules)
def test_every_command_finds_what_its_layer_needs_and_none_may_overtake_another(schedule: Schedule):
    """Fails if a tile is computed twice or never, reads what is not there yet, leaves its memory, or may race."""
    Machine(schedule).run()


@RANDOM
@given(schedules)
def test_simulation_has_no_port_conflicts_and_sums_to_the_total(schedule: Schedule):
    """Fails if two units meet at a port of a page, or the layers' cycles are not the network's."""
    simulation = simulate(schedule)
    assert port_conflicts(simulation.events, schedule.accelerator) == []
    assert simulation.cycles == max(event.done for event in simulation.events) + 1
    assert list(simulation.layers) == [layer.name for layer in schedule.graph.layers[1:]]
    assert all(cost.cycles >= 0 for cost in simulation.layers.values())


@RANDOM
@given(schedules)
def test_commands_of_a_layer_are_contiguous(schedule: Schedule):
    """Fails if a layer could not be synthesised, or timed, by itself."""
    names = [name for name, _ in groupby(command.layer for command in schedule.operations)]
    assert names == [layer.name for layer in schedule.graph.layers[1:]]


@settings(RANDOM, max_examples=20)
@given(schedules)
def test_waits_are_for_the_last_operation_of_each_unit_that_conflicts(schedule: Schedule):
    """Fails if what is forgotten of the past was still needed: all earlier operations are gone through instead."""
    prints = [operation.footprint(schedule.accelerator) for operation in schedule.operations]
    counts, waits = [dict.fromkeys(Unit, 0)], {unit: dict.fromkeys(Unit, 0) for unit in Unit}
    for index, (operation, mine) in enumerate(zip(schedule.operations, prints, strict=True)):
        for earlier, other in zip(range(index), prints, strict=False):
            unit = schedule.operations[earlier].unit
            if unit is not operation.unit and conflict(other, mine):
                waits[operation.unit][unit] = max(waits[operation.unit][unit], counts[earlier][unit] + 1)
        assert {unit: getattr(operation.waits, unit.value) for unit in Unit} == waits[operation.unit]
        counts.append({**counts[-1], operation.unit: counts[-1][operation.unit] + 1})


def conflict(one: Footprint, other: Footprint) -> bool:
    """Whether two operations may not overlap: one writes what the other touches, or they share a port."""
    pairs = [*product(one.writes, other.reads + other.writes), *product(one.reads, other.writes)]
    overlap = any(a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for a, b in pairs)
    return overlap or not set(one.ports).isdisjoint(other.ports)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks forget what large ones would."""
    monkeypatch.setattr(hazards, "FEW", 3)


@settings(RANDOM, max_examples=25)
@given(networks(), st.sampled_from([(4, 4, 4), (2, 3, 8), (8, 1, 2)]), st.sampled_from(Kind), st.integers(1, 6))
def test_the_buffers_that_would_do_do(network: FixedGraph, array: tuple[int, int, int], kind: Kind, depth: int):
    """Fails if the depth that a refusal names is refused in turn, or one half as deep would do for any network."""
    small = Accelerator(*array, page_depth=depth, weight_depth=4 * depth, parameter_depth=2)
    enough = enough_buffers(network.graph, small, ROOMY)
    assume(enough is not None)
    make_plan(network.graph, enough, ROOMY, kind)
    for name in BUFFERS:
        if getattr(enough, name) > getattr(small, name):
            half = replace(enough, **{name: getattr(enough, name) // 2})
            with pytest.raises(BuffersTooSmall):
                make_plan(network.graph, half, ROOMY, Kind.LAYERWISE)


@settings(RANDOM, max_examples=15)
@given(schedules)
def test_same_input_gives_the_same_bytes(schedule: Schedule):
    """Fails if emitted files would differ between two runs."""
    again = build_schedule(schedule.fixed, schedule.accelerator, schedule.platform, schedule.kind)
    assert again.to_json() == schedule.to_json()


@settings(RANDOM, max_examples=15)
@given(schedules)
def test_a_schedule_survives_its_file(schedule: Schedule):
    """Fails if what `schedule.json` says is read back as something else, or would take other cycles."""
    read = ScheduleDocument.from_json(schedule.to_json())
    assert read == ScheduleDocument.of(schedule)
    assert execute(read.operations, read.accelerator, read.platform) == execute(
        schedule.operations, schedule.accelerator, schedule.platform
    )


def _document() -> dict[str, Any]:
    schedule = build_schedule(resnet(8), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)
    document: dict[str, Any] = json.loads(schedule.to_json())
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: "nothing", "not a schedule"),
        (lambda d: "[]", "not a schedule"),
        (lambda d: json.dumps({**d, "version": 2}), "version 2, and this cgap reads version 3"),
        (lambda d: json.dumps({**d, "dram": 7}), "damaged"),
        (lambda d: json.dumps({**d, "operations": [{"kind": "MoveOp"}]}), "damaged: 'MoveOp'"),
        (lambda d: json.dumps({**d, "operations": [{**d["operations"][0], "waits": -1}]}), "damaged"),
        (lambda d: json.dumps({**d, "operations": [{**d["operations"][0], "other": 1}]}), "damaged: LoadOp has other"),
        (lambda d: json.dumps({key: value for key, value in d.items() if key != "regions"}), "damaged: 'regions'"),
    ],
)
def test_a_foreign_or_damaged_schedule_is_one_sentence(change, message):
    with pytest.raises(UserError, match=message) as refused:
        ScheduleDocument.from_json(change(_document()))
    assert "\n" not in str(refused.value)


@settings(RANDOM, max_examples=15)
@given(schedules)
def test_queues_stepped_cycle_by_cycle_give_the_simulated_times(schedule: Schedule):
    """Fails if the simulator starts a command earlier or later than three counters would let it."""
    simulation = simulate(schedule)
    costs = {id(event.operation): event.cycles for event in simulation.events}
    times = stepper.run(schedule.operations, lambda command: costs[id(command)])
    assert times == [(event.start, event.done) for event in simulation.events]


@settings(RANDOM, max_examples=30)
@given(networks(), st.sampled_from(["8x8x4", "4x4x2"]))
def test_resident_reads_weights_and_image_once_where_all_fits(fixed: FixedGraph, array: str):
    """Fails if the resident schedule moves a byte that it need not move."""
    large = Accelerator.parse(array, page_depth=1 << 15, weight_depth=1 << 20, parameter_depth=1 << 12)
    schedule = build_schedule(fixed, large, ROOMY, Kind.RESIDENT)
    regions = {r.name: r.bytes for r in schedule.dram.places if r.role in ("parameters", "input")}
    outputs = {layer.name: schedule.dram.place(layer.name, "output").bytes for layer in fixed.graph.outputs}
    simulation = simulate(schedule)
    assert simulation.dram_read_bytes == sum(regions.values())
    assert simulation.dram_write_bytes == sum(outputs.values())
    unread = {name for name in outputs if not fixed.graph.consumers(name)}
    assert set(schedule.residents) == {layer.name for layer in fixed.graph.layers} - unread


@KINDS
@pytest.mark.parametrize("array", ["8x8x4", "4x4x2", "8x8x16", "16x4x8"])
def test_resnet_runs_on_every_array(array: str, kind: Kind):
    """Fails if a network of the README's kind cannot be scheduled on an array that is not the default."""
    Machine(build_schedule(resnet(8, (13, 21, 40)), Accelerator.parse(array), ROOMY, kind)).run()


@KINDS
@pytest.mark.parametrize("array", ["8x8x4", "16x4x8"])
def test_mobilenet_runs_on_small_and_large_arrays(array: str, kind: Kind):
    """Fails if a depthwise tile finds other maps than its own, with all maps on chip or in small tiles through DRAM."""
    for depth in (4096, 128):
        accelerator = Accelerator.parse(array, page_depth=depth, weight_depth=2048, parameter_depth=128)
        Machine(build_schedule(mobilenet(), accelerator, ROOMY, kind)).run()


def test_depthwise_tiles_load_no_map_twice():
    """Fails if a tile of a depthwise layer that goes through DRAM loads maps that it does not read."""
    schedule = build_schedule(mobilenet(16), Accelerator(page_depth=200), load_platform("zcu104"), Kind.LAYERWISE)
    name = "block0.depthwise"
    assert len(list(schedule.tilings[name].tiles(schedule.graph.shape(name)))) > 1
    loads = [c for c in schedule.by_layer[name] if isinstance(c, LoadOp) and c.buffer is Buffer.FEATURE]
    loaded = Counter((load.tile.first_row, m) for load in loads if load.tile for m in _maps(load.tile))
    rows = {oy for oy, _ in schedule.tilings[name].rows(schedule.graph.shape(name))}
    assert len(loaded) == len(rows) * 6 * 16
    assert set(loaded.values()) == {1}


def _maps(tile: FeatureTile) -> range:
    return range(tile.first_map, tile.first_map + tile.maps)


@KINDS
def test_small_buffers_make_every_tile_loop(kind: Kind):
    """Fails if the random tests above no longer reach spills, row tiles, map tiles and both loop orders."""
    tight = Accelerator(page_depth=160, weight_depth=2500, parameter_depth=24)
    schedule = fitting(resnet(8), tight, ROOMY, kind)
    tilings = schedule.tilings
    shapes = {name: schedule.graph.shape(name) for name in tilings}
    assert len(schedule.residents) < len(shapes)
    assert any(tiling.Toy < shapes[name].height for name, tiling in tilings.items())
    assert any(tiling.Tof < shapes[name].channels for name, tiling in tilings.items())
    Machine(schedule).run()


def test_resnet20_resident_meets_its_limits():
    """Fails if the default schedule leaves cycles or DRAM bytes on the table: the figures that the README promises."""
    fixed, platform = resnet(), load_platform("zcu104")
    schedule = build_schedule(fixed, Accelerator(), platform, Kind.RESIDENT)
    simulation = simulate(schedule)
    least = fixed.graph.weights() + 3 * 32 * 32 + 10
    moved = simulation.dram_read_bytes + simulation.dram_write_bytes
    compute = fixed.graph.macs() / schedule.accelerator.macs
    assert (fixed.graph.macs(), least) == (40_551_040, 271_418)
    assert moved <= 1.02 * least
    assert simulation.cycles <= 1.10 * max(compute, least / platform.bytes_per_cycle)


def test_layerwise_moves_every_map_through_dram():
    """Fails if the reference schedule keeps a map on chip."""
    schedule = build_schedule(resnet(), Accelerator(), load_platform("zcu104"), Kind.LAYERWISE)
    assert schedule.residents == {}
    for layer in schedule.graph.layers[1:]:
        units = {command.unit for command in schedule.by_layer[layer.name]}
        assert units == set(Unit)


def test_bound_of_a_layer_is_what_was_busy_longest():
    """Fails if the report blames the wrong unit: few products drain slowly, kernels of 3x3 keep the array busy."""
    schedule = build_schedule(resnet(), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)
    layers = simulate(schedule).layers
    assert (layers["stem"].sums, layers["stem"].drains, layers["stem"].bound) == (64 * 27, 64 * 32, "drain")
    assert (layers["stage2.block2.conv2"].sums, layers["stage2.block2.conv2"].bound) == (16 * 576, "array")
    assert (layers["pool"].sums, layers["pool"].drains, layers["pool"].bound) == (0, 16 + 64 * 8 + 8, "drain")


@KINDS
def test_layer_that_fits_no_buffer_is_named(kind: Kind):
    """Fails if a layer deeper than the buffers ends in anything else than one sentence that names it."""
    network = Network("deep", Shape(64, 8, 8))
    network.add("wide one", conv(64, 8), "image")
    with pytest.raises(UserError, match=r"^layer 'wide one' does not fit .*page_depth 32.*choose larger buffers$"):
        build_schedule(network.fixed(), Accelerator(page_depth=32), ROOMY, kind)
    with pytest.raises(UserError, match=r"^layer 'wide one' does not fit .*weight_depth 100"):
        build_schedule(network.fixed(), Accelerator(weight_depth=100), ROOMY, kind)


def test_deep_layer_that_only_fits_without_double_buffering_is_scheduled():
    """Fails if a layer is refused although its source fills one page and its output has room in the other."""
    network = Network("deep", Shape(64, 8, 8))
    network.add("conv", conv(64, 40), "image")
    schedule = build_schedule(network.fixed(), Accelerator(page_depth=64), ROOMY, Kind.LAYERWISE)
    Machine(schedule).run()


def test_platform_too_small_is_named():
    """Fails if an accelerator that cannot be built is scheduled all the same."""
    small = replace(load_platform("zcu104"), name="tiny", dsp=220)
    with pytest.raises(UserError, match=r"^platform tiny is too small: the 8x8x4 accelerator needs 256 DSP blocks"):
        build_schedule(resnet(), Accelerator(), small, Kind.RESIDENT)
    with pytest.raises(UserError, match=r"needs 97 RAMB36 blocks and there are 50"):
        build_schedule(
            resnet(), Accelerator(), replace(small, dsp=256, block=replace(small.block, count=50)), Kind.RESIDENT
        )


@KINDS
@pytest.mark.parametrize("size", [(60, 70), (200, 33)])
def test_strides_beyond_the_kernel_need_no_larger_pages(size: tuple[int, int], kind: Kind):
    """Fails if rows that no window reads take the room of those that one does."""
    network = Network("far", Shape(3, *size))
    network.add("conv", conv(3, 4, stride=(50, 15), pad=0), "image")
    schedule = build_schedule(network.fixed(), Accelerator(), ROOMY, kind)
    Machine(schedule).run()
