"""Commands as constants in C++ and as text for people, layer by layer."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from fpga_model.machine.isa import UNITS, Command, encode, layout, value_of
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


def of_layer(program: Program, index: int) -> dict[str, tuple[Command, ...]]:
    """A layer's commands, by unit."""
    return {unit: tuple(c for c in program.commands[unit] if c.layer == index) for unit in UNITS}


def before_layer(program: Program, index: int) -> list[int]:
    """Commands of each unit that belong to earlier layers."""
    return [sum(c.layer < index for c in program.commands[unit]) for unit in UNITS]


def listing(program: Program, index: int) -> tuple[str, ...]:
    """A layer's commands as text: each with its number in its unit's queue and the fields that are not zero."""
    lines: list[str] = []
    for unit in UNITS:
        for number, command in enumerate(program.commands[unit], 1):
            if command.layer == index:
                lines += ["", f"{unit.upper()} {number}: {type(command).__name__}"]
                lines += _fields(command)
    return tuple(lines)


def _fields(command: Command) -> list[str]:
    """Fields that are not zero, a line for each record and as many as it takes for the others."""
    lines = [""]
    record = ""
    for slot in layout(type(command)):
        value = value_of(command, slot) if slot.path and slot.name != "layer" else 0
        if not value:
            continue
        begins = slot.path[0] if len(slot.path) > 1 else ""
        if begins != record or len(lines[-1]) > WIDTH:
            lines.append("")
            record = begins
        lines[-1] += f" {slot.name}={value}"
    return [f" {line}" for line in lines if line]
