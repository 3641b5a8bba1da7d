"""Cycles of every operation, in closed form (docs/microarchitecture.md, sections 4 to 7). One function a cost.

The functions take plain sizes, so that a plan without commands and a program with them are costed by the same lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.platform import INTERVAL_UNIT, Platform
from fpga_model.machine.tiles import BufferWords, DramRuns, Window

CONVOLVE_DEPTH = 16
"""Cycles of a convolution beyond its line fetch, sums and drains: decode, pipeline, complete."""
POOL_DEPTH = 16
GROUP_FLOOR = 4
"""Least cycles of a group of a convolution: its hand-over is pipelined."""
POOL_FLOOR = 2
LOAD_FIRST_ADDRESS = 1
LOAD_DONE = 2
STORE_FIRST_BEAT = 4
STORE_DONE = 1


# --- DRAM ---------------------------------------------------------------------------------------------------------


def bursts(dram: DramRuns, platform: Platform) -> Iterator[int]:
    """Beats of every burst of a DRAM access, in order: a run is cut at multiples of `burst_bytes`."""
    block, beat = platform.burst_bytes, platform.beat_bytes
    for index in range(dram.count):
        address = dram.address + index * dram.stride
        end = address + dram.bytes
        while address < end:
            limit = min(end, (address // block + 1) * block)
            yield (limit - address) // beat
            address = limit


def bus_cycles(n: int, platform: Platform) -> int:
    """Cycles for which `n` beats hold the bus."""
    return ceil_div(n * platform.beat_interval, INTERVAL_UNIT)


def last_beat(n: int, platform: Platform) -> int:
    """Cycle of the last of `n` beats, the first being in cycle 0."""
    return (n - 1) * platform.beat_interval // INTERVAL_UNIT


def load_cycles(dram: DramRuns, platform: Platform) -> int:
    """Cycles of a LOAD, from start to completion, both included."""
    latency, gap, outstanding = platform.read_latency, platform.burst_gap, platform.outstanding
    interval = platform.beat_interval
    address, free = LOAD_FIRST_ADDRESS - 1, 0
    lasts: list[int] = []
    for n in bursts(dram, platform):
        window = lasts[-outstanding] if len(lasts) >= outstanding else -1
        address = max(address, window) + 1
        first = max(address + latency, free)
        lasts.append(first + (n - 1) * interval // INTERVAL_UNIT)
        free = first - (-n * interval // INTERVAL_UNIT) + gap
    return lasts[-1] + LOAD_DONE + 1


def store_cycles(dram: DramRuns, platform: Platform) -> int:
    """Cycles of a STORE, from start to completion, both included."""
    gap, interval = platform.burst_gap, platform.beat_interval
    first = last = STORE_FIRST_BEAT
    for n in bursts(dram, platform):
        last = first + (n - 1) * interval // INTERVAL_UNIT
        first += gap - (-n * interval // INTERVAL_UNIT)
    return last + platform.write_latency + STORE_DONE + 1


# --- windows ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _line_words(stride: int, pad_left: int, columns: int, Nox: int, Pox: int) -> int:
    word, lanes, most = 2 * Pox, min(Pox, Nox), 0
    # What a group touches repeats after two groups, when it has moved by whole words.
    for ox in range(0, min(Nox, 2 * Pox), Pox):
        left = ox * stride - pad_left
        most = max(most, (left + (lanes - 1) * stride + columns - 1) // word - left // word + 1)
    return most


def line_words(window: Window, Nox: int, accelerator: Accelerator) -> int:
    """The most feature words of a row that one step touches."""
    return _line_words(window.stride_x, window.pad_left, window.columns, Nox, accelerator.Pox)


def row_passes(stride: int, interleave: int, Toy: int, Poy: int) -> int:
    """Reads of copy A for one word of every row of a group: all rows at once, or one by one."""
    return 1 if stride == interleave else min(Poy, Toy)


def fetch_cycles(window: Window, Nox: int, Toy: int, interleave: int, accelerator: Accelerator) -> int:
    """Line-fetch reads of one step."""
    return line_words(window, Nox, accelerator) * row_passes(window.stride_y, interleave, Toy, accelerator.Poy)


def step_cycles(window: Window, Nox: int, Toy: int, interleave: int, accelerator: Accelerator) -> int:
    """Cycles of one (input map, kernel row) step."""
    return max(window.Nkx, fetch_cycles(window, Nox, Toy, interleave, accelerator))


def shortcut_reads(stride: int, accelerator: Accelerator) -> int:
    """Words read from copy B for one row of one map with a shortcut of that column stride."""
    offset = stride % 2 * accelerator.Pox  # of a column group's first pixel in its word, at worst
    return (offset + (accelerator.Pox - 1) * stride) // accelerator.word_pixels + 1


# --- COMPUTE ------------------------------------------------------------------------------------------------------


def array_groups(of: int, Tof: int, Gof: int, Pof: int) -> Iterator[int]:
    """Maps of each array group of a tile: none goes on beyond a weight word or a group of `Gof` output maps."""
    end = of + Tof
    while of < end:
        stop = min((of // Pof + 1) * Pof, (of // Gof + 1) * Gof, end)
        yield stop - of
        of = stop


def ragged(size: int, parallel: int) -> list[tuple[int, int]]:
    """(size, count) of the full groups of `parallel`, and of the ragged last one."""
    return [(parallel, size // parallel), (size % parallel, 1)] if size % parallel else [(parallel, size // parallel)]


def group_sizes(
    of: int, Tof: int, Toy: int, Nox: int, Gof: int, accelerator: Accelerator
) -> Iterator[tuple[int, int, int]]:
    """(maps, rows, how many) of the groups of a tile, each size once."""
    columns = ceil_div(Nox, accelerator.Pox)
    if Gof >= of + Tof:
        # Not cut by groups of the convolution: whole weight words and a ragged last one.
        groups = ragged(Tof, accelerator.Pof)
    else:
        groups = list(Counter(array_groups(of, Tof, Gof, accelerator.Pof)).items())
    for maps, map_groups in groups:
        for rows, row_groups in ragged(Toy, accelerator.Poy):
            yield maps, rows, map_groups * row_groups * columns


def convolve_costs(
    *, of: int, Tof: int, Toy: int, Nox: int, Gof: int, sums: int, reads: int, fetch: int, accelerator: Accelerator
) -> tuple[int, int, int, int]:
    """A convolution's (cycles, cycles of sums, cycles of drains, groups).

    Args:
        of, Tof, Toy, Nox: the tile's first output map, output maps, rows and columns.
        Gof: output maps that share their input maps.
        sums: products of one output pixel, in cycles: Nif x Nky x step.
        reads: shortcut words of a row, 0 without a shortcut.
        fetch: reads of a step.
        accelerator: the array.
    """
    length, slots = max(GROUP_FLOOR, sums), max(1, reads)
    total = drains = count = 0
    for maps, rows, number in group_sizes(of, Tof, Toy, Nox, Gof, accelerator):
        drain = maps * rows * slots
        total += number * max(length, drain)
        drains += number * drain
        count += number
    last_maps = 1 + min((of + Tof - 1) % accelerator.Pof, (of + Tof - 1) % Gof, Tof - 1)
    last = last_maps * ((Toy - 1) % accelerator.Poy + 1) * slots
    # Every group but the last drains under the next one's sums; the last drain stands alone, the first sums, too.
    cycles = fetch + length + total - max(length, last) + last + CONVOLVE_DEPTH
    return cycles, count * length, drains, count


def group_cycles(window: Window, Nox: int, accelerator: Accelerator) -> int:
    """Cycles of a pooling for `Pox` outputs of a row."""
    return max(window.Nky * line_words(window, Nox, accelerator), window.Nkx, POOL_FLOOR)


def pool_cycles(window: Window, Tof: int, Toy: int, Nox: int, accelerator: Accelerator) -> int:
    """Cycles of a pooling or a copy."""
    groups = Tof * Toy * ceil_div(Nox, accelerator.Pox)
    return groups * group_cycles(window, Nox, accelerator) + window.Nkx + POOL_DEPTH


# --- buffer words -------------------------------------------------------------------------------------------------


def convolve_words(
    *,
    of: int,
    Tof: int,
    Toy: int,
    Nox: int,
    Gof: int,
    taps: tuple[int, int],
    line: int,
    reads: int,
    accelerator: Accelerator,
) -> BufferWords:
    """What a convolution touches. `taps` are its steps and the products of a step, `line` the words of a row that one
    step touches, `reads` the shortcut words of a row of a map; the rest as for `convolve_costs`."""
    steps, products = taps
    words = BufferWords()
    for maps, rows, number in group_sizes(of, Tof, Toy, Nox, Gof, accelerator):
        words += BufferWords(
            reads_a=number * steps * line * rows,
            reads_b=number * maps * rows * reads,
            writes=number * maps * rows,
            weights=number * steps * products,
            records=number * maps,
        )
    return words


def pool_words(window: Window, Tof: int, Toy: int, Nox: int, accelerator: Accelerator) -> BufferWords:
    """What a pooling or a copy touches: each group reads the rows of its window and writes half a word."""
    groups = Tof * Toy * ceil_div(Nox, accelerator.Pox)
    return BufferWords(reads_b=groups * window.Nky * line_words(window, Nox, accelerator), writes=groups)
