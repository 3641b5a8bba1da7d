"""SystemVerilog packages made from the tables that also make the encoder: commands and a program's header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

from cgap.backends.rtl.registers import register_header, register_module, register_package
from fpga_model.machine.capability import Capability
from fpga_model.machine.isa import COMMANDS, OPCODE, UNITS, WORD_BITS, Command, Width, bits, layout
from fpga_model.machine.program import HEADER_BYTES, MAGIC, VERSION, Geometry, Header, Sizes

KEYWORDS = frozenset({"packed"})
"""Field names that SystemVerilog keeps for itself; they get a `_` at their end."""
_BANNER = "// Made by `python -m cgap.backends.rtl.packages` from {source}. Do not edit.\n"


def type_name(record: type) -> str:
    """The name of a record's packed structure: RowStep is `row_step_t`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", record.__name__).lower() + "_t"


def field_name(name: str) -> str:
    """A field's name in SystemVerilog."""
    return name + "_" if name in KEYWORDS else name


def command_package() -> str:
    """`command_pkg.sv`: every record as a packed structure, padded to whole words of the program memory."""
    lines = [
        _BANNER.format(source="fpga_model/machine/isa.py"),
        "// The commands of the three units. Fields are declared from the highest bit down, so the last is bit 0.",
        "package command_pkg;",
        "",
        f"  localparam int unsigned ProgramWordBits = {WORD_BITS};",
    ]
    for unit in UNITS:
        kinds = [kind for kind in COMMANDS if unit == kind.UNIT]
        lines.append(f"  localparam int unsigned {unit.capitalize()}Words = {kinds[0].WORDS};")
    lines += ["", f"  typedef enum logic [{OPCODE.bits - 1}:0] {{"]
    lines += [f"    Opcode{kind.__name__} = {OPCODE.bits}'d{kind.OPCODE}," for kind in COMMANDS]
    lines[-1] = lines[-1].rstrip(",")
    lines += ["  } opcode_e;", ""]
    lines += _structure(Command, "header_t", 0, "what every command begins with")
    for record in _records():
        lines += _structure(record, type_name(record), 0, _summary(record))
    for kind in COMMANDS:
        lines += _structure(kind, type_name(kind), kind.WORDS * WORD_BITS, _summary(kind))
    return "\n".join([*lines, "endpackage", ""])


def _summary(record: type) -> str:
    return (record.__doc__ or "").split("\n")[0].rstrip(".")


def _records() -> Iterator[type]:
    """The records inside commands, each after those that it is made of."""
    seen: dict[type, None] = {}

    def visit(record: type) -> None:
        for field in fields(record):
            kind = get_args(get_type_hints(record, include_extras=True)[field.name])[0]
            if is_dataclass(kind):
                assert isinstance(kind, type)
                visit(kind)
                seen.setdefault(kind)

    for command in COMMANDS:
        visit(command)
    return iter(seen)


def _structure(record: type, name: str, size: int, meaning: str) -> list[str]:
    members: list[tuple[str, str, str]] = []
    if issubclass(record, Command):
        members.append((_logic(OPCODE), "opcode", "the kind of command"))
    hints = get_type_hints(record, include_extras=True)
    for field in fields(record):
        kind, *notes = get_args(hints[field.name])
        if is_dataclass(kind):
            assert isinstance(kind, type)
            members.append((type_name(kind), field_name(field.name), notes[0]))
        else:
            members.append((_logic(notes[0]), field_name(field.name), notes[1]))
    if size and size > bits(record):
        members.append((_logic(Width(size - bits(record), signed=False)), "padding", "to whole words"))
    lines = [f"  // {meaning}.", "  typedef struct packed {"]
    lines += [f"    {kind} {member};  // {note}" for kind, member, note in reversed(members)]
    return [*lines, f"  }} {name};", ""]


def _logic(width: Width) -> str:
    sign = " signed" if width.signed else ""
    return f"logic{sign} [{width.bits - 1}:0]" if width.bits > 1 or width.signed else "logic"


def program_package() -> str:
    """`program_pkg.sv`: the 32-bit words of a program's header, and which the accelerator compares how."""
    slots = layout(Header)
    lines = [
        _BANNER.format(source="fpga_model/machine/program.py"),
        "// The header of a program: 32-bit words, each compared with the accelerator's own.",
        "package program_pkg;",
        "",
        f"  localparam logic [31:0] Magic = 32'h{MAGIC:08x};",
        f"  localparam logic [31:0] Version = 32'd{VERSION};",
        f"  localparam int unsigned HeaderBytes = {HEADER_BYTES};",
        f"  localparam int unsigned HeaderWords = {len(slots)};",
        "",
        "  // Index of each word.",
    ]
    for slot in slots:
        if slot.offset % 32 or slot.width.bits != 32:
            raise TypeError(f"{slot.name} of a program's header is no 32-bit word")
        lines.append(f"  localparam int unsigned {_camel(slot.name)} = {slot.offset // 32};  // {slot.meaning}")
    lines += [
        "",
        "  // What an accelerator is built for, in the order of the header's words.",
        "  typedef struct packed {",
    ]
    built = [("geometry", Geometry), ("sizes", Sizes), ("needs", Capability)]
    words = [slot.name for _, record in built for slot in layout(record)]
    lines += [f"    logic [31:0] {name};" for name in reversed(words)]
    lines += [
        "  } built_t;",
        "",
        f"  localparam int unsigned FirstBuilt = {_camel('geometry_' + words[0])};",
        f"  localparam int unsigned GeometryWords = {len(layout(Geometry))};  // these must be equal",
        f"  localparam int unsigned BuiltWords = {len(words)};  // the others must not be exceeded",
        "",
        "endpackage",
        "",
    ]
    return "\n".join(lines)


def _camel(name: str) -> str:
    return "Word" + "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def packages() -> dict[str, str]:
    """Every file that is made from a table, by its name."""
    return {
        "command_pkg.sv": command_package(),
        "program_pkg.sv": program_package(),
        "register_pkg.sv": register_package(),
    }


def constants() -> dict[str, str]:
    """The drivers' constants, by the file's path in the project: in C and in Python."""
    return {
        "hls_templates/drivers/cgap_registers.h": register_header(),
        "cgap/backends/host/registers.py": register_module(),
    }


def main() -> None:
    """Write them beside the modules that use them."""
    root = Path(__file__).parents[3]
    for name, text in packages().items():
        (root / "hls_templates" / "rtl" / name).write_text(text, "utf-8")
    for name, text in constants().items():
        (root / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
