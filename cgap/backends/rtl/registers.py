"""What is made from the register table: the SystemVerilog package, and the constants of the drivers in C and Python."""

from __future__ import annotations

from collections.abc import Sequence

from fpga_model.machine.isa import layout
from fpga_model.machine.program import HEADER_BYTES, Header
from fpga_model.machine.registers import ADDRESS_BITS, ERRORS, REGISTERS, Access, Field, Register

_BANNER = "Made by `python -m cgap.backends.rtl.packages` from fpga_model/machine/registers.py. Do not edit."


def register_package() -> str:
    """`register_pkg.sv`: the registers as packed structures, how a word is read and how one is written."""
    stored = [row for row in REGISTERS if row.access is Access.STORED]
    shown = [row for row in REGISTERS if row.access in (Access.STATUS, Access.EVENT)]
    lines = [
        f"// {_BANNER}",
        "",
        "// The registers that the host sees. A register of 64 bits takes two addresses, the low half first.",
        "package register_pkg;",
        "",
        f"  localparam int unsigned AddressBits = {ADDRESS_BITS};",
        "",
    ]
    for row in REGISTERS:
        lines.append(f"  localparam logic [AddressBits-1:0] {_constant(row)} = {_address(row.offset)};")
    codes = [f"    Error{name.capitalize()} = 4'd{code}" for code, name in enumerate(ERRORS)]
    lines += ["", "  // Codes in ERROR.", "  typedef enum logic [3:0] {", ",\n".join(codes), "  } error_e;"]
    lines += ["", "  // What the host has written.", *_structure("stored_t", stored)]
    lines += ["  // What the host reads and does not write.", *_structure("shown_t", shown)]
    lines += [
        "  // The word at an address; 0 where there is none.",
        "  function automatic logic [31:0] word_at(logic [AddressBits-1:0] address, stored_t stored, shown_t shown);",
        "    case (address)",
    ]
    for group, rows in (("stored", stored), ("shown", shown)):
        for row in rows:
            for half in range(row.bits // 32):
                lines.append(f"      {_address(row.offset + 4 * half)}: return {group}.{_part(row, half)};")
    lines += [
        "      default: return '0;",
        "    endcase",
        "  endfunction",
        "",
        "  // The stored registers after a write of the bytes under `strobe`.",
        "  function automatic stored_t written(stored_t stored, logic [AddressBits-1:0] address,",
        "                                      logic [31:0] data, logic [3:0] strobe);",
        "    stored_t result;",
        "    result = stored;",
        "    for (int i = 0; i < 4; i++) begin",
        "      // Bytes that keep their value do so by a register's enable.",
        "      if (strobe[i]) begin",
        "        case (address)",
    ]
    for row in stored:
        for half in range(row.bits // 32):
            place = f"{row.name.lower()}[{f'{32 * half} + ' if half else ''}8*i +: 8]"
            lines.append(f"          {_address(row.offset + 4 * half)}: result.{place} = data[8*i +: 8];")
    lines += ["          default: ;", "        endcase", "      end", "    end"]
    return "\n".join([*lines, "    return result;", "  endfunction", "", "endpackage", ""])


def _structure(name: str, rows: Sequence[Register]) -> list[str]:
    members = [f"    logic [{row.bits - 1}:0] {row.name.lower()};  // {row.meaning}" for row in reversed(rows)]
    return ["  typedef struct packed {", *members, f"  }} {name};", ""]


def _constant(row: Register) -> str:
    return "Address" + "".join(part.capitalize() for part in row.name.split("_"))


def _address(offset: int) -> str:
    return f"{ADDRESS_BITS}'h{offset:03x}"


def _part(row: Register, half: int) -> str:
    return f"{row.name.lower()}[{32 * half + 31}:{32 * half}]"


def register_header() -> str:
    """`cgap_registers.h`: offsets and masks for a driver in C, meanings of errors, and sizes in a program's header."""
    lines = [f"/* {_BANNER} */", "#ifndef CGAP_REGISTERS_H", "#define CGAP_REGISTERS_H", ""]
    for row in REGISTERS:
        lines.append(f"/* {row.meaning}{' (64 bits: low word, high word)' if row.bits == 64 else ''} */")
        lines.append(f"#define CGAP_{row.name} 0x{row.offset:03x}u")
        for field in row.fields:
            lines.append(f"#define CGAP_{_field(row.name, field.name)} 0x{_mask(field):x}u /* {field.meaning} */")
    lines += ["", "/* Bytes of a program's header, and where in it the bytes of the DRAM regions are. */"]
    lines += [f"#define CGAP_{name} {value}u" for name, value in _header_constants().items()]
    lines += ["", "/* What the codes in ERROR mean. */", "#define CGAP_ERRORS \\", "  { \\"]
    lines += [f'    "{meaning}", \\'.replace("`", "'") for meaning in ERRORS.values()]
    return "\n".join([*lines, "  }", "", "#endif", ""])


def register_module() -> str:
    """`registers.py` of the driver in Python: the same constants."""
    lines = [f'"""{_BANNER}"""', ""]
    for row in REGISTERS:
        lines.append(f"{row.name} = 0x{row.offset:03X}  # {row.meaning}")
        lines += [f"{_field(row.name, field.name)} = 0x{_mask(field):X}" for field in row.fields]
    lines += ["", *(f"{name} = {value}" for name, value in _header_constants().items()), "", "ERRORS = ("]
    return "\n".join([*lines, *(f'    "{meaning}",' for meaning in ERRORS.values()), ")", ""])


def _field(register: str, field: str) -> str:
    return f"{register}_{field.upper()}"


def _mask(field: Field) -> int:
    return ((1 << field.bits) - 1) << field.low


def _header_constants() -> dict[str, int]:
    """Bytes of a program's header, and the offsets in it of what a driver reads there."""
    regions = [slot for slot in layout(Header) if slot.name.startswith("regions_")]
    return {"HEADER_BYTES": HEADER_BYTES} | {
        f"HEADER_{slot.name.removeprefix('regions_').upper()}": slot.offset // 8 for slot in regions
    }
