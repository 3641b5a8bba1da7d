"""Small integer networks made by hand, with random numbers, for tests of what is emitted from them."""

import numpy as np

from fpga_model.accelerator import Accelerator
from fpga_model.fixed_point import Format
from fpga_model.graph import FixedGraph, Layer, LayerGraph
from fpga_model.operators import Convolution, FullyConnected, Input, Pooling, Shortcut
from fpga_model.platform import load_platform
from fpga_model.schedule.build import build_schedule
from fpga_model.schedule.schedule import Kind, Schedule
from fpga_model.tensors import LayerNumbers, Shape

FRAC = 4
"""Fraction bits of every stored tensor, except where a network says otherwise."""


def number(graph: LayerGraph, seed: int = 0, fracs: dict[str, int] | None = None) -> FixedGraph:
    """Random integers for every layer of a graph; shifts differ from map to map."""
    rng = np.random.default_rng(seed)
    fracs = fracs or {}
    numbers: dict[str, LayerNumbers] = {}
    for layer in graph.layers:
        operator, maps = layer.operator, graph.shape(layer.name).channels
        output = Format(8, fracs.get(layer.name, FRAC))
        if not isinstance(operator, Convolution):
            frac = numbers[layer.inputs[0]].output.frac if layer.inputs else output.frac
            shift = frac - output.frac if isinstance(operator, Pooling) else 0
            numbers[layer.name] = LayerNumbers(output, np.full(maps, shift))
            continue
        source = numbers[layer.inputs[0]].output.frac
        weight_frac = rng.integers(5, 9, maps)
        shift = source + weight_frac - output.frac
        aligned = None
        if operator.shortcut is not None:
            aligned = source + weight_frac - numbers[layer.inputs[1]].output.frac
        numbers[layer.name] = LayerNumbers(
            output=output,
            shift=shift,
            weights=rng.integers(-128, 128, operator.weight_shape).astype(np.int8),
            weight_frac=weight_frac,
            bias=rng.integers(-4000, 4000, maps),
            shortcut_shift=aligned,
        )
    return FixedGraph(graph, numbers)


def residual_network() -> FixedGraph:
    """Odd widths, strides 1 and 2, an identity and an option-A shortcut with another fraction, pooling, logits."""
    graph = LayerGraph("residual")
    graph.add(Layer("image", Input(Shape(3, 13, 17))))
    pad = (1, 1, 1, 1)
    graph.add(Layer("stem", Convolution(3, 5, (3, 3), 1, pad, relu=True), ("image",)))
    graph.add(Layer("block.0/conv1", Convolution(5, 7, (3, 3), 1, pad, relu=True), ("stem",)))
    identity = Shortcut(1, 0, 5)
    graph.add(Layer("block.0/conv2", Convolution(7, 5, (3, 3), 1, pad, True, identity), ("block.0/conv1", "stem")))
    graph.add(Layer("block.1/conv1", Convolution(5, 6, (3, 3), 2, pad, relu=True), ("block.0/conv2",)))
    option_a = Shortcut(2, 1, 5)
    graph.add(
        Layer("block.1/conv2", Convolution(6, 9, (3, 3), 1, pad, True, option_a), ("block.1/conv1", "block.0/conv2"))
    )
    graph.add(Layer("pool", Pooling("sum", (7, 9), 1), ("block.1/conv2",)))
    graph.add(Layer("fc", FullyConnected(Shape(9, 1, 1), 10), ("pool",)))
    return number(graph, seed=1, fracs={"stem": 5, "block.0/conv2": 6, "pool": 1, "fc": 1})


def mixed_network() -> FixedGraph:
    """Kernels 1, 2, 5 and 7, strides up to 3, uneven padding, overlapping maximum and padded sum pooling."""
    graph = LayerGraph("mixed")
    graph.add(Layer("image", Input(Shape(2, 30, 23))))
    graph.add(Layer("wide", Convolution(2, 5, (7, 7), 2, (3, 3, 2, 2)), ("image",)))
    graph.add(Layer("max", Pooling("max", (3, 3), 2, (1, 1, 1, 1)), ("wide",)))
    graph.add(Layer("point", Convolution(5, 11, (1, 1), 1, relu=True), ("max",)))
    graph.add(Layer("five", Convolution(11, 3, (5, 3), 1, (2, 1, 2, 1)), ("point",)))
    graph.add(Layer("add", Convolution(3, 11, (2, 2), 1, (1, 0, 0, 1), False, Shortcut(1, 0, 11)), ("five", "point")))
    graph.add(Layer("third", Convolution(11, 4, (3, 3), 3, (0, 0, 1, 1), relu=True), ("add",)))
    graph.add(Layer("sum", Pooling("sum", (2, 2), 1, (1, 0, 0, 1)), ("third",)))
    graph.add(Layer("fc", FullyConnected(graph.shape("sum"), 3), ("sum",)))
    return number(graph, seed=2, fracs={"sum": 3, "fc": 0})


def schedules(fixed: FixedGraph, accelerator: Accelerator, platform: str = "zcu104") -> dict[Kind, Schedule]:
    """Both schedules of a network."""
    return {kind: build_schedule(fixed, accelerator, load_platform(platform), kind) for kind in Kind}


def images(fixed: FixedGraph, count: int, seed: int = 3) -> np.ndarray:
    """Random images, [count, C, H, W] int8."""
    shape = fixed.graph.shape(fixed.graph.input.name)
    size = (count, shape.channels, shape.height, shape.width)
    return np.random.default_rng(seed).integers(-128, 128, size).astype(np.int8)
