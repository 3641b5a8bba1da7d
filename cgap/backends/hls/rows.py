"""Commands as constants in C++ and as text for people, layer by layer."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from fpga_model.machine.isa import UNITS, Command, encode, layout, values_of
from fpga_model.machine.program import Program

PER_LINE = 4
"""64-bit words in a line of a table."""
WIDTH = 110
"""Columns of a listing, more or less."""


@dataclass(frozen=True)
class Table:
    """Encoded commands of one unit: how many, and the lines of a C++ initialiser."""

    unit: str
    count: int
    lines: tuple[str, ...]


def tables(commands: dict[str, tuple[Command, ...]], layer: str) -> tuple[Table, ...]:
    """The tables of all three units; `layer` is named in errors."""
    return tuple(Table(unit, len(commands[unit]), _lines(commands[unit], layer)) for unit in UNITS)


def _lines(commands: Iterable[Command], layer: str) -> tuple[str, ...]:
    lines: list[str] = []
    for command in commands:
        words = [f"0x{word:016x}" for (word,) in struct.iter_unpack("<Q", encode(command, layer))]
        lines += (", ".join(words[at : at + PER_LINE]) for at in range(0, len(words), PER_LINE))
    return tuple(lines)


@dataclass(frozen=True)
class LayerCommands:
    """A layer's commands of a program, by unit, and how many of each unit earlier layers have."""

    commands: dict[str, tuple[Command, ...]]
    before: tuple[int, ...]


def by_layer(program: Program, layers: int) -> list[LayerCommands]:
    """The commands of every layer, by its index; each unit's queue goes through the layers in order."""
    found: list[dict[str, list[Command]]] = [{unit: [] for unit in UNITS} for _ in range(layers)]
    for unit in UNITS:
        for command in program.commands[unit]:
            found[command.layer][unit].append(command)
    before, result = dict.fromkeys(UNITS, 0), []
    for commands in found:
        result.append(LayerCommands({u: tuple(c) for u, c in commands.items()}, tuple(before.values())))
        before = {unit: before[unit] + len(commands[unit]) for unit in UNITS}
    return result


def listing(layer: LayerCommands) -> tuple[str, ...]:
    """A layer's commands as text: each with its number in its unit's queue and the fields that are not zero."""
    lines: list[str] = []
    for unit, before in zip(UNITS, layer.before, strict=True):
        for number, command in enumerate(layer.commands[unit], before + 1):
            lines += ["", f"{unit.upper()} {number}: {type(command).__name__}", *_fields(command)]
    return tuple(lines)


def _fields(command: Command) -> list[str]:
    """Fields that are not zero, a line for each record and as many as it takes for the others."""
    lines = [""]
    record = ""
    for slot, value in zip(layout(type(command)), values_of(command), strict=True):
        if not value or not slot.path or slot.name == "layer":
            continue
        begins = slot.path[0] if len(slot.path) > 1 else ""
        if begins != record or len(lines[-1]) > WIDTH:
            lines.append("")
            record = begins
        lines[-1] += f" {slot.name}={value}"
    return [f" {line}" for line in lines if line]
