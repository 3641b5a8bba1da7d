"""`cgap sim`: cycles and DRAM bytes of a network, for which no images are needed, and of its RTL, which runs some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cgap.app.build import Compiled, Say, compile_model
from cgap.app.plan import Target, plan_model, report_of
from cgap.app.report import Accuracy, Costs, Rtl, add_rtl
from cgap.app.trace import trace_json
from cgap.backends.rtl.trace import compare
from cgap.backends.rtl.twin import build, place
from cgap.boundary.files import write_atomic
from cgap.lowering import ImportOptions
from fpga_model.models.golden import run_reference


def simulate_model(
    model: str, target: Target, trace: Path | None, options: ImportOptions | None = None
) -> dict[str, Any]:
    """The report of a network that is scheduled and simulated but neither quantised nor emitted. Raises UserError."""
    planned = plan_model(model, target, options)
    costs = Costs.of(planned.schedule)
    if trace is not None:
        write_atomic(trace, trace_json(costs.simulation, target.platform.clock_mhz))
    return report_of(planned, planned.record.get("dataset"), Accuracy(0, None, None), costs, None, {})


def simulate_rtl(
    model: str,
    target: Target,
    images: int,
    say: Say,
    *,
    trace: Path | None = None,
    images_file: Path | None = None,
    options: ImportOptions | None = None,
) -> dict[str, Any]:
    """The same report with a column of the RTL, which runs `images` images.

    Raises:
        UserError: the input is at fault, or Verilator or a compiler is missing.
        RuntimeError: the RTL differs from simulator or integer reference, which is a defect of this program.
    """
    say("importing, quantising and scheduling")
    compiled = compile_model(model, target, images_file, options)
    costs = Costs.of(compiled.schedule)
    if trace is not None:
        write_atomic(trace, trace_json(costs.simulation, target.platform.clock_mhz))
    report = report_of(compiled, compiled.inputs.dataset, Accuracy(0, None, None), costs, None, {})
    add_rtl(report, run_rtl(compiled, images, say))
    return report


def run_rtl(compiled: Compiled, images: int, say: Say) -> Rtl:
    """Run the RTL and hold it against simulator and integer reference.

    Raises:
        UserError: Verilator or a compiler is missing.
        RuntimeError: they differ.
    """
    schedule = compiled.schedule
    say("building the RTL's simulation (once for each accelerator)")
    hw = build(schedule)
    integers = compiled.inputs.integers()[:images]
    say(f"running {len(integers)} images in the RTL")
    run = hw.run(integers, trace=True)
    assert run.trace is not None, "a trace was asked for"
    stored = run_reference(compiled.fixed, integers)
    bases = place(schedule, len(schedule.program_bytes()), len(integers)).bases
    found = compare(schedule, run.trace, bases, stored)
    if found.differences:
        raise RuntimeError("the RTL is not what the simulator says:\n" + "\n".join(found.differences))
    mismatches = sum(int((tensor != stored[name]).sum()) for name, tensor in run.outputs.items())
    layers = {
        name: (cycles, found.traffic[name].read_bytes, found.traffic[name].write_bytes)
        for name, cycles in found.cycles.items()
    }
    return Rtl(len(integers), mismatches + sum(found.mismatches.values()), round(run.seconds, 3), layers)
