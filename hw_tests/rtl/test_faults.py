"""If these fail, a defect can hide: each plants one, in simulator, RTL, bus, program, weights or golden values.

What must find it is the comparison that all tests of this folder make; the report names the first command that differs,
with both timelines, and a waveform begins shortly before it.
"""

import dataclasses
import re
import shutil
import struct
from collections.abc import Iterator

import pytest

from cgap.backends.common import weights
from cgap.backends.common.backend import Build, Design
from cgap.backends.common.templates import Header
from cgap.backends.rtl import backend, twin
from cgap.backends.rtl.trace import compare
from cgap.backends.rtl.verilate import rtl_sources
from fpga_model.errors import UserError
from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine import timing
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.machine.program import make_program
from fpga_model.machine.tiles import Unit, Waits
from fpga_model.models.analytic import estimate
from fpga_model.models.golden import run_reference
from fpga_model.models.simulator import simulate
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import Convolution, Input
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from hw_tests.rtl.equality import check
from tests.backends.networks import number, random_images, residual_network

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="a simulation is compiled with g++")
CYCLE = 10
"""Units of time in a waveform."""


@pytest.fixture(scope="module")
def layerwise():
    fixed = residual_network()
    return build_schedule(fixed, Accelerator(), load_platform("zcu104"), Kind.LAYERWISE), random_images(fixed.graph, 1)


@pytest.fixture(scope="module")
def board(layerwise):
    with twin.build(layerwise[0]).board() as board:
        yield board


@pytest.fixture(scope="module")
def traced(layerwise, board):
    """A run with its schedule and reference, to spoil one of them."""
    schedule, images = layerwise
    run = check(board, schedule, images)
    return schedule, run.trace, run.bases, run_reference(schedule.fixed, images)


# --- the simulator and the golden values -------------------------------------------------------------------------


@pytest.mark.parametrize("figure", ["CONVOLVE_DEPTH", "POOL_DEPTH", "GROUP_FLOOR", "LOAD_DONE", "STORE_FIRST_BEAT"])
def test_one_wrong_cycle_in_the_simulator(figure, layerwise, board, monkeypatch):
    """The report names the first command that differs and shows both timelines."""
    amount = 600 if figure == "GROUP_FLOOR" else 1  # above what any group takes here
    monkeypatch.setattr(timing, figure, getattr(timing, figure) + amount)
    with pytest.raises(AssertionError) as caught:
        check(board, *layerwise)
    unit = {"LOAD_DONE": "LOAD", "STORE_FIRST_BEAT": "STORE"}.get(figure, "COMPUTE")
    lines = str(caught.value).splitlines()
    assert re.match(unit + r" command \d+ differs first \(start and completion, simulator \| RTL\):", lines[0])
    marked = [line for line in lines if line.startswith(">")]
    assert len(marked) == 1
    start, done, _, rtl_start, rtl_done = marked[0].split()[2:7]
    assert (start, int(done) > int(rtl_done)) == (rtl_start, True)


def test_one_wrong_pixel(traced):
    schedule, trace, bases, stored = traced
    name = list(simulate(schedule).layers)[1]
    spoilt = type(stored)({key: tensor.copy() for key, tensor in stored.items()})
    spoilt[name][0, 0, 1, 1] ^= 1
    found = compare(schedule, trace, bases, spoilt)
    assert found.mismatches[name] == 1
    assert name in found.differences[0]


# --- what the RTL did ----------------------------------------------------------------------------------------------


def test_a_burst_that_is_missing_or_elsewhere(traced):
    schedule, trace, bases, stored = traced
    dropped = dataclasses.replace(trace, reads=trace.reads[:-1])
    assert compare(schedule, dropped, bases, stored).differences
    cycle, address, beats = trace.writes[0]
    moved = dataclasses.replace(trace, writes=[(cycle, address + 16, beats), *trace.writes[1:]])
    assert compare(schedule, moved, bases, stored).differences


def test_one_flipped_bit_of_a_result(traced):
    schedule, trace, bases, stored = traced
    *place_of, mask, data = trace.results[3]
    lane = (mask & -mask).bit_length() - 1
    flipped = [*trace.results[:3], (*place_of, mask, data ^ 1 << 8 * lane), *trace.results[4:]]
    assert compare(schedule, dataclasses.replace(trace, results=flipped), bases, stored).differences


# --- the bus and the files -----------------------------------------------------------------------------------------


def test_a_dropped_burst(layerwise, board):
    """The memory loses the data of one burst, and answers as if it had not."""
    board.set_figure("dropped_burst", 2)
    try:
        with pytest.raises(AssertionError, match="differ"):
            check(board, *layerwise)
    finally:
        board.set_figure("dropped_burst", 0)
    check(board, *layerwise)


def test_one_flipped_bit_of_the_weights(layerwise, board, monkeypatch):
    schedule, images = layerwise
    spoilt = bytearray(weights.pack(schedule))
    spoilt[schedule.parameters["stem"].weights] ^= 64
    monkeypatch.setattr(twin, "pack", lambda _: bytes(spoilt))
    with pytest.raises(AssertionError, match=r"stem|fc"):
        check(board, schedule, images)


def without_a_wait(schedule: Schedule, index: int) -> bytes:
    """The program in which one command waits for no other unit."""
    operations = list(schedule.operations)
    operations[index] = dataclasses.replace(operations[index], waits=Waits())
    layers = [layer.name for layer in schedule.graph.layers]
    header = schedule.program.header
    made = make_program(operations, layers, schedule.accelerator, schedule.platform.beat_bytes, header.regions)
    return made.to_bytes(layers)


@pytest.mark.parametrize("unit", list(Unit))
def test_a_removed_wait(unit, layerwise, monkeypatch):
    """Of a command that did wait: it starts sooner. It is the first that differs, if no assertion has ended the run."""
    schedule, images = layerwise
    index = first_that_waits(schedule, unit)
    number = sum(operation.unit is unit for operation in schedule.operations[:index])
    spoilt = without_a_wait(schedule, index)
    monkeypatch.setattr(Schedule, "program_bytes", lambda _: spoilt)
    with twin.build(schedule).board() as board, pytest.raises((AssertionError, UserError)) as caught:
        check(board, schedule, images)
    conflict = "the drain and LOAD write in one cycle"
    assert f"{unit.value.upper()} command {number} differs first" in str(caught.value) or conflict in str(caught.value)


def first_that_waits(schedule: Schedule, unit: Unit) -> int:
    """Index of the first command of a unit that starts later than the one before it allows."""
    ended = -1
    for index, event in enumerate(simulate(schedule).events):
        if event.operation.unit is unit:
            if event.start > ended + 40:
                return index
            ended = event.done
    raise AssertionError(f"no command of {unit} waits")


# --- the waveform --------------------------------------------------------------------------------------------------


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The blocks of an FST file: kind and content, that of the hierarchy (6) without its compression."""
    place = 0
    while place < len(data):
        kind, length = struct.unpack_from(">BQ", data, place)
        content = data[place + 9 : place + 1 + length]
        yield kind, literals(content[8:]) if kind == 6 else content
        place += 1 + length


def hierarchy_size(data: bytes) -> int:
    """What the hierarchy's block says that its content has of bytes."""
    place = 0
    while data[place] != 6:
        place += 1 + struct.unpack_from(">Q", data, place + 1)[0]
    return struct.unpack_from(">Q", data, place + 9)[0]


def literals(block: bytes) -> bytes:
    """The content of an LZ4 block of literals alone."""
    length, place = block[0] >> 4, 1
    more = length == 15
    while more:
        length, more, place = length + block[place], block[place] == 255, place + 1
    assert len(block) == place + length
    return block[place:]


@pytest.mark.slow
def test_a_waveform_begins_shortly_before_the_first_difference(tmp_path, monkeypatch):
    """A cycle too many in the RTL: the command's error names command and file, and the file has those cycles."""
    name, right, wrong = "conv_ctrl.sv", "(drain_busy_i & ~drain_last_i)", "drain_busy_i"
    text = rtl_sources()[name]
    assert right in text
    spoilt = {name: text.replace(right, wrong)}
    monkeypatch.setattr(
        backend, "build_twin", lambda schedule, **options: twin.build(schedule, replaced=spoilt, **options)
    )
    graph = LayerGraph("small")
    graph.add(Layer("image", Input(Shape(3, 9, 9))))
    # Sums as long as drains: the array must not wait.
    graph.add(Layer("point", Convolution(3, 8, (1, 1), relu=True), ("image",)))
    schedule = build_schedule(number(graph, 1), Accelerator(4, 2, 2), load_platform("zcu104"), Kind.RESIDENT)
    header = Header("small", "0" * 64, "python -m pytest")
    design = Design(schedule, schedule.needs, header, estimate(schedule.plan), simulate(schedule))
    path = tmp_path / "layer.fst"
    with pytest.raises(RuntimeError, match=r"COMPUTE command \d+ differs first") as caught:
        backend.RtlBackend(path).run(Build(design, tmp_path), random_images(graph, 1))
    begin, end = map(int, re.search(r"waveform of cycles (\d+) to (\d+): .*layer\.fst", str(caught.value)).groups())
    data = path.read_bytes()
    kind, _, first, last = struct.unpack(">BQQQ", data[:25])  # an FST's header block
    assert kind == 0
    assert len(data) > 10_000
    hierarchy = dict(blocks(data))[6]
    assert len(hierarchy) == hierarchy_size(data)
    assert all(name in hierarchy for name in (b"u_conv_ctrl", b"cycles_q"))
    # From the first cycle of the window to its end, or to the network's.
    assert simulate(schedule).cycles - begin <= (last - first) / CYCLE <= end - begin + 2
