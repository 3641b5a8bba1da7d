"""The simulation as a timeline in Chrome's trace format, which Perfetto opens."""

from __future__ import annotations

import json

from fpga_model.machine.tiles import Unit
from fpga_model.models.simulator import Simulation


def trace_json(simulation: Simulation, clock_mhz: float) -> str:
    """One row a unit, one block a command; times are microseconds at the accelerator's clock."""
    rows = {unit: index for index, unit in enumerate(Unit)}
    events: list[dict[str, object]] = [
        {"ph": "M", "pid": 0, "tid": row, "name": "thread_name", "args": {"name": unit.value}}
        for unit, row in rows.items()
    ]
    for event in simulation.events:
        kind = type(event.operation).__name__.lower()
        target = getattr(event.operation, "buffer", None)
        events.append(
            {
                "ph": "X",
                "pid": 0,
                "tid": rows[event.operation.unit],
                "name": event.operation.layer,
                "cat": kind if target is None else f"{kind} {target.value}",
                "ts": event.start / clock_mhz,
                "dur": event.cycles / clock_mhz,
                "args": {"start": event.start, "cycles": event.cycles},
            }
        )
    return json.dumps({"displayTimeUnit": "ns", "traceEvents": events}) + "\n"
