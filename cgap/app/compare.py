"""`cgap compare`: what a vendor's HLS tool made of the emitted C++, beside the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cgap.app.plan import Target, plan_model
from cgap.app.reporting import Costs
from cgap.backends.hls.vendor import Cosimulation, Synthesis, read_cosimulation, read_synthesis
from cgap.lowering import ImportOptions
from fpga_model.models.resources import estimate_resources

MEANT = ("convolve_cycles", "pool_cycles", "wait_cycles", "fetch_cycles", "write_cycles", "load_beats", "store_beats")
"""Loops of the emitted C++ that start an iteration in every cycle of the model."""


@dataclass(frozen=True)
class Row:
    """One figure: the model's and the tool's, as text, and whether the tool's is not what it must be."""

    what: str
    model: str
    tool: str
    missed: bool = False


def compare_model(
    model: str, target: Target, csynth: Path, cosim: Path | None = None, options: ImportOptions | None = None
) -> list[Row]:
    """Put reports beside the model of a network on an accelerator. Raises UserError for input that is at fault."""
    synthesis = read_synthesis(csynth)
    measured = None if cosim is None else read_cosimulation(cosim)
    planned = plan_model(model, target, options)
    schedule = planned.schedule
    total = estimate_resources(schedule.accelerator, target.platform, planned.capability).total
    block = target.platform.block
    rows = [*_clock(synthesis, target), *_loops(synthesis)]
    rows += [
        Row("LUT", f"{total.lut + total.lutram:,}", _count(synthesis, "lut")),
        Row("FF", f"{total.ff:,}", _count(synthesis, "ff")),
        Row("DSP", f"{total.dsp:,}", _count(synthesis, "dsp")),
        Row("memory", f"{total.block:,} {block.name}", f"{_count(synthesis, 'bram18')} RAMB18"),
    ]
    return [*rows, *_cycles(Costs.of(schedule).simulation.cycles, measured)]


def _clock(synthesis: Synthesis, target: Target) -> list[Row]:
    wanted = 1000 / target.platform.clock_mhz
    part = target.platform.part
    return [
        Row("part", part, synthesis.part or "not said", bool(synthesis.part) and synthesis.part != part),
        Row("clock, ns", f"{wanted:.3f}", f"{synthesis.estimated_ns:.3f}", synthesis.estimated_ns > wanted),
    ]


def _loops(synthesis: Synthesis) -> list[Row]:
    """A loop that is meant to start every cycle and does not, or a pipelined loop of another name, is a miss."""
    rows = []
    for loop in synthesis.loops:
        # Vitis HLS makes a module of a pipelined loop and puts the function's name before the loop's.
        name = next((each for each in MEANT if loop.name.endswith(each)), None)
        if name is None and loop.interval is None:
            continue
        tool = "not pipelined" if loop.interval is None else f"{loop.interval}"
        depth = "" if loop.depth is None else f" (depth {loop.depth})"
        rows.append(Row(f"interval of {name or loop.name}", "1", tool + depth, loop.interval != 1))
    return rows


def _count(synthesis: Synthesis, name: str) -> str:
    used, there = synthesis.resources.get(name), synthesis.available.get(name)
    if used is None:
        return "not said"
    return f"{used:,}" + (f" of {there:,}" if there else "")


def _cycles(simulated: int, measured: Cosimulation | None) -> list[Row]:
    if measured is None:
        return [Row("cycles of an image", f"{simulated:,}", "not measured: --cosim")]
    least, _, most = measured.latency
    found = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    result = Row("co-simulation", "Pass", "Pass" if measured.passed else "Fail", not measured.passed)
    return [result, Row("cycles of an image", f"{simulated:,}", f"{found} ({most / simulated - 1:+.1%})")]
