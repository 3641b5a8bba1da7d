"""`cgap sim`: cycles and DRAM bytes of a network, for which no images are needed, and of its RTL, which runs some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cgap.app.build import Say, compile_model
from cgap.app.plan import Target, plan_model, report_of
from cgap.app.report import Accuracy, Costs, add_rtl
from cgap.app.rtl import run_rtl
from cgap.app.trace import trace_json
from cgap.boundary.files import write_atomic
from cgap.lowering import ImportOptions


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
