"""The analytic model: closed forms for what the simulator measures (docs/analytic.md).

Compute cycles and DRAM bytes are exact; the time of a layer is that of a pipeline of tiles (`schedule/pipeline.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fpga_model.collection import collection_paused
from fpga_model.schedule.pipeline import Clock
from fpga_model.schedule.plan import Plan


@dataclass(frozen=True)
class LayerEstimate:
    """One layer: cycles it adds to the network, its compute alone, and bytes on the bus."""

    cycles: int
    compute_cycles: int
    dram_read_bytes: int
    dram_write_bytes: int


@collection_paused()
def estimate(plan: Plan) -> dict[str, LayerEstimate]:
    """Closed-form costs of every computed layer, in layer order."""
    clock = Clock(plan.accelerator)
    estimates: dict[str, LayerEstimate] = {}
    for name in plan.layers:
        pipeline = plan.pipeline(name)
        totals = pipeline.totals()
        estimates[name] = LayerEstimate(
            cycles=clock.layer(pipeline, pipeline.tiles()),
            compute_cycles=totals.compute,
            dram_read_bytes=totals.parameter_bytes + totals.feature_bytes,
            dram_write_bytes=totals.stored_bytes,
        )
    return estimates
