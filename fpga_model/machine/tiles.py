"""What operations are made of, in the coordinates of whole tensors: tiles, windows, DRAM runs, waits, footprints.

Rows, columns and maps are counted in the whole tensor; addresses are buffer words; DRAM addresses are bytes of a
region.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fpga_model.machine.accelerator import ceil_div


class Unit(str, Enum):
    """The three units, each with a command queue of its own."""

    LOAD = "load"
    COMPUTE = "compute"
    STORE = "store"


class Buffer(str, Enum):
    """The buffer that a LOAD fills."""

    FEATURE = "feature"
    WEIGHT = "weight"
    PARAMETER = "parameter"


class PoolMode(str, Enum):
    """What a pooling does with its window."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Waits:
    """How many operations of each unit must have completed before one may start."""

    load: int = 0
    compute: int = 0
    store: int = 0


NO_WAITS = Waits()


@dataclass(frozen=True, slots=True)
class FeatureTile:
    """Where `rows` rows from `first_row` on and `maps` maps from `first_map` on of a tensor lie in a page.

    Row r of the tile (counted from 0) lies in bank `(r // interleave) % Poy`, at word
    `address + (map * group_rows + (r // (interleave * Poy)) * interleave + r % interleave) * row_words`,
    with `group_rows = ceil(rows / (interleave * Poy)) * interleave`.
    A `packed` tile holds one-pixel maps: map m is pixel `m % (2 * Pox)` of word `address + m // (2 * Pox)` of bank 0.
    """

    page: int
    address: int
    maps: int
    rows: int
    row_words: int
    interleave: int = 1
    first_map: int = 0
    first_row: int = 0
    packed: bool = False

    def group_rows(self, Poy: int) -> int:
        """Rows of one map in each bank."""
        return ceil_div(self.rows, self.interleave * Poy) * self.interleave

    def depth(self, Poy: int, word_pixels: int) -> int:
        """Words that the tile occupies in every bank of its page."""
        if self.packed:
            return ceil_div(self.maps, word_pixels)
        return self.maps * self.group_rows(Poy) * self.row_words

    def words(self, word_pixels: int) -> int:
        """Words of all its rows, which is what LOAD and STORE move."""
        return ceil_div(self.maps, word_pixels) if self.packed else self.maps * self.rows * self.row_words


@dataclass(frozen=True, slots=True)
class DramRuns:
    """A DRAM access: `count` runs of `bytes` bytes, `stride` bytes apart, the first at `address` of `region`."""

    region: str
    address: int
    bytes: int
    count: int = 1
    stride: int = 0

    @property
    def total(self) -> int:
        """Bytes moved."""
        return self.count * self.bytes


@dataclass(frozen=True, slots=True)
class Window:
    """The window of a convolution or pooling over a tensor of `height x width` pixels, zero outside.

    The rows and columns that it takes are `dilation_y` and `dilation_x` apart.
    """

    Nky: int
    Nkx: int
    stride_y: int
    stride_x: int
    pad_top: int
    pad_left: int
    height: int
    width: int
    dilation_y: int = 1
    dilation_x: int = 1

    @property
    def rows(self) -> int:
        """Rows from the first that it takes to the last."""
        return (self.Nky - 1) * self.dilation_y + 1

    @property
    def columns(self) -> int:
        """Columns from the first that it takes to the last."""
        return (self.Nkx - 1) * self.dilation_x + 1


@dataclass(frozen=True, slots=True)
class ShortcutRead:
    """The tensor added in the accumulator: its map c goes to output map `c + map_offset`.

    Of its pixels every `stride_y`-th row and `stride_x`-th column is taken, aligned by a left shift of
    `record.shift - shift_delta` bits, where `shift_delta = shortcut_frac - output_frac`.
    """

    tile: FeatureTile
    stride_y: int
    stride_x: int
    map_offset: int
    maps: int
    shift_delta: int


Span = tuple[str, int, int]
"""A memory and a half-open range of it: bytes of a DRAM region, words of a buffer."""
Port = tuple[str, int]
"""A port of a page that several units use: ("write" or "read B", page)."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The spans an operation reads and writes, and the shared ports that it uses."""

    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operation costs: cycles, of these the array's and the drain's busy ones, groups, bytes on the bus."""

    cycles: int
    sums: int = 0
    drains: int = 0
    groups: int = 0
    read_bytes: int = 0
    write_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BufferWords:
    """Accesses of buffer words by COMPUTE: both copies of feature pages, weights, records.

    `writes` are of one copy; the other gets the same. Rows outside the tensor count as read, though they need not be.
    """

    reads_a: int = 0
    reads_b: int = 0
    writes: int = 0
    weights: int = 0
    records: int = 0

    def __add__(self, other: BufferWords) -> BufferWords:
        return BufferWords(
            self.reads_a + other.reads_a,
            self.reads_b + other.reads_b,
            self.writes + other.writes,
            self.weights + other.weights,
            self.records + other.records,
        )
