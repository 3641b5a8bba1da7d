"""The cycle-level simulator: the timeline of a schedule, and what each layer has of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from fpga_model.collection import collection_paused
from fpga_model.machine.stalls import Stalls
from fpga_model.machine.tiles import Unit
from fpga_model.machine.timeline import Event, execute, port_conflicts
from fpga_model.schedule.schedule import Schedule


@dataclass
class LayerCost:
    """One layer's share: cycles by which it delays the network, busy cycles of each unit, bytes on the bus.

    `sums` and `drains` are the array's and the drain's part of the busy cycles of COMPUTE; `read` and `written` are
    bytes by DRAM region.
    """

    cycles: int = 0
    busy: dict[Unit, int] = field(default_factory=lambda: dict.fromkeys(Unit, 0))
    sums: int = 0
    drains: int = 0
    read: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)

    @property
    def dram_read_bytes(self) -> int:
        return sum(self.read.values())

    @property
    def dram_write_bytes(self) -> int:
        return sum(self.written.values())

    @property
    def bound(self) -> str:
        """What was busy longest: `array`, `drain`, `dram read` or `dram write`."""
        resources = {
            "array": self.sums,
            "drain": self.drains,
            "dram read": self.busy[Unit.LOAD],
            "dram write": self.busy[Unit.STORE],
        }
        return max(resources, key=lambda resource: resources[resource])


@dataclass(frozen=True)
class Simulation:
    """All events in program order, and the layers' costs in layer order; costs sum to the totals."""

    events: tuple[Event, ...]
    layers: dict[str, LayerCost]

    @property
    def cycles(self) -> int:
        return sum(cost.cycles for cost in self.layers.values())

    @property
    def dram_read_bytes(self) -> int:
        return sum(cost.dram_read_bytes for cost in self.layers.values())

    @property
    def dram_write_bytes(self) -> int:
        return sum(cost.dram_write_bytes for cost in self.layers.values())


@collection_paused()
def simulate(schedule: Schedule, stalls: Stalls | None = None) -> Simulation:
    """Run a schedule once, on a DRAM that stalls as `stalls` say.

    Raises:
        ValueError: two units would use one port of a page at the same time, which is a defect of the scheduler.
    """
    events = execute(schedule.operations, schedule.accelerator, schedule.platform, stalls)
    for first, second in port_conflicts(events, schedule.accelerator)[:1]:
        raise ValueError(f"{first} and {second} use one port of a page at the same time")
    layers: dict[str, LayerCost] = defaultdict(LayerCost)
    latest: dict[str, int] = {}
    for event in events:
        operation, name = event.operation, event.operation.layer
        cost = layers[name]
        cost.busy[operation.unit] += event.cycles
        cost.sums += event.cost.sums
        cost.drains += event.cost.drains
        if operation.dram is not None:
            moved = cost.read if operation.unit is Unit.LOAD else cost.written
            region = operation.dram.region
            moved[region] = moved.get(region, 0) + operation.dram.total
        latest[name] = max(latest.get(name, -1), event.done)
    end = -1
    for name, cost in layers.items():
        cost.cycles = max(end, latest[name]) - end
        end = max(end, latest[name])
    return Simulation(tuple(events), dict(layers))
