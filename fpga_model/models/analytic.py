"""The analytic model: closed forms for what the simulator measures (docs/analytic.md).

Compute cycles and DRAM bytes are exact; the time of a layer is that of a pipeline of tiles (`schedule/pipeline.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fpga_model.schedule.pipeline import Clock
from fpga_model.schedule.plan import Plan


@dataclass(frozen=True)
class LayerEstimate:
    """One layer: cycles it adds to the network, its compute alone, and bytes on the bus."""

    cycles: int
    compute_cycles: int
    dram_read_bytes: int
    dram_write_bytes: int


def estimate(plan: Plan) -> dict[str, LayerEstimate]:
    """Closed-form costs of every computed layer, in layer order."""
    clock = Clock(plan.accelerator)
    estimates: dict[str, LayerEstimate] = {}
    for name in plan.layers:
        pipeline = plan.pipeline(name)
        tiles = pipeline.tiles()
        estimates[name] = LayerEstimate(
            cycles=clock.layer(pipeline, tiles),
            compute_cycles=sum(tile.compute for tile in tiles),
            dram_read_bytes=sum(tile.parameters.bytes + tile.features.bytes for tile in tiles),
            dram_write_bytes=sum(tile.store.bytes for tile in tiles),
        )
    return estimates
