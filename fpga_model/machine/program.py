"""`program.bin`: a header and the commands of the three units, as an accelerator loads them at run time."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.assembler import assemble
from fpga_model.machine.capability import Capability, needs
from fpga_model.machine.isa import COMMANDS, UNITS, WORD_BITS, Command, U, decode, encode, layout, pack, unpack
from fpga_model.machine.operations import Operation

MAGIC = 0x50414743
"""The bytes `CGAP`."""
VERSION = 2
HEADER_BYTES = 128
ALIGN = 128
"""The header and each unit's commands begin at a multiple of this, whole AXI beats of any width."""


@dataclass(frozen=True)
class Geometry:
    """What addresses and word orders depend on: an accelerator runs programs of its own geometry only."""

    Pox: Annotated[int, U(32), "output columns computed at once"]
    Poy: Annotated[int, U(32), "output rows computed at once"]
    Pof: Annotated[int, U(32), "output maps computed at once"]
    beat_bytes: Annotated[int, U(32), "bytes of an AXI beat"]


@dataclass(frozen=True)
class Sizes:
    """Memories that a program uses, at most."""

    pages: Annotated[int, U(32), "feature pages"]
    page_depth: Annotated[int, U(32), "words of a bank"]
    weight_depth: Annotated[int, U(32), "weight words"]
    parameter_depth: Annotated[int, U(32), "parameter records"]


@dataclass(frozen=True)
class Regions:
    """Bytes of the DRAM regions, each of which begins at its base register."""

    parameter_bytes: Annotated[int, U(32), "weights.bin"]
    input_bytes: Annotated[int, U(32), "one image"]
    output_bytes: Annotated[int, U(32), "its outputs"]
    feature_bytes: Annotated[int, U(32), "feature maps between layers"]


@dataclass(frozen=True)
class Header:
    """The first 128 bytes of a program. All fields are 32-bit little-endian words."""

    magic: Annotated[int, U(32), "0x50414743, the bytes CGAP"]
    version: Annotated[int, U(32), f"of this format: {VERSION}"]
    bytes: Annotated[int, U(32), "of the whole program, header included"]
    crc: Annotated[int, U(32), "CRC-32 (IEEE 802.3) of all bytes, those of this field counted as zero"]
    geometry: Annotated[Geometry, "must equal the accelerator's"]
    sizes: Annotated[Sizes, "must not exceed the accelerator's"]
    needs: Annotated[Capability, "must not exceed the accelerator's; the last three are the commands of each unit"]
    regions: Annotated[Regions, "DRAM regions"]


_CRC = next(slice(slot.offset // 8, slot.offset // 8 + 4) for slot in layout(Header) if slot.name == "crc")


@dataclass(frozen=True)
class Program:
    """Commands of each unit, in order, with their header."""

    header: Header
    commands: dict[str, tuple[Command, ...]]

    def to_bytes(self, layers: Sequence[str]) -> bytes:
        """The file; `layers` names layers by index in errors.

        Raises:
            UserError: a value does not fit its field.
        """
        body = b"".join(_padded(b"".join(encode(c, layers[c.layer]) for c in self.commands[unit])) for unit in UNITS)
        header = replace(self.header, bytes=HEADER_BYTES + len(body), crc=0)
        return sealed(pack(header, "program").to_bytes(HEADER_BYTES, "little") + body)


def sealed(program: bytes) -> bytes:
    """A program with the checksum that it must have."""
    return program[: _CRC.start] + checksum(program).to_bytes(4, "little") + program[_CRC.stop :]


def checksum(program: bytes) -> int:
    """CRC-32 of a program, the four bytes that hold it counted as zero."""
    return zlib.crc32(program[: _CRC.start] + bytes(4) + program[_CRC.stop :])


def make_program(
    operations: Sequence[Operation],
    layers: Sequence[str],
    accelerator: Accelerator,
    beat_bytes: int,
    regions: Regions,
) -> Program:
    """The program of operations in program order; a command's layer is its index in `layers`."""
    index = {name: position for position, name in enumerate(layers)}
    last = {operation.unit: position for position, operation in enumerate(operations)}
    commands: dict[str, list[Command]] = {unit: [] for unit in UNITS}
    for position, operation in enumerate(operations):
        ends = last[operation.unit] == position
        command = assemble(operation, index[operation.layer], ends, accelerator, beat_bytes)
        commands[operation.unit.value].append(command)
    geometry = Geometry(accelerator.Pox, accelerator.Poy, accelerator.Pof, beat_bytes)
    sizes = Sizes(accelerator.pages, accelerator.page_depth, accelerator.weight_depth, accelerator.parameter_depth)
    header = Header(MAGIC, VERSION, 0, 0, geometry, sizes, needs(operations, accelerator), regions)
    return Program(header, {unit: tuple(found) for unit, found in commands.items()})


def read_program(data: bytes) -> Program:
    """The program in a file.

    Raises:
        UserError: it is not a program, has another version, is damaged or truncated.
    """
    if len(data) < HEADER_BYTES:
        raise UserError(f"not a program: {len(data)} bytes, and its header alone has {HEADER_BYTES}")
    header = unpack(Header, int.from_bytes(data[:HEADER_BYTES], "little"))
    if header.magic != MAGIC:
        raise UserError("not a program: it does not begin with CGAP")
    if header.version != VERSION:
        raise UserError(f"a program of version {header.version}, and this cgap reads version {VERSION}: build it again")
    if header.bytes != len(data):
        raise UserError(f"the program is cut off: {len(data)} bytes of {header.bytes}")
    if header.crc != checksum(data):
        raise UserError("the program is damaged: its checksum is wrong")
    commands: dict[str, tuple[Command, ...]] = {}
    offset = HEADER_BYTES
    for unit in UNITS:
        count: int = getattr(header.needs, f"{unit}_commands")
        size = command_bytes(unit)
        if offset + count * size > len(data):
            raise UserError(f"the program is damaged: {count} {unit.upper()} commands do not fit its {len(data)} bytes")
        part = tuple(decode(data[at : at + size]) for at in range(offset, offset + count * size, size))
        if any(unit != command.UNIT for command in part):
            raise UserError(f"the program is damaged: a command of another unit among those of {unit.upper()}")
        if [position for position, command in enumerate(part, start=1) if command.last] != [count][: len(part)]:
            raise UserError(f"the program is damaged: its {unit.upper()} commands do not end with the one marked last")
        commands[unit] = part
        offset += ceil_div(count * size, ALIGN) * ALIGN
    return Program(header, commands)


def command_bytes(unit: str) -> int:
    """Bytes of a command of that unit."""
    return next(kind.WORDS for kind in COMMANDS if unit == kind.UNIT) * WORD_BITS // 8


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGN)
