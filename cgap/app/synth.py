"""`cgap synth`: what the accelerator takes of an FPGA and how long its paths are, by open tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cgap.backends.rtl.routing import PACKAGE, PART, SPEED, route
from cgap.backends.rtl.synthesis import FAMILIES, KINDS, Synthesis, synthesise, version
from cgap.backends.rtl.verilate import parameters
from cgap.boundary.files import write_atomic
from cgap.boundary.locks import scratch
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.platform import Platform

ROUTE_MHZ = 60
"""What nextpnr works towards on an ECP5."""


@dataclass(frozen=True)
class SynthRequest:
    """One accelerator and the family it is synthesised for; the platform gives the bus."""

    accelerator: Accelerator
    platform: Platform
    family: str
    capability: Capability = field(default_factory=Capability)
    routed: bool = False

    def check(self) -> None:
        """Raise UserError for a family that there is not, or one that cannot be routed."""
        if self.family not in FAMILIES:
            raise UserError(f"no family {self.family!r}: choose {', '.join(FAMILIES)}")
        if self.routed and self.family != "ecp5":
            raise UserError(f"--route needs a router, and there is an open one for ecp5 alone, not for {self.family}")

    @property
    def array(self) -> str:
        return f"{self.accelerator.Pox}x{self.accelerator.Poy}x{self.accelerator.Pof}"


def synthesise_accelerator(request: SynthRequest, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Synthesise, and route where it is asked for; writes `out`/ARRAY_FAMILY.json and returns what is in it.

    Raises:
        UserError: a tool is missing or fails, as when the design does not fit the part.
    """
    request.check()
    platform = request.platform.fitted(request.accelerator)
    values = parameters(request.accelerator, request.capability, platform)
    tools = {"yosys": version("yosys")}
    if request.routed:
        tools["nextpnr-ecp5"] = version("nextpnr-ecp5")
    say(f"Yosys: {request.array} for {FAMILIES[request.family].title}")
    result: dict[str, Any] = {"array": request.array, "family": request.family, "parameters": values, "tools": tools}
    with scratch() as work:
        netlist = work / "netlist.json" if request.routed else None
        synthesis = synthesise(values, request.family, netlist)
        result |= _figures(synthesis)
        if netlist:
            say(f"nextpnr: placing and routing on an {PART}")
            routed = route(netlist, ROUTE_MHZ)
            result["routed"] = {"part": f"{PART}-{SPEED} {PACKAGE}", **asdict(routed)}
    write_atomic(out / f"{request.array}_{request.family}.json", json.dumps(result, indent=1) + "\n")
    return result


def _figures(synthesis: Synthesis) -> dict[str, Any]:
    return {
        "total": synthesis.total,
        "blocks": synthesis.blocks,
        "longest_path_ns": synthesis.longest.nanoseconds,
        "longest_path": synthesis.longest.cells,
        "block_paths_ns": dict(sorted(synthesis.paths.items(), key=lambda item: -item[1])),
        "script": synthesis.script,
        "routed": None,
    }


def print_synthesis(result: dict[str, Any], console: Console) -> None:
    """A table of blocks, the longest path, and what routing gave."""
    family = FAMILIES[result["family"]]
    titles = dict(zip(KINDS, ("LUT", "LUT as RAM", "FF", "carry", family.dsp, family.block, "URAM"), strict=True))
    kinds = [kind for kind in KINDS if result["total"][kind]]
    table = Table(box=None, pad_edge=False, title=f"{result['array']} on {family.title}", title_justify="left")
    table.add_column("block")
    for kind in kinds:
        table.add_column(titles[kind], justify="right")
    for name, block in [*result["blocks"].items(), ("total", result["total"])]:
        table.add_row(name, *(f"{block.get(kind, 0):g}" for kind in kinds), style="bold" if name == "total" else "")
    console.print(table)
    console.print(f"longest path before routing, without wires: {result['longest_path_ns']:.2f} ns")
    if result["routed"]:
        routed = result["routed"]
        console.print(f"routed on {routed['part']}: {routed['fmax_mhz']:.1f} MHz")
