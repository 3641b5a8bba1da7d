"""`cgap synth`: what the accelerator takes of an FPGA and how long its paths are, by open tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cgap.backends.rtl.routing import LOG, NETLIST, route
from cgap.backends.rtl.synthesis import FAMILIES, KINDS, Synthesis, family_of, rtl_digest, synthesise, version
from cgap.backends.rtl.verilate import parameters
from cgap.boundary.files import write_atomic, writing
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.platform import Platform


@dataclass(frozen=True)
class SynthRequest:
    """One accelerator on one platform; `capability` says what programs may ask of it."""

    accelerator: Accelerator
    platform: Platform
    capability: Capability = field(default_factory=Capability)
    routed: bool = False


def synthesise_accelerator(request: SynthRequest, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Synthesise, and route where it is asked for; writes `out`/ARRAY_PLATFORM.json and returns what is in it.

    Raises:
        UserError: no open tool knows the part, or one is missing or fails, as when the design does not fit.
    """
    accelerator = request.accelerator
    family = family_of(request.platform.part)
    if request.routed and family != "ecp5":
        raise UserError(f"--route: there is no open router for {request.platform.part}, only for ECP5 parts")
    platform = request.platform.fitted(accelerator)
    values = parameters(accelerator, request.capability, platform)
    tools = {"yosys": version("yosys")} | ({"nextpnr-ecp5": version("nextpnr-ecp5")} if request.routed else {})
    result: dict[str, Any] = {
        "array": accelerator.array,
        "platform": platform.name,
        "family": family,
        "parameters": values,
        "rtl": rtl_digest(),
        "tools": tools,
    }
    say(f"Yosys: {accelerator.array} for {platform.name}")
    name = f"{accelerator.array}_{platform.name}"
    folder = out / name
    if request.routed:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    result |= _figures(synthesise(values, family, folder / NETLIST if request.routed else None))
    # Routing takes longest, and may fail: what synthesis found is there before.
    write_atomic(out / f"{name}.json", json.dumps(result, indent=1) + "\n")
    if request.routed:
        say(f"nextpnr: placing and routing on {platform.part}; its log is {folder / LOG}")
        result["routed"] = asdict(route(folder / NETLIST, platform.part, platform.clock_mhz, folder, say))
        write_atomic(out / f"{name}.json", json.dumps(result, indent=1) + "\n")
    return result


def _figures(synthesis: Synthesis) -> dict[str, Any]:
    return {
        "total": synthesis.total,
        "blocks": synthesis.blocks,
        "longest_path_ns": synthesis.longest.nanoseconds if synthesis.longest else None,
        "longest_path": synthesis.longest.cells if synthesis.longest else [],
        "block_paths_ns": {
            name: path.nanoseconds
            for name, path in sorted(synthesis.paths.items(), key=lambda item: -item[1].nanoseconds)
        },
        "script": synthesis.script,
        "routed": None,
    }


def print_synthesis(result: dict[str, Any], console: Console) -> None:
    """A table of blocks, the longest path, and what routing gave."""
    family = FAMILIES[result["family"]]
    titles = dict(zip(KINDS, ("LUT", "LUT as RAM", "FF", "carry", family.dsp, family.block, "URAM"), strict=True))
    kinds = [kind for kind in KINDS if result["total"][kind]]
    table = Table(box=None, pad_edge=False, title=f"{result['array']} on {result['platform']}", title_justify="left")
    table.add_column("block")
    for kind in kinds:
        table.add_column(titles[kind], justify="right")
    for name, block in [*result["blocks"].items(), ("total", result["total"])]:
        table.add_row(name, *(f"{block.get(kind, 0):g}" for kind in kinds), style="bold" if name == "total" else "")
    console.print(table)
    if result["longest_path"]:
        console.print(f"longest path before routing, without wires: {result['longest_path_ns']:.2f} ns")
    if result["routed"]:
        routed = result["routed"]
        size = routed["bitstream_bytes"]
        console.print(f"routed on {routed['part']}: {routed['fmax_mhz']:.1f} MHz; bitstream of {size:,} bytes")
