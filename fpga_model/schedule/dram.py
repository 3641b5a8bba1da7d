"""The DRAM regions: parameters, input, output and spilled feature maps, each with a base of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from fpga_model.graph import LayerGraph
from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.platform import AXI_BOUNDARY, Platform
from fpga_model.machine.tiles import DramRuns, FeatureTile
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import ComputeOperator

PARAMETERS, INPUT, OUTPUT, FEATURE = "parameters", "input", "output", "feature"
ROLES = (PARAMETERS, INPUT, OUTPUT, FEATURE)
"""The regions, in the order in which they follow one another where one image holds them all."""


@dataclass(frozen=True)
class DramPlace:
    """`bytes` bytes at `address` of a region. `name` is the layer whose parameters or output tensor lie there."""

    name: str
    address: int
    bytes: int
    role: str


@dataclass(frozen=True)
class ParameterLayout:
    """Where one layer's records and weights lie in the parameter region, both whole AXI beats long."""

    records: int
    weights: int
    record_bytes: int
    weight_bytes: int


@dataclass(frozen=True)
class DramImage:
    """All places, region by region and in address order."""

    places: tuple[DramPlace, ...]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Bytes of each region."""
        sizes = dict.fromkeys(ROLES, 0)
        for place in self.places:
            sizes[place.role] = max(sizes[place.role], place.address + place.bytes)
        return sizes

    @cached_property
    def bases(self) -> dict[str, int]:
        """Where each region begins in an image that holds them all: at the next multiple of 4 KiB."""
        bases, address = {}, 0
        for role in ROLES:
            bases[role] = address
            address += round_up(self.sizes[role], AXI_BOUNDARY)
        return bases

    @property
    def bytes(self) -> int:
        """Size of the image of all regions."""
        last = max((role for role in ROLES if self.sizes[role]), key=ROLES.index, default=PARAMETERS)
        return self.bases[last] + self.sizes[last]

    @property
    def parameter_bytes(self) -> int:
        """Size of the parameter region, which is `weights.bin`."""
        return self.sizes[PARAMETERS]

    @cached_property
    def _index(self) -> dict[tuple[str, str], DramPlace]:
        return {(place.name, place.role): place for place in self.places}

    def place(self, name: str, *roles: str) -> DramPlace:
        """The place of that layer in one of those regions; KeyError if there is none."""
        for role in roles:
            if (name, role) in self._index:
                return self._index[name, role]
        raise KeyError(f"no {' or '.join(roles)} place for layer {name!r}")

    def image_address(self, place: DramPlace) -> int:
        """First byte of a place in the image of all regions."""
        return self.bases[place.role] + place.address


def round_up(value: int, multiple: int) -> int:
    """The least multiple not below value."""
    return ceil_div(value, multiple) * multiple


def row_words(shape: Shape, accelerator: Accelerator) -> int:
    """Feature words of one row."""
    return ceil_div(shape.width, accelerator.word_pixels)


def tensor_bytes(shape: Shape, accelerator: Accelerator, packed: bool) -> int:
    """Bytes of a feature map in DRAM."""
    if packed:
        return ceil_div(shape.channels, accelerator.word_pixels) * accelerator.feature_word_bytes
    return shape.channels * shape.height * row_words(shape, accelerator) * accelerator.feature_word_bytes


def record_bytes(maps: int, accelerator: Accelerator, platform: Platform) -> int:
    """Bytes of the parameter records of `maps` output maps."""
    groups = ceil_div(maps, accelerator.Pof)
    return round_up(groups * accelerator.Pof * accelerator.record_bytes, platform.beat_bytes)


def weight_words(maps: int, weights_per_map: int, accelerator: Accelerator) -> int:
    """Weight words of `maps` output maps of `weights_per_map` weights each."""
    return ceil_div(maps, accelerator.Pof) * weights_per_map


def weight_bytes(maps: int, weights_per_map: int, accelerator: Accelerator, platform: Platform) -> int:
    """Bytes of the weights of `maps` output maps."""
    words = weight_words(maps, weights_per_map, accelerator)
    return round_up(words * accelerator.weight_word_bytes, platform.beat_bytes)


def lay_out(
    graph: LayerGraph, spilled: Iterable[str], accelerator: Accelerator, platform: Platform
) -> tuple[DramImage, dict[str, ParameterLayout]]:
    """The regions of a network whose tensors `spilled` (and its input and outputs) travel through DRAM."""
    align = max(platform.beat_bytes, accelerator.feature_word_bytes)
    places: list[DramPlace] = []
    layouts: dict[str, ParameterLayout] = {}
    ends = dict.fromkeys(ROLES, 0)

    def add(name: str, size: int, role: str) -> int:
        begin = round_up(ends[role], align)
        places.append(DramPlace(name, begin, size, role))
        ends[role] = begin + size
        return begin

    for layer in graph.layers:
        if layer.operator.weights():
            maps = graph.shape(layer.name).channels
            records = record_bytes(maps, accelerator, platform)
            weights = weight_bytes(maps, layer.operator.weights() // maps, accelerator, platform)
            begin = add(layer.name, records + weights, PARAMETERS)
            layouts[layer.name] = ParameterLayout(begin, begin + records, records, weights)
    source, outputs = graph.input.name, {layer.name for layer in graph.outputs}
    add(source, tensor_bytes(graph.shape(source), accelerator, packed=False), INPUT)
    for layer in graph.outputs:
        add(layer.name, tensor_bytes(graph.shape(layer.name), accelerator, is_packed(graph, layer.name)), OUTPUT)
    for name in spilled:
        if name != source and name not in outputs:
            add(name, tensor_bytes(graph.shape(name), accelerator, packed=False), FEATURE)
    return DramImage(tuple(places)), layouts


def is_packed(graph: LayerGraph, name: str) -> bool:
    """Whether a tensor is stored packed: an output of one-pixel maps that no layer reads and no tile cuts in a word."""
    layer = graph.layer(name)
    cut = isinstance(layer.operator, ComputeOperator) and layer.operator.cuts
    return layer in graph.outputs and graph.shape(name).pixels == 1 and not cut and not graph.consumers(name)


def run_sizes(tile: FeatureTile, shape: Shape, accelerator: Accelerator) -> tuple[int, int]:
    """Bytes of a run and number of runs of a tile of a tensor; maps that follow one another without a gap are one."""
    total = tile.words(accelerator.word_pixels) * accelerator.feature_word_bytes
    if tile.packed or tile.rows == shape.height or tile.maps == 1:
        return total, 1
    return total // tile.maps, tile.maps


def tile_runs(place: DramPlace, shape: Shape, tile: FeatureTile, accelerator: Accelerator) -> DramRuns:
    """The DRAM access that moves a tile of a tensor."""
    word = accelerator.feature_word_bytes
    size, count = run_sizes(tile, shape, accelerator)
    if tile.packed:
        return DramRuns(place.role, place.address + tile.first_map // accelerator.word_pixels * word, size)
    row = tile.row_words * word
    stride = shape.height * row
    begin = place.address + tile.first_map * stride + tile.first_row * row
    return DramRuns(place.role, begin, size, count, stride if count > 1 else 0)
