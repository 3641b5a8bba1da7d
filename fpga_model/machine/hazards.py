"""Waits derived from what commands touch, so that no order has to be placed by hand."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import singledispatch

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.commands import (
    Chunks,
    Command,
    Convolve,
    FeatureTile,
    Load,
    PoolRows,
    Store,
    Target,
    Unit,
    Waits,
)

Span = tuple[str, int, int]
"""A memory and a half-open range of it: bytes of `dram`, words of the others."""


@dataclass(frozen=True)
class Footprint:
    """The spans a command reads and writes, and the pages whose port B it uses."""

    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    port_b: frozenset[int]

    def conflicts(self, later: Footprint) -> bool:
        """Whether `later` must wait for this one: a true, anti or output dependence, or a shared port B."""
        return (
            not self.port_b.isdisjoint(later.port_b)
            or _meet(self.writes, later.reads)
            or _meet(self.reads, later.writes)
            or _meet(self.writes, later.writes)
        )


def _meet(first: tuple[Span, ...], second: tuple[Span, ...]) -> bool:
    return any(a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for a in first for b in second)


def _tile(tile: FeatureTile, accelerator: Accelerator) -> Span:
    depth = tile.depth(accelerator.Poy, accelerator.word_pixels)
    return (f"page {tile.page}", tile.address, tile.address + depth)


def _dram(chunks: Chunks) -> Span:
    return ("dram", chunks.address, chunks.address + (chunks.count - 1) * chunks.stride + chunks.bytes)


@singledispatch
def footprint(command: Command, accelerator: Accelerator) -> Footprint:
    """What a command touches."""
    raise TypeError(f"not a command: {command!r}")


@footprint.register
def _(command: Load, accelerator: Accelerator) -> Footprint:
    reads = (_dram(command.dram),)
    if command.target is not Target.FEATURE:
        span = (command.target.value, command.address, command.address + command.words)
        return Footprint(reads, (span,), frozenset())
    assert command.tile is not None, "a feature load has a tile"
    return Footprint(reads, (_tile(command.tile, accelerator),), frozenset({command.tile.page}))


@footprint.register
def _(command: Store, accelerator: Accelerator) -> Footprint:
    return Footprint((_tile(command.tile, accelerator),), (_dram(command.dram),), frozenset({command.tile.page}))


@footprint.register
def _(command: Convolve, accelerator: Accelerator) -> Footprint:
    groups = -(-command.Tof // accelerator.Pof)
    words = groups * command.Nif * command.window.Nky * command.window.Nkx
    reads = [
        _tile(command.source, accelerator),
        (Target.WEIGHT.value, command.weights, command.weights + words),
        (Target.PARAMETER.value, command.parameters, command.parameters + command.Tof),
    ]
    pages = {command.destination.page}
    if command.shortcut is not None:
        reads.append(_tile(command.shortcut.tile, accelerator))
        pages.add(command.shortcut.tile.page)
    return Footprint(tuple(reads), (_tile(command.destination, accelerator),), frozenset(pages))


@footprint.register
def _(command: PoolRows, accelerator: Accelerator) -> Footprint:
    source, destination = _tile(command.source, accelerator), _tile(command.destination, accelerator)
    return Footprint((source,), (destination,), frozenset({command.source.page, command.destination.page}))


@dataclass
class Program:
    """Commands in program order; each waits for the earlier commands of other units that it conflicts with.

    A command is given at least the waits of its unit's command before it, which it follows anyway; so no more of the
    past has to be searched.
    """

    accelerator: Accelerator
    commands: list[Command] = field(default_factory=list)
    _history: dict[Unit, list[Footprint]] = field(default_factory=lambda: {unit: [] for unit in Unit})
    _waits: dict[Unit, Waits] = field(default_factory=lambda: dict.fromkeys(Unit, Waits()))

    def append(self, command: Command) -> None:
        """Add a command (its own `waits` are replaced)."""
        mine = footprint(command, self.accelerator)
        waits = self._waits[command.unit]
        for unit, past in self._history.items():
            if unit is not command.unit:
                known: int = getattr(waits, unit.value)
                latest = next((k + 1 for k in range(len(past) - 1, known - 1, -1) if past[k].conflicts(mine)), known)
                waits = dataclasses.replace(waits, **{unit.value: latest})
        self._waits[command.unit] = waits
        self._history[command.unit].append(mine)
        self.commands.append(dataclasses.replace(command, waits=waits))
