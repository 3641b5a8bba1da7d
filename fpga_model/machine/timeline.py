"""When every operation starts and completes: units, queues and waits (docs/microarchitecture.md, section 3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fpga_model.collection import collection_paused
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import Operation
from fpga_model.machine.platform import Platform
from fpga_model.machine.stalls import Stalls
from fpga_model.machine.tiles import Cost, Port, Unit


@dataclass(frozen=True, slots=True)
class Event:
    """An operation's life: it starts in cycle `start` and completes in cycle `done`."""

    operation: Operation
    start: int
    done: int
    cost: Cost

    @property
    def cycles(self) -> int:
        return self.done - self.start + 1


@collection_paused()
def execute(
    operations: Iterable[Operation], accelerator: Accelerator, platform: Platform, stalls: Stalls | None = None
) -> list[Event]:
    """Times of all operations, on a DRAM with `stalls`. They come in an order that is a valid sequential execution."""
    done: dict[Unit, list[int]] = {unit: [-1] for unit in Unit}
    load, compute, store = (done[unit] for unit in (Unit.LOAD, Unit.COMPUTE, Unit.STORE))
    events = []
    for operation in operations:
        mine, waits = done[operation.unit], operation.waits
        start = max(mine[-1], load[waits.load], compute[waits.compute], store[waits.store]) + 1
        cost = operation.cost(accelerator, platform)
        if stalls is not None:
            cost = replace(cost, cycles=operation.stalled_cycles(cost, platform, stalls, start))
        finish = start + cost.cycles - 1
        mine.append(finish)
        events.append(Event(operation, start, finish, cost))
    return events


def port_conflicts(events: Sequence[Event], accelerator: Accelerator) -> list[tuple[Event, Event]]:
    """Pairs of events that overlap in time although both use a port of a page; empty for a valid schedule."""
    users: dict[Port, list[Event]] = defaultdict(list)
    for event in events:
        for port in event.operation.footprint(accelerator).ports:
            users[port].append(event)
    found = []
    for sharing in users.values():
        sharing.sort(key=lambda event: event.start)
        latest: Event | None = None
        for event in sharing:
            if latest is not None and event.start <= latest.done:
                found.append((latest, event))
            latest = event if latest is None or event.done > latest.done else latest
    return found
