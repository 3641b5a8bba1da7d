"""From a plan to operations in program order: tile by tile loads, the computation, the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from fpga_model.graph import FixedGraph
from fpga_model.machine.operations import LoadOp, Operation, StoreOp
from fpga_model.machine.tiles import NO_WAITS, Buffer, DramRuns, FeatureTile
from fpga_model.operators.job import Job
from fpga_model.schedule.dram import FEATURE, INPUT, OUTPUT, PARAMETERS, tile_runs, weight_words
from fpga_model.schedule.memory import Ring
from fpga_model.schedule.plan import LayerPlan, Plan
from fpga_model.schedule.tiling import DESTINATION, SHORTCUT, SOURCE, Extent


def make_operations(plan: Plan, fixed: FixedGraph | None) -> Iterator[Operation]:
    """All operations of a plan, those of one layer contiguous; their order is a valid sequential execution.

    They do not wait for one another yet (`fpga_model.machine.hazards`). Without the integers (`fixed` is None) shifts
    and bounds are those of a plain sum: nobody can run these operations, but what they touch and cost is the same.
    """
    emitter = _Emitter(plan, fixed)
    for layer in plan.layers.values():
        emitter.layer(layer)
        yield from emitter.operations
        emitter.operations.clear()


class _Emitter:
    """Holds what lasts from layer to layer, and the operations of one layer."""

    def __init__(self, plan: Plan, fixed: FixedGraph | None) -> None:
        self.plan = plan
        self.fixed = fixed
        self.accelerator = plan.accelerator
        self.operations: list[Operation] = []
        self.weight_ring = Ring(plan.accelerator.weight_depth)
        self.parameter_ring = Ring(plan.accelerator.parameter_depth)
        self.input = plan.graph.input.name
        self.outputs = {layer.name for layer in plan.graph.outputs}
        self.input_loaded = False

    def layer(self, plan: LayerPlan) -> None:
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
        name = plan.layer.name
        if name in self.outputs and name in self.plan.residents:
            self._store(name, self.plan.residents[name])  # a tensor that others read, too

    def _resident_input(self, plan: LayerPlan) -> None:
        if self.input in self.plan.residents and not self.input_loaded and self.input in plan.layer.inputs:
            self.input_loaded = True
            self._load_feature(plan.layer.name, self.input, self.plan.residents[self.input])

    def _load_feature(self, layer: str, tensor: str, tile: FeatureTile) -> None:
        place = self.plan.dram.place(tensor, INPUT, FEATURE, OUTPUT)
        runs = tile_runs(place, self.plan.graph.shape(tensor), tile, self.accelerator)
        self.operations.append(LoadOp(layer, NO_WAITS, Buffer.FEATURE, runs, tile=tile))

    def _load_parameters(self, plan: LayerPlan, of: int, Tof: int) -> tuple[int, int]:
        """Load records and weights of a tile; returns their addresses on chip (weights, records)."""
        accelerator, layout = self.accelerator, self.plan.parameters[plan.layer.name]
        last = of + Tof >= plan.shape.output.channels
        begin = of * accelerator.record_bytes
        end = layout.record_bytes if last else (of + Tof) * accelerator.record_bytes
        records = self._load_words(plan, Buffer.PARAMETER, layout.records + begin, end - begin)
        per_map = plan.shape.weights_per_map
        begin = weight_words(of, per_map, accelerator) * accelerator.weight_word_bytes
        end = weight_words(of + Tof, per_map, accelerator) * accelerator.weight_word_bytes
        end = layout.weight_bytes if last else end
        return self._load_words(plan, Buffer.WEIGHT, layout.weights + begin, end - begin), records

    def _load_words(self, plan: LayerPlan, buffer: Buffer, address: int, size: int) -> int:
        """Load records or weights into the next free place of their buffer; returns its address."""
        if buffer is Buffer.WEIGHT:
            ring, words = self.weight_ring, size // self.accelerator.weight_word_bytes
        else:
            ring, words = self.parameter_ring, size // self.accelerator.record_bytes
        place = ring.take(words)
        runs = DramRuns(PARAMETERS, address, size)
        self.operations.append(LoadOp(plan.layer.name, NO_WAITS, buffer, runs, address=place, words=words))
        return place

    def _fetch(
        self, plan: LayerPlan, role: str, tensor: str, wanted: FeatureTile, count: int
    ) -> tuple[FeatureTile, int]:
        """The tile where a tensor can be read, and 1 if a load was needed to put it there."""
        if tensor in self.plan.residents:
            return self.plan.residents[tensor], 0
        page, address = plan.sides[count % len(plan.sides)][role]
        tile = dataclasses.replace(wanted, page=page, address=address)
        self._load_feature(plan.layer.name, tensor, tile)
        return tile, 1

    def _compute(
        self,
        plan: LayerPlan,
        tile: Extent,
        source: FeatureTile,
        shortcut: FeatureTile | None,
        addresses: tuple[int, int],
        count: int,
    ) -> None:
        name, fixed = plan.layer.name, self.fixed
        destination = self.plan.residents.get(name)
        if destination is None:
            page, address = plan.sides[count % len(plan.sides)][DESTINATION]
            destination = dataclasses.replace(plan.shape.destination_tile(*tile), page=page, address=address)
        job = Job(
            layer=name,
            accelerator=self.accelerator,
            numbers=None if fixed is None else fixed.numbers[name],
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
            shortcut_frac=0 if fixed is None else fixed.format(plan.layer.inputs[-1]).frac,
        )
        self.operations.append(plan.shape.operator.operation(job))
        if name not in self.plan.residents:
            self._store(name, destination)

    def _store(self, name: str, tile: FeatureTile) -> None:
        place = self.plan.dram.place(name, OUTPUT, FEATURE)
        runs = tile_runs(place, self.plan.graph.shape(name), tile, self.accelerator)
        self.operations.append(StoreOp(name, NO_WAITS, runs, tile))
