"""Section 11 of docs/microarchitecture.md: the figures that the page works out by hand are the simulator's."""

from __future__ import annotations

import pytest

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import ConvolveOp, LoadOp
from fpga_model.machine.platform import load_platform
from fpga_model.machine.timing import bursts, fetch_cycles
from fpga_model.models.simulator import simulate
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from tests.fpga_model.networks import resnet

LAYER = "stage1.block1.conv2"


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return build_schedule(resnet(), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)


def test_figures_of_the_worked_layer(schedule: Schedule):
    """Fails if the page's example, worked by hand from its formulas, is not what the simulator finds."""
    records, weights, command = schedule.by_layer[LAYER]
    assert isinstance(records, LoadOp)
    assert isinstance(weights, LoadOp)
    assert isinstance(command, ConvolveOp)
    tile = command.source
    assert fetch_cycles(command.window, command.Nox, command.Toy, tile.interleave, schedule.accelerator) == 2
    assert command.step == 3
    cost = command.cost(schedule.accelerator, schedule.platform)
    assert (cost.groups, cost.sums, cost.drains) == (32, 32 * 288, 32 * 32)
    assert (records.dram.address, records.dram.bytes) == (38128, 128)
    assert (weights.dram.address, weights.dram.bytes) == (38256, 9216)
    assert list(bursts(records.dram, schedule.platform)) == [8]
    assert list(bursts(weights.dram, schedule.platform)) == [169, 256, 151]
    assert weights.address + weights.words == 11628

    simulation = simulate(schedule)
    events = {id(event.operation): event for event in simulation.events}
    assert events[id(records)].cycles == 51
    assert events[id(weights)].cycles == 623
    assert events[id(weights)].done == 4169
    convolution = events[id(command)]
    assert convolution.cycles == 9266 == 2 + 288 + 31 * 288 + 32 + 16
    assert (convolution.start, convolution.done) == (81_231, 90_496)
    layer = simulation.layers[LAYER]
    assert (layer.cycles, layer.dram_read_bytes, layer.dram_write_bytes) == (9266, 9344, 0)


def test_first_blocks_still_compute_when_the_example_is_loaded(schedule: Schedule):
    """Fails if weights of a later layer no longer load under earlier ones."""
    events = simulate(schedule).events
    running = [e.operation.layer for e in events if isinstance(e.operation, ConvolveOp) and e.start <= 4169 <= e.done]
    assert running == ["stage0.block0.conv1"]
