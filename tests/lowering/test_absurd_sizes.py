"""Sizes that no machine has: each is refused in words before anything of that size is asked for.

Every case runs with three GiB more of address space than the process has when it begins, and in a few seconds.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cgap.lowering import import_onnx, quantise
from cgap.lowering.passes import quantised, simplify, support
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph, Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.golden import run_reference
from fpga_model.numerics.fixed_point import Format
from fpga_model.numerics.tensors import LayerNumbers, Shape
from fpga_model.operators import Convolution, Input, Pooling
from fpga_model.schedule.schedule import Kind, build_schedule
from tests.lowering.models import Builder
from tests.lowering.test_fuzz import SECONDS, in_time
from tests.lowering.test_import import assert_same

GIBS = 3 << 30
HUGE = 1 << 62


@contextmanager
def bounded() -> Iterator[None]:
    """The block may take `GIBS` of address space more, and `SECONDS` of processor time."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + GIBS, before[1]))
    try:
        with in_time(SECONDS):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_the_bound_is_one() -> None:
    """If an allocation went through, the tests below would show nothing."""
    with pytest.raises(MemoryError), bounded():
        np.zeros(2 * GIBS, np.uint8)


Make = Callable[[Builder], str]


def conv(**settings: object) -> Make:
    def make(net: Builder) -> str:
        weights = net.constant(np.ones((3, 3, 3, 3), np.float32), "weights")
        return net.node("Conv", "image", weights, name="odd", **settings)

    return make


def pool(op: str, **settings: object) -> Make:
    return lambda net: net.node(op, net.conv("image", 3, 3), name="odd", **{"kernel_shape": [3, 3], **settings})


def one(op: str, *constants: object, **settings: object) -> Make:
    """A node between the image and a convolution."""
    return lambda net: net.conv(
        net.node(op, "image", *(net.constant(np.array(value)) for value in constants), name="odd", **settings), 3, 4
    )


def added(make: Make) -> Make:
    """A computed constant, reduced to one number that is added to the image."""

    def total(net: Builder) -> str:
        return net.node("Cast", net.node("ReduceSum", make(net), keepdims=0), to=TensorProto.FLOAT)

    return lambda net: net.conv(net.node("Add", "image", total(net)), 3, 4)


def _ones(net: Builder, *shape: int) -> str:
    return net.node("ConstantOfShape", net.constant(np.array(shape, np.int64)))


def _hidden(net: Builder, data: str, *shape: object) -> str:
    """A reshape to what only computation tells."""
    target = net.node("Pow", net.constant(np.array(shape, np.int64)), net.constant(np.int64(1)))
    return net.node("Reshape", data, target)


def _outer_sum(net: Builder) -> str:
    """2^34 numbers from two vectors of 2^17, whose shapes are computed."""
    column, row = (_hidden(net, _ones(net, 1 << 17), *shape) for shape in ((1 << 17, 1), (1, 1 << 17)))
    return net.node("Add", column, row, name="odd")


def _doubled(constant: bool) -> Make:
    def make(net: Builder) -> str:
        data = _ones(net, 1, 64, 8, 8) if constant else "image"
        for _ in range(40):
            data = net.node("Concat", data, data, axis=1)
        return net.node("Add", "image", net.node("ReduceSum", data, keepdims=0)) if constant else data

    return make


def _many_sums(net: Builder) -> str:
    """Little to keep, much to do: 64 sums over one constant."""
    data, large = "image", _ones(net, 1 << 16)
    for _ in range(64):
        data = net.node("Add", data, net.node("ReduceSum", large, keepdims=0))
    return data


def _shared_weights(net: Builder) -> str:
    """64 layers that read the same weights, of which each makes its own."""
    weights, data = _ones(net, 1 << 8, 1 << 8, 1, 1), net.conv("image", 3, 1 << 8, kernel=1)
    for _ in range(64):
        data = net.node("Conv", data, weights)
    return data


def _shared_integers(net: Builder) -> str:
    data = net.conv("image", 3, 1 << 8, kernel=1)
    integers = net.constant(np.ones((1 << 8, 1 << 8, 1, 1), np.int8))
    for _ in range(64):
        weights = net.node("DequantizeLinear", integers, net.constant(np.float32(0.5)), net.constant(np.int8(0)))
        data = net.node("Conv", data, weights)
    return data


def _spread_weights(net: Builder) -> str:
    """A quarter of a million weights, of which a dilation makes four thousand million."""
    weights = net.constant(np.ones((256, 256, 2, 2), np.float32))
    return net.node("Conv", net.conv("image", 3, 256, kernel=1), weights, dilations=[254, 254], pads=[254] * 4)


def _text(net: Builder) -> str:
    texts = net.node("Cast", _ones(net, 1 << 24), to=TensorProto.STRING, name="odd")
    return net.node("Cast", texts, to=1)


def _long_vector(net: Builder) -> str:
    """Two numbers that become 2^26, each step twice the one before."""
    vector = net.node("Shape", net.node("Flatten", "image"))
    for _ in range(25):
        vector = net.node("Concat", vector, vector, axis=0)
    return net.node("Cast", vector, to=1, name="odd")


def _sized_by_the_image(net: Builder) -> str:
    """A length that is known only by following the image's shape."""
    height = net.node("Gather", net.node("Shape", "image"), net.constant(np.int64([2])))
    length = net.node("Mul", height, net.constant(np.int64([1 << 21])))
    ones = net.node("ConstantOfShape", length, value=numpy_helper.from_array(np.ones(1, np.int64)))
    for _ in range(20):
        ones = net.node("Add", ones, ones)
    return net.node("Cast", ones, to=1, name="odd")


def _shortcut(net: Builder) -> str:
    small = net.node("Slice", "image", *(net.constant([value] * 2) for value in (99, -99)), net.constant([2, 3]),
                     net.constant([-HUGE] * 2), name="odd")  # fmt: skip
    return net.node("Add", net.conv("image", 3, 3, kernel=8, pads=[0] * 4), small)


def _split(net: Builder) -> str:
    net.nodes.append(
        helper.make_node("Split", ["image", net.constant([HUGE, 3 - HUGE])], ["left", "right"], "odd", axis=1)
    )
    return net.node("Concat", "left", "right", axis=1)


NODES: dict[str, tuple[Make, str]] = {
    "kernel": (pool("MaxPool", kernel_shape=[1 << 40, 1], pads=[(1 << 40) - 1, 0] * 2), "'odd'|shape"),
    "kernel of 64 bits": (pool("AveragePool", kernel_shape=[HUGE, HUGE], pads=[HUGE - 1] * 4), "'odd'|shape"),
    "kernel and padding that fit": (
        pool("MaxPool", kernel_shape=[100_000, 1], pads=[99_999, 0] * 2),
        r"'odd' \(MaxPool\): its kernel, with dilations \[1, 1\], covers \[100000, 1\]; at most 255",
    ),
    "empty kernel": (pool("MaxPool", kernel_shape=[0, 3]), "'odd'|shape"),
    "negative kernel": (pool("MaxPool", kernel_shape=[-3, 3]), "'odd'|shape"),
    "padding": (conv(pads=[HUGE, 0, HUGE, 0]), "'odd'|shape"),
    "negative padding": (conv(pads=[0, 0, -1, 0]), "'odd'|shape"),
    "stride": (pool("MaxPool", strides=[HUGE, 1]), r"'odd' \(MaxPool\): strides .* at most 255"),
    "stride that fits": (conv(strides=[1, 256]), r"'odd' \(Conv\): strides \[1, 256\] .* at most 255"),
    "no stride": (conv(strides=[0, 1]), "'odd'|shape"),
    "negative stride": (pool("MaxPool", strides=[1, -1]), "'odd'|shape"),
    "dilation": (pool("MaxPool", dilations=[HUGE, HUGE]), "'odd'|shape"),
    "dilation of 2^64 rows": (conv(dilations=[1 << 63 - 1, 1], pads=[1, 1, 1, 1]), "'odd'|shape"),
    "no dilation": (conv(dilations=[0, 1]), "'odd'|shape"),
    "weights spread by dilation": (_spread_weights, "its layers hold [0-9,]* weights, the zeros of dilated"),
    "groups": (conv(group=HUGE), "'odd'|shape|channels"),
    "no groups": (conv(group=0), "'odd'|shape|group"),
    "reshape": (one("Reshape", [1, 3, 1 << 31, 1 << 31]), "shape"),
    "reshape beyond 64 bits": (one("Reshape", [1, 3, HUGE, 4]), "'odd'|shape"),
    "reshape to nothing": (one("Reshape", [0, 3, 0, 64], allowzero=1), "'odd'|shape|empty"),
    "reshape below nothing": (one("Reshape", [1, 3, -2, 8]), "'odd'|shape"),
    "concatenation doubled": (_doubled(constant=False), "tensor '.*' has the shape .* too large"),
    "constants doubled": (_doubled(constant=True), "makes a constant of|too large"),
    "pad": (one("Pad", [0, 0, 0, 0, 0, 1 << 40, 0, 0]), "too large"),
    "pad beyond 64 bits": (one("Pad", [0, HUGE, HUGE, 0, 0, HUGE, HUGE, 0]), "'odd'|shape"),
    "crop": (one("Pad", [0, 0, -9, 0, 0, 0, -9, 0]), "of known size|of .* shape"),
    "split": (_split, "'odd'|shape|[Ss]plit"),
    "flatten": (one("Flatten", axis=HUGE), "has 4 axes, and there is none"),
    "transpose": (one("Transpose", perm=[0, HUGE, 2, 3]), "shape|perm|[Tt]ranspose"),
    "mean": (one("ReduceMean", axes=[HUGE, 3]), "shape|axis|axes"),
    "expand": (added(lambda net: net.node("Expand", _ones(net, 1), net.constant([1 << 31, 8]))), "too large"),
    "tile": (added(lambda net: net.node("Tile", _ones(net, 4), net.constant([HUGE]), name="odd")), "'odd'|constant of"),
    "range": (
        added(lambda net: net.node("Range", *map(net.constant, np.int64([0, 1 << 40, 1])))),
        "makes a constant of|too large",
    ),
    "range of more than 63 bits": (
        added(lambda net: net.node("Range", *map(net.constant, np.int64([-HUGE, HUGE, 1])))),
        "makes a constant of",
    ),
    "numbers that only computation counts": (added(_outer_sum), "makes a constant of"),
    "text": (added(_text), "'odd'"),
    "vector doubled": (added(_long_vector), "makes a constant of|too large"),
    "sized by the image": (added(_sized_by_the_image), "compute constants, reading and making more than"),
}


@pytest.mark.parametrize("case", NODES)
def test_a_node_that_asks_for_too_much(case: str, tmp_path: Path) -> None:
    make, message = NODES[case]
    net = Builder()
    refused(net, make(net), ["N", 3, 8, 8], message, tmp_path)


def test_a_slice_of_absurd_steps_is_the_one_pixel_that_it_is(tmp_path: Path) -> None:
    """From beyond the end to beyond the beginning in a step of 2^62: the last pixel, which a sum then takes."""
    net = Builder()
    with bounded():
        assert_same(net.save(_shortcut(net), tmp_path / "net.onnx"))


@pytest.mark.parametrize(
    ("make", "limit", "message"),
    [
        (_shared_weights, (support, "MAX_WEIGHTS"), "its layers hold [0-9,]* weights"),
        (_shared_integers, (quantised, "MAX_CONVERTED"), "one of many that convert constants"),
        (_many_sums, (simplify, "MAX_WORK"), "one of many that compute constants"),
    ],
)
def test_small_nodes_that_ask_for_too_much_together(
    make: Make, limit: tuple[ModuleType, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constant that many nodes read is little in the file and much in memory; with the limits 2^8 times lower."""
    module, name = limit
    monkeypatch.setattr(module, name, getattr(module, name) >> 8)
    net = Builder()
    refused(net, make(net), ["N", 3, 8, 8], message, tmp_path)


def refused(net: Builder, output: str, image: list[int | str], message: str, folder: Path) -> None:
    """The network is written as it is, without asking ONNX for any shape, and not imported."""
    ends = [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)]
    ends.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [None] * 4))
    graph = helper.make_graph(net.nodes, "absurd", ends[:1], ends[1:], net.initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=message), bounded():
        import_onnx(folder / "net.onnx")


@pytest.mark.parametrize(
    "dims", [[1 << 14, 1 << 14, 3, 3], [HUGE, 4, 1, 1], [1 << 32, 1 << 32, 1, 1], [0, HUGE, HUGE, 3], [-1, -3, 3, 3]]
)
@pytest.mark.parametrize("place", ["initialiser", "attribute"])
def test_declared_sizes_of_weights(dims: list[int], place: str, tmp_path: Path) -> None:
    """Products that leave 64 bits, or come back to zero in them, too."""
    net = Builder()
    tensor = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "weights")
    tensor.dims[:] = dims
    if place == "attribute":
        net.nodes.append(helper.make_node("Constant", [], ["weights"], value=tensor))
    else:
        net.initialisers.append(tensor)
    message = "tensor 'weights' has the shape .* at most 268435456 numbers"
    refused(net, net.node("Conv", "image", "weights"), ["N", 3, 8, 8], message, tmp_path)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([1, 3, 1 << 15, 1 << 15], "images of .* are too large"),
        (["N", 3, 1 << 32, 1 << 32], "images of .* are too large"),
        (["N", HUGE, 4, 1], "images of .* are too large"),
        (["N", 3, -8, 8], "has no fixed size on axis 2"),
        ([1 << 40, 3, 8, 8], "tensor 'image' has the shape .* too large"),
    ],
)
def test_declared_sizes_of_images(image: list[int | str], message: str, tmp_path: Path) -> None:
    net = Builder()
    refused(net, net.conv("image", 3, 4), image, message, tmp_path)


def test_images_that_no_machine_holds_are_imported_but_not_run(tmp_path: Path) -> None:
    net = Builder(("N", 1, 1 << 12, 1 << 12))
    model = import_onnx(net.save(net.conv("image", 1, 1, kernel=31), tmp_path / "net.onnx"))
    images = np.zeros((1, 1, 1 << 12, 1 << 12), np.float32)
    with pytest.raises(UserError, match=r"takes up to [0-9,]* GiB of memory; .* layer 'conv_0' takes most"), bounded():
        quantise(model, images)


def large(shape: Shape, operator: Convolution | Pooling) -> FixedGraph:
    """One layer on maps of that size, with numbers of a schedule's kind."""
    graph = LayerGraph("large")
    graph.add(Layer("image", Input(shape)))
    graph.add(Layer("layer", operator, ("image",)))
    graph.validate()
    sizes = {layer.name: np.zeros(graph.shape(layer.name).channels, np.int64) for layer in graph.layers}
    return FixedGraph(graph, {name: LayerNumbers(Format(8, 5), z, weight_frac=z, bias=z) for name, z in sizes.items()})


@pytest.mark.parametrize(
    ("shape", "operator", "message"),
    [
        (Shape(1, 1 << 28, 1), Pooling("max", (1, 1), (1, 1)), "at most 65,535 maps, rows and columns"),
        (Shape(1, 1 << 14, 1 << 14), Pooling("max", (3, 3), (1, 1)), "does not fit the accelerator"),
        (Shape(1 << 14, 1 << 14, 1), Pooling("sum", (1, 1), (1, 1)), "does not fit the accelerator"),
    ],
)
@pytest.mark.parametrize("kind", list(Kind))
def test_maps_that_no_schedule_holds(shape: Shape, operator: Pooling, message: str, kind: Kind) -> None:
    fixed = large(shape, operator)
    with pytest.raises(UserError, match=message), bounded():
        build_schedule(fixed, Accelerator(), load_platform("zcu104"), kind)


def test_integers_of_maps_that_no_machine_holds() -> None:
    images = np.broadcast_to(np.int8(0), (1 << 10, 1, 1 << 12, 1 << 12))
    with pytest.raises(UserError, match="GiB of memory"), bounded():
        run_reference(large(Shape(1, 1 << 12, 1 << 12), Pooling("max", (1, 1), (1, 1))), images)
