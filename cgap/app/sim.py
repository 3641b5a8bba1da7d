"""`cgap sim`: cycles and DRAM bytes of a network, which need neither images nor integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cgap.app.plan import Target, plan_model, report_of
from cgap.app.report import Accuracy, Costs
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
