"""Section 9 of docs/microarchitecture.md: the figures that the page works out by hand are the simulator's."""

from __future__ import annotations

import pytest

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.commands import Convolve, Load
from fpga_model.machine.platform import load_platform
from fpga_model.machine.timing import bursts, fetch_cycles, group_drains
from fpga_model.models.simulator import simulate
from fpga_model.schedule.build import build_schedule
from fpga_model.schedule.schedule import Kind, Schedule
from tests.fpga_model.networks import resnet

LAYER = "stage1.block1.conv2"


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return build_schedule(resnet(), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)


def test_figures_of_the_worked_layer(schedule: Schedule):
    """Fails if the page's example, worked by hand from its formulas, is not what the simulator finds."""
    records, weights, command = schedule.layer_commands(LAYER)
    assert isinstance(records, Load)
    assert isinstance(weights, Load)
    assert isinstance(command, Convolve)
    assert fetch_cycles(command.window, command.Nox, command.source.interleave, schedule.accelerator) == 2
    assert command.step == 3
    assert list(group_drains(command, schedule.accelerator)) == [64] * 32
    assert (records.dram.address, records.dram.bytes) == (38128, 128)
    assert (weights.dram.address, weights.dram.bytes) == (38256, 9216)
    assert list(bursts(records.dram, schedule.platform)) == [8]
    assert list(bursts(weights.dram, schedule.platform)) == [169, 256, 151]
    assert weights.address + weights.words == 11628

    simulation = simulate(schedule)
    events = {id(event.command): event for event in simulation.events}
    assert events[id(records)].cycles == 51
    assert events[id(weights)].cycles == 623
    assert events[id(weights)].done == 4173
    convolution = events[id(command)]
    assert convolution.cycles == 9296 == 8 + 2 + 288 + 31 * 288 + 64 + 6
    assert (convolution.start, convolution.done) == (81_343, 90_638)
    cost = simulation.layers[LAYER]
    assert (cost.cycles, cost.dram_read_bytes, cost.dram_write_bytes) == (9296, 9344, 0)


def test_first_blocks_still_compute_when_the_example_is_loaded(schedule: Schedule):
    """Fails if weights of a later layer no longer load under earlier ones."""
    events = simulate(schedule).events
    running = [e.command.layer for e in events if isinstance(e.command, Convolve) and e.start <= 4173 <= e.done]
    assert running == ["stage0.block0.conv1"]
