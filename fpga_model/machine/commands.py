"""The command set of the three units: the contract that every reader of a schedule shares.

docs/microarchitecture.md gives the meaning and the cost of every field. Rows, columns and maps are counted in the whole
tensor; addresses are buffer words; DRAM addresses are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from fpga_model.machine.accelerator import ceil_div


class Unit(str, Enum):
    """The three units, each with a command queue of its own."""

    LOAD = "load"
    COMPUTE = "compute"
    STORE = "store"


class Target(str, Enum):
    """The buffer that a LOAD fills."""

    FEATURE = "feature"
    WEIGHT = "weight"
    PARAMETER = "parameter"


class Pool(str, Enum):
    """What a POOL command does with its window."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True)
class Waits:
    """How many commands of each unit must have completed before a command may start."""

    load: int = 0
    compute: int = 0
    store: int = 0


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Chunks:
    """A DRAM access: `count` runs of `bytes` bytes, `stride` bytes apart, the first at `address`."""

    address: int
    bytes: int
    count: int = 1
    stride: int = 0


@dataclass(frozen=True)
class Load:
    """DRAM to a buffer. A feature load fills `tile` (a chunk is one map's rows), others words from `address` on."""

    unit: ClassVar[Unit] = Unit.LOAD
    layer: str
    waits: Waits
    target: Target
    dram: Chunks
    address: int = 0
    words: int = 0
    tile: FeatureTile | None = None


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Convolve:
    """One tile of a convolution or a fully connected layer: output rows `oy ... oy+Toy-1`, maps `of ... of+Tof-1`.

    An output map sums over `Nif` input maps, which `Gof` output maps share: map m reads those from `m // Gof * Nif` on.
    `step` is the cycles of one (input map, kernel row) step. Weight words lie at `weights` in the order
    [group of Pof maps][input map][ky][kx]; the record of output map m at `parameters + m - of`. Results are clamped to
    `low ... high`; negative accumulators are shifted by `leak` bits more.
    """

    unit: ClassVar[Unit] = Unit.COMPUTE
    layer: str
    waits: Waits
    source: FeatureTile
    window: Window
    step: int
    Nif: int
    Gof: int
    of: int
    Tof: int
    oy: int
    Toy: int
    Nox: int
    weights: int
    parameters: int
    low: int
    high: int
    leak: int
    destination: FeatureTile
    shortcut: ShortcutRead | None = None


@dataclass(frozen=True)
class PoolRows:
    """One tile of a pooling layer, done by the drain: maps `of ... of+Tof-1`, output rows `oy ... oy+Toy-1`.

    Map of+k is made from input map first_if+k. A sum is rounded by `shift` bits; a maximum is kept as it is.
    """

    unit: ClassVar[Unit] = Unit.COMPUTE
    layer: str
    waits: Waits
    mode: Pool
    source: FeatureTile
    window: Window
    first_if: int
    of: int
    Tof: int
    oy: int
    Toy: int
    Nox: int
    shift: int
    destination: FeatureTile


@dataclass(frozen=True)
class Store:
    """A feature tile to DRAM, chunk = one map's rows (a packed tile is one chunk)."""

    unit: ClassVar[Unit] = Unit.STORE
    layer: str
    waits: Waits
    dram: Chunks
    tile: FeatureTile


Command = Load | Convolve | PoolRows | Store
