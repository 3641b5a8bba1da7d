"""Places and routes a netlist on an ECP5 with nextpnr and makes its bitstream."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgap.backends.rtl.synthesis import find_tool
from cgap.boundary.locks import scratch
from cgap.boundary.processes import run_tool
from fpga_model.errors import UserError

PACKAGES = {"MG285": "CSFBGA285", "BG256": "CABGA256", "BG381": "CABGA381", "BG554": "CABGA554", "BG756": "CABGA756"}
"""What nextpnr calls a package, by the code in a part's number."""


@dataclass(frozen=True)
class Routed:
    """A design on a part.

    Attributes:
        part: what it is routed for.
        fmax_mhz: the clock that the slowest path allows, after routing.
        used: cells by kind, `{"TRELLIS_COMB": (used, there)}`.
        critical: the slowest path, a step a row: what it is, nanoseconds, the cell or net.
        bitstream_bytes: size of the bitstream.
    """

    part: str
    fmax_mhz: float
    used: dict[str, tuple[int, int]]
    critical: list[tuple[str, float, str]]
    bitstream_bytes: int


def route(netlist: Path, part: str, clock_mhz: float, seed: int = 1) -> Routed:
    """Place, route and pack.

    Args:
        netlist: of `synthesise(..., "ecp5", netlist)`.
        part: number of an ECP5, as LFE5U-85F-8MG285C.
        clock_mhz: what the placer works towards.
        seed: of the placer.

    Raises:
        UserError: a tool is missing or fails, as when the design does not fit; the message has its last lines.
    """
    found = re.fullmatch(r"LFE5(U|UM|UM5G)-(12|25|45|85)F-([678])([A-Z]+\d+)[CI]?", part)
    if not found or found[4] not in PACKAGES:
        raise UserError(f"part {part!r} is no ECP5 that is known here; LFE5U-85F-8MG285C is one")
    kind = {"U": "", "UM": "um-", "UM5G": "um5g-"}[found[1]]
    options = (
        f"--{kind}{found[2]}k --package {PACKAGES[found[4]]} --speed {found[3]} --freq {clock_mhz:g} --seed {seed}"
    )
    options += " --timing-allow-fail --lpf-allow-unconstrained --report report.json --textcfg design.config"
    with scratch() as work:
        # The tools of PyPI see the folder that they run in, and another /tmp than this.
        shutil.copy(netlist, work / "netlist.json")
        run_tool(
            [*find_tool("nextpnr-ecp5"), "-q", "--json", "netlist.json", *options.split()],
            f"nextpnr cannot place and route the accelerator on {part}",
            cwd=work,
        )
        run_tool(
            [*find_tool("ecppack"), "--input", "design.config", "--bit", "design.bit"],
            "ecppack cannot make the bitstream",
            cwd=work,
        )
        report = json.loads((work / "report.json").read_text())
        return Routed(part, *read_report(report), (work / "design.bit").stat().st_size)


def read_report(report: dict[str, Any]) -> tuple[float, dict[str, tuple[int, int]], list[tuple[str, float, str]]]:
    """Fmax, cells in use and the slowest path from nextpnr's report."""
    fmax = min(clock["achieved"] for clock in report["fmax"].values())
    used = {name: (cell["used"], cell["available"]) for name, cell in report["utilization"].items() if cell["used"]}
    paths = [path for path in report["critical_paths"] if path["from"].split()[-1] == path["to"].split()[-1]]
    longest = max(paths, key=lambda path: sum(step["delay"] for step in path["path"]))
    critical = [
        (step["type"], round(step["delay"], 3), step.get("net") or step["from"]["cell"]) for step in longest["path"]
    ]
    return round(fmax, 2), dict(sorted(used.items())), critical
