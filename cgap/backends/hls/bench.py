"""What the emitted test benches know of a network, as text: tensors, DRAM, and the coordinates of commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cgap.backends.common.templates import plain
from cgap.backends.common.vectors import vector_files
from fpga_model.machine.platform import AXI_BOUNDARY
from fpga_model.machine.tiles import Unit
from fpga_model.models.simulator import Simulation
from fpga_model.schedule.dram import PARAMETERS, ROLES, is_packed, round_up
from fpga_model.schedule.schedule import Schedule


def describe(schedule: Schedule, layerwise: Schedule) -> str:
    """The body of `network.txt`: words and numbers, read by `Network` in tb.h.

    Tensors are counted in graph order, the input being 0, as a command's `layer` is. A place is a tensor's region,
    address and whether it is packed; a part is the maps and rows of a tensor that one command makes.
    """
    return "\n".join([*_tensors(schedule), *_schedule(schedule), *_schedule(layerwise)])


def describe_timing(schedule: Schedule, simulation: Simulation) -> str:
    """The body of `timing.txt`, read by `Timing` in tb.h: every command's layer, start and completion, by unit."""
    index, lines = _index(schedule), []
    for unit in Unit:
        events = [event for event in simulation.events if event.operation.unit is unit]
        lines.append(f"{unit.value} {len(events)}")
        lines += [f"{index[event.operation.layer]} {event.start} {event.done}" for event in events]
    return "\n".join(lines)


def dram_bytes(schedule: Schedule) -> int:
    """Bytes of the DRAM that a test bench needs: its regions, with a gap before each."""
    return AXI_BOUNDARY + sum(round_up(size, AXI_BOUNDARY) + AXI_BOUNDARY for size in schedule.dram.sizes.values())


def _tensors(schedule: Schedule) -> Iterator[str]:
    graph, files = schedule.graph, vector_files(schedule.graph)
    index = _index(schedule)
    yield f"tensors {len(graph.layers)}"
    for layer in graph.layers:
        shape = graph.shape(layer.name)
        numbers = [shape.channels, shape.height, shape.width, "reads", len(layer.inputs)]
        words = [files[layer.name], *numbers, *(index[name] for name in layer.inputs), plain(layer.name)]
        yield " ".join(map(str, words))


def _schedule(schedule: Schedule) -> Iterator[str]:
    index = _index(schedule)
    yield from (f"region {schedule.dram.sizes[role]}" for role in ROLES)
    places = [place for place in schedule.dram.places if place.role != PARAMETERS]
    yield f"places {len(places)}"
    for place in places:
        packed = int(is_packed(schedule.graph, place.name))
        yield f"{index[place.name]} {ROLES.index(place.role)} {place.address} {packed}"
    computes = [c for c in schedule.operations if c.unit is Unit.COMPUTE]
    yield from _parts("computes", [(index[c.layer], c.of, c.Tof, c.oy, c.Toy) for c in computes])
    stored = [(index[c.layer], c.tile) for c in schedule.operations if c.unit is Unit.STORE]
    yield from _parts("stores", [(layer, t.first_map, t.maps, t.first_row, t.rows) for layer, t in stored])


def _parts(word: str, parts: list[tuple[int, ...]]) -> Iterable[str]:
    return [f"{word} {len(parts)}", *(" ".join(map(str, part)) for part in parts)]


def _index(schedule: Schedule) -> dict[str, int]:
    return {layer.name: position for position, layer in enumerate(schedule.graph.layers)}
