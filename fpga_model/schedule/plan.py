"""The plan of a network, from sizes alone: which tensors stay on chip and where, tile sizes, DRAM places.

Pruning, exploration and the analytic model need no more than this; `sequence.py` makes operations of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

from fpga_model.errors import UserError
from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import FeatureTile
from fpga_model.operators import ComputeOperator, Input
from fpga_model.schedule.costs import TileCosts, rank
from fpga_model.schedule.dram import DramImage, ParameterLayout, is_packed, lay_out, row_words
from fpga_model.schedule.memory import Pages, Placed, live_ranges
from fpga_model.schedule.pipeline import Clock, Pipeline
from fpga_model.schedule.tiling import (
    DESTINATION,
    SHORTCUT,
    SOURCE,
    LayerShape,
    Side,
    Tiling,
    candidates,
    spread_by,
    work_places,
)


class Kind(str, Enum):
    """`layerwise`: every feature map travels through DRAM. `resident`: they stay on chip where they fit."""

    LAYERWISE = "layerwise"
    RESIDENT = "resident"


@dataclass(frozen=True)
class LayerPlan:
    """One layer with its tile sizes and the places of the tiles that travel."""

    layer: Layer
    shape: LayerShape
    tiling: Tiling
    sides: tuple[Side, ...]
    costs: TileCosts


@dataclass(frozen=True, eq=False)
class Plan:
    """What is decided for a network on an accelerator before any number is known.

    Attributes:
        kind: which of the two schedules.
        graph: the network.
        accelerator, platform: what it runs on; the platform's AXI port fits the accelerator.
        layers: plans of the computed layers, in order.
        residents: tensors that stay on chip, where, under their layer's name.
        dram: the DRAM regions.
        parameters: where each layer's records and weights lie in theirs.
    """

    kind: Kind
    graph: LayerGraph
    accelerator: Accelerator
    platform: Platform
    layers: dict[str, LayerPlan]
    residents: dict[str, FeatureTile]
    dram: DramImage
    parameters: dict[str, ParameterLayout]

    def pipeline(self, name: str) -> Pipeline:
        """The tiles of a layer as a pipeline."""
        layer = self.layers[name]
        source = self.graph.input.name
        return Pipeline(
            name,
            layer.layer.inputs,
            layer.costs,
            layer.tiling,
            layer.sides,
            [self.residents.get(tensor) for tensor in layer.layer.inputs],
            self.residents.get(name),
            loads_input=source in self.residents and name == self.graph.consumers(source)[0].name,
            stores_own=name in self.residents and any(output.name == name for output in self.graph.outputs),
        )

    @property
    def tilings(self) -> dict[str, Tiling]:
        """Tile sizes of each computed layer."""
        return {name: plan.tiling for name, plan in self.layers.items()}


FINALISTS = 8
"""Tilings, the best by the ranking, of which the pipeline of tiles chooses."""
MAX_SIZE = (1 << 16) - 1
"""Most maps, rows and columns of a tensor: two bytes of a command."""


def check_schedulable(graph: LayerGraph) -> None:
    """Refuse, all at once, the layers that are understood and quantised but that no command computes.

    Raises:
        UserError: names every such layer and what to do.
    """
    shapes = {layer.name: graph.shape(layer.name) for layer in graph.layers}
    large = [f"{n!r} ({s})" for n, s in shapes.items() if max(s.channels, s.height, s.width) > MAX_SIZE]
    if large:
        raise UserError(
            f"network {graph.name!r}: a command counts at most {MAX_SIZE:,} maps, rows and columns, and these layers "
            f"make more: {', '.join(large)}; use smaller images or fewer maps"
        )
    found = [
        f"  layer {layer.name!r} ({layer.operator.kind})"
        for layer in graph.layers
        if not isinstance(layer.operator, (Input, ComputeOperator))
    ]
    if found:
        raise UserError(
            f"network {graph.name!r} can be quantised and run in integers, but this accelerator has no command for:\n"
            + "\n".join(found)
            + "\nreplace them in the network, for example by plain convolutions and ReLU"
        )


def make_plan(graph: LayerGraph, accelerator: Accelerator, platform: Platform, kind: Kind) -> Plan:
    """The plan of a network on an accelerator.

    Raises:
        UserError: the platform is too small for the accelerator, or a layer has no command or does not fit its buffers.
    """
    platform.check(accelerator)
    check_schedulable(graph)
    fitted = platform.fitted(accelerator)
    fitted.check_latencies()
    return _Planner(graph, accelerator, fitted, kind).plan()


class _Planner:
    """Goes through the layers once, placing tensors as they are born and choosing tile sizes.

    Where a layer finds no room, the largest tensor that lives then is sent to DRAM and planning goes back to the layer
    that makes it; what was decided before does not depend on it.
    """

    def __init__(self, graph: LayerGraph, accelerator: Accelerator, platform: Platform, kind: Kind) -> None:
        self.graph = graph
        self.accelerator = accelerator
        self.platform = platform
        self.kind = kind
        self.order = graph.layers
        self.lives = live_ranges(graph)
        self.packed = {layer.name for layer in graph.outputs if is_packed(graph, layer.name)}
        ends = {layer.name for layer in graph.outputs if not graph.consumers(layer.name)}
        staying = [] if kind is Kind.LAYERWISE else [layer.name for layer in self.order if layer.name not in ends]
        self.tiles = {name: self._full_tile(name) for name in staying}
        self.placed: dict[str, Placed] = {}
        self.plans: dict[str, LayerPlan] = {}
        self.alive: list[list[str]] = [[]]  # before each layer: placed tensors that are still read
        self.known: dict[Hashable, tuple[Tiling, tuple[Side, ...], TileCosts] | None] = {}

    def plan(self) -> Plan:
        index = 0
        while index < len(self.order):
            layer = self.order[index]
            alive = [name for name in self.alive[index] if self.placed[name].live[1] >= index]
            if layer.name in self.tiles and self._place(layer.name, alive):
                alive.append(layer.name)
            if isinstance(layer.operator, ComputeOperator):
                plan = self._layer(layer, layer.operator, alive)
                if plan is None:
                    index = self._make_room(layer, alive)
                    continue
                self.plans[layer.name] = plan
            self.alive[index + 1 :] = [alive]
            index += 1
        residents = {name: tile for name in self.placed if (tile := self._resident(name)) is not None}
        spilled = [layer.name for layer in self.order if layer.name not in residents]
        dram, parameters = lay_out(self.graph, spilled, self.accelerator, self.platform)
        plans = {layer.name: self.plans[layer.name] for layer in self.order if layer.name in self.plans}
        return Plan(self.kind, self.graph, self.accelerator, self.platform, plans, residents, dram, parameters)

    def _place(self, name: str, alive: list[str]) -> bool:
        """Put a new tensor into the first page that has room for it while it lives; False if none has."""
        pages = self._pages(alive)
        depth = self.tiles[name].depth(self.accelerator.Poy, self.accelerator.word_pixels)
        for page in range(self.accelerator.pages):
            address = pages.fit(depth, page)
            if address is not None:
                self.placed[name] = Placed(page, address, depth, self.lives[name])
                return True
        return False

    def _make_room(self, stuck: Layer, alive: list[str]) -> int:
        """Send the largest living tensor to DRAM; returns the index of the layer that makes it."""
        if not alive:
            kind, Nif = stuck.operator.kind, self.graph.input_shapes(stuck.name)[0].channels
            raise UserError(
                f"layer {stuck.name!r} does not fit the accelerator: its smallest tile ({kind}, {Nif} input maps) "
                f"needs more than the buffers hold (page_depth {self.accelerator.page_depth}, "
                f"weight_depth {self.accelerator.weight_depth}, parameter_depth {self.accelerator.parameter_depth}); "
                f"choose larger buffers"
            )
        victim = max(alive, key=lambda name: self.placed[name].depth)
        born = self.lives[victim][0]
        del self.tiles[victim]
        for layer in self.order[born : self.lives[stuck.name][0] + 1]:
            self.placed.pop(layer.name, None)
        return born

    def _pages(self, alive: list[str]) -> Pages:
        pages = Pages(self.accelerator)
        for name in alive:
            place = self.placed[name]
            pages.taken[place.page].append((place.address, place.address + place.depth))
        return pages

    def _resident(self, name: str) -> FeatureTile | None:
        place = self.placed.get(name)
        return None if place is None else dataclasses.replace(self.tiles[name], page=place.page, address=place.address)

    def _full_tile(self, name: str) -> FeatureTile:
        """A whole tensor, interleaved by the row stride of the reader with the most multiplications."""
        shape = self.graph.shape(name)
        readers = [r for r in self.graph.consumers(name) if r.inputs[0] == name and r.operator.weights()]
        strides = [
            (-reader.operator.macs(inputs), spread_by(reader.operator.window(inputs), self.accelerator))
            for reader in readers
            if isinstance(reader.operator, ComputeOperator) and (inputs := self.graph.input_shapes(reader.name))
        ]
        interleave = min(min(strides, key=lambda item: item[0])[1], shape.height) if strides else 1
        return FeatureTile(0, 0, shape.channels, shape.height, row_words(shape, self.accelerator), interleave)

    def _layer(self, layer: Layer, operator: ComputeOperator, alive: list[str]) -> LayerPlan | None:
        """The tile sizes with the fewest cycles among those that fit; None if none fits."""
        inputs, output = tuple(self.graph.input_shapes(layer.name)), self.graph.shape(layer.name)
        shape = LayerShape(operator, inputs, output, self.accelerator, layer.name in self.packed)
        others = SOURCE if operator.added is None else SHORTCUT
        tensors = [(others if index else SOURCE, tensor) for index, tensor in enumerate(layer.inputs)]
        tensors.append((DESTINATION, layer.name))
        travel = frozenset(role for role, tensor in tensors if tensor not in self.placed)
        interleave = {
            index: self.tiles[tensor].interleave
            for index, (role, tensor) in enumerate(tensors[:-1])
            if role == SOURCE and tensor in self.placed
        }
        ends = not self.graph.consumers(layer.name)
        split = bool(travel - ({DESTINATION} if ends and layer in self.graph.outputs else set()))
        pages = self._pages(alive)
        taken = tuple(tuple(sorted(page)) for page in pages.taken)
        residents = [self._resident(tensor) for tensor in layer.inputs]
        own = self._resident(layer.name)
        shared = tuple(None if tile is None else tile.page for tile in (*residents, own))
        key = (operator, inputs, shape.packed, travel, tuple(interleave.items()), split, taken, shared)
        if key not in self.known:
            costs = TileCosts(shape, self.platform, travel, interleave)
            self.known[key] = self._choose(shape, costs, split, pages, residents, own)
        found = self.known[key]
        if found is None:
            return None
        tiling, sides, costs = found
        return LayerPlan(layer, shape, tiling, sides, costs)

    def _choose(
        self,
        shape: LayerShape,
        costs: TileCosts,
        split: bool,
        pages: Pages,
        residents: list[FeatureTile | None],
        own: FeatureTile | None,
    ) -> tuple[Tiling, tuple[Side, ...], TileCosts] | None:
        if not split:
            for tiling in candidates(shape, self.platform, split):
                sides = work_places(shape, tiling, costs.travel, pages)
                if sides is not None:
                    return tiling, sides, costs
            return None
        ranked = []
        for number, tiling in enumerate(candidates(shape, self.platform, split)):
            sides = work_places(shape, tiling, costs.travel, pages)
            if sides is not None:
                ranked.append((rank(costs, tiling, len(sides)), number, tiling, sides))
        ranked.sort(key=lambda entry: entry[:2])

        def alone(entry: tuple[int, int, Tiling, tuple[Side, ...]]) -> int:
            pipeline = Pipeline("", ("",) * len(residents), costs, entry[2], entry[3], residents, own)
            return Clock(self.accelerator).layer(pipeline, pipeline.tiles())

        if not ranked:
            return None
        _, _, tiling, sides = min(ranked[:FINALISTS], key=alone)
        return tiling, sides, costs
