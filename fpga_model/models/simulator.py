"""The cycle-level simulator: three units, their queues and waits (docs/microarchitecture.md, sections 3 to 8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.commands import Command, Convolve, Load, PoolRows, Store, Unit
from fpga_model.machine.hazards import Footprint, footprint
from fpga_model.machine.platform import Platform
from fpga_model.machine.timing import beats, command_cycles, group_drains, group_sums

if TYPE_CHECKING:
    from fpga_model.schedule.schedule import Schedule


@dataclass(frozen=True)
class Event:
    """A command's life: it starts in cycle `start` and completes in cycle `done`."""

    command: Command
    start: int
    done: int

    @property
    def cycles(self) -> int:
        return self.done - self.start + 1


@dataclass(frozen=True)
class LayerCost:
    """One layer's share: cycles by which it delays the network, busy cycles of each unit, bytes on the bus.

    `sums` and `drains` are the array's and the drain's part of the busy cycles of COMPUTE.
    """

    cycles: int
    busy: dict[Unit, int]
    sums: int
    drains: int
    dram_read_bytes: int
    dram_write_bytes: int

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


def execute(commands: Iterable[Command], accelerator: Accelerator, platform: Platform) -> list[Event]:
    """Times of all commands. They must come in an order that is a valid sequential execution."""
    done: dict[Unit, list[int]] = {unit: [] for unit in Unit}
    events = []
    for command in commands:
        mine = done[command.unit]
        ready = mine[-1] if mine else -1
        for unit in Unit:
            count = getattr(command.waits, unit.value)
            if count:
                ready = max(ready, done[unit][count - 1])
        start = ready + 1
        finish = start + command_cycles(command, accelerator, platform) - 1
        mine.append(finish)
        events.append(Event(command, start, finish))
    return events


def simulate(schedule: Schedule) -> Simulation:
    """Run a schedule once."""
    events = execute(schedule.commands, schedule.accelerator, schedule.platform)
    layers: dict[str, LayerCost] = {}
    end = -1
    for layer in dict.fromkeys(event.command.layer for event in events):
        mine = [event for event in events if event.command.layer == layer]
        latest = max(end, max(event.done for event in mine))
        layers[layer] = LayerCost(
            cycles=latest - end,
            busy={unit: sum(e.cycles for e in mine if e.command.unit is unit) for unit in Unit},
            sums=sum(_parts(e, schedule.accelerator)[0] for e in mine),
            drains=sum(_parts(e, schedule.accelerator)[1] for e in mine),
            dram_read_bytes=_bytes(mine, Load, schedule.platform),
            dram_write_bytes=_bytes(mine, Store, schedule.platform),
        )
        end = latest
    return Simulation(tuple(events), layers)


def _parts(event: Event, accelerator: Accelerator) -> tuple[int, int]:
    """Busy cycles of the array and of the drain in a COMPUTE command; pooling is all drain."""
    command = event.command
    if isinstance(command, Convolve):
        drains = list(group_drains(command, accelerator))
        return len(drains) * group_sums(command), sum(drains)
    return (0, event.cycles) if isinstance(command, PoolRows) else (0, 0)


def _bytes(events: Sequence[Event], kind: type[Load] | type[Store], platform: Platform) -> int:
    moved = sum(beats(e.command.dram, platform) for e in events if isinstance(e.command, kind))
    return moved * platform.beat_bytes


def port_conflicts(simulation: Simulation, accelerator: Accelerator) -> list[tuple[Event, Event]]:
    """Pairs of events that overlap in time although their commands conflict; empty for a valid schedule."""
    found = []
    running: list[tuple[Event, Footprint]] = []
    for event in sorted(simulation.events, key=lambda e: e.start):
        mine = footprint(event.command, accelerator)
        running = [(other, theirs) for other, theirs in running if other.done >= event.start]
        found += [(other, event) for other, theirs in running if theirs.conflicts(mine)]
        running.append((event, mine))
    return found
