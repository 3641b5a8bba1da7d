"""If these fail, the RTL is another machine than the simulator says, or computes something else than the integers.

Equality without tolerance: every stored pixel, start and completion of every command, every burst. One simulation
of each configuration is built, and runs every network: the program is data.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cgap.app.build import compile_model
from cgap.app.plan import Target
from cgap.backends.rtl.twin import RtlRun, build
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform, load_platform
from fpga_model.machine.stalls import Stalls
from fpga_model.models.simulator import simulate
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from hw_tests.rtl import equality
from tests.backends.networks import (
    branch_network,
    grouped_network,
    joined_network,
    mixed_network,
    mobilenet_network,
    number,
    random_images,
    residual_network,
    squeezenet_network,
)
from tests.fpga_model.networks import resnet

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="a simulation is compiled with g++")
KINDS = [Kind.RESIDENT, Kind.LAYERWISE]
PLATFORM = load_platform("zcu104")
ARRAYS = ["2x3x8", "4x4x4", "8x7x4"]
"""Of the first, which is compiled fastest, `make test` runs a share."""


def check(schedule: Schedule, images: np.ndarray, stalls: Stalls | None = None) -> RtlRun:
    """Run images in a simulation of their own, and hold everything against simulator and integer reference."""
    with build(schedule).board() as board:
        return equality.check(board, schedule, images, stalls)


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
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", [squeezenet_network, mobilenet_network])
def test_usual_networks(network, kind):
    """Grouped, concatenated and pooled as in the networks that people have."""
    fixed = network()
    check(build_schedule(fixed, Accelerator(), PLATFORM, kind), random_images(fixed.graph, 1))


@pytest.mark.slow
@pytest.mark.parametrize("array", [ARRAYS[0], *(pytest.param(array, marks=pytest.mark.long) for array in ARRAYS[1:])])
def test_other_arrays(array):
    """Rows that are no power of two, and a bus as wide as a narrow word."""
    fixed = residual_network()
    schedule = build_schedule(fixed, Accelerator.parse(array), PLATFORM, Kind.RESIDENT)
    check(schedule, random_images(fixed.graph, 2))


def memories() -> list[Platform]:
    """A prompt one, a slow one with a beat every three cycles or so, and one of uneven pace and long gaps."""
    return [
        replace(PLATFORM, name="prompt", read_latency=4, write_latency=2, burst_gap_bytes=1),
        replace(PLATFORM, name="slow", dram_megatransfers=150.0, read_latency=61, write_latency=33),
        replace(PLATFORM, name="uneven", dram_megatransfers=500.0, burst_gap_bytes=80),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("array", "kind"),
    [
        *(("8x8x4", kind) for kind in KINDS),
        *(pytest.param(array, Kind.RESIDENT, marks=pytest.mark.long) for array in ARRAYS),
    ],
)
def test_memories_and_stalls(array, kind):
    """ResNet-20 on the board's memory, three others, and one that stalls on every channel, in one simulation."""
    compiled = compile_model("resnet20", Target.parse("zcu104", array, kind.value))
    image, accelerator = compiled.inputs.integers()[:1], Accelerator.parse(array)
    schedules = [build_schedule(compiled.fixed, accelerator, memory, kind) for memory in memories()]
    stalls = Stalls.random(5, 2 * simulate(compiled.schedule).cycles, share=0.2, longest=30)
    with build(compiled.schedule).board() as board:
        cycles = [equality.check(board, schedule, image).cycles for schedule in [compiled.schedule, *schedules]]
        cycles.append(equality.check(board, compiled.schedule, image, stalls).cycles)
    print(f"{array} {kind.value}: cycles {cycles}")
    assert len(set(cycles)) == 5


@pytest.mark.slow
def test_dense_resnet20_uses_the_array():
    """By the RTL's own cycles: at least 97 % of the products that the array could have summed in them were needed."""
    fixed = number(resnet(20).graph, seed=13)
    schedule = build_schedule(fixed, Accelerator(), PLATFORM, Kind.RESIDENT)
    run = check(schedule, random_images(fixed.graph, 1))
    array = schedule.accelerator
    assert schedule.graph.macs() / (run.cycles * array.macs) >= 0.97


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
