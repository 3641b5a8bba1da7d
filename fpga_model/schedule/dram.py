"""The DRAM image: one byte-addressed layout for parameters, input, output and spilled feature maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fpga_model.graph import LayerGraph
from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.commands import Chunks, FeatureTile
from fpga_model.machine.platform import Platform
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import ComputeOperator

PARAMETERS, INPUT, OUTPUT, FEATURE = "parameters", "input", "output", "feature"


@dataclass(frozen=True)
class DramRegion:
    """`bytes` bytes at `address`. `name` is the layer whose parameters or output tensor lie there."""

    name: str
    address: int
    bytes: int
    role: str


@dataclass(frozen=True)
class ParameterLayout:
    """Where one layer's records and weights lie in the image, both whole AXI beats long."""

    records: int
    weights: int
    record_bytes: int
    weight_bytes: int


@dataclass(frozen=True)
class DramImage:
    """All regions in address order, parameters first (they are `weights.bin`)."""

    regions: tuple[DramRegion, ...]

    @property
    def bytes(self) -> int:
        """Size of the whole image."""
        return max((region.address + region.bytes for region in self.regions), default=0)

    @property
    def parameter_bytes(self) -> int:
        """Size of the parameter part, which starts at address 0."""
        return max((r.address + r.bytes for r in self.regions if r.role == PARAMETERS), default=0)

    def region(self, name: str, *roles: str) -> DramRegion:
        """The region of that layer with one of those roles; KeyError if there is none."""
        for region in self.regions:
            if region.name == name and region.role in roles:
                return region
        raise KeyError(f"no {' or '.join(roles)} region for layer {name!r}")


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
    """The image of a network whose tensors `spilled` (and its input and output) travel through DRAM."""
    align = max(platform.beat_bytes, accelerator.feature_word_bytes)
    regions: list[DramRegion] = []
    layouts: dict[str, ParameterLayout] = {}
    address = 0

    def add(name: str, size: int, role: str) -> int:
        nonlocal address
        begin = round_up(address, align)
        regions.append(DramRegion(name, begin, size, role))
        address = begin + size
        return begin

    for layer in graph.layers:
        if layer.operator.weights():
            maps = graph.shape(layer.name).channels
            records = record_bytes(maps, accelerator, platform)
            weights = weight_bytes(maps, layer.operator.weights() // maps, accelerator, platform)
            begin = add(layer.name, records + weights, PARAMETERS)
            layouts[layer.name] = ParameterLayout(begin, begin + records, records, weights)
    source, output = graph.input.name, graph.output.name
    add(source, tensor_bytes(graph.shape(source), accelerator, packed=False), INPUT)
    add(output, tensor_bytes(graph.shape(output), accelerator, is_packed(graph, output)), OUTPUT)
    for name in spilled:
        if name not in (source, output):
            add(name, tensor_bytes(graph.shape(name), accelerator, packed=False), FEATURE)
    return DramImage(tuple(regions)), layouts


def is_packed(graph: LayerGraph, name: str) -> bool:
    """Whether a tensor is stored packed: the network's output of one-pixel maps, if no tile begins inside a word."""
    operator = graph.layer(name).operator
    cut = isinstance(operator, ComputeOperator) and operator.cuts
    return name == graph.output.name and graph.shape(name).pixels == 1 and not cut


def tile_chunks(region: DramRegion, shape: Shape, tile: FeatureTile, accelerator: Accelerator) -> Chunks:
    """The DRAM access that moves a tile of a tensor."""
    word = accelerator.feature_word_bytes
    if tile.packed:
        words = ceil_div(tile.maps, accelerator.word_pixels)
        return Chunks(region.address + tile.first_map // accelerator.word_pixels * word, words * word)
    row = tile.row_words * word
    stride = shape.height * row
    begin = region.address + tile.first_map * stride + tile.first_row * row
    return Chunks(begin, tile.rows * row, tile.maps, stride)
