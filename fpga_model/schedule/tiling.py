"""Tile sizes of one layer and the places of the tiles that travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from fpga_model.accelerator import Accelerator, ceil_div
from fpga_model.operators import ComputeOperator
from fpga_model.platform import Platform
from fpga_model.schedule.commands import FeatureTile, Window
from fpga_model.schedule.dram import round_up, row_words, weight_words
from fpga_model.schedule.memory import Pages
from fpga_model.tensors import Shape

SOURCE, SHORTCUT, DESTINATION = "source", "shortcut", "destination"


@dataclass(frozen=True)
class Tiling:
    """Output maps and rows of a tile, and which of the two loops is outside."""

    Tof: int
    Toy: int
    rows_outside: bool = False

    def tiles(self, output: Shape) -> Iterator[tuple[int, int, int, int]]:
        """(of, Tof, oy, Toy) of every tile, in order."""
        maps = [(of, min(self.Tof, output.channels - of)) for of in range(0, output.channels, self.Tof)]
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
        """The part of the first input that a tile needs, not yet placed."""
        window = self.window
        top = max(0, oy * window.stride - window.pad_top)
        bottom = min(window.height, (oy + Toy - 1) * window.stride - window.pad_top + window.Nky)
        first, maps = self.operator.source_maps(of, Tof)
        return self._tile(self.inputs[0], first, maps, top, max(1, bottom - top), window.stride)

    def shortcut_tile(self, of: int, Tof: int, oy: int, Toy: int) -> FeatureTile | None:
        """The part of the shortcut that a tile adds, not yet placed; None if the tile's maps get none."""
        spec = self.operator.added
        if spec is None:
            return None
        first = max(0, of - spec.channel_offset)
        end = min(spec.channels, of + Tof - spec.channel_offset)
        if end <= first:
            return None
        return self._tile(self.inputs[1], first, end - first, oy * spec.stride, (Toy - 1) * spec.stride + 1, 1)

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
        if all(size % platform.beat_bytes == 0 for size in sizes) and not (layer.packed and maps % accelerator.word_pixels):
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
        if not _parameters_fit(layer, Tof, granule):
            continue
        yield Tiling(Tof, Toy)
        if Tof < output.channels and Toy < output.height:
            yield Tiling(Tof, Toy, rows_outside=True)


def _parameters_fit(layer: LayerShape, Tof: int, granule: int) -> bool:
    """Whether records and weights of a tile leave room for those of the next one (the least tile may fill the buffers)."""
    if not layer.weights_per_map:
        return True
    accelerator = layer.accelerator
    share = 1 if Tof <= granule else 2
    words = weight_words(Tof, layer.weights_per_map, accelerator)
    return words <= accelerator.weight_depth // share and Tof <= accelerator.parameter_depth // share


Side = dict[str, tuple[int, int]]
"""Page and address of the working tile of each role that travels."""


def work_places(layer: LayerShape, tiling: Tiling, roles: frozenset[str], pages: Pages) -> tuple[Side, ...] | None:
    """Working tiles for the roles that travel, double buffered if there are several tiles; None if they do not fit."""
    tiles = list(tiling.tiles(layer.output))
    depths = _work_depths(layer, tiles)
    loads = len(dict.fromkeys(layer.source_tile(*tile) for tile in tiles))
    if len(tiles) == 1 or not roles:
        needs = [[role for role in roles]]
    else:
        needs = [[role for role in roles], [role for role in roles if role != SOURCE or loads > 1]]
    order = sorted(range(layer.accelerator.pages), key=lambda page: -pages.free(page))
    for choice in [(a, b) for a in order for b in order if a != b] + [(a, a) for a in order]:
        trial, sides = pages.copy(), []
        for page, wanted in zip(choice, needs, strict=False):
            places = {role: trial.fit(depths[role], page) for role in sorted(wanted)}
            sides.append({role: (page, address) for role, address in places.items() if address is not None})
        if all(len(side) == len(wanted) for side, wanted in zip(sides, needs, strict=True)):
            return tuple(sides)
    return None


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
