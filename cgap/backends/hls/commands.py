"""C++ made from the tables that also make the encoder: records of commands and of a program's header, and decoders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from fpga_model.machine.capability import Capability
from fpga_model.machine.isa import COMMANDS, OPCODE, UNITS, WORD_BITS, Command, Width, bits, layout
from fpga_model.machine.program import HEADER_BYTES, MAGIC, VERSION, Geometry, Header, Sizes, command_bytes

HEAD = "Head"
"""What every command begins with, as a record of its own."""


def records(commands: tuple[type[Command], ...] = COMMANDS) -> str:
    """Structures with their decoders, in the order in which one needs the other, and the constants of the encoding."""
    lines = [f"constexpr int {unit.upper()}_WORDS = {command_bytes(unit) * 8 // WORD_BITS};" for unit in UNITS]
    lines += [f"constexpr int OPCODE_BITS = {OPCODE.bits};"]
    lines += [f"constexpr int HEADER_WORDS = {HEADER_BYTES * 8 // WORD_BITS};"]
    lines += [f"constexpr uint8_t {kind.__name__.upper()}_OPCODE = {kind.OPCODE};" for kind in commands]
    lines += [f"constexpr uint32_t PROGRAM_MAGIC = {MAGIC:#x};", f"constexpr uint32_t PROGRAM_VERSION = {VERSION};", ""]
    kinds: tuple[type, ...] = (Command, *commands, Header)
    inner = dict.fromkeys(part for kind in kinds for part in _parts(kind))
    for part in inner:
        lines += [*_structure(part), *_decoder(part, "template <int LOW> ", "LOW + ")]
    for record in kinds:
        lines += [*_structure(record), *_decoder(record, "", "")]
    return "\n".join([*lines, *_executes()])


def constants(capability: Capability) -> list[tuple[str, int, str]]:
    """Name, value and meaning of every field of a capability set, for `config.h`."""
    return [
        (slot.name.upper(), getattr(capability, slot.name), slot.meaning.removeprefix("1: "))
        for slot in layout(Capability)
    ]


def _members(record: type) -> Iterator[tuple[str, Any, Width | None, str, int]]:
    """Name, class, width (None for a record), meaning and first bit of every field."""
    offset = 0
    if issubclass(record, Command):
        yield "opcode", int, OPCODE, "the kind of command", 0
        offset = OPCODE.bits
    hints = get_type_hints(record, include_extras=True)
    for field in fields(record):
        kind, *notes = get_args(hints[field.name])
        width = None if is_dataclass(kind) else notes[0]
        yield field.name, kind, width, notes[-1], offset
        offset += bits(kind) if width is None else width.bits


def _parts(record: type) -> Iterator[type]:
    """The records inside a record, each after those that it is made of."""
    for _, kind, width, _, _ in _members(record):
        if width is None:
            yield from _parts(kind)
            yield kind


def _type(kind: Any, width: Width | None) -> str:
    if width is None:
        return str(kind.__name__)
    if width.bits == 1 and not width.signed:
        return "bool"
    size = next(size for size in (8, 16, 32) if width.bits <= size)
    return f"{'' if width.signed else 'u'}int{size}_t"


def _name(record: type) -> str:
    return HEAD if record is Command else record.__name__


def _structure(record: type) -> list[str]:
    summary = (record.__doc__ or "").split("\n")[0].replace("`", "")
    lines = [f"// {summary}", f"struct {_name(record)} {{"]
    for name, kind, width, meaning, _ in _members(record):
        lines.append(f"  {_type(kind, width)} {name}; // {meaning.replace('`', '')}")
    return [*lines, "};", ""]


def _decoder(record: type, template: str, low: str) -> list[str]:
    name = _name(record)
    lines = [
        f"{template}inline {name} decode_{_snake(name)}(const uint64_t *words) {{",
        "#pragma HLS INLINE",
        f"  {name} record;",
    ]
    for field, kind, width, _, offset in _members(record):
        at = f"{low}{offset}"
        if width is None:
            value = f"decode_{_snake(kind.__name__)}<{at}>(words)"
        else:
            value = f"{'signed_' if width.signed else ''}field<{at}, {width.bits}>(words)"
            value = f"{value} != 0" if _type(kind, width) == "bool" else f"{_type(kind, width)}({value})"
        lines.append(f"  record.{field} = {value};")
    return [*lines, "  return record;", "}", ""]


def _executes() -> list[str]:
    """Whether the accelerator in `config.h` can execute a program, from its header."""
    tests = [f"header.geometry.{slot.name} == {slot.name.upper()}" for slot in layout(Geometry)]
    for part, record in (("sizes", Sizes), ("needs", Capability)):
        tests += [f"header.{part}.{slot.name} <= {slot.name.upper()}" for slot in layout(record)]
    return [
        "// Whether this accelerator can execute a program: geometry is equal, sizes and needs are not exceeded.",
        "inline bool executes(const Header &header) {",
        "#pragma HLS INLINE",
        "  return " + " &&\n         ".join(tests) + ";",
        "}",
        "",
    ]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
