"""Runs a schedule on memories that hold names instead of numbers, and checks every access as it happens.

Each cell of DRAM and of the buffers holds what the contract says was put there (`Pixels`, `Record`, `Weights`). A
command that finds anything else than what its layer needs fails, as does a command whose queue and waits would let it
run before (or at the same time as) an earlier command that touches the same cell, or the write port or copy B of the
same page.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fpga_model.graph import Layer
from fpga_model.machine.operations import ConvolveOp, LoadOp, Operation, PoolOp, StoreOp
from fpga_model.machine.tiles import Buffer, FeatureTile, Unit, Window
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import Concatenation, Convolution
from fpga_model.schedule.schedule import Schedule


class Pixels(NamedTuple):
    """One feature word: word `word` of row `row` of map `map_` of a tensor."""

    tensor: str
    map_: int
    row: int
    word: int


class Packed(NamedTuple):
    """One word of one-pixel maps, the first of which is `map_`."""

    tensor: str
    map_: int


class Record(NamedTuple):
    """The parameter record of one output map."""

    layer: str
    map_: int


class Weights(NamedTuple):
    """Weight word `index` of a layer."""

    layer: str
    index: int


Cell = tuple[str, int, int]
"""Memory, bank, word (DRAM: byte address of a word)."""


@dataclass
class _Uses:
    reads: dict[Unit, int] = field(default_factory=dict)  # commands of each unit that had begun with the last access
    writes: dict[Unit, int] = field(default_factory=dict)


class Machine:
    """The machine of one schedule; `run` executes all commands in program order."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.accelerator = schedule.accelerator
        self.cells: dict[Cell, object] = {}
        self.computed: Counter[tuple[str, int, int]] = Counter()
        self.loaded_bytes: Counter[str] = Counter()  # by region
        self.uses: dict[Cell, _Uses] = defaultdict(_Uses)
        self.begun = dict.fromkeys(Unit, 0)
        self.clocks: dict[Unit, list[dict[Unit, int]]] = {unit: [] for unit in Unit}
        self.now: dict[Unit, int] = {}
        self.unit = Unit.LOAD
        self.sources: set[Cell] = set()  # what the command under way has read
        self._fill_dram()

    def run(self) -> None:
        for command in self.schedule.operations:
            self._begin(command)
            if isinstance(command, LoadOp):
                self._load(command)
            elif isinstance(command, StoreOp):
                self._store(command)
            elif isinstance(command, ConvolveOp):
                self._convolve(command)
            else:
                self._pool(command)
        self._check_output()

    def _begin(self, command: Operation) -> None:
        """Find what is certain to have completed when the command starts, whatever commands cost."""
        self.unit = command.unit
        self.sources = set()
        waits = {Unit.LOAD: command.waits.load, Unit.COMPUTE: command.waits.compute, Unit.STORE: command.waits.store}
        waits[command.unit] = self.begun[command.unit]
        clock = dict(waits)
        for unit, count in waits.items():
            assert count <= self.begun[unit], f"{command.layer}: waits for a command that comes after it"
            if count:
                for other, seen in self.clocks[unit][count - 1].items():
                    clock[other] = max(clock[other], seen)
        self.now = clock
        self.begun[command.unit] += 1
        self.clocks[command.unit].append(clock | {command.unit: self.begun[command.unit]})

    def _touch(self, cell: Cell, write: bool) -> None:
        uses = self.uses[cell]
        earlier = [uses.writes, uses.reads] if write else [uses.writes]
        for accesses in earlier:
            for unit, count in accesses.items():
                assert self.now[unit] >= count or unit is self.unit, f"{cell}: {self.unit} may overtake {unit} {count}"
        (uses.writes if write else uses.reads)[self.unit] = self.begun[self.unit]

    def _read(self, cell: Cell) -> object:
        self._touch(cell, write=False)
        self.sources.add(cell)
        return self.cells.get(cell)

    def _write(self, cell: Cell, value: object) -> None:
        self._touch(cell, write=True)
        assert cell not in self.sources, f"{cell}: a command may not write what it reads"
        self.cells[cell] = value

    def _port(self, port: str, *tiles: FeatureTile) -> None:
        """Use the write port or copy B of pages, which units may not share at a time."""
        for page in {tile.page for tile in tiles}:
            self._touch((port, page, 0), write=True)

    def _place(self, tile: FeatureTile, map_: int, row: int, word: int) -> Cell:
        """The cell of a word; map and row are counted in the tensor."""
        m, r = map_ - tile.first_map, row - tile.first_row
        assert 0 <= m < tile.maps, f"map {map_} is not in {tile}"
        assert 0 <= r < tile.rows, f"row {row} is not in {tile}"
        assert 0 <= word < tile.row_words, f"word {word} is not in {tile}"
        Poy, interleave = self.accelerator.Poy, tile.interleave
        group_rows = -(-tile.rows // (interleave * Poy)) * interleave
        slot = r // (interleave * Poy) * interleave + r % interleave
        return self._page(tile, r // interleave % Poy, (m * group_rows + slot) * tile.row_words + word)

    def _page(self, tile: FeatureTile, bank: int, offset: int) -> Cell:
        assert 0 <= tile.page < self.accelerator.pages, f"no page {tile.page}"
        assert 0 <= tile.address + offset < self.accelerator.page_depth, f"{tile} leaves its page"
        assert offset < tile.depth(self.accelerator.Poy, self.accelerator.word_pixels), f"{tile} is not that deep"
        return (f"page {tile.page}", bank, tile.address + offset)

    def _tile_cells(self, tile: FeatureTile) -> Iterator[Cell]:
        """Cells in the order in which a LOAD or STORE moves them."""
        if tile.packed:
            yield from (self._page(tile, 0, k) for k in range(-(-tile.maps // self.accelerator.word_pixels)))
            return
        for m in range(tile.maps):
            for r in range(tile.rows):
                for w in range(tile.row_words):
                    yield self._place(tile, tile.first_map + m, tile.first_row + r, w)

    def _fill_dram(self) -> None:
        schedule, accelerator, graph = self.schedule, self.accelerator, self.schedule.graph
        for name, layout in schedule.parameters.items():
            for m in range(graph.shape(name).channels):
                self.cells["dram parameters", 0, layout.records + m * 4] = Record(name, m)
            words = -(-graph.shape(name).channels // accelerator.Pof) * (
                graph.layer(name).operator.weights() // graph.shape(name).channels
            )
            for index in range(words):
                self.cells["dram parameters", 0, layout.weights + index * accelerator.Pof] = Weights(name, index)
        region = schedule.dram.place(graph.input.name, "input")
        for offset, pixels in enumerate(self._words(graph.input.name)):
            self.cells["dram input", 0, region.address + offset * accelerator.feature_word_bytes] = pixels

    def _words(self, tensor: str) -> Iterator[Pixels]:
        shape = self.schedule.graph.shape(tensor)
        for m in range(shape.channels):
            for r in range(shape.height):
                yield from (Pixels(tensor, m, r, w) for w in range(self._row_words(shape)))

    def _row_words(self, shape: Shape) -> int:
        return -(-shape.width // self.accelerator.word_pixels)

    def _addresses(self, command: LoadOp | StoreOp, unit_bytes: int, *roles: str) -> Iterator[Cell]:
        """The cells of a DRAM access, word by word, all inside one place of one of those regions."""
        dram, beat = command.dram, self.schedule.platform.beat_bytes
        for run in range(dram.count):
            begin = dram.address + run * dram.stride
            end = begin + dram.bytes
            assert (begin % beat, end % beat) == (0, 0), "a run is whole beats"
            regions = [
                r
                for r in self.schedule.dram.places
                if r.role == dram.region and r.address <= begin and end <= r.address + r.bytes
            ]
            assert len(regions) == 1, f"{command.layer}: bytes {begin}..{end} lie in {len(regions)} regions"
            assert regions[0].role in roles, f"{command.layer} touches {regions[0]}"
            if isinstance(command, LoadOp):
                self.loaded_bytes[regions[0].name] += dram.bytes
            yield from ((f"dram {dram.region}", 0, address) for address in range(begin, end, unit_bytes))

    def _load(self, command: LoadOp) -> None:
        if command.buffer is Buffer.FEATURE:
            assert command.tile is not None
            self._port("write", command.tile)
            cells = list(self._tile_cells(command.tile))
            addresses = list(
                self._addresses(command, self.accelerator.feature_word_bytes, "input", "output", "feature")
            )
        else:
            weights = command.buffer is Buffer.WEIGHT
            depth = self.accelerator.weight_depth if weights else self.accelerator.parameter_depth
            assert 0 <= command.address <= depth - command.words, f"{command} leaves its buffer"
            word = self.accelerator.Pof if weights else 4
            assert command.address * word % self.schedule.platform.beat_bytes == 0, "a load begins at a whole beat"
            cells = [(command.buffer.value, 0, command.address + k) for k in range(command.words)]
            addresses = list(self._addresses(command, word, "parameters"))
        assert len(cells) == len(addresses), f"{command.layer}: {len(addresses)} words for {len(cells)} places"
        for cell, address in zip(cells, addresses, strict=True):
            self._write(cell, self._read(address))

    def _store(self, command: StoreOp) -> None:
        self._port("read B", command.tile)
        cells = list(self._tile_cells(command.tile))
        addresses = list(self._addresses(command, self.accelerator.feature_word_bytes, "output", "feature"))
        assert len(cells) == len(addresses), f"{command.layer}: {len(addresses)} words for {len(cells)} places"
        for cell, address in zip(cells, addresses, strict=True):
            self._write(address, self._read(cell))

    def _need(self, cell: Cell, value: object, why: str) -> None:
        found = self._read(cell)
        assert found == value, f"{why}: {cell} holds {found}, not {value}"

    def _need_window(self, command: ConvolveOp | PoolOp, maps: Sequence[int], tensor: str) -> None:
        """The rows under the windows of a tile, of the given maps, are where the source tile says."""
        window = command.window
        shape = self.schedule.graph.shape(tensor)
        assert (window.height, window.width) == (shape.height, shape.width)
        for row in _rows(window, command.oy, command.Toy):
            for m in maps:
                for w in range(self._row_words(shape)):
                    self._need(self._place(command.source, m, row, w), Pixels(tensor, m, row, w), command.layer)

    def _convolve(self, command: ConvolveOp) -> None:
        layer = self.schedule.graph.layer(command.layer)
        operator = layer.operator
        assert isinstance(operator, Convolution)
        Pof = self.accelerator.Pof
        self._port("write", command.destination)
        self._port("read B", *([command.shortcut.tile] if command.shortcut else []))
        maps = range(command.of, command.of + command.Tof)
        Gif, Gof = operator.in_channels // operator.groups, operator.out_channels // operator.groups
        assert (command.Nif, command.Gof) == (Gif, Gof)
        self._need_window(command, sorted({m // Gof * Gif + i for m in maps for i in range(Gif)}), layer.inputs[0])
        per_group = Gif * command.window.Nky * command.window.Nkx
        assert command.of % Pof == 0
        for k in range(-(-command.Tof // Pof) * per_group):
            value = Weights(command.layer, command.of // Pof * per_group + k)
            self._need(("weight", 0, command.weights + k), value, command.layer)
        for k in range(command.Tof):
            value = Record(command.layer, command.of + k)
            self._need(("parameter", 0, command.parameters + k), value, command.layer)
        if operator.shortcut is not None:
            self._shortcut(command, operator, layer.inputs[1])
        self._write_outputs(command)

    def _shortcut(self, command: ConvolveOp, operator: Convolution, tensor: str) -> None:
        spec = operator.shortcut
        assert spec is not None
        reach = range(spec.channel_offset, spec.channel_offset + spec.channels)
        added = [m for m in range(command.of, command.of + command.Tof) if m in reach]
        assert (command.shortcut is not None) == bool(added), f"{command.layer}: shortcut for {added}"
        if command.shortcut is None:
            return
        read = command.shortcut
        assert ((read.stride_y, read.stride_x), read.map_offset) == (spec.stride, spec.channel_offset)
        assert read.maps == spec.channels
        for m in added:
            for oy in range(command.oy, command.oy + command.Toy):
                for w in range(self._row_words(self.schedule.graph.shape(tensor))):
                    row, source = oy * spec.stride[0], m - spec.channel_offset
                    self._need(self._place(read.tile, source, row, w), Pixels(tensor, source, row, w), command.layer)

    def _pool(self, command: PoolOp) -> None:
        self._port("read B", command.source)
        self._port("write", command.destination)
        layer = self.schedule.graph.layer(command.layer)
        for m in range(command.of, command.of + command.Tof):
            tensor, map_ = self._pooled(layer, m)
            assert command.first_if + m - command.of == map_, f"{command.layer}: map {m} is made from map {map_}"
            self._need_window(command, [map_], tensor)
        self._write_outputs(command)

    def _pooled(self, layer: Layer, m: int) -> tuple[str, int]:
        """The tensor and its map that output map `m` of a pooling or a concatenation is made from."""
        if not isinstance(layer.operator, Concatenation):
            return layer.inputs[0], m
        sources = [(p.source, p.first + k) for p in layer.operator.parts for k in range(p.channels)]
        return layer.inputs[sources[m][0]], sources[m][1]

    def _write_outputs(self, command: ConvolveOp | PoolOp) -> None:
        shape, tile, word = self.schedule.graph.shape(command.layer), command.destination, self.accelerator.word_pixels
        assert command.Nox == shape.width
        for m in range(command.of, command.of + command.Tof):
            for row in range(command.oy, command.oy + command.Toy):
                self.computed[command.layer, m, row] += 1
                if tile.packed:
                    assert tile.first_map % word == 0
                    cell = self._page(tile, 0, (m - tile.first_map) // word)
                    self._write(cell, Packed(command.layer, m // word * word))
                    continue
                for w in range(self._row_words(shape)):
                    self._write(self._place(tile, m, row, w), Pixels(command.layer, m, row, w))

    def _check_output(self) -> None:
        """Everything was computed once, and the network's outputs lie in DRAM."""
        graph, size = self.schedule.graph, self.accelerator.feature_word_bytes
        expected = {
            (layer.name, m, row)
            for layer in graph.layers[1:]
            for m in range(graph.shape(layer.name).channels)
            for row in range(graph.shape(layer.name).height)
        }
        assert set(self.computed) == expected, "some rows are never computed, or do not exist"
        assert set(self.computed.values()) == {1}, "some rows are computed twice"
        for layer in graph.outputs:
            self._check_stored(layer.name, size)

    def _check_stored(self, output: str, size: int) -> None:
        graph = self.schedule.graph
        region = self.schedule.dram.place(output, "output")
        operator = graph.layer(output).operator
        joined = isinstance(operator, Concatenation) and len(operator.parts) > 1
        if graph.shape(output).pixels == 1 and not joined and not graph.consumers(output):
            first = range(0, graph.shape(output).channels, self.accelerator.word_pixels)
            words: list[object] = [Packed(output, m) for m in first]
        else:
            words = list(self._words(output))
        assert region.bytes == len(words) * size
        for offset, value in enumerate(words):
            assert self.cells.get(("dram output", 0, region.address + offset * size)) == value, (
                f"output {output!r} is not in DRAM"
            )


def _rows(window: Window, oy: int, Toy: int) -> list[int]:
    """Rows of the tensor that lie under the windows of output rows `oy ... oy+Toy-1`."""
    steps = range(0, window.Nky * window.dilation_y, window.dilation_y)
    under = {r * window.stride_y - window.pad_top + step for r in range(oy, oy + Toy) for step in steps}
    return sorted(row for row in under if 0 <= row < window.height)
