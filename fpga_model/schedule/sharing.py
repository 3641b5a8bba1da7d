"""What plans of one network have in common, kept so that an exploration works it out once.

Facts of the network hold for every accelerator. What a tile costs depends on the array, the port and the DRAM, not on
the depths of the buffers: those only say which tile sizes fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import FeatureTile
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import ComputeOperator
from fpga_model.schedule.costs import TileCosts
from fpga_model.schedule.dram import is_packed, row_words
from fpga_model.schedule.memory import live_ranges
from fpga_model.schedule.tiling import DESTINATION, SHORTCUT, SOURCE, LayerShape, spread_by


@dataclass(frozen=True)
class LayerFacts:
    """One layer as the planner sees it.

    Attributes:
        layer: it.
        operator: its operator, None where COMPUTE does nothing.
        inputs, output: shapes.
        packed: whether its output is stored packed.
        ends: whether nobody reads its output.
        reads: role and name of each tensor that it reads.
        kind: a number that layers of equal operator, shapes and packing share.
    """

    layer: Layer
    operator: ComputeOperator | None
    inputs: tuple[Shape, ...]
    output: Shape
    packed: bool
    ends: bool
    reads: tuple[tuple[str, str], ...]
    kind: int

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        """Role and name of every tensor that it reads or makes."""
        return (*self.reads, (DESTINATION, self.layer.name))


Costing = tuple[int, frozenset[str], tuple[tuple[int, int], ...]]
"""Kind of a layer, roles that travel, and the interleave of the sources that do not, by their index."""


class Machine:
    """An array with its port: shapes, costs and whole tensors of a network's layers on it."""

    def __init__(self, accelerator: Accelerator, platform: Platform) -> None:
        self.accelerator = accelerator
        self.platform = platform
        self.shapes: dict[int, LayerShape] = {}
        self.costs: dict[Costing, TileCosts] = {}
        self.tiles: dict[str, tuple[FeatureTile, int]] = {}

    def shape(self, facts: LayerFacts) -> LayerShape:
        """What tile sizes of a layer follow from."""
        found = self.shapes.get(facts.kind)
        if found is None:
            assert facts.operator is not None, "only computed layers have tiles"
            found = LayerShape(facts.operator, facts.inputs, facts.output, self.accelerator, facts.packed)
            self.shapes[facts.kind] = found
        return found

    def tile_costs(
        self, facts: LayerFacts, travel: frozenset[str], interleave: tuple[tuple[int, int], ...]
    ) -> TileCosts:
        """Costs of the tiles of a layer."""
        key = (facts.kind, travel, interleave)
        found = self.costs.get(key)
        if found is None:
            found = self.costs[key] = TileCosts(self.shape(facts), self.platform, travel, dict(interleave))
        return found


class Sharing:
    """Facts of one network, and its costs on every array and port that was asked for."""

    def __init__(self, graph: LayerGraph) -> None:
        self.graph = graph
        self.lives = live_ranges(graph)
        outputs = {layer.name for layer in graph.outputs}
        kinds: dict[tuple[object, ...], int] = {}
        self.layers: list[LayerFacts] = []
        for layer in graph.layers:
            inputs, output = tuple(graph.input_shapes(layer.name)), graph.shape(layer.name)
            ends = not graph.consumers(layer.name)
            packed = layer.name in outputs and is_packed(graph, layer.name)
            operator = layer.operator if isinstance(layer.operator, ComputeOperator) else None
            others = SOURCE if operator is None or operator.added is None else SHORTCUT
            reads = tuple((others if index else SOURCE, tensor) for index, tensor in enumerate(layer.inputs))
            kind = kinds.setdefault((layer.operator, inputs, packed), len(kinds))
            self.layers.append(LayerFacts(layer, operator, inputs, output, packed, ends, reads, kind))
        self._weighted: dict[str, list[LayerFacts]] = {}  # by the tensor that their weights are for
        for facts in self.layers:
            if facts.operator is not None and facts.operator.weights():
                self._weighted.setdefault(facts.layer.inputs[0], []).append(facts)
        self._readers = {facts.layer.name: self._main_reader(facts.layer.name) for facts in self.layers}
        self._machines: dict[tuple[int, int, int, int, Platform], Machine] = {}

    def machine(self, accelerator: Accelerator, platform: Platform) -> Machine:
        """The costs on an accelerator's array with the port of `platform`, which fits it."""
        key = (accelerator.Pox, accelerator.Poy, accelerator.Pof, accelerator.bits, platform)
        found = self._machines.get(key)
        if found is None:
            found = self._machines[key] = Machine(accelerator, platform)
        return found

    def forget(self) -> None:
        """Drop the costs on all arrays and ports; the network's facts stay."""
        self._machines.clear()

    def whole_tile(self, name: str, machine: Machine) -> tuple[FeatureTile, int]:
        """A whole tensor, interleaved by the row stride of the reader with the most multiplications, and its depth."""
        found = machine.tiles.get(name)
        if found is None:
            shape, accelerator, reader = self.graph.shape(name), machine.accelerator, self._readers[name]
            interleave = 1
            if reader is not None and reader.operator is not None:
                interleave = min(spread_by(reader.operator.window(reader.inputs), accelerator), shape.height)
            tile = FeatureTile(0, 0, shape.channels, shape.height, row_words(shape, accelerator), interleave)
            found = machine.tiles[name] = tile, tile.depth(accelerator.Poy, accelerator.word_pixels)
        return found

    def _main_reader(self, name: str) -> LayerFacts | None:
        readers = self._weighted.get(name, [])
        return max(readers, key=lambda facts: facts.layer.operator.macs(facts.inputs), default=None)
