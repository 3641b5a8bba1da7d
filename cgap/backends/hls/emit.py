"""Emits the HLS C++ of a schedule: engine, program, layers, test benches, scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cgap.backends.common.names import layer_ids
from cgap.backends.common.templates import Header, environment, render
from cgap.backends.common.vectors import vector_files
from cgap.backends.hls.engine import Derived, derive, engine_for
from cgap.boundary.files import write_atomic
from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine.accelerator import ceil_div
from fpga_model.machine.operations import LoadOp, Operation, StoreOp
from fpga_model.machine.tiles import Buffer
from fpga_model.operators import Operator
from fpga_model.schedule.dram import FEATURE, INPUT, OUTPUT, DramImage, is_packed
from fpga_model.schedule.schedule import Schedule

Figures = Mapping[str, Mapping[str, object]]
"""By layer: what the head of its file says besides its plan, such as cycles and DRAM bytes. None: not measured."""

ENGINE_FILES = (
    "config.h",
    "types.h",
    "command.h",
    "load.h",
    "array.h",
    "drain.h",
    "convolve.h",
    "pool.h",
    "store.h",
    "control.h",
    "program.h",
    "accelerator.h",
    "accelerator.cpp",
    "testbench.h",
    "tb.h",
    "tb.cpp",
    "tb_layers.cpp",
    "run_hls.tcl",
    "Makefile",
)


@dataclass(frozen=True)
class Row:
    """A command as the templates see it: `layer` is the index of its layer, the input being 0."""

    kind: str
    command: Operation
    layer: int
    derived: Derived


@dataclass(frozen=True)
class Place:
    """A tensor that a layer's own top reads: its index and its DRAM address; -1 and 0 for none."""

    index: int = -1
    address: int = 0


@dataclass(frozen=True)
class LayerView:
    """A layer as the templates see it."""

    id: str
    name: str
    index: int
    operator: Operator
    reads: tuple[str, ...]
    writes: str
    plan: tuple[str, ...]
    figures: Mapping[str, object]
    commands: tuple[Row, ...]
    sources: tuple[Place, ...]
    output: int
    packed: bool


def emit_hls(schedule: Schedule, layerwise: Schedule, header: Header, figures: Figures, out: Path) -> None:
    """Write all C++ and scripts into the folder `out`; the same arguments give the same bytes.

    Args:
        schedule: what the whole network runs.
        layerwise: the layerwise schedule of the same network; each layer's own top runs its commands of it.
        header: head of every file.
        figures: figures for the head of each layer's file, by layer.
        out: the folder, made when needed.

    Raises:
        UserError: the accelerator is one that the C++ cannot have.
    """
    if layerwise.dram.parameter_bytes != schedule.dram.parameter_bytes:
        raise ValueError("both schedules must be made for the same network, accelerator and platform")
    graph, accelerator, platform = schedule.graph, schedule.accelerator, schedule.platform
    layers, tops = _views(schedule, figures), _views(layerwise, {})
    index = {layer.name: position for position, layer in enumerate(graph.layers)}
    context: dict[str, object] = {
        "header": header,
        "engine": engine_for((schedule.operations, layerwise.operations), accelerator, platform),
        "schedule": {"kind": schedule.kind.value},
        "layers": layers,
        "commands": len(schedule.operations),
        "tensors": _tensors(schedule),
        "outputs": [
            {"tensor": index[n.name], "address": _in_dram(schedule, n.name), "packed": is_packed(graph, n.name)}
            for n in graph.outputs
        ],
        "max_reads": _max_reads(graph),
        "parameter_bytes": schedule.dram.parameter_bytes,
        "layerwise_bytes": layerwise.dram.bytes,
        "dram": _addresses(schedule.dram),
        "dram_beats": ceil_div(schedule.dram.bytes, platform.beat_bytes),
        "axi": {
            "read_latency": platform.read_latency,
            "write_latency": platform.write_latency,
            "outstanding": platform.outstanding,
            "burst_beats": platform.burst_bytes // platform.beat_bytes,
        },
        "part": platform.part,
        "period_ns": 1000 / platform.clock_mhz,
    }
    templates = environment("hls")
    for name in ENGINE_FILES:
        write_atomic(out / name, render(templates, f"{name}.j2", context))
    for layer in layers:
        write_atomic(out / "layers" / f"{layer.id}.h", render(templates, "layer.h.j2", {**context, "layer": layer}))
    context |= {"layers": tops, "dram_beats": ceil_div(layerwise.dram.bytes, platform.beat_bytes)}
    for layer in tops:
        write_atomic(out / "tops" / f"{layer.id}.cpp", render(templates, "top.cpp.j2", {**context, "layer": layer}))
    for name in ("tops.h", "tops.cpp"):
        write_atomic(out / "tops" / name, render(templates, f"{name}.j2", context))


def _tensors(schedule: Schedule) -> list[dict[str, object]]:
    graph, files = schedule.graph, vector_files(schedule.graph)
    return [
        {
            "name": layer.name,
            "file": files[layer.name],
            "maps": graph.shape(layer.name).channels,
            "rows": graph.shape(layer.name).height,
            "columns": graph.shape(layer.name).width,
        }
        for layer in graph.layers
    ]


def _addresses(dram: DramImage) -> dict[str, int]:
    return {"bytes": dram.bytes, "input": dram.bases[INPUT], "output": dram.bases[OUTPUT]}


def _views(schedule: Schedule, figures: Figures) -> list[LayerView]:
    """Every layer that has commands, in program order."""
    graph, ids = schedule.graph, layer_ids(schedule.graph)
    index = {layer.name: position for position, layer in enumerate(graph.layers)}
    max_reads = _max_reads(graph)
    views = []
    for layer in graph.layers:
        commands = schedule.by_layer.get(layer.name, ())
        if not commands:
            continue
        rows = (
            Row(type(c).__name__, _in_image(c, schedule), index[layer.name], derive(c, schedule.accelerator))
            for c in commands
        )
        sources = [Place(index[name], _in_dram(schedule, name)) for name in layer.inputs]
        sources += [Place()] * (max_reads - len(sources))
        views.append(
            LayerView(
                id=ids[layer.name],
                name=layer.name,
                index=index[layer.name],
                operator=layer.operator,
                reads=tuple(_where(schedule, name) for name in layer.inputs),
                writes=_where(schedule, layer.name),
                plan=_plan(schedule, layer, commands),
                figures=figures.get(layer.name, {}),
                commands=tuple(rows),
                sources=tuple(sources),
                output=_in_dram(schedule, layer.name),
                packed=is_packed(graph, layer.name),
            )
        )
    return views


def _in_image(operation: Operation, schedule: Schedule) -> Operation:
    """An operation with its DRAM runs in the image of all regions, a run for every map."""
    if not isinstance(operation, (LoadOp, StoreOp)):
        return operation
    dram, tile = operation.dram, operation.tile
    address = schedule.dram.bases[dram.region] + dram.address
    if tile is None or tile.packed or dram.count > 1:
        return replace(operation, dram=replace(dram, address=address))
    run = dram.bytes // tile.maps
    return replace(operation, dram=replace(dram, address=address, bytes=run, count=tile.maps, stride=run))


def _max_reads(graph: LayerGraph) -> int:
    return max(len(layer.inputs) for layer in graph.layers)


def _in_dram(schedule: Schedule, name: str) -> int:
    """DRAM address of a tensor; 0 if it has none."""
    roles = (INPUT, OUTPUT, FEATURE)
    places = schedule.dram.places
    return next((schedule.dram.image_address(p) for p in places if p.name == name and p.role in roles), 0)


def _where(schedule: Schedule, name: str) -> str:
    shape = f"{name} [{schedule.graph.shape(name)}]"
    tile = schedule.residents.get(name)
    if tile is not None:
        return f"{shape} on chip: page {tile.page}, word {tile.address}, interleave {tile.interleave}"
    return f"{shape} in DRAM at byte {_in_dram(schedule, name)}"


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
        if isinstance(command, LoadOp) and command.buffer is not Buffer.FEATURE
    ]
    return tuple(lines)
