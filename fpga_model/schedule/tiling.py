"""Tile sizes of one layer and the places of the tiles that travel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations, product

from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.commands import FeatureTile, Window
from fpga_model.machine.platform import Platform
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import ComputeOperator
from fpga_model.schedule.dram import record_bytes, round_up, row_words, weight_bytes, weight_words
from fpga_model.schedule.memory import Pages

SOURCE, SHORTCUT, DESTINATION = "source", "shortcut", "destination"


MAX_TILES = 1 << 14
"""Most tiles of a layer: tiles smaller than that would spend their time on commands."""


@dataclass(frozen=True)
class Tiling:
    """Output maps and rows of a tile, which of the two loops is outside, and maps at which a tile begins anew."""

    Tof: int
    Toy: int
    rows_outside: bool = False
    cuts: tuple[int, ...] = ()

    def tiles(self, output: Shape) -> Iterator[tuple[int, int, int, int]]:
        """(of, Tof, oy, Toy) of every tile, in order."""
        maps = [
            (of, min(self.Tof, end - of))
            for begin, end in pairwise((0, *self.cuts, output.channels))
            for of in range(begin, end, self.Tof)
        ]
        rows = [(oy, min(self.Toy, output.height - oy)) for oy in range(0, output.height, self.Toy)]
        if self.rows_outside:
            yield from ((of, Tof, oy, Toy) for (oy, Toy), (of, Tof) in product(rows, maps))
        else:
            yield from ((of, Tof, oy, Toy) for (of, Tof), (oy, Toy) in product(maps, rows))


@dataclass(frozen=True)
class LayerShape:
    """What tile sizes follow from: one layer with its shapes."""

    operator: ComputeOperator
    inputs: tuple[Shape, ...]
    output: Shape
    accelerator: Accelerator
    packed: bool

    @property
    def window(self) -> Window:
        return self.operator.window(self.inputs)

    @property
    def weights_per_map(self) -> int:
        return self.operator.weights() // self.output.channels

    def source_tile(self, of: int, Tof: int, oy: int, Toy: int) -> FeatureTile:
        """The part of its source that a tile needs, not yet placed."""
        window = self.window
        top = max(0, oy * window.stride_y - window.pad_top)
        bottom = min(window.height, (oy + Toy - 1) * window.stride_y - window.pad_top + window.rows)
        first, maps = self.operator.source_maps(of, Tof)
        return self._tile(
            self.inputs[self.operator.source_index(of)], first, maps, top, max(1, bottom - top), window.stride_y
        )

    def shortcut_tile(self, of: int, Tof: int, oy: int, Toy: int) -> FeatureTile | None:
        """The part of the shortcut that a tile adds, not yet placed; None if the tile's maps get none."""
        spec = self.operator.added
        if spec is None:
            return None
        first = max(0, of - spec.channel_offset)
        end = min(spec.channels, of + Tof - spec.channel_offset)
        if end <= first:
            return None
        step = spec.stride[0]
        return self._tile(self.inputs[1], first, end - first, oy * step, (Toy - 1) * step + 1, 1)

    def destination_tile(self, of: int, Tof: int, oy: int, Toy: int) -> FeatureTile:
        """The part of the output that a tile makes, not yet placed."""
        if self.packed:
            return FeatureTile(0, 0, Tof, 1, 1, first_map=of, packed=True)
        return self._tile(self.output, of, Tof, oy, Toy, 1)

    def _tile(self, shape: Shape, map_: int, maps: int, row: int, rows: int, interleave: int) -> FeatureTile:
        words = row_words(shape, self.accelerator)
        return FeatureTile(0, 0, maps, rows, words, interleave, first_map=map_, first_row=row)


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


def candidates(layer: LayerShape, platform: Platform, travels: bool) -> Iterator[Tiling]:
    """Tile sizes worth trying, larger tiles first; rows are split only if a feature map travels."""
    output, accelerator = layer.output, layer.accelerator
    granule = map_granule(layer, platform)
    parts = [1 << k for k in range(output.channels.bit_length() + 1)]
    maps = dict.fromkeys(min(output.channels, round_up(ceil_div(output.channels, k), granule)) for k in parts)
    splits = [1 << k for k in range(output.height.bit_length() + 1)] if travels else [1]
    rows = dict.fromkeys(min(output.height, round_up(ceil_div(output.height, k), accelerator.Poy)) for k in splits)
    for Tof, Toy in product(maps, rows):
        tiles = ceil_div(output.channels, Tof) * ceil_div(output.height, Toy)
        if tiles > MAX_TILES or not _parameters_fit(layer, platform, Tof, granule):
            continue
        yield Tiling(Tof, Toy, cuts=layer.operator.cuts)
        if Tof < output.channels and Toy < output.height:
            yield Tiling(Tof, Toy, rows_outside=True, cuts=layer.operator.cuts)


def _parameters_fit(layer: LayerShape, platform: Platform, Tof: int, granule: int) -> bool:
    """Whether records and weights of a tile leave room for the next one's (the least tile may fill the buffers)."""
    if not layer.weights_per_map:
        return True
    accelerator = layer.accelerator
    share = 1 if Tof <= granule else 2
    weights = weight_bytes(Tof, layer.weights_per_map, accelerator, platform) // accelerator.weight_word_bytes
    records = record_bytes(Tof, accelerator, platform) // accelerator.record_bytes
    return weights <= accelerator.weight_depth // share and records <= accelerator.parameter_depth // share


Side = dict[str, tuple[int, int]]
"""Page and address of the working tile of each role that travels."""


def work_places(layer: LayerShape, tiling: Tiling, roles: frozenset[str], pages: Pages) -> tuple[Side, ...] | None:
    """Working tiles for the roles that travel; None if they do not fit.

    Several tiles are double buffered, best with a page for each side, so that one side computes while the other loads;
    where memory is short, one side serves all tiles, its roles in whatever page has room.
    """
    tiles = list(tiling.tiles(layer.output))
    least = _work_depths(layer, tiles[:1])
    if any(least[role] > layer.accelerator.page_depth for role in roles):
        return None
    depths = _work_depths(layer, tiles)
    first = sorted(roles)
    loads = len({(layer.operator.source_index(tile[0]), layer.source_tile(*tile)) for tile in tiles})
    second = [role for role in first if role != SOURCE or loads > 1]
    order = sorted(range(layer.accelerator.pages), key=lambda page: -pages.free(page))
    if len(tiles) > 1 and roles:
        for a, b in [*permutations(order, 2), *((page, page) for page in order)]:
            trial = pages.copy()
            sides = _fit(first, [a] * len(first), depths, trial), _fit(second, [b] * len(second), depths, trial)
            if sides[0] is not None and sides[1] is not None:
                return sides[0], sides[1]
    alone = [[page] * len(first) for page in order]
    for choice in [*alone, *product(order, repeat=len(first))]:
        side = _fit(first, choice, depths, pages.copy())
        if side is not None:
            return (side,)
    return None


def _fit(roles: Sequence[str], choice: Sequence[int], depths: dict[str, int], pages: Pages) -> Side | None:
    """Places for the working tiles of roles, each in the page chosen for it; None if one finds no room there."""
    side: Side = {}
    for role, page in zip(roles, choice, strict=True):
        address = pages.fit(depths[role], page)
        if address is None:
            return None
        side[role] = page, address
    return side


def _work_depths(layer: LayerShape, tiles: list[tuple[int, int, int, int]]) -> dict[str, int]:
    depths = {SOURCE: 0, SHORTCUT: 0, DESTINATION: 0}
    for tile in tiles:
        parts = {
            SOURCE: layer.source_tile(*tile),
            SHORTCUT: layer.shortcut_tile(*tile),
            DESTINATION: layer.destination_tile(*tile),
        }
        for role, part in parts.items():
            if part is not None:
                depth = part.depth(layer.accelerator.Poy, layer.accelerator.word_pixels)
                depths[role] = max(depths[role], depth)
    return depths
