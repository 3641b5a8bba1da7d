"""If these fail, the RTL is another machine than the simulator says, or computes something else than the integers.

Equality without tolerance: every stored pixel, start and completion of every command, every burst. One simulation
of each configuration is built, and runs every network: the program is data.
"""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cgap.app.build import compile_model
from cgap.app.plan import Target
from cgap.backends.rtl.trace import compare
from cgap.backends.rtl.twin import Twin, build, place
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.golden import run_reference
from fpga_model.models.simulator import simulate
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from tests.backends.networks import (
    branch_network,
    grouped_network,
    joined_network,
    mixed_network,
    random_images,
    residual_network,
)

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="a simulation is compiled with g++")
KINDS = [Kind.RESIDENT, Kind.LAYERWISE]
PLATFORM = load_platform("zcu104")


def check(schedule: Schedule, images: np.ndarray, hw: Twin | None = None) -> Twin:
    """Run images and hold everything against the simulator and the integer reference."""
    hw = hw or build(schedule)
    run = hw.run(images, trace=True)
    stored = run_reference(schedule.fixed, images)
    for name, tensor in run.outputs.items():
        assert np.array_equal(tensor, stored[name]), name
    bases = place(schedule, len(schedule.program_bytes()), len(images)).bases
    found = compare(schedule, run.trace, bases, stored)
    assert not found.differences, "\n".join(found.differences)
    for name in simulate(schedule).layers:
        assert found.compared[name] == schedule.graph.shape(name).size, name
    simulation = simulate(schedule)
    assert run.cycles == simulation.cycles
    assert {name: cost.cycles for name, cost in simulation.layers.items()} == found.cycles
    assert (run.read_bytes, run.write_bytes) == (simulation.dram_read_bytes, simulation.dram_write_bytes)
    for name, cost in simulation.layers.items():
        traffic = found.traffic[name]
        assert (traffic.read_bytes, traffic.write_bytes) == (cost.dram_read_bytes, cost.dram_write_bytes), name
    last = run_reference(schedule.fixed, images[-1:])
    assert run.registers["saturated"] == sum(last.saturated.values())
    assert run.registers["images_done"] == len(images)
    return hw


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", [residual_network, mixed_network, branch_network, grouped_network, joined_network])
def test_small_networks(network, kind):
    """Strides, kernels, ragged channels, groups, pooling, shortcuts and concatenation."""
    fixed = network()
    schedule = build_schedule(fixed, Accelerator(), PLATFORM, kind)
    check(schedule, random_images(fixed.graph, 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["resnet20", "resnet110"])
def test_shipped_networks(model, kind):
    """Whole networks on photographs."""
    compiled = compile_model(model, Target.parse("zcu104", "8x8x4", kind.value))
    check(compiled.schedule, compiled.inputs.integers()[:1])


@pytest.mark.slow
@pytest.mark.parametrize("array", ["8x7x4", "4x4x4"])
def test_other_arrays(array):
    """Rows that are no power of two, and a bus as wide as a narrow word."""
    fixed = residual_network()
    schedule = build_schedule(fixed, Accelerator.parse(array), PLATFORM, Kind.RESIDENT)
    check(schedule, random_images(fixed.graph, 2))


@pytest.mark.slow
def test_the_command_shows_the_rtl_beside_the_others():
    """`cgap sim --rtl`: its JSON is alone on standard output, and each layer has the RTL's figures."""
    done = subprocess.run(
        [sys.executable, "-m", "cgap", "sim", "resnet20", "--rtl", "--json"], capture_output=True, text=True, check=True
    )
    report = json.loads(done.stdout)
    assert (report["runs"]["rtl"]["images"], report["runs"]["rtl"]["mismatches"]) == (1, 0)
    for figures in [*report["layers"], report["totals"]]:
        for key in ("cycles", "dram_read_bytes", "dram_write_bytes"):
            assert figures[key]["rtl"] == figures[key]["simulated"] is not None


def test_two_networks_one_after_the_other_in_one_build():
    """The program is data: another network needs no other accelerator."""
    schedules = []
    for network in (residual_network, grouped_network):
        fixed = network()
        schedules.append(build_schedule(fixed, Accelerator(), PLATFORM, Kind.RESIDENT))
    first, second = (build(schedule) for schedule in schedules)
    assert first.binary == second.binary


@pytest.fixture(scope="module")
def traced():
    """A run with its schedule and reference, to spoil one of them."""
    fixed = residual_network()
    schedule = build_schedule(fixed, Accelerator(), PLATFORM, Kind.LAYERWISE)
    images = random_images(fixed.graph, 1)
    run = build(schedule).run(images, trace=True)
    bases = place(schedule, len(schedule.program_bytes()), 1).bases
    return schedule, run.trace, bases, run_reference(fixed, images)


def test_one_wrong_pixel_is_found(traced):
    schedule, trace, bases, stored = traced
    name = list(simulate(schedule).layers)[1]
    spoilt = type(stored)({key: tensor.copy() for key, tensor in stored.items()})
    spoilt[name][0, 0, 1, 1] ^= 1
    found = compare(schedule, trace, bases, spoilt)
    assert found.mismatches[name] == 1
    assert name in found.differences[0]


def test_one_wrong_cycle_is_found(traced):
    schedule, trace, bases, stored = traced
    slower = dataclasses.replace(
        schedule.plan, platform=dataclasses.replace(schedule.platform, read_latency=schedule.platform.read_latency + 1)
    )
    found = compare(dataclasses.replace(schedule, plan=slower), trace, bases, stored)
    assert "LOAD command 0 differs first" in found.differences[0]


def test_a_dropped_burst_and_a_moved_one_are_found(traced):
    schedule, trace, bases, stored = traced
    dropped = dataclasses.replace(trace, reads=trace.reads[:-1])
    assert compare(schedule, dropped, bases, stored).differences
    cycle, address, beats = trace.writes[0]
    moved = dataclasses.replace(trace, writes=[(cycle, address + 16, beats), *trace.writes[1:]])
    assert compare(schedule, moved, bases, stored).differences


def test_a_flipped_result_bit_is_found(traced):
    schedule, trace, bases, stored = traced
    *place_of, mask, data = trace.results[3]
    lane = (mask & -mask).bit_length() - 1
    flipped = [*trace.results[:3], (*place_of, mask, data ^ 1 << 8 * lane), *trace.results[4:]]
    assert compare(schedule, dataclasses.replace(trace, results=flipped), bases, stored).differences
