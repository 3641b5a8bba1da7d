"""The DRAM accesses of an image as single requests, for simulators of DRAM."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fpga_model.machine.operations import LoadOp, StoreOp
from fpga_model.machine.timeline import Event
from fpga_model.schedule.dram import DramImage

REQUEST_BYTES = 64
"""What one request moves: a burst of eight over a 64-bit bus."""


@dataclass(frozen=True, order=True)
class Request:
    """One request: the accelerator's cycle, the byte address in the image of all regions, whether it writes."""

    cycle: int
    address: int
    write: bool


def requests(events: Iterable[Event], image: DramImage, size: int = REQUEST_BYTES) -> Iterator[Request]:
    """The requests of `size` bytes in the order of their cycles.

    A command's requests are spread evenly over the cycles for which it runs: its start and end are exact, what lies
    between is not. Requests begin at multiples of `size`; one that two commands share is made by both.
    """
    moving = [event for event in events if isinstance(event.operation, (LoadOp, StoreOp))]
    return heapq.merge(
        *(_of(moving, kind, image, size) for kind in (LoadOp, StoreOp)), key=lambda request: request.cycle
    )


def _of(events: list[Event], kind: type, image: DramImage, size: int) -> Iterator[Request]:
    """The requests of one unit, whose commands follow one another."""
    for event in events:
        operation = event.operation
        if not isinstance(operation, kind):
            continue
        assert isinstance(operation, (LoadOp, StoreOp))
        runs = operation.dram
        base = image.bases[runs.region] + runs.address
        addresses = [
            address
            for index in range(runs.count)
            for address in range(
                (base + index * runs.stride) // size * size, base + index * runs.stride + runs.bytes, size
            )
        ]
        for number, address in enumerate(addresses):
            cycle = event.start + number * event.cycles // len(addresses)
            yield Request(cycle, address, isinstance(operation, StoreOp))
