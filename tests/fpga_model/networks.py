"""Networks, accelerators and platforms for the tests of this folder: named ones and random ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph, Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform, load_platform
from fpga_model.numerics.fixed_point import Format
from fpga_model.numerics.tensors import LayerNumbers, Shape
from fpga_model.operators import Concatenation, Convolution, FullyConnected, Input, Operator, Part, Pooling, Shortcut
from fpga_model.operators.windows import extent
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule

ARRAYS = ("8x8x4", "4x4x2", "8x8x16", "16x4x8")
ZCU104 = load_platform("zcu104")
ROOMY = replace(ZCU104, name="roomy", dsp=10**6, block=replace(ZCU104.block, count=10**6))


class Network:
    """Builds a FixedGraph layer by layer; schedules need shapes and formats, not weights."""

    def __init__(self, name: str, image: Shape) -> None:
        self.graph = LayerGraph(name)
        self.numbers: dict[str, LayerNumbers] = {}
        self.add("image", Input(image))

    def add(self, name: str, operator: Operator, *inputs: str) -> str:
        """Append a layer; returns its name."""
        self.graph.add(Layer(name, operator, inputs))
        zeros = np.zeros(self.graph.shape(name).channels, np.int64)
        self.numbers[name] = LayerNumbers(Format(8, 5), zeros + 6, weight_frac=zeros + 6, bias=zeros)
        return name

    def fixed(self) -> FixedGraph:
        self.graph.validate()
        return FixedGraph(self.graph, self.numbers)


def conv(
    source: int,
    maps: int,
    kernel: int = 3,
    stride: tuple[int, int] = (1, 1),
    shortcut: Shortcut | None = None,
    pad: int | None = None,
) -> Convolution:
    """A convolution with a square kernel, padded to keep the size unless told otherwise."""
    p = kernel // 2 if pad is None else pad
    return Convolution(source, maps, (kernel, kernel), stride, (p, p, p, p), True, shortcut)


def resnet(depth: int = 20, inner: tuple[int, int, int] = (16, 32, 64)) -> FixedGraph:
    """A CIFAR ResNet with option-A shortcuts; `inner` are the maps between the two convolutions of a block."""
    network = Network(f"resnet{depth}", Shape(3, 32, 32))
    x, maps = network.add("stem", conv(3, 16), "image"), 16
    for stage, (wide, between) in enumerate(zip((16, 32, 64), inner, strict=True)):
        for block in range((depth - 2) // 6):
            stride = (2, 2) if stage and not block else (1, 1)
            name = f"stage{stage}.block{block}"
            h = network.add(f"{name}.conv1", conv(maps, between, stride=stride), x)
            x = network.add(f"{name}.conv2", conv(between, wide, shortcut=Shortcut(stride, 0, maps)), h, x)
            maps = wide
    pool = network.add("pool", Pooling("sum", (8, 8), (8, 8)), x)
    network.add("fc", FullyConnected(Shape(64, 1, 1), 10), pool)
    return network.fixed()


def mobilenet(width: int = 8, size: int = 32) -> FixedGraph:
    """Three inverted residuals as in MobileNetV2: expansion, depthwise at strides 1, 2 and 1, projection; ReLU6."""
    network = Network("mobilenet", Shape(3, size, size))

    def relu6(source: int, maps: int, kernel: int, stride: int, groups: int = 1) -> Convolution:
        pad = (kernel // 2,) * 4
        return Convolution(source, maps, (kernel, kernel), (stride, stride), pad, True, groups=groups, ceiling=6.0)

    x, maps = network.add("stem", relu6(3, width, 3, 2), "image"), width
    for index, (wide, stride) in enumerate([(width, 1), (2 * width, 2), (2 * width, 1)]):
        expanded = network.add(f"block{index}.expand", relu6(maps, 6 * maps, 1, 1), x)
        deep = network.add(f"block{index}.depthwise", relu6(6 * maps, 6 * maps, 3, stride, 6 * maps), expanded)
        adds = (stride, wide) == (1, maps)
        project = Convolution(6 * maps, wide, (1, 1), shortcut=Shortcut((1, 1), 0, maps) if adds else None)
        x, maps = network.add(f"block{index}.project", project, deep, *([x] if adds else [])), wide
    shape = network.graph.shape(x)
    pool = network.add("pool", Pooling("sum", (shape.height, shape.width), (1, 1)), x)
    network.add("fc", FullyConnected(Shape(maps, 1, 1), 10), pool)
    return network.fixed()


def fitting(fixed: FixedGraph, accelerator: Accelerator, platform: Platform, kind: Kind) -> Schedule:
    """The schedule on the smallest buffers, counted in doublings of the given ones, that hold the network's layers."""
    while True:
        try:
            return build_schedule(fixed, accelerator, platform, kind)
        except UserError:
            assert accelerator.weight_depth < 1 << 24, "no buffer holds this network"
            accelerator = replace(
                accelerator,
                page_depth=2 * accelerator.page_depth,
                weight_depth=2 * accelerator.weight_depth,
                parameter_depth=2 * accelerator.parameter_depth,
            )


strides = st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 2), (3, 3), (2, 1), (1, 2), (3, 2)])


@st.composite
def networks(draw: st.DrawFn) -> FixedGraph:
    """Small networks with odd sizes, every kernel and stride, shortcuts of both kinds, pools and an end of any kind.

    Some of their inner tensors are outputs, too, and some outputs are read by nobody else.
    """
    maps = st.integers(1, 21)
    network = Network("random", Shape(draw(st.integers(1, 4)), draw(st.integers(1, 13)), draw(st.integers(1, 34))))
    x, named = "image", []
    for index in range(draw(st.integers(1, 4))):
        x = draw(_block(network, f"l{index}", x, maps))
        if draw(st.integers(0, 3)) == 0:
            named.append(x)
            if draw(st.booleans()):
                network.add(f"head{index}", conv(network.graph.shape(x).channels, draw(st.integers(1, 9)), 1), x)
    if network.graph.shape(x).pixels < 100 and draw(st.booleans()):
        network.add("fc", FullyConnected(network.graph.shape(x), draw(st.integers(1, 40))), x)
    network.graph.name_outputs(named)
    return network.fixed()


@st.composite
def _block(draw: st.DrawFn, network: Network, name: str, x: str, maps: st.SearchStrategy[int]) -> str:
    shape = network.graph.shape(x)
    if draw(st.integers(0, 5)) == 0:
        return draw(_concatenation(network, name, x))
    if draw(st.integers(0, 3)) == 0:
        kernel = draw(_kernels(shape))
        dilation, pad = draw(_dilations(kernel, shape)), draw(_pads(kernel))
        mode = draw(st.sampled_from(["sum", "max"]))
        return network.add(name, Pooling(mode, kernel, draw(strides), pad, dilation), x)
    if draw(st.booleans()):
        kernel = draw(_kernels(shape))
        stride = draw(strides)
        groups = draw(st.sampled_from([g for g in range(1, shape.channels + 1) if shape.channels % g == 0]))
        out = draw(maps) if groups == 1 else groups * draw(st.integers(1, 1 + 20 // groups))
        leak = draw(st.sampled_from([0, 0, 3]))
        ceiling = draw(st.sampled_from([None, 6.0]))
        pads = draw(_pads(kernel))
        operator = Convolution(
            shape.channels, out, kernel, stride, pads, not leak, groups=groups, ceiling=ceiling, leak=leak
        )
        return network.add(name, operator, x)
    size = draw(st.sampled_from([1, 3, 5]))
    stride = draw(strides)
    between = draw(maps)
    h = network.add(f"{name}.conv1", conv(shape.channels, between, size, stride), x)
    offset = draw(st.integers(0, 6))
    out = shape.channels + offset + draw(st.integers(0, 6))
    return network.add(
        f"{name}.conv2", conv(between, out, size, shortcut=Shortcut(stride, offset, shape.channels)), h, x
    )


@st.composite
def _concatenation(draw: st.DrawFn, network: Network, name: str, x: str) -> str:
    """Ranges of one to three tensors of a size, some read twice; with one part a slice."""
    shape = network.graph.shape(x)
    sources = [x]
    for index in range(draw(st.integers(0, 2))):
        sources.append(network.add(f"{name}.branch{index}", conv(shape.channels, draw(st.integers(1, 9)), 3), x))
    parts = []
    for source in draw(st.permutations([*range(len(sources)), *draw(st.sampled_from([[], [0]]))])):
        channels = network.graph.shape(sources[source]).channels
        first = draw(st.integers(0, channels - 1))
        parts.append(Part(source, first, draw(st.integers(1, channels - first))))
    return network.add(name, Concatenation(tuple(parts)), *sources)


def _kernels(shape: Shape) -> st.SearchStrategy[tuple[int, int]]:
    sizes = [(1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (1, 3), (3, 1), (4, 6)]
    return st.sampled_from([k for k in sizes if k[0] <= shape.height and k[1] <= shape.width])


def _dilations(kernel: tuple[int, int], shape: Shape) -> st.SearchStrategy[tuple[int, int]]:
    spans = {steps: extent(kernel, steps) for steps in [(1, 1), (2, 2), (1, 3), (4, 1)]}
    return st.sampled_from([d for d, span in spans.items() if span[0] <= shape.height and span[1] <= shape.width])


def _pads(kernel: tuple[int, int]) -> st.SearchStrategy[tuple[int, int, int, int]]:
    rows, columns = st.integers(0, kernel[0] - 1), st.integers(0, kernel[1] - 1)
    return st.tuples(rows, columns, rows, columns)


accelerators = st.builds(
    lambda array, pages, depth, weights, records: Accelerator.parse(
        array, pages=pages, page_depth=depth, weight_depth=weights, parameter_depth=records
    ),
    st.sampled_from(ARRAYS),
    st.integers(2, 4),
    st.sampled_from([4, 16, 24, 64, 512, 4096]),
    st.sampled_from([32, 100, 512, 32768]),
    st.sampled_from([16, 20, 1024]),
)


def platform_of(bits: int, beats: int, outstanding: int, read: int, write: int, gap: int, rate: float) -> Platform:
    """A platform whose latencies are at least what the units need, with a port of any width up to `bits`."""
    platform = replace(
        ROOMY,
        axi_bits=bits,
        burst_beats=beats,
        outstanding=outstanding,
        read_latency=read,
        write_latency=write,
        burst_gap_bytes=gap,
        dram_megatransfers=rate,
    )
    while True:
        try:
            for width in (32, 64, bits):
                replace(platform, axi_bits=min(width, bits)).check_latencies()
            return platform
        except UserError:
            platform = replace(
                platform, read_latency=platform.read_latency + 1, write_latency=platform.write_latency + 1
            )


platforms = st.builds(
    platform_of,
    st.sampled_from([32, 64, 128, 512]),
    st.sampled_from([4, 16, 128, 256]),
    st.integers(1, 8),
    st.integers(1, 60),
    st.integers(1, 30),
    st.integers(1, 64),
    st.sampled_from([2400.0, 400.0, 133.3]),
)

schedules = st.builds(fitting, networks(), accelerators, platforms, st.sampled_from(list(Kind)))
