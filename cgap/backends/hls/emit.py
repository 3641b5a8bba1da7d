"""Emits the HLS C++ of a schedule: engine, program, layers, test benches, scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cgap.backends.common.names import layer_ids
from cgap.backends.common.templates import Header, environment, render, template_text
from cgap.backends.hls.bench import describe, describe_timing, dram_bytes
from cgap.backends.hls.checks import check_alignment, check_port
from cgap.backends.hls.commands import constants, records
from cgap.backends.hls.csim import OPTIMISE, OPTIMISE_GNU
from cgap.backends.hls.rows import LayerCommands, Table, by_layer, listing, tables
from cgap.boundary.files import write_atomic
from fpga_model.graph import Layer
from fpga_model.machine.capability import Capability
from fpga_model.machine.operations import ConvolveOp, Operation, PoolOp
from fpga_model.machine.tiles import Buffer, Unit
from fpga_model.machine.timing import CONVOLVE_DEPTH
from fpga_model.models.simulator import Simulation, simulate
from fpga_model.operators import Operator
from fpga_model.schedule.dram import FEATURE, INPUT, OUTPUT
from fpga_model.schedule.schedule import Schedule

Figures = Mapping[str, Mapping[str, object]]
"""By layer: what the head of its file says besides its plan, such as cycles and DRAM bytes. None: not measured."""

LIBRARY = (
    *("types.h", "hooks.h", "stream.h", "pages.h", "walk.h", "moved.h", "load.h", "store.h", "array.h", "drain.h"),
    *("convolve.h", "pool.h", "transfer.h", "fetch.h", "write.h", "engine.h", "control.h", "sequential.h"),
    *("program.h", "accelerator.h"),
)
"""The synthesisable library: the same files for every network, array and platform."""
MADE = ("config.h", "command.h", "accelerator.cpp")
"""What belongs to it and is made: sizes, the table of commands, the top."""
BENCH = (
    *("tb.cpp", "tb_layers.cpp", "bench/simulation.h", "bench/processes.h", "bench/arguments.h", "bench/network.h"),
    *("bench/files.h", "bench/dram.h", "bench/checker.h", "bench/timing.h", "bench/bench.h"),
)
"""The test benches and what C simulation puts in the place of streams, ports and DRAM; copied, too."""
BUILD = (
    *("trips.h", "program_rom.h", "network.txt", "timing.txt"),
    *("run_hls.tcl", "hls_config.cfg", "block_design.tcl", "Makefile"),
)
"""Made for the build's network and platform."""


@dataclass(frozen=True)
class LayerView:
    """A layer as the templates see it.

    Attributes:
        listing: its commands in text.
        rom: its commands as tables; empty where it has no top.
        before: commands of each unit that earlier layers have.
    """

    id: str
    name: str
    index: int
    operator: Operator
    reads: tuple[str, ...]
    writes: str
    plan: tuple[str, ...]
    figures: Mapping[str, object]
    listing: tuple[str, ...] = ()
    rom: tuple[Table, ...] = ()
    before: tuple[int, ...] = ()


def emit_hls(
    schedule: Schedule,
    layerwise: Schedule,
    header: Header,
    figures: Figures,
    out: Path,
    capability: Capability,
    simulation: Simulation | None = None,
) -> None:
    """Write all C++ and scripts into the folder `out`; the same arguments give the same bytes.

    Args:
        schedule: what the whole network runs.
        layerwise: the layerwise schedule of the same network; each layer's own top runs its commands of it.
        header: head of every file.
        figures: figures for the head of each layer's file, by layer.
        out: the folder, made when needed.
        capability: what the accelerator is built for. The tops of single layers share its engine, which gets what they
            need besides, if anything; their commands are not in program memory.
        simulation: of `schedule`, where it is at hand; made when None.

    Raises:
        UserError: the accelerator is one that the C++ cannot have, or the network needs more than the capability set.
    """
    if layerwise.dram.parameter_bytes != schedule.dram.parameter_bytes:
        raise ValueError("both schedules must be made for the same network, accelerator and platform")
    check_port(schedule.accelerator, schedule.platform)
    for each in (schedule, layerwise):
        check_alignment(each.operations, each.accelerator, each.platform)
    capability.check(schedule.needs, schedule.graph.name)
    alone = replace(layerwise.needs, load_commands=0, compute_commands=0, store_commands=0)
    views = _views(schedule, figures)
    tops = _tops(layerwise)
    simulation = simulation or simulate(schedule)
    context = _context(schedule, layerwise, simulation, capability.joined(alone))
    context |= {"header": header, "layers": views}
    templates = environment("hls")
    for name in (*LIBRARY, *BENCH):
        write_atomic(out / name, template_text("hls", name))
    for name in (*MADE, *BUILD):
        write_atomic(out / name, render(templates, f"{name}.j2", context))
    for layer in views:
        write_atomic(out / "layers" / f"{layer.id}.h", render(templates, "layer.h.j2", {**context, "layer": layer}))
    context["layers"] = tops
    for layer in tops:
        write_atomic(out / "tops" / f"{layer.id}.cpp", render(templates, "top.cpp.j2", {**context, "layer": layer}))
    for name in ("tops.h", "tops.cpp"):
        write_atomic(out / "tops" / name, render(templates, f"{name}.j2", context))


def _context(
    schedule: Schedule, layerwise: Schedule, simulation: Simulation, capability: Capability
) -> dict[str, object]:
    """What the templates of the engine and of its scripts ask for."""
    platform = schedule.platform
    return {
        "accelerator": schedule.accelerator,
        "capability": constants(capability),
        "trips": _trips(schedule, simulation),
        "loop_cycles": CONVOLVE_DEPTH,
        "optimise": " ".join(OPTIMISE),
        "optimise_gnu": " ".join(OPTIMISE_GNU),
        "timing": describe_timing(schedule, simulation),
        "depths": {
            "dram": max(dram_bytes(s) for s in (schedule, layerwise)) // platform.beat_bytes,
            "program": len(schedule.program_bytes()) // 8,
        },
        "records": records(),
        "network": describe(schedule, layerwise),
        "rom": tables(schedule.program.commands, "program"),
        "schedule": {"kind": schedule.kind.value},
        "axi": {
            "bits": platform.axi_bits,
            "read_latency": platform.read_latency,
            "write_latency": platform.write_latency,
            "outstanding": platform.outstanding,
            "burst_beats": platform.burst_bytes // platform.beat_bytes,
            "beat_interval": platform.beat_interval,
            "burst_gap": platform.burst_gap,
        },
        "part": platform.part,
        "platform": platform.name,
        "clock_mhz": platform.clock_mhz,
        "period_ns": 1000 / platform.clock_mhz,
    }


def _trips(schedule: Schedule, simulation: Simulation) -> dict[str, int]:
    """The most iterations of each loop in the schedule's program, by the simulator's times."""
    computes = [event for event in simulation.events if event.operation.unit is Unit.COMPUTE]
    waits, end = [1], -1
    for event in computes:
        waits.append(event.start - end - 1)
        end = event.done
    waits.append(simulation.cycles - end - 1)
    found = {
        "runs": 1,
        "beats": 1,
        "convolve": 1,
        "pool": 1,
        "wait": max(waits),
        "computes": len(computes) + 1,
        "commands": len(schedule.operations),
        "network": simulation.cycles,
    }

    def raise_to(name: str, value: int) -> None:
        found[name] = max(found[name], value)

    for event in simulation.events:
        operation = event.operation
        if (runs := operation.dram) is not None:
            raise_to("runs", runs.count)
            raise_to("beats", runs.bytes // schedule.platform.beat_bytes)
        else:
            name = {ConvolveOp: "convolve", PoolOp: "pool"}[type(operation)]
            raise_to(name, event.cycles - CONVOLVE_DEPTH)
    return found


def _views(schedule: Schedule, figures: Figures) -> list[LayerView]:
    """Every layer that has commands, in program order, with its part of the program as text."""
    return [
        replace(view, figures=figures.get(view.name, {}), listing=listing(commands))
        for view, commands in _layers(schedule)
    ]


def _tops(layerwise: Schedule) -> list[LayerView]:
    """The same layers, each with its part of the layerwise program as tables."""
    return [
        replace(view, rom=tables(commands.commands, view.name), before=commands.before)
        for view, commands in _layers(layerwise)
    ]


def _layers(schedule: Schedule) -> Iterator[tuple[LayerView, LayerCommands]]:
    graph, ids = schedule.graph, layer_ids(schedule.graph)
    parts = by_layer(schedule.program, len(graph.layers))
    for index, layer in enumerate(graph.layers):
        operations = schedule.by_layer.get(layer.name)
        if not operations:
            continue
        view = LayerView(
            id=ids[layer.name],
            name=layer.name,
            index=index,
            operator=layer.operator,
            reads=tuple(_where(schedule, name) for name in layer.inputs),
            writes=_where(schedule, layer.name),
            plan=_plan(schedule, layer, operations),
            figures={},
        )
        yield view, parts[index]


def _where(schedule: Schedule, name: str) -> str:
    shape = f"{name} [{schedule.graph.shape(name)}]"
    tile = schedule.residents.get(name)
    if tile is not None:
        return f"{shape} on chip: page {tile.page}, word {tile.address}, interleave {tile.interleave}"
    place = schedule.dram.place(name, INPUT, OUTPUT, FEATURE)
    return f"{shape} in DRAM at byte {place.address} of the {place.role} region"


def _plan(schedule: Schedule, layer: Layer, commands: tuple[Operation, ...]) -> tuple[str, ...]:
    """Tile sizes, groups and parameter places in words."""
    tiling = schedule.tilings[layer.name]
    tiles = list(tiling.tiles(schedule.graph.shape(layer.name)))
    order = "rows outside" if tiling.rows_outside else "maps outside"
    groups = sum(c.cost(schedule.accelerator, schedule.platform).groups for c in commands)
    count = "1 tile" if len(tiles) == 1 else f"{len(tiles)} tiles"
    count += ", cut where parts end," if tiling.cuts else ""
    lines = [f"{count} of Tof {tiling.Tof} maps x Toy {tiling.Toy} rows, {order}; {groups} groups in all"]
    lines += [
        f"{command.buffer.value} words {command.address} to {command.address + command.words - 1}, from DRAM byte "
        f"{command.dram.address}"
        for command in commands
        if command.unit is Unit.LOAD and command.buffer is not Buffer.FEATURE
    ]
    return tuple(lines)
