"""What the scheduler asks of the three units, in tensor coordinates. `assembler.py` turns each into a command.

Each kind knows what it touches (`footprint`), what it costs (`cost`, and `stalled_cycles` where the DRAM stalls) and
what an accelerator must be able to do for it (`needs`, fields of `Capability`); but for the assembler nothing asks
which kind it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform
from fpga_model.machine.stalls import Stalls
from fpga_model.machine.tiles import (
    Buffer,
    Cost,
    DramRuns,
    FeatureTile,
    Footprint,
    PoolMode,
    ShortcutRead,
    Span,
    Unit,
    Waits,
    Window,
)
from fpga_model.machine.timing import (
    convolve_costs,
    fetch_cycles,
    load_cycles,
    pool_cycles,
    row_passes,
    shortcut_reads,
    store_cycles,
)


@dataclass(frozen=True, slots=True)
class LoadOp:
    """DRAM to a buffer. A feature load fills `tile`, map by map and row by row; others words from `address` on."""

    unit: ClassVar[Literal[Unit.LOAD]] = Unit.LOAD
    layer: str
    waits: Waits
    buffer: Buffer
    dram: DramRuns
    address: int = 0
    words: int = 0
    tile: FeatureTile | None = None

    @property
    def tiles(self) -> tuple[FeatureTile, ...]:
        return () if self.tile is None else (self.tile,)

    def footprint(self, accelerator: Accelerator) -> Footprint:
        reads = _dram(self.dram)
        if self.tile is None:
            return Footprint(reads, ((self.buffer.value, self.address, self.address + self.words),), ())
        return Footprint(reads, (_page(self.tile, accelerator),), (("write", self.tile.page),))

    def needs(self, accelerator: Accelerator) -> dict[str, int]:
        return {}

    def cost(self, accelerator: Accelerator, platform: Platform) -> Cost:
        return Cost(load_cycles(self.dram, platform), read_bytes=self.dram.total)

    def stalled_cycles(self, cost: Cost, platform: Platform, stalls: Stalls, start: int) -> int:
        return stalls.load_cycles(self.dram, platform, start)


@dataclass(frozen=True, slots=True)
class StoreOp:
    """A feature tile to DRAM, map by map and row by row."""

    unit: ClassVar[Literal[Unit.STORE]] = Unit.STORE
    layer: str
    waits: Waits
    dram: DramRuns
    tile: FeatureTile

    @property
    def tiles(self) -> tuple[FeatureTile, ...]:
        return (self.tile,)

    def footprint(self, accelerator: Accelerator) -> Footprint:
        return Footprint((_page(self.tile, accelerator),), _dram(self.dram), (("read B", self.tile.page),))

    def needs(self, accelerator: Accelerator) -> dict[str, int]:
        return {}

    def cost(self, accelerator: Accelerator, platform: Platform) -> Cost:
        return Cost(store_cycles(self.dram, platform), write_bytes=self.dram.total)

    def stalled_cycles(self, cost: Cost, platform: Platform, stalls: Stalls, start: int) -> int:
        return stalls.store_cycles(self.dram, platform, start)


@dataclass(frozen=True, slots=True)
class ConvolveOp:
    """One tile of a convolution or a fully connected layer: output rows `oy ... oy+Toy-1`, maps `of ... of+Tof-1`.

    An output map sums over `Nif` input maps, which `Gof` output maps share: map m reads those from `m // Gof * Nif` on.
    `step` is the cycles of one (input map, kernel row) step. Weight words lie at `weights` in the order
    [group of Pof maps][input map][ky][kx]; the record of output map m at `parameters + m - of`. Results are clamped to
    `low ... high`; negative accumulators are shifted by `leak` bits more.
    """

    unit: ClassVar[Literal[Unit.COMPUTE]] = Unit.COMPUTE
    dram: ClassVar[None] = None
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

    @property
    def tiles(self) -> tuple[FeatureTile, ...]:
        added = () if self.shortcut is None else (self.shortcut.tile,)
        return (self.source, self.destination, *added)

    def footprint(self, accelerator: Accelerator) -> Footprint:
        words = -(-self.Tof // accelerator.Pof) * self.Nif * self.window.Nky * self.window.Nkx
        reads = [
            _page(self.source, accelerator),
            (Buffer.WEIGHT.value, self.weights, self.weights + words),
            (Buffer.PARAMETER.value, self.parameters, self.parameters + self.Tof),
        ]
        ports = [("write", self.destination.page)]
        if self.shortcut is not None:
            reads.append(_page(self.shortcut.tile, accelerator))
            ports.append(("read B", self.shortcut.tile.page))
        return Footprint(tuple(reads), (_page(self.destination, accelerator),), tuple(ports))

    def needs(self, accelerator: Accelerator) -> dict[str, int]:
        several = self.Nox > 1  # a single column has no stride
        passes = row_passes(self.window.stride_y, self.source.interleave, self.Toy, accelerator.Poy)
        return {
            "kernel_columns": self.window.Nkx,
            "stride_columns": self.window.stride_x if several else 1,
            "shortcut_stride": self.shortcut.stride_x if several and self.shortcut is not None else 1,
            "row_by_row": int(passes > 1),
            "leaky": int(self.leak > 0),
            "grouped": int(self.Gof - self.of % self.Gof < self.Tof),
        }

    def cost(self, accelerator: Accelerator, platform: Platform) -> Cost:
        return Cost(
            *convolve_costs(
                of=self.of,
                Tof=self.Tof,
                Toy=self.Toy,
                Nox=self.Nox,
                Gof=self.Gof,
                sums=self.Nif * self.window.Nky * self.step,
                reads=0 if self.shortcut is None else shortcut_reads(self.shortcut.stride_x, accelerator),
                fetch=fetch_cycles(self.window, self.Nox, self.Toy, self.source.interleave, accelerator),
                accelerator=accelerator,
            )
        )

    def stalled_cycles(self, cost: Cost, platform: Platform, stalls: Stalls, start: int) -> int:
        return cost.cycles


@dataclass(frozen=True, slots=True)
class PoolOp:
    """One tile of a pooling layer, done by the drain: maps `of ... of+Tof-1`, output rows `oy ... oy+Toy-1`.

    Map of+k is made from input map first_if+k. A sum is rounded by `shift` bits; a maximum is kept as it is.
    """

    unit: ClassVar[Literal[Unit.COMPUTE]] = Unit.COMPUTE
    dram: ClassVar[None] = None
    layer: str
    waits: Waits
    mode: PoolMode
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

    @property
    def tiles(self) -> tuple[FeatureTile, ...]:
        return (self.source, self.destination)

    def footprint(self, accelerator: Accelerator) -> Footprint:
        source, destination = _page(self.source, accelerator), _page(self.destination, accelerator)
        ports = (("write", self.destination.page), ("read B", self.source.page))
        return Footprint((source,), (destination,), ports)

    def needs(self, accelerator: Accelerator) -> dict[str, int]:
        return {
            "pool_columns": self.window.columns,
            "pool_stride": self.window.stride_x if self.Nox > 1 else 1,
            "pool_dilation": self.window.dilation_x,
        }

    def cost(self, accelerator: Accelerator, platform: Platform) -> Cost:
        cycles = pool_cycles(self.window, self.Tof, self.Toy, self.Nox, accelerator)
        groups = self.Tof * self.Toy * -(-self.Nox // accelerator.Pox)
        return Cost(cycles, drains=cycles, groups=groups)

    def stalled_cycles(self, cost: Cost, platform: Platform, stalls: Stalls, start: int) -> int:
        return cost.cycles


Operation = LoadOp | StoreOp | ConvolveOp | PoolOp
ComputeOp = ConvolveOp | PoolOp


def _page(tile: FeatureTile, accelerator: Accelerator) -> Span:
    depth = tile.depth(accelerator.Poy, accelerator.word_pixels)
    return (f"page {tile.page}", tile.address, tile.address + depth)


MOST_SPANS = 64
"""A DRAM access of more runs than this counts as one span from its first byte to its last."""


def _dram(dram: DramRuns) -> tuple[Span, ...]:
    memory = f"dram {dram.region}"
    if dram.count > MOST_SPANS:
        return ((memory, dram.address, dram.address + (dram.count - 1) * dram.stride + dram.bytes),)
    begins = range(dram.address, dram.address + dram.count * max(1, dram.stride), max(1, dram.stride))
    return tuple((memory, begin, begin + dram.bytes) for begin in begins[: dram.count])
