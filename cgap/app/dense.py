"""The dense network that a pruned one came from, where its shapes tell, and what both cost under every schedule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fpga_model.errors import UserError
from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform
from fpga_model.models.analytic import estimate
from fpga_model.operators import Convolution
from fpga_model.schedule.plan import Kind, make_plan


@dataclass(frozen=True)
class Cost:
    """What the published ratios are of: MACs, weights, DRAM bytes and their energy, cycles."""

    macs: int
    params: int
    dram_bytes: int
    dram_mj: float
    cycles: int


@dataclass(frozen=True)
class Pair:
    """A dense network and this one under one schedule, by the analytic model, whose bytes are exact."""

    schedule: str
    dense: Cost
    this: Cost


def dense_twin(graph: LayerGraph, record: dict[str, Any]) -> LayerGraph | None:
    """The network as it would be had nothing been pruned; None where that is not known.

    In the residual networks of the zoo only the maps inside a block are pruned: those of a convolution that is read by
    nothing but a convolution with a shortcut, and a dense block has as many as that makes. That this is so is checked:
    MACs and weights must be those that the training record gives for the dense network.
    """
    network = record.get("network", {})
    wider = {layer.name: _dense_maps(graph, layer) for layer in graph.layers}
    twin = LayerGraph(f"{graph.name}_dense")
    try:
        for layer in graph.layers:
            operator = layer.operator
            if isinstance(operator, Convolution):
                source = twin.shape(layer.inputs[0]).channels
                if source != operator.in_channels or wider[layer.name] != operator.out_channels:
                    if operator.groups != 1:
                        return None
                    operator = replace(operator, in_channels=source, out_channels=wider[layer.name])
            twin.add(Layer(layer.name, operator, layer.inputs))
    except (UserError, TypeError):
        return None
    twin.name_outputs(layer.name for layer in graph.outputs)
    known = (network.get("dense_macs"), network.get("dense_params"))
    return twin if (twin.macs(), twin.weights()) == known else None


def _dense_maps(graph: LayerGraph, layer: Layer) -> int:
    readers = graph.consumers(layer.name)
    if isinstance(layer.operator, Convolution) and layer.operator.shortcut is None and len(readers) == 1:
        reader = readers[0].operator
        inner = readers[0].inputs[0] == layer.name
        if isinstance(reader, Convolution) and reader.shortcut is not None and inner:
            return reader.out_channels
    return graph.shape(layer.name).channels


def beside_dense(graph: LayerGraph, record: dict[str, Any], accelerator: Accelerator, platform: Platform) -> list[Pair]:
    """Both networks on one accelerator under every schedule; empty where the dense one is not known or not held."""
    twin = dense_twin(graph, record)
    if twin is None or twin.macs() == graph.macs():
        return []
    try:
        return [
            Pair(kind.value, cost(twin, accelerator, platform, kind), cost(graph, accelerator, platform, kind))
            for kind in Kind
        ]
    except UserError:
        return []


def cost(graph: LayerGraph, accelerator: Accelerator, platform: Platform, kind: Kind) -> Cost:
    """A network under one schedule. Raises UserError if it does not fit."""
    layers = estimate(make_plan(graph, accelerator, platform, kind)).values()
    moved = sum(layer.dram_read_bytes + layer.dram_write_bytes for layer in layers)
    return Cost(
        macs=graph.macs(),
        params=graph.weights(),
        dram_bytes=moved,
        dram_mj=moved * 8 * platform.dram_pj_per_bit * 1e-9,
        cycles=sum(layer.cycles for layer in layers),
    )
