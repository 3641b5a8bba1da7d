"""The DRAM accesses of an image as single requests, for simulators of DRAM."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fpga_model.machine.tiles import Unit
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
    found = list(events)
    return heapq.merge(
        *(_of(found, unit, image, size) for unit in (Unit.LOAD, Unit.STORE)), key=lambda request: request.cycle
    )


def _of(events: list[Event], unit: Unit, image: DramImage, size: int) -> Iterator[Request]:
    """The requests of one unit, whose commands follow one another."""
    for event in events:
        runs = event.operation.dram
        if runs is None or event.operation.unit is not unit:
            continue
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
            yield Request(cycle, address, unit is Unit.STORE)
