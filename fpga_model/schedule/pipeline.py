"""The tiles of a layer as a pipeline of LOAD, COMPUTE and STORE, in closed form per tile.

Tiles take turns on the sides of a layer's working memory; weights load under earlier layers as far as their buffers
reach. What is neglected: how the commands of one unit interleave, and where bursts meet block boundaries.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.tiles import BufferWords, FeatureTile
from fpga_model.operators.convolution import Convolution
from fpga_model.schedule.costs import NOTHING, Access, TileCosts
from fpga_model.schedule.dram import weight_words
from fpga_model.schedule.tiling import DESTINATION, SHORTCUT, SOURCE, Extent, Side, Tiling

Room = tuple[int, int, int]
"""A page, and words of its banks: the first, and the one behind the last."""


def _overlap(one: Room, other: Room) -> bool:
    return one[0] == other[0] and one[1] < other[2] and other[1] < one[2]


@dataclass(frozen=True)
class TileDemand:
    """What one tile asks of the three units, and the weight words and records it holds.

    Attributes:
        compute: cycles of COMPUTE.
        parameters, features, store: what is loaded and stored for it.
        words, records: weight words and parameter records that it holds.
        load_meets: its loads cannot overlap the computation of the tile before, store_meets: its computation cannot
            overlap the store of the tile before. They share a place, or a port of a page.
        reads: inputs that are loaded, by their index, each with the last map and the last row that the tile needs.
        loaded: where its loads write.
        used: where its computation reads what was loaded.
        made: where its computation writes.
        copy_b: the page whose copy B its computation reads.
        stored: where its store reads.
    """

    compute: int
    parameters: Access
    features: Access
    store: Access
    words: int
    records: int
    load_meets: bool = False
    store_meets: bool = False
    reads: tuple[tuple[int, int, int], ...] = ()
    loaded: tuple[Room, ...] = ()
    used: tuple[Room, ...] = ()
    made: Room | None = None
    copy_b: int | None = None
    stored: Room | None = None

    def load_meets_computation(self, other: TileDemand) -> bool:
        """Whether its loads write where another tile computes, or into a page that its computation writes."""
        writes = other.made is not None and any(room[0] == other.made[0] for room in self.loaded)
        return writes or any(_overlap(room, used) for room in self.loaded for used in other.used)

    def load_meets_store(self, other: TileDemand) -> bool:
        """Whether its loads write where the store of another tile reads."""
        return other.stored is not None and any(_overlap(room, other.stored) for room in self.loaded)

    def computation_meets_store(self, other: TileDemand) -> bool:
        """Whether its computation writes where the store of another tile reads, or reads the same copy of a page."""
        if other.stored is None:
            return False
        return self.copy_b == other.stored[0] or (self.made is not None and _overlap(self.made, other.stored))


@dataclass(frozen=True)
class Totals:
    """Sums over the tiles of a layer.

    They are cycles of COMPUTE, bytes on the bus, buffer words that COMPUTE touches, weight words and records loaded.
    """

    compute: int
    parameter_bytes: int
    feature_bytes: int
    stored_bytes: int
    words: BufferWords
    weights: int
    records: int


@dataclass
class _Stored:
    """When each tile of a tensor was stored."""

    maps: list[int]
    rows: list[int]
    rows_outside: bool
    times: list[int] = field(default_factory=list)

    def ready(self, last_map: int, last_row: int) -> int:
        """When all maps and rows up to these were stored; the tiles were stored in order."""
        m = bisect_right(self.maps, last_map) - 1
        r = bisect_right(self.rows, last_row) - 1
        index = r * len(self.maps) + m if self.rows_outside else m * len(self.rows) + r
        return self.times[min(index, len(self.times) - 1)]


@dataclass
class Clock:
    """After a layer: when LOAD is free, when tiles were computed and stored, who holds the parameter memories."""

    accelerator: Accelerator
    load: int = 0
    end: int = 0
    computed: tuple[int, int] = (0, 0)
    stored: tuple[int, int] = (0, 0)
    older: TileDemand | None = None
    last: TileDemand | None = None
    tensors: dict[str, _Stored] = field(default_factory=dict)
    holders: deque[tuple[int, int, int]] = field(default_factory=deque)  # (words, records, computed at)
    words: int = 0
    records: int = 0
    waited: bool = False  # whether parameters had to wait for room

    def layer(self, pipeline: Pipeline, tiles: Iterable[TileDemand]) -> int:
        """Run a layer; returns the cycles that it adds."""
        shape, tiling = pipeline.costs.shape, pipeline.tiling
        times = _Stored(
            [of for of, _ in tiling.maps(shape.output)],
            [oy for oy, _ in tiling.rows(shape.output)],
            tiling.rows_outside,
        )
        for number, tile in enumerate(tiles):
            load_meets, store_meets, waits_store = tile.load_meets, tile.store_meets, False
            if not number and self.last is not None:
                load_meets = tile.load_meets_computation(self.last)
                store_meets = tile.computation_meets_store(self.last)
                waits_store = tile.load_meets_store(self.last)
            # Of the layer before, whose tiles lay elsewhere in the same pages.
            waits_older = number < 2 and self.older is not None and tile.load_meets_store(self.older)
            loaded = self._parameters(tile, self.load)
            if tile.features.cycles:
                free = self.computed[1] if load_meets else self.computed[0]
                free = max(free, self.stored[1] if waits_store else self.stored[0] if waits_older else 0)
                for index, last_map, last_row in tile.reads:
                    stored = self.tensors.get(pipeline.inputs[index])
                    if stored is not None:
                        free = max(free, stored.ready(last_map, last_row))
                loaded = max(loaded, free) + tile.features.cycles
            if tile.parameters.cycles or tile.features.cycles:
                self.load = loaded
            begin = max(self.computed[1], loaded, self.stored[1] if store_meets else self.stored[0])
            end = begin + tile.compute
            self._hold(tile, end)
            self.computed = self.computed[1], end
            self.stored = self.stored[1], max(end, self.stored[1]) + tile.store.cycles
            times.times.append(self.stored[1])
            self.older, self.last = self.last, tile
        self.tensors[pipeline.name] = times
        added = max(0, self.stored[1] - self.end)
        self.end = max(self.end, self.stored[1])
        return added

    def _parameters(self, tile: TileDemand, free: int) -> int:
        """When a tile's weights and records are loaded, LOAD being free at `free`: they wait for room."""
        if not tile.parameters.cycles:
            return free
        while self.holders and (
            self.words + tile.words > self.accelerator.weight_depth
            or self.records + tile.records > self.accelerator.parameter_depth
        ):
            self.waited = True
            words, records, done = self.holders.popleft()
            self.words -= words
            self.records -= records
            free = max(free, done)
        return free + tile.parameters.cycles

    def _hold(self, tile: TileDemand, done: int) -> None:
        """The tile's parameters, or those of the tile before that it shares, stay until it is computed."""
        if not tile.words:
            return
        if not tile.parameters.cycles:
            if self.holders:
                words, records, _ = self.holders.pop()
                self.holders.append((words, records, done))
            return
        self.holders.append((tile.words, tile.records, done))
        self.words += tile.words
        self.records += tile.records


@dataclass(frozen=True)
class Pipeline:
    """A layer with a tiling: what its tiles demand, one by one.

    Attributes:
        name, inputs: the layer's, which are those of its tensors.
        costs: of its tiles.
        tiling, sides: tile sizes, and the places of the tiles that travel.
        residents: for each input, its tile if it stays on chip.
        own: the layer's output, if it stays on chip.
        loads_input: whether its first tile brings the network's input on chip.
        stores_own: whether its output is stored although it stays on chip.
    """

    name: str
    inputs: tuple[str, ...]
    costs: TileCosts
    tiling: Tiling
    sides: tuple[Side, ...]
    residents: Sequence[FeatureTile | None]
    own: FeatureTile | None
    loads_input: bool = False
    stores_own: bool = False

    @cached_property
    def _key(self) -> Hashable:
        """What its tiles depend on, besides the costs."""
        places = tuple(tuple(side.items()) for side in self.sides)
        pages = tuple(None if tile is None else (tile.page, tile.address) for tile in (*self.residents, self.own))
        return self.tiling, places, pages, self.loads_input, self.stores_own

    def tiles(self) -> tuple[TileDemand, ...]:
        """What the tiles demand, in order."""
        key = self._key
        found = self.costs.demands.get(key)
        if found is None:
            found = self.costs.demands[key] = tuple(self._tiles())
        return found

    def totals(self) -> Totals:
        """Sums over all tiles."""
        found = self.costs.totals.get(self._key)
        if found is None:
            found = self.costs.totals[self._key] = self._sum()
        return found

    def _sum(self) -> Totals:
        costs, shape, words, weights, records, last_of = self.costs, self.costs.shape, BufferWords(), 0, 0, None
        for tile in self.tiling.tiles(shape.output):
            words += costs.words(tile)
            if shape.weights_per_map and tile[0] != last_of:
                last_of = tile[0]
                weights += weight_words(tile[1], shape.weights_per_map, shape.accelerator)
                records += tile[1]
        demands = self.tiles()
        return Totals(
            compute=sum(tile.compute for tile in demands),
            parameter_bytes=sum(tile.parameters.bytes for tile in demands),
            feature_bytes=sum(tile.features.bytes for tile in demands),
            stored_bytes=sum(tile.store.bytes for tile in demands),
            words=words,
            weights=weights,
            records=records,
        )

    def alone(self, accelerator: Accelerator) -> int:
        """Cycles of the layer on its own; of the accelerator the depths of its parameter memories count."""
        words, records = accelerator.weight_depth, accelerator.parameter_depth
        known = self.costs.times.setdefault(self._key, [])
        for w, r, waited, cycles in known:
            if (w, r) == (words, records) or (not waited and w <= words and r <= records):
                return cycles
        clock = Clock(accelerator)
        cycles = clock.layer(self, self.tiles())
        known.append((words, records, clock.waited, cycles))
        return cycles

    def _tiles(self) -> Iterator[TileDemand]:
        costs, sides, shape = self.costs, self.sides, self.costs.shape
        operator, own = shape.operator, self.own
        last_of, last_source, loads = None, None, 0
        held: tuple[int, int] | None = None
        before: tuple[Side, int] | None = None
        for count, tile in enumerate(self.tiling.tiles(shape.output)):
            of, Tof, oy, Toy = tile
            parameters, features = NOTHING, NOTHING
            if shape.weights_per_map and last_of != of:
                last_of, parameters = of, costs.parameters(Tof)
            index = operator.source_index(of)
            resident = self.residents[index]
            side = dict(sides[count % len(sides)])
            filled: list[tuple[int, int]] = []
            loaded: list[Room] = []
            reads: list[tuple[int, int, int]] = []
            if resident is None:
                wanted = (index, *operator.source_maps(of, Tof), oy, Toy)
                if wanted != last_source:
                    last_source = wanted
                    features += costs.source(tile)
                    held = sides[loads % len(sides)][SOURCE]
                    filled.append(held)
                    loaded.append(self._room(held, shape.source_tile(*tile)))
                    reads.append(_needed(index, shape.source_tile(*tile)))
                    loads += 1
                assert held is not None, "the first tile loads its source"
                side[SOURCE] = held  # where it was loaded, maybe for a tile before
            elif self.loads_input and not count:
                features += costs.load(resident, shape.inputs[index])
            added = costs.shortcut(tile)
            if added.bytes:
                features += added
                wanted_shortcut = shape.shortcut_tile(*tile)
                assert wanted_shortcut is not None, "what costs a load is there"
                filled.append(side[SHORTCUT])
                loaded.append(self._room(side[SHORTCUT], wanted_shortcut))
                reads.append(_needed(1, wanted_shortcut))
            load_meets = store_meets = False
            if before is not None:
                used = [before[0][role] for role in (SOURCE, SHORTCUT) if role in before[0]]
                load_meets = any(place in used or place[0] == before[1] for place in filled)
                if own is None:
                    stored = before[0][DESTINATION]
                    store_meets = stored == side[DESTINATION] or stored[0] == self._copy_b(side, index)
            words = weight_words(Tof, shape.weights_per_map, shape.accelerator)
            place = side[DESTINATION] if own is None else (own.page, own.address)
            made = self._room(place, shape.destination_tile(*tile) if own is None else own)
            yield TileDemand(
                costs.compute(tile),
                parameters,
                features,
                costs.store(tile),
                words,
                Tof if words else 0,
                load_meets,
                store_meets,
                tuple(reads),
                tuple(loaded),
                tuple(self._used(side, tile, resident is None)),
                made,
                self._copy_b(side, index),
                made if own is None else None,
            )
            before = side, own.page if own is not None else side[DESTINATION][0]
        if self.stores_own:
            whole = (0, shape.output.channels, 0, shape.output.height)
            yield TileDemand(0, NOTHING, NOTHING, costs.stored(whole), 0, 0)

    def _room(self, place: tuple[int, int], tile: FeatureTile) -> Room:
        accelerator = self.costs.accelerator
        page, address = place
        return page, address, address + tile.depth(accelerator.Poy, accelerator.word_pixels)

    def _used(self, side: Side, tile: Extent, source_travels: bool) -> Iterator[Room]:
        """Where the computation of a tile reads what was loaded."""
        shape = self.costs.shape
        if source_travels:
            yield self._room(side[SOURCE], shape.source_tile(*tile))
        added = shape.shortcut_tile(*tile) if SHORTCUT in side else None
        if added is not None:
            yield self._room(side[SHORTCUT], added)

    def _copy_b(self, side: Side, index: int) -> int | None:
        """The page whose copy B the computation of a tile reads: that of its shortcut, or of a pooling's source."""
        operator = self.costs.shape.operator
        role, tensor = SOURCE, index
        if isinstance(operator, Convolution):
            if operator.added is None:
                return None
            role, tensor = SHORTCUT, 1
        resident = self.residents[tensor]
        if resident is not None:
            return resident.page
        return side[role][0] if role in side else None


def _needed(index: int, tile: FeatureTile) -> tuple[int, int, int]:
    return index, tile.first_map + tile.maps - 1, tile.first_row + tile.rows - 1
