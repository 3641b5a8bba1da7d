"""Cycles of a network on the accelerator as a function of its channel spaces' widths: docs/training.md."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cgap.plasticity.spaces import Spaces
from fpga_model.accelerator import Accelerator
from fpga_model.analytic import estimate
from fpga_model.errors import UserError
from fpga_model.fixed_point import Format
from fpga_model.graph import FixedGraph, Layer, LayerGraph
from fpga_model.operators import ComputeOperator, Convolution, Pooling, Shortcut
from fpga_model.platform import Platform
from fpga_model.schedule.build import build_schedule
from fpga_model.schedule.dram import is_packed
from fpga_model.schedule.job import TileExtent
from fpga_model.schedule.schedule import Kind, Schedule
from fpga_model.schedule.tiling import LayerShape, candidates
from fpga_model.tensors import LayerNumbers, Shape


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
        self._outputs = {
            member.module: member for member in spaces.members() if member.role in ("producer", "follower")
        }
        schedule = _schedule(graph, accelerator, platform)
        self._interleave = {name: tile.interleave for name, tile in schedule.residents.items()}
        self._known: dict[tuple[LayerShape, int], int] = {}
        self._rest = 0
        taken = sum(layer.cycles for layer in estimate(schedule).values())
        self._rest = taken - self(spaces.all_widths())

    def __call__(self, widths: Mapping[str, int]) -> int:
        """Cycles at these widths of all spaces."""
        shapes: dict[str, Shape] = {}
        cycles = self._rest
        for layer in self._graph.layers:
            operator = layer.operator
            if isinstance(operator, ComputeOperator):
                inputs = tuple(shapes[name] for name in layer.inputs)
                operator = self._resized(layer, operator, inputs, widths)
                shapes[layer.name] = operator.output_shape(inputs)
                packed = is_packed(self._graph, layer.name)
                shape = LayerShape(operator, inputs, shapes[layer.name], self._accelerator, packed)
                cycles += self._compute(shape, self._interleave.get(layer.inputs[0], shape.window.stride))
            else:
                shapes[layer.name] = self._graph.shape(layer.name)
        return cycles

    def _resized(
        self, layer: Layer, operator: ComputeOperator, inputs: tuple[Shape, ...], widths: Mapping[str, int]
    ) -> ComputeOperator:
        """The layer's operator for these inputs, with as many outputs as its module has at these widths."""
        if isinstance(operator, Pooling):
            return operator
        member = self._outputs.get(layer.name)
        if not isinstance(operator, Convolution) or member is None:
            raise UserError(
                f"plasticity.accelerator: cycles cannot be predicted through layer {layer.name!r} ({operator.kind}), "
                f"whose channels are not followed; set targets of MACs and weights instead"
            )
        outputs = sum(len(run) for _, run in member.entries(widths))
        shortcut = operator.shortcut
        return Convolution(
            inputs[0].channels,
            outputs,
            operator.kernel,
            operator.stride,
            operator.pad,
            operator.relu,
            shortcut and Shortcut(shortcut.stride, shortcut.channel_offset, inputs[1].channels),
            inputs[0].channels if member.role == "follower" else operator.groups,
            operator.ceiling,
            operator.leak,
        )

    def _compute(self, shape: LayerShape, interleave: int) -> int:
        """Compute cycles of a layer, remembered: few layers change from one question to the next."""
        key = shape, interleave
        if key not in self._known:
            tiling = next(candidates(shape, self._platform, travels=False))
            cycles = 0
            for of, Tof, oy, Toy in tiling.tiles(shape.output):
                adds = shape.shortcut_tile(of, Tof, oy, Toy) is not None
                extent = TileExtent(shape.accelerator, shape.inputs, shape.output, of, Tof, Toy, adds, interleave)
                cycles += shape.operator.tile_cycles(extent)
            self._known[key] = cycles
        return self._known[key]


def _schedule(graph: LayerGraph, accelerator: Accelerator, platform: Platform) -> Schedule:
    """The resident schedule of a network whose integers are not known yet: it depends on sizes alone."""
    numbers = {}
    for layer in graph.layers:
        zeros = np.zeros(graph.shape(layer.name).channels, np.int64)
        numbers[layer.name] = LayerNumbers(Format(8, 0), zeros, weight_frac=zeros, bias=zeros)
    return build_schedule(FixedGraph(graph, numbers), accelerator, platform, Kind.RESIDENT)
