"""What the emitted engine must be able to do: sizes derived from the accelerator and from the commands it will run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import ConvolveOp, LoadOp, Operation, PoolOp, StoreOp
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import Buffer, DramRuns
from fpga_model.machine.timing import line_words, row_passes, shortcut_reads

LARGEST = {"page_depth": 1 << 16, "weight_depth": 1 << 31, "parameter_depth": 1 << 31}
"""Addresses that the fields of a command hold."""
LARGEST_DRAM = 1 << 32
"""Bytes of DRAM that they hold."""


@dataclass(frozen=True)
class Derived:
    """Numbers of a command that hardware would otherwise have to compute."""

    line_words: int = 0
    row_passes: int = 0
    shortcut_words: int = 0
    first_if: int = 0
    group_left: int = 0


@dataclass(frozen=True)
class Engine:
    """The constants of `config.h`; their meaning is written there."""

    Pox: int
    Poy: int
    Pof: int
    pages: int
    page_depth: int
    weight_depth: int
    parameter_depth: int
    axi_bits: int
    grouped: bool
    leaky: bool
    max_stride_x: int
    max_nkx: int
    line_words: int
    row_passes: int
    max_interleave: int
    pool_stride_x: int
    pool_dilation_x: int
    pool_columns: int
    pool_line_words: int
    trip_chunks: int
    trip_beats: int
    trip_convolve: int
    trip_pool: int
    trip_commands: int


def derive(command: Operation, accelerator: Accelerator) -> Derived:
    """The derived numbers of one command."""
    if not isinstance(command, (ConvolveOp, PoolOp)):
        return Derived()
    words = line_words(command.window, command.Nox, accelerator)
    if isinstance(command, PoolOp):
        return Derived(line_words=words)
    passes = row_passes(command.window.stride_y, command.source.interleave, command.Toy, accelerator.Poy)
    reads = shortcut_reads(command.shortcut.stride_x, accelerator) if command.shortcut else 0
    group, place = divmod(command.of, command.Gof)
    return Derived(words, passes, reads, first_if=group * command.Nif, group_left=command.Gof - place)


def engine_for(programs: Iterable[tuple[Operation, ...]], accelerator: Accelerator, platform: Platform) -> Engine:
    """The engine that can run every one of the programs.

    Raises:
        UserError: the emitted C++ cannot have such an accelerator; the message says what to choose instead.
    """
    _check(accelerator, platform)
    programs = tuple(programs)
    commands = tuple(command for program in programs for command in program)
    convolutions = [c for c in commands if isinstance(c, ConvolveOp)]
    pools = [c for c in commands if isinstance(c, PoolOp)]
    moves = [c.dram for c in commands if isinstance(c, (LoadOp, StoreOp))]
    if any(dram.address + (dram.count - 1) * dram.stride + dram.bytes > LARGEST_DRAM for dram in moves):
        raise UserError(f"weights and feature maps take more than the {LARGEST_DRAM:,} bytes that the C++ addresses")
    for command in commands:
        _check_alignment(command, accelerator, platform)

    def most(values: Iterable[int]) -> int:
        return max(values, default=1)

    def words(found: Iterable[ConvolveOp | PoolOp]) -> int:
        return most(line_words(c.window, c.Nox, accelerator) for c in found)

    return Engine(
        Pox=accelerator.Pox,
        Poy=accelerator.Poy,
        Pof=accelerator.Pof,
        pages=accelerator.pages,
        page_depth=accelerator.page_depth,
        weight_depth=accelerator.weight_depth,
        parameter_depth=accelerator.parameter_depth,
        axi_bits=platform.axi_bits,
        grouped=any(c.of + c.Tof > c.Gof for c in convolutions),
        leaky=any(c.leak for c in convolutions),
        max_stride_x=most(c.window.stride_x for c in convolutions),
        max_nkx=most(c.window.Nkx for c in convolutions),
        line_words=words(convolutions),
        row_passes=most(derive(c, accelerator).row_passes for c in convolutions),
        max_interleave=most(tile.interleave for c in commands for tile in c.tiles),
        pool_stride_x=most(c.window.stride_x for c in pools),
        pool_dilation_x=most(c.window.dilation_x for c in pools),
        pool_columns=most(c.window.columns for c in pools),
        pool_line_words=words(pools),
        trip_chunks=most(dram.count for dram in moves),
        trip_beats=most(dram.bytes // platform.beat_bytes for dram in moves),
        trip_convolve=most(c.cost(accelerator, platform).cycles for c in convolutions),
        trip_pool=most(c.cost(accelerator, platform).cycles for c in pools),
        trip_commands=most(len(program) for program in programs),
    )


def _check(accelerator: Accelerator, platform: Platform) -> None:
    if platform.axi_bits < 32:
        raise UserError(
            f"Pox = {accelerator.Pox} gives feature words of {8 * accelerator.feature_word_bytes} bits, and an AXI "
            f"port has at least 32: choose an array of at least 2 columns"
        )
    for name, limit in LARGEST.items():
        depth = getattr(accelerator, name)
        if depth > limit:
            raise UserError(f"{name} is {depth:,}; the emitted C++ addresses at most {limit:,} words")


def _check_alignment(command: Operation, accelerator: Accelerator, platform: Platform) -> None:
    """The units move whole beats; a schedule that asks for less is a defect of its maker."""
    if not isinstance(command, (LoadOp, StoreOp)):
        return
    beat, dram = platform.beat_bytes, command.dram
    word = accelerator.feature_word_bytes
    if isinstance(command, LoadOp) and command.tile is None:
        word = accelerator.record_bytes if command.buffer is Buffer.PARAMETER else accelerator.weight_word_bytes
        if command.address * word % max(beat, word):
            raise ValueError(f"layer {command.layer!r}: a load begins at word {command.address}, inside a beat")
    if any(value % beat for value in _extent(dram)):
        raise ValueError(f"layer {command.layer!r}: {dram} is not made of whole {beat}-byte beats")


def _extent(dram: DramRuns) -> tuple[int, int, int]:
    return dram.address, dram.bytes, dram.stride if dram.count > 1 else 0
