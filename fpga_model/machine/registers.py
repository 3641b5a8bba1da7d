"""The registers that the host sees (docs/microarchitecture.md, section 10), in one table.

The SystemVerilog package, the C header and the page in `docs/` are made from it, and the driver uses it.
PeakRDL-regblock was tried for this: its register block is made of structures that are not packed, which Yosys refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fpga_model.machine.capability import Capability
from fpga_model.machine.isa import layout
from fpga_model.machine.program import Geometry, Sizes


class Access(str, Enum):
    """How the host uses a register."""

    PULSE = "w"
    """Written ones act once; it reads as zero."""
    STORED = "rw"
    STATUS = "r"
    EVENT = "w1c"
    """Set by the accelerator, cleared by writing a one."""


@dataclass(frozen=True)
class Field:
    """Bits of a register."""

    name: str
    low: int
    bits: int
    meaning: str


@dataclass(frozen=True)
class Register:
    """A register of 32 bits, or of 64 at two addresses, the low half first."""

    name: str
    offset: int
    access: Access
    meaning: str
    bits: int = 32
    fields: tuple[Field, ...] = ()


ERRORS = {
    "none": "none",
    "header": "header: magic, version, geometry or a capability; `command` is the header's 32-bit word",
    "checksum": "checksum of the program",
    "command": "unknown command",
    "read": "read response",
    "write": "write response",
    "last": "RLAST out of place",
    "start": "start or load without a program or while running",
    "watchdog": "watchdog",
    "base": "misaligned base or stride",
}
"""The codes in `ERROR` from 0 on: what the RTL calls each, and what it means."""

_EVENTS = (Field("done", 0, 1, "all images are done"), Field("error", 1, 1, "there was an error"))
BUILT = tuple(slot.name for record in (Geometry, Sizes, Capability) for slot in layout(record))
"""What the words of `BUILT` are, in the order of a program's header."""


def _table() -> tuple[Register, ...]:
    rows: list[Register] = []
    offset = 0

    def add(name: str, access: Access, meaning: str, bits: int = 32, fields: tuple[Field, ...] = ()) -> None:
        nonlocal offset
        rows.append(Register(name, offset, access, meaning, bits, fields))
        offset += bits // 8

    add(
        "CTRL",
        Access.PULSE,
        "what the accelerator is told to do",
        fields=(
            Field("start", 0, 1, "run IMAGES images"),
            Field("load", 1, 1, "load the program at PROGRAM_BASE"),
            Field("reset", 2, 1, "back to idle; clears an error, and a sound program stays"),
        ),
    )
    add(
        "STATUS",
        Access.STATUS,
        "what the accelerator does",
        fields=(
            Field("idle", 0, 1, "nothing is going on"),
            Field("loaded", 1, 1, "a sound program is there"),
            Field("done", 2, 1, "all images are done; cleared by a start"),
            Field("error", 3, 1, "there was an error"),
        ),
    )
    add(
        "ERROR",
        Access.STATUS,
        "the first error since reset",
        fields=(
            Field("code", 0, 4, "; ".join(f"{code} {meaning}" for code, meaning in enumerate(ERRORS.values()))),
            Field("unit", 4, 2, "0 LOAD, 1 COMPUTE, 2 STORE"),
            Field("command", 8, 24, "commands of that unit that the image had completed"),
        ),
    )
    add("IRQ_ENABLE", Access.STORED, "events that raise the interrupt", fields=_EVENTS)
    add("IRQ_STATUS", Access.EVENT, "events that have happened; writing 1 clears", fields=_EVENTS)
    add("IMAGES", Access.STORED, "images of a start")
    add("IMAGES_DONE", Access.STATUS, "images of this start that are done")
    add("WATCHDOG", Access.STORED, "most cycles without a completed command or a beat before an error; 0: none")
    add("PROGRAM_BASE", Access.STORED, "where program.bin lies, a multiple of 4 KiB, like all bases", 64)
    add("PARAMETER_BASE", Access.STORED, "where weights.bin lies", 64)
    add("INPUT_BASE", Access.STORED, "where the first image lies", 64)
    add("OUTPUT_BASE", Access.STORED, "where the outputs of the first image go", 64)
    add("FEATURE_BASE", Access.STORED, "where feature maps between layers go", 64)
    add("INPUT_STRIDE", Access.STORED, "bytes from one image to the next, a multiple of 4 KiB", 64)
    add("OUTPUT_STRIDE", Access.STORED, "bytes from one image's outputs to the next's, a multiple of 4 KiB", 64)
    add("CYCLES", Access.STATUS, "cycles of the last image", 64)
    add("BUSY_LOAD", Access.STATUS, "cycles of the last image in which LOAD executed a command", 64)
    add("BUSY_COMPUTE", Access.STATUS, "the same of COMPUTE", 64)
    add("BUSY_STORE", Access.STATUS, "the same of STORE", 64)
    add("HOLD", Access.STATUS, "cycles of the last image in which the array waited for the drain", 64)
    add("READ_BYTES", Access.STATUS, "bytes read in the last image", 64)
    add("WRITE_BYTES", Access.STATUS, "bytes written in the last image", 64)
    add("SATURATED", Access.STATUS, "stored values of the last image that were saturated", 64)
    offset = 0x100
    for name in BUILT:
        add(f"BUILT_{name.upper()}", Access.STATUS, "what the accelerator is built for: a word of a program's header")
    return tuple(rows)


REGISTERS = _table()
ADDRESS_BITS = 9


def register(name: str) -> Register:
    """The register of that name; KeyError if there is none."""
    for row in REGISTERS:
        if row.name == name:
            return row
    raise KeyError(name)
