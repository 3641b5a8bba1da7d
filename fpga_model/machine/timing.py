"""Cycle costs of single commands: docs/microarchitecture.md, sections 4 to 7, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.commands import Chunks, Command, Convolve, FeatureTile, Load, PoolRows, Store, Window
from fpga_model.machine.platform import INTERVAL_UNIT, Platform

CONVOLVE_FILL = 8
POOL_FILL = 4
DRAIN_DEPTH = 6
LOAD_FIRST_ADDRESS = 1
LOAD_DONE = 2
STORE_FIRST_BEAT = 4
STORE_DONE = 1
PAGE_BYTES = 4096
"""AXI4 forbids a burst to cross this boundary."""


def bursts(dram: Chunks, platform: Platform) -> Iterator[int]:
    """Beats of every burst of a DRAM access, in order."""
    beat = platform.beat_bytes
    for index in range(dram.count):
        address = dram.address + index * dram.stride
        end = address + dram.bytes
        while address < end:
            first = address // beat
            limit = min(end, (first + platform.burst_beats) * beat, (address // PAGE_BYTES + 1) * PAGE_BYTES)
            yield ceil_div(limit, beat) - first
            address = limit


def beats(dram: Chunks, platform: Platform) -> int:
    """All beats of a DRAM access."""
    return sum(bursts(dram, platform))


def bus_cycles(n: int, platform: Platform) -> int:
    """Cycles for which `n` beats hold the bus."""
    return ceil_div(n * platform.beat_interval, INTERVAL_UNIT)


def last_beat(n: int, platform: Platform) -> int:
    """Cycle of the last of `n` beats, the first being in cycle 0."""
    return (n - 1) * platform.beat_interval // INTERVAL_UNIT


def load_cycles(load: Load, platform: Platform) -> int:
    """Cycles of a LOAD command, from start to completion, both included."""
    address, free = LOAD_FIRST_ADDRESS - 1, 0
    lasts: list[int] = []
    for n in bursts(load.dram, platform):
        window = lasts[-platform.outstanding] if len(lasts) >= platform.outstanding else -1
        address = max(address, window) + 1
        first = max(address + platform.read_latency, free)
        lasts.append(first + last_beat(n, platform))
        free = first + bus_cycles(n, platform) + platform.burst_gap
    return lasts[-1] + LOAD_DONE + 1


def store_cycles(store: Store, platform: Platform) -> int:
    """Cycles of a STORE command, from start to completion, both included."""
    first = last = STORE_FIRST_BEAT
    for n in bursts(store.dram, platform):
        last = first + last_beat(n, platform)
        first += bus_cycles(n, platform) + platform.burst_gap
    return last + platform.write_latency + STORE_DONE + 1


def line_words(window: Window, Nox: int, accelerator: Accelerator) -> int:
    """The most feature words of a row that one step touches."""
    lanes = min(accelerator.Pox, Nox)
    most = 0
    for ox in range(0, Nox, accelerator.Pox):
        left = ox * window.stride_x - window.pad_left
        right = left + (lanes - 1) * window.stride_x + window.columns - 1
        most = max(most, right // accelerator.word_pixels - left // accelerator.word_pixels + 1)
    return most


def row_passes(stride: int, interleave: int, Poy: int) -> int:
    """Reads of one bank that a window of `Poy` rows, `stride` apart, needs at worst."""
    if stride == interleave:
        return 1
    most = 0
    for first in range(interleave * Poy):
        banks = [((first + j * stride) // interleave) % Poy for j in range(Poy)]
        most = max(most, max(banks.count(bank) for bank in banks))
    return most


def fetch_cycles(window: Window, Nox: int, interleave: int, accelerator: Accelerator) -> int:
    """Line-fetch reads of one step."""
    return line_words(window, Nox, accelerator) * row_passes(window.stride_y, interleave, accelerator.Poy)


def step_cycles(window: Window, Nox: int, interleave: int, accelerator: Accelerator) -> int:
    """Cycles of one (input map, kernel row) step."""
    return max(window.Nkx, fetch_cycles(window, Nox, interleave, accelerator))


def shortcut_reads(stride: int, accelerator: Accelerator) -> int:
    """Port B reads of the drain for one row of one map with a shortcut of that column stride."""
    offset = stride % 2 * accelerator.Pox  # of a column group's first pixel in its word, at worst
    return (offset + (accelerator.Pox - 1) * stride) // accelerator.word_pixels + 1


def drain_slots(command: Convolve, accelerator: Accelerator) -> int:
    """Cycles of the drain for one row of one map."""
    if command.shortcut is None:
        return 1
    return 1 + shortcut_reads(command.shortcut.stride_x, accelerator)


def array_groups(of: int, Tof: int, Gof: int, Pof: int) -> Iterator[int]:
    """Maps of each array group of a tile: none goes on beyond a weight word or a group of `Gof` output maps."""
    end = of + Tof
    while of < end:
        stop = min((of // Pof + 1) * Pof, (of // Gof + 1) * Gof, end)
        yield stop - of
        of = stop


def group_drains(command: Convolve, accelerator: Accelerator) -> Iterator[int]:
    """Drain cycles of every group of a convolution, in the order of the loop nest."""
    slots = drain_slots(command, accelerator)
    columns = ceil_div(command.Nox, accelerator.Pox)
    for maps in array_groups(command.of, command.Tof, command.Gof, accelerator.Pof):
        for oy in range(0, command.Toy, accelerator.Poy):
            rows = min(accelerator.Poy, command.Toy - oy)
            for _ in range(columns):
                yield rows * maps * slots


def group_count(command: Convolve | PoolRows, accelerator: Accelerator) -> int:
    """Groups of a COMPUTE command; pooling does one row of one map at a time."""
    if isinstance(command, Convolve):
        return sum(1 for _ in group_drains(command, accelerator))
    return command.Tof * command.Toy * ceil_div(command.Nox, accelerator.Pox)


def group_sums(command: Convolve) -> int:
    """Cycles for which a group of a convolution sums."""
    return command.Nif * command.window.Nky * command.step


def convolve_cycles(command: Convolve, accelerator: Accelerator) -> int:
    """Cycles of a convolution command: sums and drains of neighbouring groups overlap."""
    sums = group_sums(command)
    drains = list(group_drains(command, accelerator))
    fetch = fetch_cycles(command.window, command.Nox, command.source.interleave, accelerator)
    overlapped = sum(max(sums, drain) for drain in drains[:-1])
    return CONVOLVE_FILL + fetch + sums + overlapped + drains[-1] + DRAIN_DEPTH


def pool_cycles(command: PoolRows, accelerator: Accelerator) -> int:
    """Cycles of a pooling command."""
    groups = group_count(command, accelerator)
    words = command.window.Nky * line_words(command.window, command.Nox, accelerator)
    return POOL_FILL + groups * max(words + 1, command.window.Nkx) + command.window.Nkx + DRAIN_DEPTH


def tile_bytes(tile: FeatureTile, accelerator: Accelerator) -> int:
    """Bytes of one DRAM run of a tile: the rows of one map, or a whole packed tile."""
    words = ceil_div(tile.maps, accelerator.word_pixels) if tile.packed else tile.rows * tile.row_words
    return words * accelerator.feature_word_bytes


@singledispatch
def command_cycles(command: Command, accelerator: Accelerator, platform: Platform) -> int:
    """Cycles of any command, from start to completion, both included."""
    raise TypeError(f"not a command: {command!r}")


@command_cycles.register
def _(command: Load, accelerator: Accelerator, platform: Platform) -> int:
    return load_cycles(command, platform)


@command_cycles.register
def _(command: Store, accelerator: Accelerator, platform: Platform) -> int:
    return store_cycles(command, platform)


@command_cycles.register
def _(command: Convolve, accelerator: Accelerator, platform: Platform) -> int:
    return convolve_cycles(command, accelerator)


@command_cycles.register
def _(command: PoolRows, accelerator: Accelerator, platform: Platform) -> int:
    return pool_cycles(command, accelerator)
