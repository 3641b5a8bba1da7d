"""Tile sizes of one layer, what each tile of a size needs, and the places of the tiles that travel."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, permutations, product

from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import FeatureTile, Window
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import ComputeOperator
from fpga_model.schedule.dram import record_bytes, round_up, row_words, weight_bytes, weight_words
from fpga_model.schedule.memory import Pages

SOURCE, SHORTCUT, DESTINATION = "source", "shortcut", "destination"


MAX_TILES = 1 << 14
"""Most tiles of a layer: tiles smaller than that would spend their time on commands."""

Extent = tuple[int, int, int, int]
"""(of, Tof, oy, Toy): first output map and maps, first output row and rows of a tile."""


@dataclass(frozen=True)
class Tiling:
    """Output maps and rows of a tile, which of the two loops is outside, and maps at which a tile begins anew."""

    Tof: int
    Toy: int
    rows_outside: bool = False
    cuts: tuple[int, ...] = ()

    def maps(self, output: Shape) -> list[tuple[int, int]]:
        """(of, Tof) of the tiles of a row of tiles."""
        return [
            (of, min(self.Tof, end - of))
            for begin, end in pairwise((0, *self.cuts, output.channels))
            for of in range(begin, end, self.Tof)
        ]

    def rows(self, output: Shape) -> list[tuple[int, int]]:
        """(oy, Toy) of the tiles of a column of tiles."""
        return [(oy, min(self.Toy, output.height - oy)) for oy in range(0, output.height, self.Toy)]

    def tiles(self, output: Shape) -> Iterator[Extent]:
        """(of, Tof, oy, Toy) of every tile, in order."""
        maps, rows = self.maps(output), self.rows(output)
        if self.rows_outside:
            yield from ((of, Tof, oy, Toy) for (oy, Toy), (of, Tof) in product(rows, maps))
        else:
            yield from ((of, Tof, oy, Toy) for (of, Tof), (oy, Toy) in product(maps, rows))


def spread_by(window: Window, accelerator: Accelerator) -> int:
    """The interleave for a window's source: its row stride; with strides that skip more rows than there are banks, one.

    A tile interleaved by its stride takes as many rows of each bank, most of which no window would read.
    """
    return 1 if window.stride_y > max(window.rows, accelerator.Poy) else window.stride_y


@dataclass(frozen=True)
class LayerShape:
    """What tile sizes follow from: one layer with its shapes. Of the accelerator only the array counts."""

    operator: ComputeOperator
    inputs: tuple[Shape, ...]
    output: Shape
    accelerator: Accelerator
    packed: bool

    @cached_property
    def window(self) -> Window:
        return self.operator.window(self.inputs)

    @cached_property
    def row_interleave(self) -> int:
        """How the rows of the layer's source lie in the banks, where the layer itself loads it."""
        return spread_by(self.window, self.accelerator)

    @cached_property
    def weights_per_map(self) -> int:
        return self.operator.weights() // self.output.channels

    def tilings(self, platform: Platform, travels: bool) -> list[tuple[_Need, Tiling]]:
        """All tile sizes worth trying, with the parameter memories that each needs."""
        key = (platform.beat_bytes, travels)
        if key not in self._tilings:
            self._tilings[key] = list(_tilings(self, platform, travels))
        return self._tilings[key]

    @cached_property
    def _tilings(self) -> dict[tuple[int, bool], list[tuple[_Need, Tiling]]]:
        return {}

    @cached_property
    def _depths(self) -> dict[Tiling, dict[str, int]]:
        return {}

    @cached_property
    def places(self) -> dict[Hashable, dict[int, _Places]]:
        """What `work_places` found, by the depth of the pages."""
        return {}

    def depths(self, tiling: Tiling) -> dict[str, int]:
        """Words that the largest tile of each role takes."""
        if tiling not in self._depths:
            self._depths[tiling] = work_depths(self, tiling)
        return self._depths[tiling]

    def source_tile(self, of: int, Tof: int, oy: int, Toy: int) -> FeatureTile:
        """The part of its source that a tile needs, not yet placed."""
        found = self._sources.get((of, Tof, oy, Toy))
        if found is None:
            found = self._sources[of, Tof, oy, Toy] = self._source_tile(of, Tof, oy, Toy)
        return found

    @cached_property
    def _sources(self) -> dict[Extent, FeatureTile]:
        return {}

    def _source_tile(self, of: int, Tof: int, oy: int, Toy: int) -> FeatureTile:
        window = self.window
        top = max(0, oy * window.stride_y - window.pad_top)
        bottom = min(window.height, (oy + Toy - 1) * window.stride_y - window.pad_top + window.rows)
        first, maps = self.operator.source_maps(of, Tof)
        return self._tile(
            self.inputs[self.operator.source_index(of)], first, maps, top, max(1, bottom - top), self.row_interleave
        )

    def shortcut_tile(self, of: int, Tof: int, oy: int, Toy: int) -> FeatureTile | None:
        """The part of the shortcut that a tile adds, not yet placed; None if the tile's maps get none."""
        if not self.adds(of, Tof):
            return None
        found = self._shortcuts.get((of, Tof, oy, Toy))
        if found is None:
            found = self._shortcuts[of, Tof, oy, Toy] = self._shortcut_tile(of, Tof, oy, Toy)
        return found

    @cached_property
    def _shortcuts(self) -> dict[Extent, FeatureTile]:
        return {}

    def _shortcut_tile(self, of: int, Tof: int, oy: int, Toy: int) -> FeatureTile:
        first, end = self._added_maps(of, Tof)
        assert self.operator.added is not None, "there are maps that a shortcut is added to"
        step = self.operator.added.stride[0]
        return self._tile(self.inputs[1], first, end - first, oy * step, (Toy - 1) * step + 1, 1)

    def adds(self, of: int, Tof: int) -> bool:
        """Whether a shortcut is added to any of these maps."""
        first, end = self._added_maps(of, Tof)
        return first < end

    def _added_maps(self, of: int, Tof: int) -> tuple[int, int]:
        """Maps of the shortcut that are added to these maps: the first, and the one behind the last."""
        spec = self.operator.added
        if spec is None:
            return 0, 0
        return max(0, of - spec.channel_offset), min(spec.channels, of + Tof - spec.channel_offset)

    def destination_tile(self, of: int, Tof: int, oy: int, Toy: int) -> FeatureTile:
        """The part of the output that a tile makes, not yet placed."""
        if self.packed:
            return FeatureTile(0, 0, Tof, 1, 1, first_map=of, packed=True)
        return self._tile(self.output, of, Tof, oy, Toy, 1)

    def _tile(self, shape: Shape, map_: int, maps: int, row: int, rows: int, interleave: int) -> FeatureTile:
        words = row_words(shape, self.accelerator)
        return FeatureTile(0, 0, maps, rows, words, min(interleave, rows), first_map=map_, first_row=row)

    def sources_differ(self, maps: list[tuple[int, int]]) -> bool:
        """Whether tiles of different maps read different maps of the source, or different tensors."""
        operator = self.operator
        return len({(operator.source_index(of), *operator.source_maps(of, Tof)) for of, Tof in maps}) > 1

    def source_rows(self, tiling: Tiling) -> int:
        """Rows of the source under the tile that needs most."""
        window, most = self.window, 1
        for oy, Toy in tiling.rows(self.output):
            top = max(0, oy * window.stride_y - window.pad_top)
            bottom = min(window.height, (oy + Toy - 1) * window.stride_y - window.pad_top + window.rows)
            most = max(most, bottom - top)
        return most


def map_granule(layer: LayerShape, platform: Platform) -> int:
    """The least number of output maps whose records and weights end on an AXI beat."""
    accelerator = layer.accelerator
    for groups in range(1, platform.beat_bytes + 1):
        maps = groups * accelerator.Pof
        words = weight_words(maps, max(1, layer.weights_per_map), accelerator)
        sizes = (maps * accelerator.record_bytes, words * accelerator.weight_word_bytes)
        if all(size % platform.beat_bytes == 0 for size in sizes) and not (
            layer.packed and maps % accelerator.word_pixels
        ):
            return maps
    return accelerator.Pof * platform.beat_bytes * accelerator.word_pixels


def candidates(layer: LayerShape, accelerator: Accelerator, platform: Platform, travels: bool) -> Iterator[Tiling]:
    """Tile sizes worth trying, larger tiles first; rows are split only if a feature map travels.

    The layer's shape is of the same array; of the accelerator the depths of its parameter memories count here.
    """
    for need, tiling in layer.tilings(platform, travels):
        if need.words <= accelerator.weight_depth and need.records <= accelerator.parameter_depth:
            yield tiling


@dataclass(frozen=True)
class _Need:
    """Weight words and records that there must be for a tiling: twice a tile's, so that the next one's load."""

    words: int
    records: int


def _tilings(layer: LayerShape, platform: Platform, travels: bool) -> Iterator[tuple[_Need, Tiling]]:
    output, accelerator = layer.output, layer.accelerator
    granule = map_granule(layer, platform)
    parts = [1 << k for k in range(output.channels.bit_length() + 1)]
    maps = dict.fromkeys(min(output.channels, round_up(ceil_div(output.channels, k), granule)) for k in parts)
    splits = [1 << k for k in range(output.height.bit_length() + 1)] if travels else [1]
    rows = dict.fromkeys(min(output.height, round_up(ceil_div(output.height, k), accelerator.Poy)) for k in splits)
    for Tof, Toy in product(maps, rows):
        if ceil_div(output.channels, Tof) * ceil_div(output.height, Toy) > MAX_TILES:
            continue
        need = _parameters(layer, platform, Tof, granule)
        yield need, Tiling(Tof, Toy, cuts=layer.operator.cuts)
        if Tof < output.channels and Toy < output.height:
            yield need, Tiling(Tof, Toy, rows_outside=True, cuts=layer.operator.cuts)


def _parameters(layer: LayerShape, platform: Platform, Tof: int, granule: int) -> _Need:
    """Records and weights of a tile leave room for the next one's; the least tile may fill the buffers."""
    if not layer.weights_per_map:
        return _Need(0, 0)
    accelerator = layer.accelerator
    share = 1 if Tof <= granule else 2
    weights = weight_bytes(Tof, layer.weights_per_map, accelerator, platform) // accelerator.weight_word_bytes
    records = record_bytes(Tof, accelerator, platform) // accelerator.record_bytes
    return _Need(share * weights, share * records)


Side = dict[str, tuple[int, int]]
"""Page and address of the working tile of each role that travels."""


def work_places(layer: LayerShape, tiling: Tiling, roles: frozenset[str], pages: Pages) -> tuple[Side, ...] | None:
    """Working tiles for the roles that travel; None if they do not fit.

    Several tiles are double buffered, best with a page for each side, so that one side computes while the other loads;
    where memory is short, one side serves all tiles, its roles in whatever page has room.
    """
    if not roles:
        return ({},)
    depth = pages.accelerator.page_depth
    known = layer.places.setdefault((tiling, roles, tuple(tuple(sorted(page)) for page in pages.taken)), {})
    if depth not in known:
        # What found its first choice of pages finds it in deeper ones.
        deeper = next((places for least, places in known.items() if places.first and least < depth), None)
        known[depth] = deeper or _work_places(layer, tiling, roles, pages)
    return known[depth].sides


@dataclass(frozen=True)
class _Places:
    """Where the working tiles go; whether into the pages that were tried first."""

    sides: tuple[Side, ...] | None
    first: bool = False


def _work_places(layer: LayerShape, tiling: Tiling, roles: frozenset[str], pages: Pages) -> _Places:
    maps, rows = tiling.maps(layer.output), tiling.rows(layer.output)
    several = len(maps) * len(rows) > 1
    depths = layer.depths(tiling)
    if any(depths[role] > pages.accelerator.page_depth for role in roles):
        return _Places(None)
    first = sorted(roles)
    loads = len(rows) > 1 or layer.sources_differ(maps)
    second = [role for role in first if role != SOURCE or loads]
    order = sorted(range(pages.accelerator.pages), key=lambda page: -pages.free(page))
    if several:
        for number, (a, b) in enumerate([*permutations(order, 2), *((page, page) for page in order)]):
            trial = pages.copy()
            sides = _fit(first, [a] * len(first), depths, trial), _fit(second, [b] * len(second), depths, trial)
            if sides[0] is not None and sides[1] is not None:
                return _Places((sides[0], sides[1]), first=not number)
    alone = [[page] * len(first) for page in order]
    for choice in [*alone, *product(order, repeat=len(first))]:
        side = _fit(first, choice, depths, pages.copy())
        if side is not None:
            return _Places((side,))
    return _Places(None)


def _fit(roles: Sequence[str], choice: Sequence[int], depths: dict[str, int], pages: Pages) -> Side | None:
    """Places for the working tiles of roles, each in the page chosen for it; None if one finds no room there."""
    side: Side = {}
    for role, page in zip(roles, choice, strict=True):
        address = pages.fit(depths[role], page)
        if address is None:
            return None
        side[role] = page, address
    return side


def work_depths(layer: LayerShape, tiling: Tiling) -> dict[str, int]:
    """Words that the largest tile of each role takes."""
    accelerator, operator = layer.accelerator, layer.operator
    maps = tiling.maps(layer.output)
    source = layer.source_tile(*maps[0], 0, 1)
    rows = layer.source_rows(tiling)
    tiles = {
        SOURCE: replace(
            source,
            maps=max(operator.source_maps(of, Tof)[1] for of, Tof in maps),
            rows=rows,
            interleave=min(layer.row_interleave, rows),
        )
    }
    added = [
        tile for of, Tof in maps if (tile := layer.shortcut_tile(of, Tof, 0, min(tiling.Toy, layer.output.height)))
    ]
    if added:
        tiles[SHORTCUT] = max(added, key=lambda tile: tile.maps)
    tiles[DESTINATION] = layer.destination_tile(0, max(Tof for _, Tof in maps), 0, min(tiling.Toy, layer.output.height))
    depths = {SOURCE: 0, SHORTCUT: 0, DESTINATION: 0}
    return depths | {role: tile.depth(accelerator.Poy, accelerator.word_pixels) for role, tile in tiles.items()}
