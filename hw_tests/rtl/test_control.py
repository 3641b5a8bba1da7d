"""If these fail, commands start or complete in other cycles than the simulator says, or a fault hangs the accelerator.

COMPUTE is a dummy that takes as many cycles as the simulator says, so that control, LOAD, STORE and the bus are tested
alone, on bus timings of every kind.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cgap.backends.common.drivers import tensors_of
from cgap.backends.common.weights import pack
from cgap.backends.host import Driver, DriverError, registers
from cgap.backends.rtl.board import Board
from cgap.backends.rtl.trace import compare
from cgap.backends.rtl.twin import Twin, build
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform, load_platform
from fpga_model.machine.program import sealed
from fpga_model.machine.tiles import Unit
from fpga_model.machine.timing import bursts
from fpga_model.models.simulator import simulate
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from tests.backends.networks import grouped_network, mixed_network, random_images, residual_network

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="a simulation is compiled with g++")
DUMMY = {"compute.sv": (Path(__file__).parent / "dummy_compute.sv").read_text("utf-8")}
BETWEEN_IMAGES = 22
"""Cycles from the end of an image to the start of the next (docs/microarchitecture.md, section 3)."""
ZCU104 = load_platform("zcu104")


def buses() -> list[Platform]:
    """Fast and slow memories, with every kind of pace between beats."""
    return [
        ZCU104,
        replace(ZCU104, name="prompt", read_latency=4, write_latency=2, burst_gap_bytes=1),
        replace(ZCU104, name="slow", dram_megatransfers=150.0, read_latency=61, write_latency=33),
        replace(ZCU104, name="uneven", dram_megatransfers=500.0, burst_gap_bytes=80),
    ]


def make(network, kind: Kind, platform: Platform = ZCU104) -> tuple[Schedule, np.ndarray]:
    fixed = network()
    return build_schedule(fixed, Accelerator(), platform, kind), random_images(fixed.graph, 2)


def dummy(schedule: Schedule, folder: Path) -> tuple[Twin, list[str]]:
    """The accelerator with the dummy, and the options that tell it how long its commands take."""
    return build(schedule, replaced=DUMMY), [write_durations(schedule, folder)]


def write_durations(schedule: Schedule, folder: Path) -> str:
    cycles = [event.cycles for event in simulate(schedule).events if event.operation.unit is Unit.COMPUTE]
    durations = folder / "durations.hex"
    durations.write_text("".join(f"{n:x}\n" for n in cycles))
    return f"+durations={durations}"


@pytest.mark.parametrize("platform", buses(), ids=lambda platform: platform.name)
@pytest.mark.parametrize("kind", [Kind.RESIDENT, Kind.LAYERWISE])
@pytest.mark.parametrize("network", [residual_network, mixed_network])
def test_every_command_starts_and_completes_in_its_cycle(network, kind, platform, tmp_path):
    schedule, images = make(network, kind, platform)
    hw, options = dummy(schedule, tmp_path)
    run = hw.run(images, trace=True, options=options)
    found = compare(schedule, run.trace, run.bases, None)
    assert not found.differences, "\n".join(found.differences)
    simulation = simulate(schedule)
    assert run.cycles == simulation.cycles
    assert run.registers["elapsed"] == len(images) * simulation.cycles + (len(images) - 1) * BETWEEN_IMAGES
    for unit in Unit:
        busy = sum(event.cycles for event in simulation.events if event.operation.unit is unit)
        assert run.registers[f"busy_{unit.value}"] == busy


def test_many_bursts_wait_for_their_responses(tmp_path):
    """A STORE of eleven short bursts is over before the memory answers the first."""
    late = replace(ZCU104, name="late", write_latency=300, burst_gap_bytes=1)
    fixed = grouped_network()
    schedule = build_schedule(fixed, Accelerator(page_depth=64), late, Kind.LAYERWISE)
    stores = [operation for operation in schedule.operations if operation.unit is Unit.STORE]
    assert max(len(list(bursts(operation.dram, late))) for operation in stores) == 11
    # The pages may be larger than what the program needs: no build of its own.
    built, _ = dummy(make(residual_network, Kind.LAYERWISE)[0], tmp_path)
    run = replace(built, schedule=schedule).run(
        random_images(fixed.graph, 1), trace=True, options=[write_durations(schedule, tmp_path)]
    )
    found = compare(schedule, run.trace, run.bases, None)
    assert not found.differences, "\n".join(found.differences)


def patched(program: bytes, offset: int, value: int, seal: bool = False) -> bytes:
    """A program with another 32-bit word; `seal` makes the checksum right again."""
    data = bytearray(program)
    data[offset : offset + 4] = value.to_bytes(4, "little")
    if seal:
        return sealed(bytes(data))
    return bytes(data)


def driver_of(board: Board, watchdog: int = 60_000) -> Driver:
    return Driver(board, board.allocate, pause=board.clock, wait=board.wait, watchdog=watchdog, timeout_s=None)


def load(driver: Driver, schedule: Schedule, program: bytes | None = None) -> None:
    driver.load_program(program or schedule.program_bytes(), tensors_of(schedule))
    driver.load_weights(pack(schedule))


def load_and_run(driver: Driver, schedule: Schedule, images: np.ndarray, program: bytes) -> None:
    load(driver, schedule, program)
    driver.run(images)


FAULTS = {
    "magic": (lambda program: patched(program, 0, 0x12345678), {}, "header.*LOAD, 0 commands"),
    "version": (lambda program: patched(program, 4, 99), {}, "header.*1 commands"),
    "array": (lambda program: patched(program, 16, 4), {}, "header.*4 commands"),
    "too many commands": (lambda program: patched(program, 84, 1 << 20), {}, "header.*21 commands"),
    "length": (lambda program: patched(program, 8, 4096), {}, "header.*2 commands"),
    "cut off": (lambda program: program[:-256], {}, "checksum"),
    "regions": (lambda program: patched(program, 96, 64), {}, "checksum"),
    "a flipped bit": (lambda program: patched(program, 200, 0xFFFFFFFF), {}, "checksum"),
    "unknown command": (lambda program: patched(program, 128, 0, seal=True), {}, "unknown command.*LOAD, 0"),
    "read response": (lambda program: program, {"read_fault": 900}, "read response"),
    "read response in the header": (lambda program: program, {"read_fault": 3}, "read response"),
    "write response": (lambda program: program, {"write_fault": 1}, "write response.*STORE, 0"),
    "RLAST": (lambda program: program, {"last_fault": 901}, "RLAST"),
    "silent memory": (lambda program: program, {"mute": 80}, "watchdog"),
    "silent memory at once": (lambda program: program, {"mute": 1}, "watchdog"),
}


@pytest.fixture(scope="module")
def layerwise(tmp_path_factory):
    """One simulation for all faults: after each, the same network must run again in it."""
    schedule, images = make(residual_network, Kind.LAYERWISE)
    hw, durations = dummy(schedule, tmp_path_factory.mktemp("dummy"))
    with hw.board(durations) as board:
        board.set_platform(schedule.platform)
        yield schedule, images, board


def assert_sound(schedule: Schedule, images: np.ndarray, driver: Driver) -> None:
    run, simulation = driver.run(images), simulate(schedule)
    assert (run.cycles, run.read_bytes) == (simulation.cycles, simulation.dram_read_bytes)
    assert driver.read(registers.IMAGES_DONE) == len(images)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_code_and_never_a_hang(fault, layerwise):
    """Through the driver, which the accelerator serves again after a reset."""
    spoil, figures, message = FAULTS[fault]
    schedule, images, board = layerwise
    driver = driver_of(board)
    for name, value in figures.items():
        board.set_figure(name, value)
    with pytest.raises(DriverError, match=message):
        load_and_run(driver, schedule, images, spoil(schedule.program_bytes()))
    for name in figures:
        board.set_figure(name, 0)
    driver.reset()
    load(driver, schedule)
    assert_sound(schedule, images, driver)
    driver.close()


def test_a_start_while_it_runs_is_a_code(layerwise):
    schedule, images, board = layerwise
    driver = driver_of(board)
    load(driver, schedule)
    board.write(registers.IMAGES, 1)
    board.write(registers.CTRL, registers.CTRL_START)
    board.clock(300)
    board.write(registers.CTRL, registers.CTRL_START)
    with pytest.raises(DriverError, match="while running"):
        driver.check()
    driver.reset()
    assert_sound(schedule, images, driver)
    driver.close()


def test_a_start_without_a_program_and_a_misaligned_base_are_codes(layerwise):
    schedule, images, board = layerwise
    driver = driver_of(board)
    with pytest.raises(DriverError, match="header"):
        load(driver, schedule, patched(schedule.program_bytes(), 0, 0))
    driver.reset()
    board.write(registers.CTRL, registers.CTRL_START)
    with pytest.raises(DriverError, match="without a program"):
        driver.check()
    driver.reset()
    load(driver, schedule)
    board.write(registers.FEATURE_BASE, board.read(registers.FEATURE_BASE) + 64)
    with pytest.raises(DriverError, match="misaligned"):
        driver.run(images)
    driver.reset()
    load(driver, schedule)
    assert_sound(schedule, images, driver)
    driver.close()


@pytest.mark.parametrize("cycles", [30, 75, 5000, 21111])
def test_a_reset_in_mid_run_recovers(cycles, layerwise):
    """With bursts of both directions open, and the program still there."""
    schedule, images, board = layerwise
    driver = driver_of(board)
    load(driver, schedule)
    board.write(registers.IMAGES, 20)
    board.write(registers.CTRL, registers.CTRL_START)
    board.clock(cycles)
    assert not board.read(registers.STATUS) & registers.STATUS_IDLE
    driver.reset()
    assert_sound(schedule, images, driver)
    driver.close()


def test_the_driver_refuses_what_the_host_can_see(layerwise):
    schedule, images, board = layerwise
    driver = driver_of(board)
    with pytest.raises(DriverError, match="load a program"):
        driver.run(images)
    with pytest.raises(DriverError, match="not a program"):
        driver.load_program(b"CGAP", tensors_of(schedule))
    driver.load_program(schedule.program_bytes(), tensors_of(schedule))
    with pytest.raises(DriverError, match="load a program and then its weights"):
        driver.run(images)
    with pytest.raises(DriverError, match=r"weights\.bin of another network"):
        driver.load_weights(pack(schedule)[:-16])
    driver.load_weights(pack(schedule))
    for wrong in (images[:0], images[:, :1], images[0], images.astype(int) + 100):
        with pytest.raises(DriverError, match="images"):
            driver.run(wrong)
    driver.close()


def test_a_simulation_that_ends_says_why(layerwise, tmp_path):
    schedule, _, _ = layerwise
    hw, durations = dummy(schedule, tmp_path)
    with hw.board(durations) as board, pytest.raises(UserError, match="the memory has no bytes"):
        board.write_memory(hw.memory_bytes - 4, b"12345678")
