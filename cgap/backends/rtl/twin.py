"""The RTL used like a function: build once, then run images and get outputs, cycles and bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.backends.common.drivers import tensors_of
from cgap.backends.common.weights import pack
from cgap.backends.host import Driver, DriverError, Run, registers
from cgap.backends.rtl.board import Board, BoardEnded
from cgap.backends.rtl.trace import Trace, read_trace
from cgap.backends.rtl.verilate import MEMORY_BYTES, build_simulation, parameters
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.platform import AXI_BOUNDARY, Platform
from fpga_model.machine.stalls import Stalls
from fpga_model.schedule.dram import FEATURE, INPUT, OUTPUT, PARAMETERS, round_up
from fpga_model.schedule.schedule import Schedule

ROOM = Capability(
    kernel_columns=9, shortcut_stride=3, pool_dilation=3, load_commands=4096, compute_commands=2048, store_commands=2048
)
"""What a simulation is built for at least, so that one build runs most networks. Capabilities cost logic, not time."""
COUNTERS = ("busy_load", "busy_compute", "busy_store", "hold", "saturated")


@dataclass(frozen=True)
class RtlRun:
    """What the RTL made of images.

    Attributes:
        outputs: every output tensor, int8 [N, C, H, W], by layer name.
        cycles: of one image.
        read_bytes, write_bytes: of one image, on the bus.
        registers: what the registers said after the last image, by name; `elapsed` is the cycles of the last start.
        trace: the first image's; None unless asked for.
        bases: address of each DRAM region.
        seconds: wall time of the simulation.
    """

    outputs: dict[str, npt.NDArray[np.int8]]
    cycles: int
    read_bytes: int
    write_bytes: int
    registers: Mapping[str, int]
    trace: Trace | None
    bases: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class Waves:
    """Cycles `begin` to `end` of an image, to be written into the FST file `path`."""

    path: Path
    begin: int
    end: int


@dataclass(frozen=True)
class Twin:
    """An accelerator in simulation, with one network's program.

    Attributes:
        schedule: the network, as it runs.
        binary: the built simulation, which other networks of the same configuration share.
        memory_bytes: size of its memory.
    """

    schedule: Schedule
    binary: Path
    memory_bytes: int

    def board(self, options: Sequence[str] = ()) -> Board:
        """The simulation, started; networks may follow one another on it."""
        return Board(self.binary, self.memory_bytes, tuple(options))

    def run(
        self,
        images: npt.NDArray[Any],
        trace: bool = False,
        *,
        stalls: Stalls | None = None,
        options: Sequence[str] = (),
    ) -> RtlRun:
        """Run images [N, C, H, W] of integers in the input's format, in a simulation of their own.

        Args:
            images: at least one.
            trace: keep what the first image did.
            stalls: what the memory does not do.
            options: plus-arguments of replaced modules.

        Raises:
            UserError: the simulation ends with an error of the accelerator or of an assertion.
        """
        with self.board(options) as board:
            return run_network(board, self.schedule, images, trace=trace, stalls=stalls)

    def draw(self, images: npt.NDArray[Any], waves: Waves, options: Sequence[str] = ()) -> None:
        """Write waveforms of the first of some images, in a simulation that ends with them (`build(waves=True)`)."""
        with self.board(options) as board:
            driver = load_network(board, self.schedule)
            board.write_waves(waves.path, waves.begin, waves.end)
            try:
                driver.run(images)
            except BoardEnded:  # as it was told to
                return
            finally:
                driver.close()


def run_network(
    board: Board,
    schedule: Schedule,
    images: npt.NDArray[Any],
    *,
    trace: bool = False,
    stalls: Stalls | None = None,
) -> RtlRun:
    """Run a network on a board by the driver that real boards are driven with; see `Twin.run`."""
    if len(images) == 0:
        raise ValueError("the RTL runs at least one image")
    begun = time.perf_counter()
    board.set_stalls(stalls)
    driver = load_network(board, schedule)
    lines: list[str] = []
    runs: list[Run] = []
    try:
        for part in _batches(board, schedule, images):
            traced = trace and not runs
            if traced:
                board.begin_trace()
            runs.append(driver.run(part))
            if traced:
                lines = board.end_trace()
        places = driver.bases
        counters = {name: driver.read_long(getattr(registers, name.upper())) for name in COUNTERS}
        counters |= {"images_done": driver.read(registers.IMAGES_DONE), "elapsed": board.elapsed()}
    except DriverError as error:
        raise UserError(str(error)) from error
    finally:
        driver.close()
    last = runs[-1]
    return RtlRun(
        outputs={name: np.concatenate([run.outputs[name] for run in runs]) for name in last.outputs},
        cycles=last.cycles,
        read_bytes=last.read_bytes,
        write_bytes=last.write_bytes,
        registers=counters,
        trace=read_trace(lines) if trace else None,
        bases={PARAMETERS: places["parameter"], **{role: places[role] for role in (INPUT, OUTPUT, FEATURE)}},
        seconds=time.perf_counter() - begun,
    )


def load_network(board: Board, schedule: Schedule) -> Driver:
    """The driver of a board, with a network's program and weights loaded.

    Raises:
        UserError: the accelerator refuses the program.
    """
    board.set_platform(schedule.platform)
    driver = Driver(board, board.allocate, pause=board.clock, wait=board.wait, timeout_s=None)
    try:
        driver.load_program(schedule.program_bytes(), tensors_of(schedule))
        driver.load_weights(pack(schedule))
    except DriverError as error:
        driver.close()
        raise UserError(str(error)) from error
    return driver


def memory_size(schedule: Schedule) -> tuple[int, int]:
    """Bytes of DRAM that a network needs at any rate, and besides for each image."""
    sizes = {role: round_up(max(1, size), AXI_BOUNDARY) for role, size in schedule.dram.sizes.items()}
    fixed = round_up(len(schedule.program_bytes()), AXI_BOUNDARY) + sizes[PARAMETERS] + sizes[FEATURE]
    return fixed, sizes[INPUT] + sizes[OUTPUT]


def _batches(board: Board, schedule: Schedule, images: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """The images in parts that fit into the memory, the largest first."""
    fixed, one = memory_size(schedule)
    most = max(1, (board.memory_bytes - fixed) // one)
    for k in range(0, len(images), most):
        yield images[k : k + most]


def simulation_of(
    accelerator: Accelerator,
    capability: Capability,
    platform: Platform,
    *,
    least_memory: int = MEMORY_BYTES,
    replaced: Mapping[str, str] | None = None,
    waves: bool = False,
    cache: Path | None = None,
) -> tuple[Path, int]:
    """The built simulation of an accelerator, and the bytes of its memory.

    Args:
        accelerator: array and memories.
        capability: what it is built for.
        platform: the widths of its bus; timing is set at run time.
        least_memory: bytes of DRAM that it must have.
        replaced: SystemVerilog sources in place of those of the same path.
        waves: can write waveforms.
        cache: where built simulations are kept.

    Raises:
        UserError: Verilator or a C++ compiler is missing, or one fails.
    """
    memory_bytes = max(MEMORY_BYTES, 1 << (least_memory - 1).bit_length())
    configuration = parameters(accelerator, capability, platform) | {"MemoryBytes": memory_bytes}
    return build_simulation(configuration, replaced=replaced, waves=waves, cache=cache), memory_bytes


def build(
    schedule: Schedule,
    *,
    capability: Capability = ROOM,
    replaced: Mapping[str, str] | None = None,
    waves: bool = False,
    cache: Path | None = None,
) -> Twin:
    """The RTL of a schedule's accelerator in simulation, ready to run its network.

    The accelerator is built for `capability`, and for more where the network needs it; see `simulation_of`.
    """
    binary, memory_bytes = simulation_of(
        schedule.accelerator,
        capability.joined(schedule.needs),
        schedule.platform,
        least_memory=sum(memory_size(schedule)),
        replaced=replaced,
        waves=waves,
        cache=cache,
    )
    return Twin(schedule, binary, memory_bytes)
