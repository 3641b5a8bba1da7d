"""Cycles of a network on the accelerator as a function of its channel spaces' widths: docs/training.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cgap.plasticity.spaces import Member, Spaces
from fpga_model.errors import UserError
from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform
from fpga_model.models.analytic import estimate
from fpga_model.operators import ComputeOperator, Convolution, Pooling
from fpga_model.operators.job import TileExtent
from fpga_model.schedule.dram import is_packed
from fpga_model.schedule.plan import Kind, make_plan
from fpga_model.schedule.tiling import LayerShape, candidates


class CycleModel:
    """Cycles for one image under the `resident` schedule, by the analytic model.

    Every layer's compute cycles are those of a layer of its size at the given widths, as if its maps stay on chip;
    the cycles that the network takes beyond computing are those that it takes at the widths it was built with.

    Raises UserError if the network does not fit the accelerator, or a layer's channels cannot be followed.
    """

    def __init__(self, graph: LayerGraph, spaces: Spaces, accelerator: Accelerator, platform: Platform) -> None:
        self._graph = graph
        self._accelerator = accelerator
        self._platform = platform.fitted(accelerator)
        outputs = {m.module: m for m in spaces.members() if m.role in ("producer", "follower")}
        self._layers = [(layer, _channels_of(layer, outputs)) for layer in graph.layers]
        plan = make_plan(graph, accelerator, platform, Kind.RESIDENT)
        self._interleave = {name: tile.interleave for name, tile in plan.residents.items()}
        self._known: dict[tuple[str | int, ...], int] = {}
        self._rest = 0
        taken = sum(layer.cycles for layer in estimate(plan).values())
        self._rest = taken - self(spaces.all_widths())

    def __call__(self, widths: Mapping[str, int]) -> int:
        """Cycles at these widths of all spaces; a layer's are remembered by its channels."""
        channels: dict[str, int] = {}
        cycles = self._rest
        for layer, member in self._layers:
            if not isinstance(layer.operator, ComputeOperator):
                channels[layer.name] = self._graph.shape(layer.name).channels
                continue
            inputs = [channels[name] for name in layer.inputs]
            made = inputs[0] if member is None else sum(len(run) for _, run in member.entries(widths))
            channels[layer.name] = made
            key: tuple[str | int, ...] = (layer.name, *inputs, made)
            if key not in self._known:
                self._known[key] = self._compute(layer, layer.operator, inputs, made)
            cycles += self._known[key]
        return cycles

    def _compute(self, layer: Layer, operator: ComputeOperator, inputs: list[int], outputs: int) -> int:
        """Compute cycles of a layer with so many channels."""
        graph, accelerator = self._graph, self._accelerator
        resized = _resized(operator, inputs, outputs)
        sources = tuple(
            replace(graph.shape(name), channels=count) for name, count in zip(layer.inputs, inputs, strict=True)
        )
        shape = LayerShape(resized, sources, resized.output_shape(sources), accelerator, is_packed(graph, layer.name))
        interleave = self._interleave.get(layer.inputs[0], shape.window.stride_y)
        cycles = 0
        for of, Tof, oy, Toy in next(candidates(shape, accelerator, self._platform, travels=False)).tiles(shape.output):
            adds = shape.shortcut_tile(of, Tof, oy, Toy) is not None
            extent = TileExtent(accelerator, sources, shape.output, of, Tof, Toy, adds, interleave)
            cycles += resized.tile_cost(extent).cycles
        return cycles


def _channels_of(layer: Layer, outputs: Mapping[str, Member]) -> Member | None:
    """The member whose entries are the layer's output channels; None where they are those it reads, or fixed."""
    operator = layer.operator
    if not isinstance(operator, ComputeOperator) or isinstance(operator, Pooling):
        return None
    if not isinstance(operator, Convolution) or layer.name not in outputs:
        raise UserError(
            f"plasticity.accelerator: cycles cannot be predicted through layer {layer.name!r} ({operator.kind}), "
            f"whose channels are not followed; set targets of MACs and weights instead"
        )
    return outputs[layer.name]


def _resized(operator: ComputeOperator, inputs: list[int], outputs: int) -> ComputeOperator:
    """An operator of the same geometry for other numbers of channels; what it does to values does not matter."""
    if not isinstance(operator, Convolution):
        return operator
    shortcut = operator.shortcut and replace(operator.shortcut, channels=inputs[1])
    groups = inputs[0] if operator.groups == operator.in_channels > 1 else operator.groups
    return Convolution(
        inputs[0], outputs, operator.kernel, operator.stride, operator.pad, shortcut=shortcut, groups=groups
    )
