"""C++ made from the tables that also make the encoder: records of commands, and what a program's header must say."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

from fpga_model.machine.capability import Capability
from fpga_model.machine.isa import COMMANDS, OPCODE, UNITS, WORD_BITS, Command, Width, bits, layout
from fpga_model.machine.program import HEADER_BYTES, MAGIC, VERSION, Header, command_bytes

WIDTH = 116
"""Columns of a line of code, at most."""


def records(commands: tuple[type[Command], ...] = COMMANDS) -> str:
    """Structures of fields that know where they lie, in the order in which one needs the other, and the constants."""
    lines = [f"constexpr int {unit.upper()}_WORDS = {command_bytes(unit) * 8 // WORD_BITS};" for unit in UNITS]
    lines += [f"constexpr int OPCODE_BITS = {OPCODE.bits};"]
    lines += [f"constexpr uint8_t {kind.__name__.upper()}_OPCODE = {kind.OPCODE};" for kind in commands]
    lines += [""]
    for record in (*dict.fromkeys(part for kind in commands for part in _parts(kind)), Command, *commands):
        lines += _structure(record)
    return "\n".join([*lines, *_header()])


def constants(capability: Capability) -> list[tuple[str, int, str]]:
    """Name, value and meaning of every field of a capability set, for `config.h`."""
    return [
        (slot.name.upper(), getattr(capability, slot.name), slot.meaning.removeprefix("1: "))
        for slot in layout(Capability)
    ]


def _members(record: type) -> Iterator[tuple[str, str, str, int]]:
    """Name, C++ type, meaning and bits of every field; what all commands begin with is a record of its own."""
    inherited: set[str] = set()
    if record is Command:
        yield "opcode", _type(OPCODE), "the kind of command", OPCODE.bits
    elif issubclass(record, Command):
        yield "head", "Head", "what every command begins with", sum(size for *_, size in _members(Command))
        inherited = {field.name for field in fields(Command)}
    hints = get_type_hints(record, include_extras=True)
    for field in fields(record):
        kind, *notes = get_args(hints[field.name])
        if field.name in inherited:
            continue
        if is_dataclass(kind) and isinstance(kind, type):
            yield field.name, kind.__name__, notes[-1], bits(kind)
        else:
            yield field.name, _type(notes[0]), notes[-1], notes[0].bits


def _parts(record: type) -> Iterator[type]:
    """The records inside a record, each after those that it is made of."""
    for kind, *_ in (get_args(hint) for hint in get_type_hints(record, include_extras=True).values()):
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _parts(kind)
            yield kind


def _type(width: Width) -> str:
    if width.bits == 1 and not width.signed:
        return "Field<bool, 1>"
    size = next(size for size in (8, 16, 32) if width.bits <= size)
    return f"Field<{'' if width.signed else 'u'}int{size}_t, {width.bits}>"


def _structure(record: type) -> list[str]:
    summary = (record.__doc__ or "").split("\n")[0].replace("`", "")
    lines = [f"// {summary}", f"struct {'Head' if record is Command else record.__name__} {{"]
    members = list(_members(record))
    lines += [f"  {kind} {name}; // {meaning.replace('`', '')}" for name, kind, meaning, _ in members]
    head = "  template <int LOW> void decode(const uint64_t *from) {"
    call = f"decode_fields<LOW>(from, {', '.join(name for name, *_ in members)});"
    if len(head) + len(call) + 3 <= WIDTH:
        decoder = [f"{head} {call} }}"]
    else:
        decoder = [head, *textwrap.wrap(call, WIDTH, initial_indent="    ", subsequent_indent=" " * 23), "  }"]
    lines += ["", f"  static constexpr int WIDTH = {sum(size for *_, size in members)};", *decoder]
    return [*lines, "};", ""]


def _header() -> list[str]:
    """Where a program's header has what is asked of it, and whether this accelerator can execute the program."""
    places, tests = [f"constexpr int HEADER_WORDS = {HEADER_BYTES * 8 // WORD_BITS};"], []
    expected = {"magic": f"{MAGIC:#x}", "version": str(VERSION)}
    for slot in layout(Header):
        name, owner = slot.path[-1], slot.path[0]
        if name == "crc" or name.endswith("_commands"):
            places.append(f"constexpr int HEADER_{name.upper()} = {slot.offset}; // first bit")
        value = f"field<{slot.offset}, {slot.width.bits}>(words)"
        if owner in expected or owner == "geometry":
            tests.append((f"{value} == {expected.get(owner, name.upper())}", slot.meaning))
        elif owner in ("sizes", "needs"):
            tests.append((f"{value} <= {name.upper()}", slot.meaning))
    lines = [f"{test}{';' if test == tests[-1][0] else ' &&'} // {note}" for test, note in tests]
    return [
        *places,
        "",
        "// Whether this accelerator can execute the program of a header: what addresses and word orders depend on is",
        "// equal, memories and needs are not exceeded.",
        "inline bool executes(const uint64_t *words) {",
        f"  return {lines[0]}",
        *(f"         {line}" for line in lines[1:]),
        "}",
        "",
    ]
