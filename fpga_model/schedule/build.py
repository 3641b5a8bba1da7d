"""Builds a schedule: which tensors stay on chip, tile sizes, places, commands."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph, Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.commands import Chunks, FeatureTile, Load, Store, Target, Waits
from fpga_model.machine.hazards import Program
from fpga_model.machine.platform import Platform
from fpga_model.models.simulator import execute
from fpga_model.operators import ComputeOperator, Input
from fpga_model.operators.job import Job
from fpga_model.schedule.dram import (
    FEATURE,
    INPUT,
    OUTPUT,
    DramImage,
    ParameterLayout,
    is_packed,
    lay_out,
    row_words,
    tile_chunks,
    weight_words,
)
from fpga_model.schedule.memory import Placed, Ring, live_ranges, pages_at, place
from fpga_model.schedule.schedule import Kind, Schedule
from fpga_model.schedule.tiling import (
    DESTINATION,
    SHORTCUT,
    SOURCE,
    LayerShape,
    Side,
    Tiling,
    candidates,
    work_places,
)


@dataclass(frozen=True)
class LayerPlan:
    """One layer with its tile sizes and the places of the tiles that travel."""

    layer: Layer
    shape: LayerShape
    tiling: Tiling
    sides: tuple[Side, ...]


@dataclass
class Emitter:
    """Turns plans into commands; holds what lasts from layer to layer."""

    fixed: FixedGraph
    accelerator: Accelerator
    platform: Platform
    dram: DramImage
    parameters: dict[str, ParameterLayout]
    residents: dict[str, FeatureTile]
    loaded: set[str] = field(default_factory=set)
    program: Program = field(init=False)
    weight_ring: Ring = field(init=False)
    parameter_ring: Ring = field(init=False)

    def __post_init__(self) -> None:
        self.program = Program(self.accelerator)
        self.weight_ring = Ring(self.accelerator.weight_depth)
        self.parameter_ring = Ring(self.accelerator.parameter_depth)

    def layer(self, plan: LayerPlan) -> None:
        """Append all commands of a layer: tile by tile, loads, then the computation, then the store."""
        self._resident_input(plan)
        addresses, weights_of, source_of = (0, 0), None, None
        source, loads = None, 0
        for count, (of, Tof, oy, Toy) in enumerate(plan.tiling.tiles(plan.shape.output)):
            if plan.shape.weights_per_map and weights_of != of:
                weights_of, addresses = of, self._load_parameters(plan, of, Tof)
            tensor = plan.layer.inputs[plan.shape.operator.source_index(of)]
            wanted = plan.shape.source_tile(of, Tof, oy, Toy)
            if source is None or source_of != (tensor, wanted):
                source_of = tensor, wanted
                source, moved = self._fetch(plan, SOURCE, tensor, wanted, loads)
                loads += moved
            shortcut = plan.shape.shortcut_tile(of, Tof, oy, Toy)
            if shortcut is not None:
                shortcut, _ = self._fetch(plan, SHORTCUT, plan.layer.inputs[1], shortcut, count)
            self._compute(plan, (of, Tof, oy, Toy), source, shortcut, addresses, count)

    def _resident_input(self, plan: LayerPlan) -> None:
        name = self.fixed.graph.input.name
        if name not in self.residents or name in self.loaded or name not in plan.layer.inputs:
            return
        self.loaded.add(name)
        tile = self.residents[name]
        self._load_feature(plan.layer.name, name, tile)

    def _load_feature(self, layer: str, tensor: str, tile: FeatureTile) -> None:
        region = self.dram.region(tensor, INPUT, FEATURE)
        chunks = tile_chunks(region, self.fixed.graph.shape(tensor), tile, self.accelerator)
        self.program.append(Load(layer, Waits(), Target.FEATURE, chunks, tile=tile))

    def _load_parameters(self, plan: LayerPlan, of: int, Tof: int) -> tuple[int, int]:
        """Load records and weights of a tile; returns their addresses on chip (weights, records)."""
        accelerator, layout = self.accelerator, self.parameters[plan.layer.name]
        last = of + Tof >= plan.shape.output.channels
        begin = of * accelerator.record_bytes
        end = layout.record_bytes if last else (of + Tof) * accelerator.record_bytes
        records = self._load_words(plan, Target.PARAMETER, Chunks(layout.records + begin, end - begin))
        per_map = plan.shape.weights_per_map
        begin = weight_words(of, per_map, accelerator) * accelerator.weight_word_bytes
        end = weight_words(of + Tof, per_map, accelerator) * accelerator.weight_word_bytes
        end = layout.weight_bytes if last else end
        weights = self._load_words(plan, Target.WEIGHT, Chunks(layout.weights + begin, end - begin))
        return weights, records

    def _load_words(self, plan: LayerPlan, target: Target, chunks: Chunks) -> int:
        """Load records or weights into the next free place of their buffer; returns its address."""
        if target is Target.WEIGHT:
            ring, words = self.weight_ring, chunks.bytes // self.accelerator.weight_word_bytes
        else:
            ring, words = self.parameter_ring, chunks.bytes // self.accelerator.record_bytes
        address = ring.take(words)
        self.program.append(Load(plan.layer.name, Waits(), target, chunks, address=address, words=words))
        return address

    def _fetch(
        self, plan: LayerPlan, role: str, tensor: str, wanted: FeatureTile, count: int
    ) -> tuple[FeatureTile, int]:
        """The tile where a tensor can be read, and 1 if a load was needed to put it there."""
        if tensor in self.residents:
            return self.residents[tensor], 0
        page, address = plan.sides[count % len(plan.sides)][role]
        tile = dataclasses.replace(wanted, page=page, address=address)
        self._load_feature(plan.layer.name, tensor, tile)
        return tile, 1

    def _compute(
        self,
        plan: LayerPlan,
        tile: tuple[int, int, int, int],
        source: FeatureTile,
        shortcut: FeatureTile | None,
        addresses: tuple[int, int],
        count: int,
    ) -> None:
        name = plan.layer.name
        destination = self.residents.get(name)
        if destination is None:
            page, address = plan.sides[count % len(plan.sides)][DESTINATION]
            destination = dataclasses.replace(plan.shape.destination_tile(*tile), page=page, address=address)
        job = Job(
            layer=name,
            accelerator=self.accelerator,
            numbers=self.fixed.numbers[name],
            inputs=plan.shape.inputs,
            output=plan.shape.output,
            of=tile[0],
            Tof=tile[1],
            oy=tile[2],
            Toy=tile[3],
            source=source,
            destination=destination,
            weights=addresses[0],
            parameters=addresses[1],
            shortcut=shortcut,
            shortcut_frac=self.fixed.format(plan.layer.inputs[-1]).frac,
        )
        self.program.append(plan.shape.operator.command(job))
        if name not in self.residents:
            region = self.dram.region(name, OUTPUT, FEATURE)
            chunks = tile_chunks(region, plan.shape.output, destination, self.accelerator)
            self.program.append(Store(name, Waits(), chunks, destination))


def check_numbers(fixed: FixedGraph) -> None:
    """Refuse, all at once, the tensors that the accelerator cannot store.

    Raises:
        UserError: names every layer whose output is not a signed 8-bit tensor.
    """
    forms = {layer.name: fixed.format(layer.name) for layer in fixed.graph.layers}
    found = [
        f"{name!r} ({'' if form.signed else 'unsigned '}{form.bits} bits)".replace(" 8 bits", "")
        for name, form in forms.items()
        if (form.bits, form.signed) != (8, True)
    ]
    if found:
        raise UserError(
            f"network {fixed.graph.name!r} runs in integers, but this accelerator stores signed 8-bit tensors only, "
            f"not those of {', '.join(found)}: quantise it to 8 bits with signed activations"
        )


@dataclass
class Planner:
    """Decides residents and tile sizes for one network on one accelerator."""

    fixed: FixedGraph
    accelerator: Accelerator
    platform: Platform
    kind: Kind

    @property
    def graph(self) -> LayerGraph:
        return self.fixed.graph

    def build(self) -> Schedule:
        """The schedule. Raises UserError if a layer does not fit the buffers in any way."""
        staying = [] if self.kind is Kind.LAYERWISE else [n.name for n in self.graph.layers if n != self.graph.output]
        tiles = {name: self._full_tile(name) for name in staying}
        while True:
            depths = {n: t.depth(self.accelerator.Poy, self.accelerator.word_pixels) for n, t in tiles.items()}
            placed = place(depths, live_ranges(self.graph), self.accelerator)
            residents = {n: dataclasses.replace(tiles[n], page=p.page, address=p.address) for n, p in placed.items()}
            spilled = [layer.name for layer in self.graph.layers if layer.name not in residents]
            dram, parameters = lay_out(self.graph, spilled, self.accelerator, self.platform)
            emitter = Emitter(self.fixed, self.accelerator, self.platform, dram, parameters, residents)
            stuck = self._emit(emitter, placed)
            if stuck is None:
                break
            del tiles[self._victim(stuck, placed)]
        commands = tuple(emitter.program.commands)
        return Schedule(
            self.kind, self.fixed, self.accelerator, self.platform, dram, parameters, self.tilings, residents, commands
        )

    def _emit(self, emitter: Emitter, placed: dict[str, Placed]) -> Layer | None:
        """Emit every layer; returns the first that finds no room, or None."""
        self.tilings: dict[str, Tiling] = {}
        for index, layer in enumerate(self.graph.layers):
            if not isinstance(layer.operator, ComputeOperator):
                continue
            plan = self._plan(layer, index, layer.operator, emitter, placed)
            if plan is None:
                return layer
            self.tilings[layer.name] = plan.tiling
            emitter.layer(plan)
        return None

    def _victim(self, stuck: Layer, placed: dict[str, Placed]) -> str:
        """The resident to send to DRAM so that a stuck layer gets room: the largest that lives then."""
        index = [layer.name for layer in self.graph.layers].index(stuck.name)
        alive = [n for n, p in placed.items() if p.live[0] <= index <= p.live[1]]
        if not alive:
            kind, Nif = stuck.operator.kind, self.graph.input_shapes(stuck.name)[0].channels
            raise UserError(
                f"layer {stuck.name!r} does not fit the accelerator: its smallest tile ({kind}, {Nif} input maps) "
                f"needs more than the buffers hold (page_depth {self.accelerator.page_depth}, "
                f"weight_depth {self.accelerator.weight_depth}, parameter_depth {self.accelerator.parameter_depth}); "
                f"choose larger buffers"
            )
        return max(alive, key=lambda name: placed[name].depth)

    def _full_tile(self, name: str) -> FeatureTile:
        """A whole tensor, interleaved by the row stride of the reader with the most multiplications."""
        shape = self.graph.shape(name)
        readers = [r for r in self.graph.consumers(name) if r.inputs[0] == name and r.operator.weights()]
        readers.sort(key=lambda r: -r.operator.macs(self.graph.input_shapes(r.name)))
        strides = [
            self._shape(r, r.operator).window.stride_y for r in readers if isinstance(r.operator, ComputeOperator)
        ]
        interleave = min(strides[0], shape.height) if strides else 1
        return FeatureTile(0, 0, shape.channels, shape.height, row_words(shape, self.accelerator), interleave)

    def _shape(self, layer: Layer, operator: ComputeOperator) -> LayerShape:
        inputs, output = tuple(self.graph.input_shapes(layer.name)), self.graph.shape(layer.name)
        return LayerShape(operator, inputs, output, self.accelerator, is_packed(self.graph, layer.name))

    def _plan(
        self, layer: Layer, index: int, operator: ComputeOperator, emitter: Emitter, placed: dict[str, Placed]
    ) -> LayerPlan | None:
        """The tile sizes with the fewest cycles among those that fit; None if none fits."""
        shape = self._shape(layer, operator)
        others = SOURCE if operator.added is None else SHORTCUT
        tensors = [(others if index else SOURCE, tensor) for index, tensor in enumerate(layer.inputs)]
        tensors.append((DESTINATION, layer.name))
        roles = frozenset(role for role, tensor in tensors if tensor not in emitter.residents)
        pages = pages_at(placed.values(), self.accelerator, index, index)
        travels = bool(roles - ({DESTINATION} if layer == self.graph.output else set()))
        plans = []
        for tiling in candidates(shape, self.platform, travels):
            sides = work_places(shape, tiling, roles, pages)
            if sides is not None:
                plans.append(LayerPlan(layer, shape, tiling, sides))
                if not travels:
                    break
        if not plans:
            return None
        return min(plans, key=lambda plan: self._alone(plan, emitter)) if len(plans) > 1 else plans[0]

    def _alone(self, plan: LayerPlan, emitter: Emitter) -> int:
        """Cycles of a layer by itself."""
        trial = Emitter(
            self.fixed, self.accelerator, self.platform, emitter.dram, emitter.parameters, emitter.residents
        )
        trial.layer(plan)
        return max(event.done for event in execute(trial.program.commands, self.accelerator, self.platform))


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


def build_schedule(fixed: FixedGraph, accelerator: Accelerator, platform: Platform, kind: Kind) -> Schedule:
    """The schedule of a network on an accelerator.

    Raises:
        UserError: the platform is too small for the accelerator, or a layer has no command or does not fit its buffers.
    """
    platform.check(accelerator)
    check_schedulable(fixed.graph)
    check_numbers(fixed)
    return Planner(fixed, accelerator, platform.fitted(accelerator), kind).build()
