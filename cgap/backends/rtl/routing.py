"""Places and routes a netlist on an ECP5 with nextpnr and makes its bitstream."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgap.backends.rtl.synthesis import find_tool
from cgap.boundary.processes import Tool, ToolError, end_of, run_tool
from fpga_model.errors import UserError

PACKAGES = {"MG285": "CSFBGA285", "BG256": "CABGA256", "BG381": "CABGA381", "BG554": "CABGA554", "BG756": "CABGA756"}
"""What nextpnr calls a package, by the code in a part's number."""
NETLIST = "netlist.json"
LOG = "nextpnr.log"
POLL_S = 1
SAY_S = 30


@dataclass(frozen=True)
class Routed:
    """A design on a part.

    Attributes:
        part: what it is routed for.
        command: nextpnr's command line.
        seconds: that nextpnr took.
        fmax_mhz: the clock that the slowest path allows, after routing.
        used: cells by kind, `{"TRELLIS_COMB": (used, there)}`.
        critical: the slowest path, a step a row: what it is, nanoseconds, the cell or net.
        bitstream_bytes: size of the bitstream.
    """

    part: str
    command: str
    seconds: int
    fmax_mhz: float
    used: dict[str, tuple[int, int]]
    critical: list[tuple[str, float, str]]
    bitstream_bytes: int


def _nothing(_line: str) -> None:
    pass


def route(
    netlist: Path, part: str, clock_mhz: float, folder: Path, say: Callable[[str], None] = _nothing, seed: int = 1
) -> Routed:
    """Place, route and pack.

    Args:
        netlist: of `synthesise(..., "ecp5", netlist)`.
        part: number of an ECP5, as LFE5U-85F-8MG285C.
        clock_mhz: what the placer works towards.
        folder: where `nextpnr.log`, `report.json`, `design.config` and `design.bit` stay; the log grows meanwhile.
        say: told twice a minute what nextpnr is at.
        seed: of the placer.

    Raises:
        UserError: a tool is missing or fails, as when the design does not fit; the message has its last lines.
    """
    options = nextpnr_options(part, clock_mhz, seed)
    folder.mkdir(parents=True, exist_ok=True)
    # The tools of PyPI see the folder that they run in, and another /tmp than this.
    if netlist.resolve() != (folder / NETLIST).resolve():
        shutil.copy(netlist, folder / NETLIST)
    begun = time.perf_counter()
    _run_logged(
        [*find_tool("nextpnr-ecp5"), *options],
        f"nextpnr cannot place and route the accelerator on {part}",
        folder,
        say,
    )
    seconds = round(time.perf_counter() - begun)
    run_tool(
        [*find_tool("ecppack"), "--input", "design.config", "--bit", "design.bit"],
        "ecppack cannot make the bitstream",
        cwd=folder,
    )
    report = json.loads((folder / "report.json").read_text())
    size = (folder / "design.bit").stat().st_size
    return Routed(part, " ".join(["nextpnr-ecp5", *options]), seconds, *read_report(report), size)


def nextpnr_options(part: str, clock_mhz: float, seed: int) -> list[str]:
    """nextpnr's command line for a part. Raises UserError where it is no ECP5 that nextpnr knows."""
    found = re.fullmatch(r"LFE5(U|UM|UM5G)-(12|25|45|85)F-([678])([A-Z]+\d+)[CI]?", part)
    if not found or found[4] not in PACKAGES:
        raise UserError(f"part {part!r} is no ECP5 that is known here; LFE5U-85F-8MG285C is one")
    kind = {"U": "", "UM": "um-", "UM5G": "um5g-"}[found[1]]
    options = f"--json {NETLIST} --{kind}{found[2]}k --package {PACKAGES[found[4]]} --speed {found[3]}"
    options += f" --freq {clock_mhz:g} --seed {seed} --placer heap --router router1"
    options += " --timing-allow-fail --lpf-allow-unconstrained --report report.json --textcfg design.config"
    return options.split()


def _run_logged(command: list[str], failed: str, folder: Path, say: Callable[[str], None]) -> None:
    """Run a program that takes long, its output in `folder`/nextpnr.log, and say now and then what it is at."""
    with (folder / LOG).open("w+b") as log:
        tool = Tool(command, log, cwd=folder)
        try:
            told, next_s = "", 0.0
            while tool.poll() is None:
                time.sleep(POLL_S)
                if time.monotonic() < next_s:
                    continue
                lines = (folder / LOG).read_text("utf-8", "replace").split("\n")
                last = next((line for line in reversed(lines[:-1]) if line.strip()), "")
                if last != told:
                    say(f"nextpnr: {' '.join(last.removeprefix('Info:').split())}")
                    told, next_s = last, time.monotonic() + SAY_S
        finally:
            tool.stop()
        if (code := tool.wait()) != 0:
            raise ToolError(failed, code, end_of(log))


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
