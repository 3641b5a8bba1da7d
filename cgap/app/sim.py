"""`cgap sim`: cycles and DRAM bytes of a network, for which no images are needed, and of its RTL, which runs some."""

from __future__ import annotations

from pathlib import Path

from cgap.app.build import Say, compile_model
from cgap.app.plan import Target, plan_model
from cgap.app.report import RTL, Report
from cgap.app.reporting import Costs, make_report
from cgap.app.rtl import run_rtl
from cgap.app.trace import trace_json
from cgap.boundary.files import write_atomic
from cgap.lowering import ImportOptions


def simulate_model(model: str, target: Target, trace: Path | None, options: ImportOptions | None = None) -> Report:
    """The report of a network that is scheduled and simulated but neither quantised nor emitted. Raises UserError."""
    planned = plan_model(model, target, options)
    costs = Costs.of(planned.schedule)
    if trace is not None:
        write_atomic(trace, trace_json(costs.simulation, target.platform.clock_mhz))
    return make_report(planned, costs, command=planned.command("sim"), dataset=planned.record.get("dataset"))


def simulate_rtl(
    model: str,
    target: Target,
    images: int,
    say: Say,
    *,
    trace: Path | None = None,
    images_file: Path | None = None,
    options: ImportOptions | None = None,
) -> Report:
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
    command = compiled.command("sim") + " --rtl"
    runs = {RTL: run_rtl(compiled, images, say)}
    return make_report(compiled, costs, command=command, dataset=compiled.inputs.dataset, runs=runs)
