"""The closed forms of machine/timing.py against state machines stepped cycle by cycle, and against hand counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import ConvolveOp, LoadOp, PoolOp, StoreOp
from fpga_model.machine.platform import Platform, load_platform
from fpga_model.machine.tiles import Buffer, DramRuns, FeatureTile, PoolMode, ShortcutRead, Waits, Window
from fpga_model.machine.timing import (
    bursts,
    line_words,
    load_cycles,
    row_passes,
    shortcut_reads,
    step_cycles,
    store_cycles,
)
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import Convolution
from fpga_model.schedule.schedule import Kind, build_schedule
from tests.fpga_model import stepper
from tests.fpga_model.networks import ROOMY, Network, conv, platforms, resnet, schedules

TILE = FeatureTile(page=0, address=0, maps=1, rows=1, row_words=1)
arrays = st.builds(
    Accelerator, Pox=st.sampled_from([2, 4, 8, 16]), Poy=st.integers(1, 9), Pof=st.sampled_from([1, 2, 4, 16])
)


@st.composite
def accesses(draw: st.DrawFn) -> tuple[DramRuns, Platform]:
    platform = draw(platforms)
    beat = platform.beat_bytes
    run = draw(st.integers(1, 40) | st.integers(1, 700)) * beat
    address = draw(st.integers(0, 300)) * beat
    return DramRuns("feature", address, run, draw(st.integers(1, 6)), run + draw(st.integers(0, 5)) * beat), platform


@given(accesses())
def test_bursts_are_what_a_walk_over_the_beats_finds(access: tuple[DramRuns, Platform]):
    """Fails if a burst crosses 4 KiB, is longer than the platform allows, or beats are lost."""
    assert list(bursts(*access)) == stepper.burst_lengths(*access)


@given(accesses())
@example((DramRuns("input", 0, 16, 9, 64), replace(ROOMY, outstanding=1)))
@example((DramRuns("input", 0, 64, 9, 64), replace(ROOMY, axi_bits=512, dram_megatransfers=133.3)))
def test_load_is_what_the_stepped_read_channel_takes(access: tuple[DramRuns, Platform]):
    """Fails if LOAD's closed form is not the AXI read port of the contract."""
    load = LoadOp("l", Waits(), Buffer.FEATURE, access[0], tile=TILE)
    assert load_cycles(*access) == stepper.load_cycles(load, access[1])


@given(accesses())
def test_store_is_what_the_stepped_write_channel_takes(access: tuple[DramRuns, Platform]):
    """Fails if STORE's closed form is not the AXI write port of the contract."""
    store = StoreOp("l", Waits(), access[0], TILE)
    assert store_cycles(*access) == stepper.store_cycles(store, access[1])


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[ConvolveOp, Accelerator]:
    array = draw(arrays)
    Nky, Nkx = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    window = Window(Nky, Nkx, *stride, draw(st.integers(0, Nky - 1)), draw(st.integers(0, Nkx - 1)), 40, 40)
    source = replace(TILE, interleave=draw(st.sampled_from([stride[0], stride[0], 1, 2, 3])))
    Nox, Toy = draw(st.integers(1, 33)), draw(st.integers(1, 12))
    Gof = draw(st.integers(1, 20))
    of = draw(st.integers(0, 3)) * array.Pof
    reads = ShortcutRead(TILE, draw(st.integers(1, 5)), draw(st.integers(1, 5)), 0, 1, 0)
    command = ConvolveOp(
        "l",
        Waits(),
        source,
        window,
        step=step_cycles(window, Nox, Toy, source.interleave, array),
        Nif=draw(st.integers(1, 6)),
        Gof=Gof,
        of=of,
        Tof=draw(st.integers(1, 9)),
        oy=0,
        Toy=Toy,
        Nox=Nox,
        weights=0,
        parameters=0,
        low=0,
        high=127,
        leak=0,
        destination=TILE,
        shortcut=draw(st.sampled_from([None, reads])),
    )
    return command, array


@settings(max_examples=60)
@given(convolutions())
def test_convolution_is_what_the_stepped_array_and_drain_take(case: tuple[ConvolveOp, Accelerator]):
    """Fails if the closed form of COMPUTE hides or invents a cycle of line fetch, sums or drain."""
    assert case[0].cost(case[1], ROOMY).cycles == stepper.convolve_cycles(*case)


@given(convolutions())
def test_line_fetch_and_shortcut_reads_cover_what_is_touched(case: tuple[ConvolveOp, Accelerator]):
    """Fails if a window or a shortcut needs a word or a bank that the contract gives no cycle to."""
    command, array = case
    window, interleave = command.window, command.source.interleave
    assert line_words(window, command.Nox, array) == stepper.words_touched(window, command.Nox, array)
    passes = row_passes(window.stride_y, interleave, command.Toy, array.Poy)
    assert passes == stepper.row_reads(window, command.Toy, interleave, array.Poy)
    if command.shortcut is not None:
        stride = command.shortcut.stride_x
        assert shortcut_reads(stride, array) == stepper.shortcut_words(stride, array)


@given(convolutions(), st.sampled_from(list(PoolMode)), st.tuples(st.integers(1, 3), st.integers(1, 9)))
def test_pooling_is_what_the_stepped_drain_takes(
    case: tuple[ConvolveOp, Accelerator], mode: PoolMode, dilation: tuple[int, int]
):
    """Fails if the closed form of pooling is not its two stages side by side, or dilation costs another time."""
    c, array = case
    window = replace(c.window, dilation_y=dilation[0], dilation_x=dilation[1])
    pool = PoolOp("l", Waits(), mode, c.source, window, 0, 0, c.Tof, 0, c.Toy, c.Nox, 0, TILE)
    assert pool.cost(array, ROOMY).cycles == stepper.pool_cycles(pool, array)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(schedules)
def test_commands_of_real_schedules_cost_what_stepping_finds(schedule):
    """Fails if the closed forms hold only for the commands that the tests above make up."""
    for command in list(dict.fromkeys(replace(c, waits=Waits(), layer="") for c in schedule.operations))[:12]:
        cycles = command.cost(schedule.accelerator, schedule.platform).cycles
        assert cycles == stepper.command_cycles(command, schedule.accelerator, schedule.platform)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2), (2, 1), (5, 1)])
@pytest.mark.parametrize("Pox", [2, 4, 8, 16])
def test_one_wave_a_cycle_is_sustained(kernel: int, stride: tuple[int, int], Pox: int):
    """Fails if a usual kernel loses cycles to line fetch: the promise of section 5."""
    for pad in range(kernel):
        window = Window(kernel, kernel, *stride, pad, pad, 64, 64)
        assert step_cycles(window, 64, 64, stride[0], Accelerator(Pox=Pox)) == kernel


# Worked by hand from sections 5 and 6: 16 + first line + sums + last drain, or the drain where it is slower.
BY_HAND = {
    "stem": 16 + 2 + 27 + 63 * 32 + 32,
    "stage0.block0.conv1": 16 + 2 + 64 * 144 + 32,
    "stage0.block0.conv2": 16 + 2 + 64 * 144 + 32,
    "stage1.block0.conv1": 16 + 2 + 32 * 144 + 32,
    "stage1.block0.conv2": 16 + 2 + 32 * 288 + 32,
    "stage2.block2.conv2": 16 + 2 + 16 * 576 + 32,
    "pool": 16 + 64 * 8 + 8,
    "fc": 16 + 1 + 3 * 64 + 2,
}


# Depthwise: an array group is one map, of 3x3 products and 8 rows to drain. Two groups of three maps on four lanes are
# three array groups: maps 0 to 2, map 3, and maps 4 and 5.
GROUPS_BY_HAND = {
    "depthwise": 16 + 2 + 9 + (5 * 2 * 2 - 1) * max(9, 8) + 8,
    "grouped": 16 + 2 + 4 * max(27, 3 * 8) + 4 * max(27, 8) + 4 * max(27, 2 * 8) + 2 * 8,
}


def test_convolutions_of_groups_cost_what_a_hand_count_says():
    """Fails if lanes, which all take the same pixels, are counted as if each could have its own group."""
    network = Network("groups", Shape(5, 16, 16))
    wide = network.add("depthwise", Convolution(5, 5, (3, 3), (1, 1), (1,) * 4, groups=5), "image")
    six = network.add("point", conv(5, 6, 1), wide)
    network.add("grouped", Convolution(6, 6, (3, 3), (1, 1), (1,) * 4, groups=2), six)
    schedule = build_schedule(network.fixed(), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)
    for name, cycles in GROUPS_BY_HAND.items():
        (command,) = (c for c in schedule.by_layer[name] if isinstance(c, ConvolveOp))
        assert command.cost(schedule.accelerator, schedule.platform).cycles == cycles, name


def test_layers_of_resnet20_cost_what_a_hand_count_says():
    """Fails if the contract's formulas, worked by hand, no longer give the simulated cycles."""
    schedule = build_schedule(resnet(), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)
    for name, cycles in BY_HAND.items():
        (command,) = (c for c in schedule.by_layer[name] if isinstance(c, (ConvolveOp, PoolOp)))
        assert command.cost(schedule.accelerator, schedule.platform).cycles == cycles, name
