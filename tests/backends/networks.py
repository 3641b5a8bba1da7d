"""Small integer networks made by hand, with random numbers, for tests of what is emitted from them."""

import dataclasses

import numpy as np

from fpga_model.graph import FixedGraph, Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.numerics.fixed_point import Format
from fpga_model.numerics.tensors import LayerNumbers, Shape
from fpga_model.operators import Concatenation, Convolution, FullyConnected, Input, Part, Pooling, Shortcut
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from tests.fpga_model.networks import mobilenet

SPREAD = 40
"""Standard deviation that stored tensors are scaled to, so that few values saturate and few are zero."""


def number(graph: LayerGraph, seed: int) -> FixedGraph:
    """Random integers for every layer of a graph; fractions differ from layer to layer, shifts from map to map."""
    rng = np.random.default_rng(seed)
    numbers: dict[str, LayerNumbers] = {}
    stored = {}
    for layer in graph.layers:
        operator, maps = layer.operator, graph.shape(layer.name).channels
        inputs = [stored[name] for name in layer.inputs] or [random_images(graph, 2, seed)]
        fracs = [numbers[name].output.frac for name in layer.inputs]
        output = Format(8, int(rng.integers(3, 7)))
        if isinstance(operator, Convolution):
            made = LayerNumbers(
                output=output,
                shift=np.zeros(maps, np.int64),
                weights=rng.integers(-128, 128, operator.weight_shape).astype(np.int8),
                bias=rng.integers(-2000, 2000, maps),
                shortcut_shift=np.zeros(maps, np.int64),
            )
            shift = scale(operator.accumulators(inputs, made)) + rng.integers(-1, 3, maps)
            delta = 0 if operator.shortcut is None else fracs[1] - output.frac
            shift = np.maximum(shift, max(0, delta))
            weight_frac = shift + output.frac - fracs[0]
            aligned = None if operator.shortcut is None else shift - delta
            made = dataclasses.replace(made, shift=shift, weight_frac=weight_frac, shortcut_shift=aligned)
        elif isinstance(operator, Pooling) and operator.mode == "sum":
            wide = LayerNumbers(Format(16, fracs[0]), np.zeros(maps, np.int64))
            shift = scale(operator.reference(inputs, wide)[0])
            made = LayerNumbers(Format(8, fracs[0] - shift), np.full(maps, shift))
        elif isinstance(operator, Concatenation):
            output = Format(8, min(fracs) - int(rng.integers(0, 2)))
            made = LayerNumbers(output, np.array(fracs)[operator.sources()] - output.frac)
        else:
            made = LayerNumbers(Format(8, fracs[0]) if fracs else output, np.zeros(maps, np.int64))
        numbers[layer.name] = made
        stored[layer.name] = operator.reference(inputs, made)[0]
    return FixedGraph(graph, numbers)


def scale(values: np.ndarray) -> int:
    """The shift that brings values to about SPREAD."""
    spread = float(values.std())
    return max(0, round(np.log2(spread / SPREAD))) if spread else 0


def residual_network() -> FixedGraph:
    """Odd widths, strides 1 and 2, an identity and an option-A shortcut with another fraction, pooling, logits."""
    graph = LayerGraph("residual")
    graph.add(Layer("image", Input(Shape(3, 13, 17))))
    pad = (1, 1, 1, 1)
    graph.add(Layer("stem", Convolution(3, 5, (3, 3), (1, 1), pad, relu=True), ("image",)))
    graph.add(Layer("block.0/conv1", Convolution(5, 7, (3, 3), (1, 1), pad, relu=True), ("stem",)))
    identity = Shortcut((1, 1), 0, 5)
    graph.add(Layer("block.0/conv2", Convolution(7, 5, (3, 3), (1, 1), pad, True, identity), ("block.0/conv1", "stem")))
    graph.add(Layer("block.1/conv1", Convolution(5, 6, (3, 3), (2, 2), pad, relu=True), ("block.0/conv2",)))
    option_a = Shortcut((2, 2), 1, 5)
    graph.add(
        Layer(
            "block.1/conv2", Convolution(6, 9, (3, 3), (1, 1), pad, True, option_a), ("block.1/conv1", "block.0/conv2")
        )
    )
    graph.add(Layer("pool", Pooling("sum", (7, 9), (1, 1)), ("block.1/conv2",)))
    graph.add(Layer("fc", FullyConnected(Shape(9, 1, 1), 10), ("pool",)))
    return number(graph, seed=1)


def mixed_network() -> FixedGraph:
    """Kernels 1, 2, 5 and 7, unequal strides up to 3, uneven padding, dilated maxima and padded sums."""
    graph = LayerGraph("mixed")
    graph.add(Layer("image", Input(Shape(2, 30, 23))))
    graph.add(Layer("wide", Convolution(2, 5, (7, 7), (2, 1), (3, 3, 2, 2)), ("image",)))
    graph.add(Layer("max", Pooling("max", (3, 3), (1, 2), (1, 2, 1, 2), (1, 3)), ("wide",)))
    graph.add(Layer("point", Convolution(5, 11, (1, 1), (1, 1), relu=True), ("max",)))
    graph.add(Layer("five", Convolution(11, 3, (5, 3), (1, 1), (2, 1, 2, 1)), ("point",)))
    identity = Shortcut((1, 1), 0, 11)
    graph.add(Layer("add", Convolution(3, 11, (2, 2), (1, 1), (1, 0, 0, 1), False, identity), ("five", "point")))
    graph.add(Layer("third", Convolution(11, 4, (3, 3), (3, 1), (0, 0, 1, 1), relu=True), ("add",)))
    graph.add(Layer("sum", Pooling("sum", (2, 2), (1, 1), (1, 0, 0, 1), (2, 1)), ("third",)))
    graph.add(Layer("fc", FullyConnected(graph.shape("sum"), 3), ("sum",)))
    return number(graph, seed=2)


def branch_network() -> FixedGraph:
    """A tensor read at several strides, shortcuts at (1, 2) and (3, 3), hostile names, an output of many pixels."""
    graph = LayerGraph('branch" \\')
    graph.add(Layer("int", Input(Shape(3, 21, 25))))
    graph.add(Layer("a/b", Convolution(3, 6, (3, 3), (1, 1), (1, 1, 1, 1), relu=True), ("int",)))
    graph.add(Layer("a.b", Convolution(6, 3, (1, 1)), ("a/b",)))
    graph.add(Layer("*/ #error ??/", Convolution(6, 5, (3, 3), (1, 2), (1, 1, 1, 1), relu=True), ("a/b",)))
    columns = Shortcut((1, 2), 1, 3)
    graph.add(
        Layer('\n};"\\', Convolution(5, 4, (1, 1), (1, 1), (0, 0, 0, 0), False, columns), ("*/ #error ??/", "a.b"))
    )
    graph.add(Layer("main", Convolution(4, 6, (3, 3), (1, 1), (1, 1, 1, 1), relu=True), ('\n};"\\',)))
    graph.add(Layer("../pool", Pooling("max", (3, 3), (1, 1), (1, 1, 1, 1)), ("main",)))
    thirds = Shortcut((3, 3), 1, 6)
    graph.add(Layer("\u00fcber", Convolution(6, 7, (3, 5), (3, 1), (0, 0, 0, 0), False, thirds), ("../pool", "a/b")))
    return number(graph, seed=4)


def grouped_network() -> FixedGraph:
    """Depthwise (strides 1 and 2, two maps for one), groups that end inside a weight word, bounds, leaky ReLU."""
    graph = LayerGraph("grouped")
    graph.add(Layer("image", Input(Shape(3, 15, 18))))
    pad = (1, 1, 1, 1)
    graph.add(Layer("stem", Convolution(3, 10, (3, 3), (1, 1), pad, True, ceiling=1.5), ("image",)))
    graph.add(Layer("depthwise", Convolution(10, 10, (3, 3), (1, 1), pad, True, groups=10, ceiling=6.0), ("stem",)))
    graph.add(Layer("doubled", Convolution(10, 20, (5, 3), (2, 2), (2, 1, 2, 1), groups=10, leak=3), ("depthwise",)))
    added = Shortcut((2, 2), 3, 10)
    graph.add(
        Layer("twos", Convolution(20, 22, (3, 3), (1, 1), pad, False, added, groups=2, leak=1), ("doubled", "stem"))
    )
    graph.add(Layer("point", Convolution(22, 15, (1, 1), leak=31, ceiling=4.0), ("twos",)))
    graph.add(Layer("fives", Convolution(15, 9, (3, 3), (2, 2), pad, True, groups=3), ("point",)))
    graph.add(Layer("whole", Convolution(9, 27, (4, 5), groups=9, leak=2), ("fives",)))
    return number(graph, seed=6)


def strides_network() -> FixedGraph:
    """A tensor that is read at row strides 2, 1 and 3, of which its interleave can be but one."""
    graph = LayerGraph("strides")
    graph.add(Layer("image", Input(Shape(2, 23, 19))))
    pad = (1, 1, 1, 1)
    graph.add(Layer("stem", Convolution(2, 6, (3, 3), (1, 1), pad, relu=True), ("image",)))
    graph.add(Layer("twos", Convolution(6, 9, (5, 5), (2, 2), (2, 2, 2, 2), relu=True), ("stem",)))
    graph.add(Layer("ones", Convolution(6, 3, (3, 3), (1, 1), pad), ("stem",)))
    graph.add(Layer("threes", Convolution(6, 2, (3, 1), (3, 2), (1, 0, 1, 0)), ("stem",)))
    graph.add(Layer("max", Pooling("max", (23, 19), (1, 1)), ("ones",)))
    graph.add(Layer("sum", Pooling("sum", (8, 10), (1, 1)), ("threes",)))
    graph.add(Layer("most", Pooling("max", (12, 10), (1, 1)), ("twos",)))
    graph.add(Layer("join", Concatenation((Part(0, 0, 3), Part(1, 0, 2), Part(2, 0, 9))), ("max", "sum", "most")))
    return number(graph, seed=9)


def joined_network() -> FixedGraph:
    """Parts of three tensors of different fractions, one of them read twice, a slice, and joined pixels at the end."""
    graph = LayerGraph("joined")
    graph.add(Layer("image", Input(Shape(3, 13, 21))))
    pad = (1, 1, 1, 1)
    graph.add(Layer("left", Convolution(3, 7, (3, 3), (1, 1), pad, relu=True), ("image",)))
    graph.add(Layer("right", Convolution(7, 10, (3, 3), (1, 1), pad, leak=4), ("left",)))
    graph.add(Layer("other", Convolution(7, 5, (1, 1)), ("left",)))
    parts = Part(1, 2, 6), Part(0, 0, 7), Part(2, 4, 1), Part(1, 0, 10)
    graph.add(Layer("join", Concatenation(parts), ("left", "right", "other")))
    graph.add(Layer("deep", Convolution(24, 12, (3, 3), (2, 2), pad, True, groups=6), ("join",)))
    graph.add(Layer("slice", Concatenation((Part(0, 3, 5),)), ("deep",)))
    graph.add(Layer("sum", Pooling("sum", (7, 11), (1, 1)), ("slice",)))
    graph.add(Layer("max", Pooling("max", (7, 11), (1, 1)), ("deep",)))
    graph.add(Layer("ends", Concatenation((Part(0, 0, 5), Part(1, 1, 9))), ("sum", "max")))
    return number(graph, seed=7)


def squeezenet_network() -> FixedGraph:
    """As SqueezeNet is built, at 32x32: a stem, poolings, four modules that squeeze, expand twice and concatenate."""
    graph = LayerGraph("squeezenet")
    graph.add(Layer("image", Input(Shape(3, 32, 32))))
    graph.add(Layer("stem", Convolution(3, 16, (3, 3), (1, 1), (1, 1, 1, 1), True), ("image",)))
    graph.add(Layer("pool1", Pooling("max", (3, 3), (2, 2), (1, 1, 1, 1)), ("stem",)))
    data, maps = "pool1", 16
    for index, (squeezed, expanded) in enumerate([(8, 16), (8, 16), (12, 24), (12, 24)]):
        name = f"fire{index}"
        graph.add(Layer(f"{name}.squeeze", Convolution(maps, squeezed, (1, 1), relu=True), (data,)))
        graph.add(Layer(f"{name}.one", Convolution(squeezed, expanded, (1, 1), relu=True), (f"{name}.squeeze",)))
        three = Convolution(squeezed, expanded, (3, 3), (1, 1), (1, 1, 1, 1), True)
        graph.add(Layer(f"{name}.three", three, (f"{name}.squeeze",)))
        both = Concatenation((Part(0, 0, expanded), Part(1, 0, expanded)))
        graph.add(Layer(f"{name}.join", both, (f"{name}.one", f"{name}.three")))
        data, maps = f"{name}.join", 2 * expanded
        if index == 1:
            graph.add(Layer("pool2", Pooling("max", (3, 3), (2, 2), (1, 1, 1, 1)), (data,)))
            data = "pool2"
    graph.add(Layer("classes", Convolution(maps, 10, (1, 1), relu=True), (data,)))
    graph.add(Layer("mean", Pooling("sum", (8, 8), (1, 1)), ("classes",)))
    return number(graph, seed=11)


def mobilenet_network() -> FixedGraph:
    """As MobileNetV2 is built, at 32x32, with random integers."""
    return number(mobilenet(width=16).graph, seed=12)


def schedules(fixed: FixedGraph, accelerator: Accelerator, platform: str = "zcu104") -> dict[Kind, Schedule]:
    """Both schedules of a network."""
    return {kind: build_schedule(fixed, accelerator, load_platform(platform), kind) for kind in Kind}


def random_images(graph: LayerGraph, count: int, seed: int = 3) -> np.ndarray:
    """Random images, [count, C, H, W] int8."""
    shape = graph.shape(graph.input.name)
    size = (count, shape.channels, shape.height, shape.width)
    return np.random.default_rng(seed).integers(-128, 128, size).astype(np.int8)
