"""The page docs/instruction-set.md, made from the tables that encode programs.

python -m fpga_model.machine.pages docs/instruction-set.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from inspect import cleandoc
from itertools import groupby
from pathlib import Path
from typing import get_args, get_type_hints

from fpga_model.machine.capability import Capability
from fpga_model.machine.isa import COMMANDS, WORD_BITS, Command, Slot, bits, layout
from fpga_model.machine.program import ALIGN, HEADER_BYTES, Header

INTRODUCTION = f"""\
# The instruction set

<!-- Generated from fpga_model/machine/isa.py, program.py and capability.py: do not edit. Regenerate with
     python -m fpga_model.machine.pages docs/instruction-set.md -->

For engineers who write, decode or debug programs: every bit of `program.bin`. The
[timing contract](microarchitecture.md) says what the accelerator does with each field, and the
[glossary](glossary.md) explains the terms.

Fields are packed without gaps, from bit 0 of the first word on, least significant bits first; words and bytes are
little-endian. In the column *bits*, `u16` is an unsigned field of 16 bits and `s8` a signed one of 8, in two's
complement. Bits after the last field are zero. A value that does not fit its field is refused when the program is
written; the message names the layer, the field, the value and the limits.

## The program

| from byte | content |
|---|---|
| 0 | the header: {HEADER_BYTES} bytes, zero after its last field |
| {HEADER_BYTES} | commands of LOAD, COMPUTE, STORE; each unit's begin at a multiple of {ALIGN} bytes, zeros between |
"""

COMMANDS_INTRODUCTION = f"""\
## Commands

A command is a whole number of {WORD_BITS}-bit words; all commands of a unit have the same length. The first field of
each is its opcode. If a field is a record, [Records](#records) lists the fields inside it; add their offsets to the
field's own.
"""


@dataclass(frozen=True)
class _Row:
    """One line of a table: a plain field, or a whole record."""

    name: str
    offset: int
    bits: str
    meaning: str
    record: type | None = None


def instruction_set(commands: Sequence[type[Command]] = COMMANDS) -> str:
    """The page as Markdown."""
    records: dict[str, type] = {}
    parts = [INTRODUCTION, _header(), COMMANDS_INTRODUCTION, _overview(commands)]
    for command in commands:
        parts.append(_section(command))
        _collect(command, records)
    parts.append("## Records\n")
    parts += [_section(record) for record in records.values()]
    return "\n".join(parts)


def _header() -> str:
    nested = [row for row in _rows(Header) if row.record is not None]
    parts = [f"## The header\n\n{_description(Header)}\n", _table(("byte", "field", "meaning"), _bytes(_rows(Header)))]
    for row in nested:
        assert row.record is not None
        titles, lines = ["byte", "field", "meaning"], _bytes(_rows(row.record), row.offset)
        if row.record is Capability:
            titles.append("declared by default")
            lines = [[*line, str(field.default)] for line, field in zip(lines, fields(Capability), strict=True)]
        parts += [f"### `{row.name}`\n\n{_description(row.record)}\n", _table(titles, lines)]
    return "\n".join(parts)


def _bytes(rows: Iterable[_Row], begin: int = 0) -> list[list[str]]:
    """Lines of a table of whole words: offset in bytes, name, meaning."""
    return [
        [str((begin + row.offset) // 8), f"`{row.name}`" + ("" if row.record is None else " (below)"), row.meaning]
        for row in rows
    ]


def _overview(commands: Sequence[type[Command]]) -> str:
    lines = [(_link(c), c.UNIT.upper(), str(c.OPCODE), str(c.WORDS), str(bits(c))) for c in commands]
    return _table(("command", "unit", "opcode", "words", "bits used"), lines)


def _section(record: type) -> str:
    lines = [
        (
            str(row.offset),
            row.bits,
            f"`{row.name}`" + ("" if row.record is None else f" ({_link(row.record)})"),
            row.meaning,
        )
        for row in _rows(record)
    ]
    table = _table(("bit", "bits", "field", "meaning"), lines)
    return f"### `{record.__name__}`\n\n{_description(record)}\n\n{table}"


def _link(record: type) -> str:
    return f"[`{record.__name__}`](#{record.__name__.lower()})"


def _rows(record: type) -> Iterator[_Row]:
    """The fields of a record as they are declared, those of nested records taken together."""
    hints = get_type_hints(record, include_extras=True)
    for name, slots in groupby(layout(record), key=_first):
        within = tuple(slots)
        bits_ = sum(slot.width.bits for slot in within)
        kind, *notes = get_args(hints[name]) if name in hints else (int, within[0].meaning)
        if is_dataclass(kind) and isinstance(kind, type):
            yield _Row(name, within[0].offset, str(bits_), notes[0], kind)
        else:
            sign = "s" if within[0].width.signed else "u"
            yield _Row(name, within[0].offset, f"{sign}{bits_}", within[0].meaning)


def _first(slot: Slot) -> str:
    return slot.path[0] if slot.path else slot.name


def _collect(record: type, found: dict[str, type]) -> None:
    """All records inside a record, each once, in the order in which they are met."""
    for row in _rows(record):
        if row.record is not None and row.record.__name__ not in found:
            found[row.record.__name__] = row.record
            _collect(row.record, found)


def _description(record: type) -> str:
    return cleandoc(record.__doc__ or "")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in (titles, *rows)]
    lines.insert(1, "|" + "---|" * len(titles) + "\n")
    return "".join(lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(instruction_set(), encoding="utf-8")
