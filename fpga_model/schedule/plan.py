"""The plan of a network, from sizes alone: which tensors stay on chip and where, tile sizes, DRAM places.

Pruning, exploration and the analytic model need no more than this; `sequence.py` makes operations of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from fpga_model.collection import collection_paused
from fpga_model.errors import UserError
from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import FeatureTile
from fpga_model.operators import ComputeOperator, Input
from fpga_model.schedule.costs import TileCosts
from fpga_model.schedule.dram import DramImage, ParameterLayout, lay_out
from fpga_model.schedule.memory import Pages, Placed
from fpga_model.schedule.pipeline import Pipeline
from fpga_model.schedule.sharing import LayerFacts, Machine, Sharing
from fpga_model.schedule.tiling import DESTINATION, SOURCE, LayerShape, Side, Tiling, candidates, work_places


class Kind(str, Enum):
    """`layerwise`: every feature map goes through DRAM. `resident`: feature maps stay on chip where they fit."""

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
    """Decisions for a network on an accelerator that need only sizes, no weights.

    Attributes:
        kind: which of the two schedules.
        graph: the network.
        accelerator, platform: what it runs on; the platform's AXI port fits the accelerator.
        layers: plans of the computed layers, in order.
        residents: tensors that stay on chip, where, under their layer's name.
    """

    kind: Kind
    graph: LayerGraph
    accelerator: Accelerator
    platform: Platform
    layers: dict[str, LayerPlan]
    residents: dict[str, FeatureTile]

    @property
    def dram(self) -> DramImage:
        """The DRAM regions."""
        return self._regions[0]

    @property
    def parameters(self) -> dict[str, ParameterLayout]:
        """Where each layer's records and weights lie in theirs."""
        return self._regions[1]

    @cached_property
    def _regions(self) -> tuple[DramImage, dict[str, ParameterLayout]]:
        spilled = [layer.name for layer in self.graph.layers if layer.name not in self.residents]
        return lay_out(self.graph, spilled, self.accelerator, self.platform)

    def pipeline(self, name: str) -> Pipeline:
        """The tiles of a layer as a pipeline."""
        if name not in self._pipelines:
            self._pipelines[name] = self._pipeline(name)
        return self._pipelines[name]

    @cached_property
    def _pipelines(self) -> dict[str, Pipeline]:
        return {}

    def _pipeline(self, name: str) -> Pipeline:
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


class BuffersTooSmall(UserError):
    """The smallest tile of a layer does not fit the buffers; `enough_buffers` finds some that would do."""


@collection_paused()
def make_plan(
    graph: LayerGraph, accelerator: Accelerator, platform: Platform, kind: Kind, sharing: Sharing | None = None
) -> Plan:
    """The plan of a network on an accelerator.

    Args:
        graph: the network.
        accelerator, platform: what it runs on.
        kind: which of the two schedules.
        sharing: of this network, to keep what its plans have in common where many are made.

    Raises:
        BuffersTooSmall: a layer does not fit the accelerator's buffers.
        UserError: the platform is too small for the accelerator, or a layer has no command.
    """
    platform.check(accelerator)
    if sharing is None:
        sharing = Sharing(graph)
    elif sharing.graph is not graph:
        raise ValueError("what plans share is of one network")
    check_schedulable(graph)
    fitted = platform.fitted(accelerator)
    fitted.check_latencies()
    return _Planner(sharing, accelerator, fitted, kind).plan()


BUFFERS = ("page_depth", "weight_depth", "parameter_depth")
DOUBLINGS = 8
"""So often are buffers doubled in search of some that would do: pages of 512 words become ones of 131,072."""


def enough_buffers(
    graph: LayerGraph, accelerator: Accelerator, platform: Platform, sharing: Sharing | None = None
) -> Accelerator | None:
    """The accelerator with each buffer doubled as often as it must be to hold every layer; None if none is deep enough.

    They hold a layer where some tile of it fits while all that it reads and makes travels: where that is so, a plan of
    either kind is found, if need be with every tensor in DRAM. The platform's blocks are not counted.
    """
    sharing = sharing or Sharing(graph)
    machine = sharing.machine(accelerator, platform.fitted(accelerator))
    kinds = {facts.kind: facts for facts in sharing.layers if facts.operator is not None}

    def holds(depths: dict[str, int]) -> bool:
        deeper = dataclasses.replace(accelerator, **depths)
        return all(_fits(facts, machine, deeper) for facts in kinds.values())

    for times in range(1, DOUBLINGS + 1):
        depths = {name: getattr(accelerator, name) << times for name in BUFFERS}
        if holds(depths):
            for name in BUFFERS:
                spared = (depths | {name: getattr(accelerator, name) << less} for less in range(times))
                depths = next(filter(holds, spared), depths)
            return dataclasses.replace(accelerator, **depths)
    return None


def _fits(facts: LayerFacts, machine: Machine, accelerator: Accelerator) -> bool:
    """Whether some tile of a layer fits empty buffers while all its tensors travel; the smallest are tried first."""
    shape, roles = machine.shape(facts), frozenset(role for role, _ in facts.roles)
    tried = reversed(list(candidates(shape, accelerator, machine.platform, True)))
    return any(work_places(shape, tiling, roles, Pages(accelerator)) is not None for tiling in tried)


class _Planner:
    """Goes through the layers once, placing tensors as they are born and choosing tile sizes.

    Where a layer finds no room, the largest tensor that lives then is sent to DRAM and planning goes back to the layer
    that makes it; what was decided before does not depend on it.
    """

    def __init__(self, sharing: Sharing, accelerator: Accelerator, platform: Platform, kind: Kind) -> None:
        self.sharing = sharing
        self.graph = sharing.graph
        self.accelerator = accelerator
        self.machine = sharing.machine(accelerator, platform)
        self.platform = platform
        self.kind = kind
        self.order = sharing.layers
        self.lives = sharing.lives
        staying = [] if kind is Kind.LAYERWISE else [facts.layer.name for facts in self.order if not facts.ends]
        self.tiles = {name: sharing.whole_tile(name, self.machine) for name in staying}
        self.placed: dict[str, Placed] = {}
        self.resident: dict[str, FeatureTile] = {}  # the tiles of placed tensors, in their places
        self.plans: dict[str, LayerPlan] = {}
        self.alive: list[list[str]] = [[]]  # before each layer: placed tensors that are still read
        self.known: dict[Hashable, tuple[Tiling, tuple[Side, ...], TileCosts] | None] = {}

    def plan(self) -> Plan:
        index = 0
        while index < len(self.order):
            facts = self.order[index]
            name = facts.layer.name
            alive = [other for other in self.alive[index] if self.placed[other].live[1] >= index]
            pages = self._pages(alive)
            if name in self.tiles and self._place(name, pages):
                alive.append(name)
            if facts.operator is not None:
                plan = self._layer(facts, pages)
                if plan is None:
                    index = self._make_room(facts, alive)
                    continue
                self.plans[name] = plan
            self.alive[index + 1 :] = [alive]
            index += 1
        names = [facts.layer.name for facts in self.order]
        residents = {name: self.resident[name] for name in self.placed}
        plans = {name: self.plans[name] for name in names if name in self.plans}
        return Plan(self.kind, self.graph, self.accelerator, self.platform, plans, residents)

    def _place(self, name: str, pages: Pages) -> bool:
        """Put a new tensor into the first page that has room for it while it lives; False if none has."""
        tile, depth = self.tiles[name]
        for page in range(self.accelerator.pages):
            address = pages.fit(depth, page)
            if address is not None:
                self.placed[name] = Placed(page, address, depth, self.lives[name])
                self.resident[name] = dataclasses.replace(tile, page=page, address=address)
                return True
        return False

    def _make_room(self, stuck: LayerFacts, alive: list[str]) -> int:
        """Send the largest living tensor to DRAM; returns the index of the layer that makes it."""
        if not alive:
            kind, Nif = stuck.layer.operator.kind, stuck.inputs[0].channels
            raise BuffersTooSmall(
                f"layer {stuck.layer.name!r} does not fit the accelerator: its smallest tile ({kind}, {Nif} input "
                f"maps) needs more than the buffers hold (page_depth {self.accelerator.page_depth}, "
                f"weight_depth {self.accelerator.weight_depth}, parameter_depth {self.accelerator.parameter_depth}); "
                f"choose larger buffers"
            )
        victim = max(alive, key=lambda name: self.placed[name].depth)
        born = self.lives[victim][0]
        del self.tiles[victim]
        for facts in self.order[born : self.lives[stuck.layer.name][0] + 1]:
            self.placed.pop(facts.layer.name, None)
            self.resident.pop(facts.layer.name, None)
        return born

    def _pages(self, alive: list[str]) -> Pages:
        pages = Pages(self.accelerator)
        for name in alive:
            place = self.placed[name]
            pages.taken[place.page].append((place.address, place.address + place.depth))
        return pages

    def _layer(self, facts: LayerFacts, pages: Pages) -> LayerPlan | None:
        """The tile sizes with the fewest cycles among those that fit; None if none fits."""
        resident = self.resident
        travel = frozenset(role for role, tensor in facts.roles if tensor not in resident)
        interleave = tuple(
            (index, resident[tensor].interleave)
            for index, (role, tensor) in enumerate(facts.reads)
            if role == SOURCE and tensor in resident
        )
        split = bool(travel - {DESTINATION}) or (DESTINATION in travel and not facts.ends)
        residents = [resident.get(tensor) for tensor in facts.layer.inputs]
        own = resident.get(facts.layer.name)
        taken = tuple(tuple(sorted(page)) for page in pages.taken) if travel else ()
        shared = tuple(None if tile is None else tile.page for tile in (*residents, own))
        key = (facts.kind, travel, interleave, split, taken, shared)
        if key not in self.known:
            costs = self.machine.tile_costs(facts, travel, interleave)
            self.known[key] = self._choose(costs, split, pages, residents, own)
        found = self.known[key]
        if found is None:
            return None
        tiling, sides, costs = found
        return LayerPlan(facts.layer, costs.shape, tiling, sides, costs)

    def _choose(
        self,
        costs: TileCosts,
        split: bool,
        pages: Pages,
        residents: list[FeatureTile | None],
        own: FeatureTile | None,
    ) -> tuple[Tiling, tuple[Side, ...], TileCosts] | None:
        shape = costs.shape
        fitting = (
            (tiling, sides)
            for tiling in candidates(shape, self.accelerator, self.platform, split)
            if (sides := work_places(shape, tiling, costs.travel, pages)) is not None
        )
        if not split:
            first = next(fitting, None)
            return None if first is None else (*first, costs)
        ranked = sorted(
            ((costs.rank(tiling, len(sides)), number, tiling, sides) for number, (tiling, sides) in enumerate(fitting)),
            key=lambda entry: entry[:2],
        )
        best: tuple[int, Tiling, tuple[Side, ...]] | None = None
        for rank, _, tiling, sides in ranked[:FINALISTS]:
            # With two sides the rank is what the busiest unit takes at least: no pipeline of it is faster.
            if best is not None and len(sides) > 1 and rank >= best[0]:
                continue
            cycles = Pipeline("", ("",) * len(residents), costs, tiling, sides, residents, own).alone(self.accelerator)
            if best is None or cycles < best[0]:
                best = cycles, tiling, sides
        return None if best is None else (best[1], best[2], costs)
