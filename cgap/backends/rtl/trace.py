"""What a simulation of the RTL saw of one image, and whether it is what the schedule says it must be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import ConvolveOp, Operation, PoolOp
from fpga_model.machine.stalls import Stalls
from fpga_model.machine.tiles import DramRuns, FeatureTile, Unit
from fpga_model.machine.timeline import Event
from fpga_model.machine.timing import bursts
from fpga_model.models.golden import StoredTensors
from fpga_model.models.simulator import simulate
from fpga_model.schedule.schedule import Schedule

UNITS = (Unit.LOAD, Unit.COMPUTE, Unit.STORE)
CONTEXT = 4
"""Commands shown before and after the first that differs."""

Burst = tuple[int, int]
"""Address and beats."""


@dataclass
class Trace:
    """One image in the RTL. Cycles count from the image's first.

    Attributes:
        starts, dones: cycle in which each unit's commands started and completed, in order.
        reads, writes: bursts, as (cycle, address, beats).
        results: feature words written by COMPUTE, as (cycle, page, bank, word, mask, data).
    """

    starts: dict[Unit, list[int]] = field(default_factory=lambda: {unit: [] for unit in UNITS})
    dones: dict[Unit, list[int]] = field(default_factory=lambda: {unit: [] for unit in UNITS})
    reads: list[tuple[int, int, int]] = field(default_factory=list)
    writes: list[tuple[int, int, int]] = field(default_factory=list)
    results: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)


def read_trace(lines: Iterable[str]) -> Trace:
    """The trace that `harness.sv` writes."""
    trace = Trace()
    for line in lines:
        kind, *words = line.split()
        match kind:
            case "S" | "D":
                times = (trace.starts if kind == "S" else trace.dones)[UNITS[int(words[0])]]
                if len(times) != int(words[1]):
                    raise ValueError(f"commands are out of order in the trace: {line!r}")
                times.append(int(words[2]))
            case "R" | "W":
                cycle, address, beats = map(int, words)
                (trace.reads if kind == "R" else trace.writes).append((cycle, address, beats))
            case "P":
                cycle, page, bank, word = map(int, words[:4])
                trace.results.append((cycle, page, bank, word, int(words[4], 16), int(words[5], 16)))
            case _:
                raise ValueError(f"no line of a trace: {line!r}")
    return trace


def trace_hash(found: Iterable[Burst]) -> str:
    """A fingerprint of a sequence of bursts: addresses from the region's base on, and beats."""
    text = "".join(f"{address:x}+{beats}\n" for address, beats in found)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def expected_bursts(dram: DramRuns, schedule: Schedule) -> list[Burst]:
    """The bursts of a DRAM access, their addresses counted from the region's base."""
    found: list[Burst] = []
    beat = schedule.platform.beat_bytes
    lengths = bursts(dram, schedule.platform)
    for index in range(dram.count):
        address = dram.address + index * dram.stride
        end = address + dram.bytes
        while address < end:
            beats = next(lengths)
            found.append((address, beats))
            address += beats * beat
    return found


@dataclass(frozen=True)
class LayerTraffic:
    """What one layer moved on the bus."""

    read_bytes: int
    write_bytes: int
    bursts: int
    hash: str


@dataclass(frozen=True)
class Comparison:
    """What of a simulation differs from the schedule; nothing does if `differences` is empty.

    Attributes:
        differences: sentences, the first of each kind.
        cycle: in which the first command that differs starts; None without a difference, or before any command.
        cycles: cycles of each layer, as the RTL's commands completed.
        traffic: what each layer moved, as it was on the bus.
        mismatches: pixels that differ, by layer.
        compared: pixels compared, by layer.
    """

    differences: tuple[str, ...]
    cycle: int | None
    cycles: dict[str, int]
    traffic: dict[str, LayerTraffic]
    mismatches: dict[str, int]
    compared: dict[str, int]


def compare(
    schedule: Schedule,
    trace: Trace,
    bases: Mapping[str, int],
    stored: StoredTensors | None,
    image: int = 0,
    *,
    stalls: Stalls | None = None,
) -> Comparison:
    """Compare one image's trace with the simulator and, unless `stored` is None, with the integer reference.

    Args:
        schedule: what ran.
        trace: what the RTL did.
        bases: address of each DRAM region.
        stored: tensors of the integer reference.
        image: index of the traced image in them.
        stalls: what the memory did not do.
    """
    events = simulate(schedule, stalls).events
    found = list(filter(None, [compare_times(events, trace)]))
    traffic, wrong = _compare_traffic(schedule, events, trace, bases)
    found += wrong
    mismatches: dict[str, int] = {}
    compared: dict[str, int] = {}
    if stored is not None and not found:
        wrong, mismatches, compared = _compare_tensors(schedule, events, trace, stored, image)
        found += wrong
    first = min((difference.cycle for difference in found), default=None)
    return Comparison(
        tuple(difference.sentence for difference in found),
        first,
        _layer_cycles(events, trace),
        traffic,
        mismatches,
        compared,
    )


@dataclass(frozen=True)
class Difference:
    """What differs, and the cycle in which the command starts that is the first to differ."""

    sentence: str
    cycle: int


def compare_times(events: Sequence[Event], trace: Trace) -> Difference | None:
    """Start and completion of every command: the first that differs, with both timelines around it."""
    ordered: dict[Unit, list[Event]] = {unit: [] for unit in UNITS}
    for event in events:
        ordered[event.operation.unit].append(event)
    worst: tuple[int, Unit, int] | None = None
    for unit in UNITS:
        for index, event in enumerate(ordered[unit]):
            if _at(trace.starts[unit], index) != event.start or _at(trace.dones[unit], index) != event.done:
                if worst is None or event.start < worst[0]:
                    worst = (event.start, unit, index)
                break
        if len(trace.starts[unit]) > len(ordered[unit]):
            sentence = f"{unit.value.upper()} started {len(trace.starts[unit])} commands, of {len(ordered[unit])}"
            return Difference(sentence, trace.starts[unit][len(ordered[unit])])
    if worst is None:
        return None
    _, unit, index = worst
    lines = [f"{unit.value.upper()} command {index} differs first (start and completion, simulator | RTL):"]
    for k in range(max(0, index - CONTEXT), min(len(ordered[unit]), index + CONTEXT + 1)):
        event = ordered[unit][k]
        rtl = f"{_shown(trace.starts[unit], k)} {_shown(trace.dones[unit], k)}"
        mark = ">" if k == index else " "
        lines.append(f"{mark} {k:5} {event.start:9} {event.done:9} | {rtl}  {event.operation.layer}")
    begun = _at(trace.starts[unit], index)
    start = ordered[unit][index].start
    return Difference("\n".join(lines), start if begun is None else min(start, begun))


def _at(times: Sequence[int], index: int) -> int | None:
    return times[index] if index < len(times) else None


def _shown(times: Sequence[int], index: int) -> str:
    return f"{times[index]:9}" if index < len(times) else f"{'-':>9}"


def _layer_cycles(events: Sequence[Event], trace: Trace) -> dict[str, int]:
    """Cycles that every layer adds, from the RTL's completions."""
    count = dict.fromkeys(UNITS, 0)
    latest: dict[str, int] = {}
    for event in events:
        unit, layer = event.operation.unit, event.operation.layer
        done = _at(trace.dones[unit], count[unit])
        count[unit] += 1
        if done is not None:
            latest[layer] = max(latest.get(layer, -1), done)
    cycles, end = {}, -1
    for layer, done in latest.items():
        cycles[layer] = max(end, done) - end
        end = max(end, done)
    return cycles


def _compare_traffic(
    schedule: Schedule, events: Sequence[Event], trace: Trace, bases: Mapping[str, int]
) -> tuple[dict[str, LayerTraffic], list[Difference]]:
    """Bursts in order, command by command; and what each layer moved."""
    differences: list[Difference] = []
    moved: dict[str, dict[Unit, list[Burst]]] = {}
    for unit, found in ((Unit.LOAD, trace.reads), (Unit.STORE, trace.writes)):
        position = 0
        for event in events:
            operation = event.operation
            mine = moved.setdefault(operation.layer, {Unit.LOAD: [], Unit.STORE: []})
            if operation.unit is not unit:
                continue
            runs = operation.dram
            assert runs is not None, "COMPUTE has no traffic of its own"
            expected = expected_bursts(runs, schedule)
            base = bases[runs.region]
            there = [(address - base, beats) for _, address, beats in found[position : position + len(expected)]]
            position += len(expected)
            mine[unit] += there
            if there != expected and not differences:
                sentence = f"bursts of {unit.value.upper()} are {there[:6]}, not {expected[:6]}"
                differences.append(Difference(f"layer {operation.layer!r}: {sentence}", event.start))
        if position != len(found):
            sentence = f"{unit.value.upper()} moved {len(found)} bursts, not {position}"
            differences.append(Difference(sentence, events[-1].done))
    beat = schedule.platform.beat_bytes
    return {
        layer: LayerTraffic(
            sum(beats for _, beats in mine[Unit.LOAD]) * beat,
            sum(beats for _, beats in mine[Unit.STORE]) * beat,
            len(mine[Unit.LOAD]) + len(mine[Unit.STORE]),
            trace_hash([*mine[Unit.LOAD], *mine[Unit.STORE]]),
        )
        for layer, mine in moved.items()
    }, differences


def _compare_tensors(
    schedule: Schedule, events: Sequence[Event], trace: Trace, stored: StoredTensors, image: int
) -> tuple[list[Difference], dict[str, int], dict[str, int]]:
    """Replay COMPUTE's writes; after every command, its part of its tensor must be there."""
    accelerator = schedule.accelerator
    pages = np.zeros((accelerator.pages, accelerator.Poy, accelerator.page_depth, accelerator.word_pixels), np.int8)
    differences: list[Difference] = []
    mismatches: dict[str, int] = {}
    compared: dict[str, int] = {}
    position, results = 0, trace.results
    commands = [event for event in events if event.operation.unit is Unit.COMPUTE]
    for event in commands:
        operation, layer = event.operation, event.operation.layer
        assert operation.unit is Unit.COMPUTE
        begin = position
        while position < len(results) and results[position][0] <= event.done:
            position += 1
        _apply(pages, results[begin:position])
        strayed = _strayed(results[begin:position], operation, accelerator)
        found = read_tile(pages, operation, accelerator)
        want = stored[layer][image][operation.of : operation.of + operation.Tof]
        want = want[:, operation.oy : operation.oy + operation.Toy]
        wrong = found[:, :, : operation.Nox] != want
        beyond = int(np.count_nonzero(found[:, :, operation.Nox :]))
        compared[layer] = compared.get(layer, 0) + wrong.size
        mismatches[layer] = mismatches.get(layer, 0) + int(wrong.sum())
        if wrong.any() and not differences:
            m, r, x = (int(v) for v in np.argwhere(wrong)[0])
            sentence = (
                f"layer {layer!r}: map {operation.of + m}, row {operation.oy + r}, column {x} is {found[m, r, x]}, not "
                f"{want[m, r, x]} ({int(wrong.sum())} of {wrong.size} pixels of this command differ)"
            )
            differences.append(Difference(sentence, event.start))
        if (beyond or strayed) and not differences:
            sentence = f"layer {layer!r}: {strayed} words outside the tile, {beyond} pixels beyond the width"
            differences.append(Difference(sentence, event.start))
    if position != len(results):
        sentence = f"COMPUTE wrote {len(results)} words, of which {len(results) - position} after its commands"
        differences.append(Difference(sentence, results[position][0]))
    return differences, mismatches, compared


def _apply(pages: npt.NDArray[np.int8], results: Sequence[tuple[int, int, int, int, int, int]]) -> None:
    pixels = pages.shape[-1]
    for _, page, bank, word, mask, data in results:
        there = np.frombuffer(data.to_bytes(pixels, "little"), np.int8)
        under = np.array([mask >> i & 1 for i in range(pixels)], bool)
        pages[page, bank, word, under] = there[under]


def _rows(operation: ConvolveOp | PoolOp, accelerator: Accelerator) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Bank and word, both [maps, rows, words], of the tile that a command makes."""
    tile, Poy = operation.destination, accelerator.Poy
    m = (operation.of - tile.first_map + np.arange(operation.Tof))[:, None, None]
    r = (operation.oy - tile.first_row + np.arange(operation.Toy))[None, :, None]
    w = np.arange(tile.row_words)[None, None, :]
    group, inside = r // (tile.interleave * Poy), r % tile.interleave
    word = tile.address + (m * tile.group_rows(Poy) + group * tile.interleave + inside) * tile.row_words + w
    return np.broadcast_to(r // tile.interleave % Poy, word.shape), word


def _packed_words(tile: FeatureTile, operation: ConvolveOp | PoolOp, accelerator: Accelerator) -> tuple[int, int]:
    """First word of a packed command's maps and the one behind the last."""
    first = operation.of - tile.first_map
    last = first + operation.Tof - 1
    return tile.address + first // accelerator.word_pixels, tile.address + last // accelerator.word_pixels + 1


def read_tile(
    pages: npt.NDArray[np.int8], operation: ConvolveOp | PoolOp, accelerator: Accelerator
) -> npt.NDArray[np.int8]:
    """What lies where a command writes: [maps, rows, columns], rows to the end of their last word."""
    tile = operation.destination
    if tile.packed:
        begin, end = _packed_words(tile, operation, accelerator)
        flat = pages[tile.page, 0, begin:end].reshape(-1)
        first = (operation.of - tile.first_map) % accelerator.word_pixels
        return flat[first : first + operation.Tof].reshape(-1, 1, 1)
    bank, word = _rows(operation, accelerator)
    found: npt.NDArray[np.int8] = pages[tile.page, bank, word]
    return found.reshape(operation.Tof, operation.Toy, -1)


def _strayed(
    results: Sequence[tuple[int, int, int, int, int, int]], operation: Operation, accelerator: Accelerator
) -> int:
    """Words written outside a command's tile."""
    assert operation.unit is Unit.COMPUTE
    tile = operation.destination
    if tile.packed:
        begin, end = _packed_words(tile, operation, accelerator)
        allowed = {(tile.page, 0, word) for word in range(begin, end)}
    else:
        bank, word = _rows(operation, accelerator)
        allowed = {(tile.page, int(b), int(w)) for b, w in zip(bank.ravel(), word.ravel(), strict=True)}
    return sum((page, bank, word) not in allowed for _, page, bank, word, _, _ in results)
