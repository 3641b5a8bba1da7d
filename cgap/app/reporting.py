"""Fills in the report of a build (report.py) from a schedule, its costs, and what was run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cgap import __version__
from cgap.app import dense
from cgap.app.report import (
    ANALYTIC,
    BACKENDS,
    C_SIMULATION,
    RTL,
    SIMULATED,
    AcceleratorSummary,
    Accuracy,
    Beside,
    Board,
    DramConstant,
    EnergyReport,
    Figures,
    LayerReport,
    Limits,
    Memory,
    Network,
    Report,
    Resident,
    Resource,
    Run,
    Tiles,
    Totals,
    Traffic,
)
from fpga_model.graph import LayerGraph
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import Unit
from fpga_model.models.analytic import LayerEstimate, estimate
from fpga_model.models.energy import count_accesses, energy, load_constants, row_activations, sensitivity
from fpga_model.models.resources import estimate_resources
from fpga_model.models.simulator import LayerCost, Simulation, simulate
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import ComputeOperator
from fpga_model.schedule.dram import FEATURE, INPUT, OUTPUT, PARAMETERS
from fpga_model.schedule.memory import live_ranges
from fpga_model.schedule.schedule import Schedule

if TYPE_CHECKING:
    from cgap.app.plan import Planned
    from cgap.backends.common.backend import Result
    from cgap.lowering.quantisation.quality import Quality

NOT_MEASURED = Accuracy(images=0, real=None, fixed=None)


@dataclass(frozen=True, eq=False)
class Costs:
    """A schedule with what the analytic model and the simulator say of it."""

    schedule: Schedule
    analytic: dict[str, LayerEstimate]
    simulation: Simulation

    @classmethod
    def of(cls, schedule: Schedule) -> Costs:
        return cls(schedule, estimate(schedule.plan), simulate(schedule))

    def layer(self, name: str) -> tuple[LayerEstimate, LayerCost]:
        """Both figures of one layer."""
        return self.analytic[name], self.simulation.layers[name]


def make_report(
    planned: Planned,
    costs: Costs,
    *,
    command: str,
    dataset: str | None,
    accuracy: Accuracy = NOT_MEASURED,
    quality: Mapping[str, Quality] | None = None,
    runs: Mapping[str, Result] | None = None,
    beside_dense: bool = True,
) -> Report:
    """Everything measured on one build; what was not measured is None.

    Args:
        planned: the network on its accelerator.
        costs: of its schedule.
        command: makes the build again.
        dataset: name of the images; None for the user's own.
        quality: saturations and SNR of stored tensors, by layer.
        runs: what was run, by backend.
        beside_dense: plan the dense network, too, where it is known; half of the time of a plan and its simulation.
    """
    schedule, runs = costs.schedule, runs or {}
    layers = [_layer(name, costs, (quality or {}).get(name), runs) for name in costs.simulation.layers]
    return Report(
        tool=f"cgap {__version__}",
        command=command,
        model=planned.name,
        dataset=dataset,
        onnx_sha256=planned.imported.sha256,
        accuracy=accuracy,
        network=_network(planned),
        board=_board(schedule.platform),
        accelerator=_accelerator(planned),
        resources=_resources(planned),
        memory=_memory(schedule),
        layers=layers,
        totals=_totals(costs, layers),
        limits=limits(schedule),
        runs={name: _run(runs.get(name)) for name in (C_SIMULATION, RTL)},
        energy=_energy(costs),
        dense=_dense(planned) if beside_dense else [],
    )


def _run(result: Result | None) -> Run | None:
    if result is None:
        return None
    return Run(images=result.images, mismatches=result.mismatches, seconds=result.seconds)


def _energy(costs: Costs) -> EnergyReport:
    schedule, constants = costs.schedule, load_constants()
    accelerator, platform = schedule.accelerator, schedule.platform
    accesses = count_accesses(schedule.plan)
    own = energy(accesses, accelerator, platform.dram_pj_per_bit)
    return EnergyReport(
        accesses=asdict(accesses),
        row_activations=sum(row_activations(costs.simulation.events, schedule.dram).values()),
        **own.to_json(),
        sources={"mac": constants.mac.source, "buffer": constants.buffer_bit.source},
        sensitivity=[
            DramConstant(
                name=row.name,
                pj_per_bit=row.pj_per_bit,
                source=row.source,
                dram_mj=row.energy.dram_mj,
                total_mj=row.energy.total_mj,
            )
            for row in sensitivity(accesses, accelerator, platform)
        ],
    )


def _dense(planned: Planned) -> list[Beside]:
    schedule = planned.schedule
    pairs = dense.beside_dense(schedule.graph, planned.record, schedule.accelerator, schedule.platform)
    return [Beside.model_validate(asdict(pair)) for pair in pairs]


def _network(planned: Planned) -> Network:
    record, graph = planned.record.get("network", {}), planned.imported.graph
    return Network(
        macs=graph.macs(),
        params=graph.weights(),
        dense_macs=record.get("dense_macs"),
        dense_params=record.get("dense_params"),
        image=_sizes(graph.shape(graph.input.name)),
        outputs={layer.name: _sizes(graph.shape(layer.name)) for layer in graph.outputs},
    )


def _sizes(shape: Shape) -> tuple[int, int, int]:
    return shape.channels, shape.height, shape.width


def _board(platform: Platform) -> Board:
    return Board(
        name=platform.name,
        description=platform.description,
        part=platform.part,
        dram=platform.dram_kind,
        axi_bits=platform.axi_bits,
        bytes_per_cycle=platform.bytes_per_cycle,
    )


def _accelerator(planned: Planned) -> AcceleratorSummary:
    schedule, accelerator = planned.schedule, planned.schedule.accelerator
    return AcceleratorSummary(
        platform=schedule.platform.name,
        array=(accelerator.Pox, accelerator.Poy, accelerator.Pof),
        bits=accelerator.bits,
        clock_mhz=schedule.platform.clock_mhz,
        schedule=schedule.kind.value,
        macs_per_cycle=accelerator.macs,
        pages=accelerator.pages,
        page_depth=accelerator.page_depth,
        weight_depth=accelerator.weight_depth,
        parameter_depth=accelerator.parameter_depth,
        capability=asdict(planned.capability),
    )


def _resources(planned: Planned) -> dict[str, Resource]:
    platform = planned.schedule.platform
    total = estimate_resources(planned.schedule.accelerator, platform, planned.capability).total
    block, ultra = platform.block, platform.ultra
    found = {
        "dsp": Resource(unit=platform.dsp_name, needed=int(total.dsp), available=platform.dsp),
        "block": Resource(unit=block.name, needed=math.ceil(total.block), available=block.count),
        "lut": Resource(unit="LUT", needed=int(total.lut + total.lutram), available=platform.lut),
        "ff": Resource(unit="FF", needed=int(total.ff), available=platform.ff),
    }
    if ultra is not None:
        found["ultra"] = Resource(unit=ultra.name, needed=int(total.ultra), available=ultra.count)
    return found


def _memory(schedule: Schedule) -> Memory:
    accelerator, lives = schedule.accelerator, live_ranges(schedule.graph)
    residents = [
        Resident(
            layer=name,
            page=tile.page,
            address=tile.address,
            depth=tile.depth(accelerator.Poy, accelerator.word_pixels),
            born=lives[name][0],
            dies=lives[name][1],
        )
        for name, tile in schedule.residents.items()
    ]
    return Memory(
        residents=residents,
        in_dram=[place.name for place in schedule.dram.places if place.role == FEATURE],
        dram_bytes=schedule.dram.sizes,
        feature_bytes=accelerator.feature_bytes,
        weight_bytes=accelerator.weight_bytes,
    )


def _figures(quantity: str, analytic: int, simulated: int, runs: Mapping[str, Result], layer: str) -> Figures:
    """One quantity of a layer, the one that is called so in `LayerFigures`."""
    found: Figures = dict.fromkeys(BACKENDS)
    found |= {ANALYTIC: analytic, SIMULATED: simulated}
    return found | {name: getattr(run.layers[layer], quantity) for name, run in runs.items() if run.layers}


def _layer(name: str, costs: Costs, quality: Quality | None, runs: Mapping[str, Result]) -> LayerReport:
    schedule = costs.schedule
    graph, accelerator = schedule.graph, schedule.accelerator
    layer, shapes, output = graph.layer(name), graph.input_shapes(name), graph.shape(name)
    closed, measured = costs.layer(name)
    macs, tiling = layer.operator.macs(shapes), schedule.tilings[name]
    assert isinstance(layer.operator, ComputeOperator), "a layer with commands is computed"
    window = layer.operator.window(shapes)
    sliding = None if (window.Nky, window.Nkx) == (1, 1) and not layer.operator.weights() else window
    moved = (measured.read, measured.written)
    return LayerReport(
        name=name,
        op=layer.operator.kind,
        inputs=list(layer.inputs),
        input_shapes=[_sizes(shape) for shape in shapes],
        output_shape=_sizes(output),
        kernel=sliding and (sliding.Nky, sliding.Nkx),
        stride=sliding and (sliding.stride_y, sliding.stride_x),
        macs=macs,
        weights=layer.operator.weights(),
        tiles=Tiles(count=len(list(tiling.tiles(output))), maps=tiling.Tof, rows=tiling.Toy),
        tile_efficiency=macs / (measured.sums * accelerator.macs) if measured.sums else None,
        bound=measured.bound,
        busy={
            "array": measured.sums,
            "drain": measured.drains,
            "dram read": measured.busy[Unit.LOAD],
            "dram write": measured.busy[Unit.STORE],
        },
        cycles=_figures("cycles", closed.cycles, measured.cycles, runs, name),
        dram_read_bytes=_figures("read_bytes", closed.dram_read_bytes, measured.dram_read_bytes, runs, name),
        dram_write_bytes=_figures("write_bytes", closed.dram_write_bytes, measured.dram_write_bytes, runs, name),
        traffic=Traffic(
            parameters=moved[0].get(PARAMETERS, 0),
            input=moved[0].get(INPUT, 0),
            output=moved[1].get(OUTPUT, 0),
            feature_read=moved[0].get(FEATURE, 0) + moved[0].get(OUTPUT, 0),
            feature_write=moved[1].get(FEATURE, 0),
        ),
        least_dram_bytes=_least(graph, name) * accelerator.bits // 8,
        tensor_bytes=(layer.operator.weights() + sum(s.size for s in (*shapes, output))) * accelerator.bits // 8,
        saturated=None if quality is None else quality.saturated,
        snr_db=None if quality is None else quality.snr_db,
    )


def _least(graph: LayerGraph, name: str) -> int:
    """Values that a layer must move between chip and DRAM whatever stays on chip."""
    layer, source = graph.layer(name), graph.input.name
    first = source in layer.inputs and graph.consumers(source)[0].name == name
    ends = any(output.name == name for output in graph.outputs)
    return (
        layer.operator.weights() + (graph.shape(source).size if first else 0) + (graph.shape(name).size if ends else 0)
    )


def _totals(costs: Costs, layers: list[LayerReport]) -> Totals:
    schedule, simulation = costs.schedule, costs.simulation
    moved = simulation.dram_read_bytes + simulation.dram_write_bytes
    return Totals(
        cycles=_sum([layer.cycles for layer in layers]),
        dram_read_bytes=_sum([layer.dram_read_bytes for layer in layers]),
        dram_write_bytes=_sum([layer.dram_write_bytes for layer in layers]),
        latency_ms=simulation.cycles / schedule.platform.clock_mhz / 1e3,
        dram_energy_mj=moved * 8 * schedule.platform.dram_pj_per_bit * 1e-9,
        utilisation=schedule.graph.macs() / (simulation.cycles * schedule.accelerator.macs),
    )


def _sum(figures: list[Figures]) -> Figures:
    """Each backend's total, where it measured every layer."""
    found: Figures = {}
    for name in BACKENDS:
        values: list[Any] = [each[name] for each in figures]
        found[name] = None if None in values else sum(values)
    return found


def limits(schedule: Schedule) -> Limits:
    """What no schedule on this array and port can beat: MACs over units; weights, image and logits over the bus."""
    graph, accelerator, platform = schedule.graph, schedule.accelerator, schedule.platform
    compute = -(-graph.macs() // accelerator.macs)
    values = graph.weights() + sum(graph.shape(layer.name).size for layer in (graph.input, *graph.outputs))
    least = values * accelerator.bits // 8
    cycles = max(compute, least / platform.bytes_per_cycle)
    return Limits(compute_cycles=compute, dram_bytes=least, latency_ms=cycles / platform.clock_mhz / 1e3)
