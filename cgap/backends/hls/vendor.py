"""Reads what Vivado HLS and Vitis HLS report of a synthesis (csynth.xml or .rpt) and of a co-simulation (.rpt)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from fpga_model.errors import UserError

MAX_BYTES = 1 << 26
"""Reports of large designs have a few megabytes."""
RESOURCES = {"BRAM_18K": "bram18", "DSP": "dsp", "DSP48E": "dsp", "FF": "ff", "LUT": "lut", "URAM": "uram"}
"""Names of resources in the tools' reports, and ours."""


@dataclass(frozen=True)
class Loop:
    """A loop of the report: its initiation interval, None where it is not pipelined, and its pipeline's depth."""

    name: str
    interval: int | None
    depth: int | None


@dataclass(frozen=True)
class Synthesis:
    """A csynth report. Clocks are periods in nanoseconds; latencies in cycles, None where the tool gives none."""

    tool: str
    part: str
    target_ns: float
    estimated_ns: float
    latency: tuple[int | None, int | None]
    loops: tuple[Loop, ...]
    resources: dict[str, int] = field(default_factory=dict)
    available: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cosimulation:
    """A cosim report: whether it passed, and the least, average and greatest latency in cycles."""

    passed: bool
    latency: tuple[int, int, int]


def read_synthesis(path: Path) -> Synthesis:
    """Read csynth.xml, or the .rpt of the same synthesis. Raises UserError: it is neither."""
    text = _read(path)
    try:
        return _from_xml(text) if text.lstrip().startswith("<") else _from_text(text)
    except (ValueError, LookupError, AttributeError, ElementTree.ParseError) as error:
        raise UserError(
            f"{path} is not a csynth report of Vivado HLS or Vitis HLS: give solution/syn/report/csynth.xml or the "
            f".rpt of the top ({error or type(error).__name__})"
        ) from error


def read_cosimulation(path: Path) -> Cosimulation:
    """Read NAME_cosim.rpt. Raises UserError: it is not one, or holds no result."""
    for line in _read(path).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) >= 5 and cells[0] in ("Verilog", "VHDL") and cells[1] in ("Pass", "Fail"):
            numbers = [int(cell) if cell.isdigit() else 0 for cell in cells[2:5]]
            return Cosimulation(cells[1] == "Pass", (numbers[0], numbers[1], numbers[2]))
    raise UserError(f"{path} is not a co-simulation report with a result: give solution/sim/report/NAME_cosim.rpt")


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} has more than {MAX_BYTES >> 20} MiB, which no report has")
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL):
        raise UserError(f"{path} declares a document type or entities, which no report does")
    return text


# --- XML ----------------------------------------------------------------------------------------------------------


def _from_xml(text: str) -> Synthesis:
    root = ElementTree.fromstring(text)
    settings = _child(root, "UserAssignments")
    performance = _child(root, "PerformanceEstimates")
    timing, overall = performance.find("SummaryOfTimingAnalysis"), performance.find("SummaryOfOverallLatency")
    area = root.find("AreaEstimates")
    loops = {loop.name: loop for summary in root.iter("SummaryOfLoopLatency") for loop in _loops(summary)}
    return Synthesis(
        tool=root.findtext("ReportVersion/Version", "").strip(),
        part=settings.findtext("Part", "").strip(),
        target_ns=float(_text(settings, "TargetClockPeriod")),
        estimated_ns=float(_text(timing, "EstimatedClockPeriod")),
        latency=(_cycles(overall, "Best-caseLatency"), _cycles(overall, "Worst-caseLatency")),
        loops=tuple(loops.values()),
        resources=_resources(None if area is None else area.find("Resources")),
        available=_resources(None if area is None else area.find("AvailableResources")),
    )


def _child(element: ElementTree.Element, name: str) -> ElementTree.Element:
    found = element.find(name)
    if found is None:
        raise LookupError(f"no {name}")
    return found


def _text(element: ElementTree.Element | None, name: str) -> str:
    found = None if element is None else element.findtext(name)
    if not found:
        raise LookupError(f"no {name}")
    return found


def _cycles(element: ElementTree.Element | None, name: str) -> int | None:
    found = ("" if element is None else element.findtext(name) or "").strip()
    return int(found) if found.isdigit() else None


def _loops(summary: ElementTree.Element) -> Iterator[Loop]:
    """Loops, each an element of its name, with those inside it; what has neither trips nor an interval is a figure."""
    for element in summary:
        if element.find("TripCount") is None and element.find("PipelineII") is None:
            continue
        name = (element.findtext("Name") or element.tag).strip()
        yield Loop(name, _cycles(element, "PipelineII"), _cycles(element, "PipelineDepth"))
        yield from _loops(element)


def _resources(element: ElementTree.Element | None) -> dict[str, int]:
    found = {} if element is None else {RESOURCES.get(child.tag): (child.text or "").strip() for child in element}
    return {name: int(value) for name, value in found.items() if name and value.isdigit()}


# --- text ---------------------------------------------------------------------------------------------------------


def _from_text(text: str) -> Synthesis:
    clock = re.search(r"^\s*\|\s*ap_clk\s*\|\s*([\d.]+)\s*(?:ns)?\s*\|\s*([\d.]+)", text, re.MULTILINE)
    if clock is None:
        raise LookupError("no timing of ap_clk")
    version = re.search(r"^\* Version:\s*(\S+)", text, re.MULTILINE)
    part = re.search(r"^\* Target device:\s*(\S+)", text, re.MULTILINE)
    names: list[str] = []
    used: dict[str, int] = {}
    available: dict[str, int] = {}
    loops: list[Loop] = []
    latency: tuple[int | None, int | None] = (None, None)
    section = ""
    for line in text.splitlines():
        section = line.strip() if re.match(r"\s*[+*] [A-Z]", line) else section
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) < 5:
            continue
        if "BRAM_18K" in cells:
            names = cells
        elif cells[0] in ("Total", "Available") and names:
            into = used if cells[0] == "Total" else available
            into.update(
                {RESOURCES[n]: int(v) for n, v in zip(names, cells, strict=False) if n in RESOURCES and v.isdigit()}
            )
        elif section.startswith("* Loop") and re.match(r"[-+]+ ?\S", cells[0]) and len(cells) >= 8:
            depth, interval = (int(cell) if cell.isdigit() else None for cell in (cells[3], cells[4]))
            loops.append(Loop(cells[0].lstrip("-+ "), interval, depth))
        elif section.startswith("* Summary") and cells[0].isdigit() and latency == (None, None):
            latency = (int(cells[0]), int(cells[1]) if cells[1].isdigit() else None)
    return Synthesis(
        tool=version[1] if version else "",
        part=part[1] if part else "",
        target_ns=float(clock[1]),
        estimated_ns=float(clock[2]),
        latency=latency,
        loops=tuple(loops),
        resources=used,
        available=available,
    )
