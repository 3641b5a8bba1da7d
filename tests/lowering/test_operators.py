"""Operators beyond the plain ResNet: imported like onnxruntime computes them, and exact once quantised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cgap.lowering import import_onnx, quantise
from cgap.lowering.importer import ImportedModel
from fpga_model.errors import UserError
from fpga_model.graph import LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.golden import run_reference
from fpga_model.operators import Convolution, Pooling, Shortcut
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from tests.lowering.models import Builder
from tests.lowering.test_import import assert_same
from tests.lowering.test_qdq import mismatches, random_images


def check(net: Builder, tmp_path: Path) -> ImportedModel:
    """The last node's network equals onnxruntime in real numbers, and in integers through the QDQ file."""
    model = assert_same(net.save(net.nodes[-1].output[0], tmp_path / "net.onnx"))
    shape = model.graph.shape(model.graph.input.name)
    fixed = quantise(model, random_images(shape, 8) / 128.0)
    found = mismatches(fixed, random_images(shape, 8, seed=1), tmp_path / "qdq.onnx")
    assert set(found.values()) == {0}, found
    assert LayerGraph.from_json(model.graph.to_json()).to_json() == model.graph.to_json()
    return model


def schedule(model: ImportedModel) -> Schedule:
    images = random_images(model.graph.shape(model.graph.input.name), 2) / 128.0
    return build_schedule(quantise(model, images), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)


def last(model: ImportedModel) -> Convolution:
    operator = model.graph.layers[-1].operator
    assert isinstance(operator, Convolution)
    return operator


def grouped(net: Builder, data: str, depth: int, channels: int, groups: int, **settings: object) -> str:
    """A convolution of kernel 3 in groups."""
    weights = net.random.normal(0, 0.4, (channels, depth // groups, 3, 3)).astype(np.float32)
    return net.node("Conv", data, net.constant(weights), group=groups, **settings)


@pytest.mark.parametrize(("depth", "channels", "groups"), [(6, 6, 6), (6, 12, 6), (6, 4, 2), (9, 6, 3)])
def test_groups(depth: int, channels: int, groups: int, tmp_path: Path) -> None:
    """Depthwise, with and without a multiplier, and groups of several channels."""
    net = Builder(("N", depth, 9, 7))
    data = net.node("Relu", net.batch_norm(grouped(net, "image", depth, channels, groups, strides=[2, 2]), channels))
    net.conv(data, channels, 5)
    model = check(net, tmp_path)
    assert model.graph.layers[1].operator.weights() == channels * depth // groups * 9
    assert schedule(model).operations


@pytest.mark.parametrize("dilations", [[2, 2], [1, 3]])
def test_dilation_is_a_kernel_with_zeros(dilations: list[int], tmp_path: Path) -> None:
    net = Builder(("N", 3, 11, 12))
    net.conv("image", 3, 5, dilations=dilations, pads=[1, 2, 0, 1])
    model = check(net, tmp_path)
    assert last(model).kernel == (2 * dilations[0] + 1, 2 * dilations[1] + 1)
    schedule(model)


def _clip(net: Builder, data: str, low: float | None, high: float | None) -> str:
    bounds = ["" if value is None else net.constant(np.float32(value)) for value in (low, high)]
    return net.node("Clip", data, *bounds)


def test_relu6(tmp_path: Path) -> None:
    """Gains make many sums exceed 6, whose nearest stored number is the largest one used."""
    net = Builder(("N", 3, 8, 8))
    data = _clip(net, net.conv("image", 3, 6, gain=20.0), 0, 6)
    net.conv(data, 6, 4)
    model = check(net, tmp_path)
    first = model.graph.layers[1].operator
    assert isinstance(first, Convolution)
    assert (first.relu, first.ceiling) == (True, 6.0)
    images = random_images(model.graph.shape("image"), 4)
    stored = run_reference(quantise(model, images / 128.0), images)
    assert stored["conv_0"].max() == 96  # 6 with four fraction bits
    assert stored.saturated["conv_0"] == 0
    assert schedule(model).operations


@pytest.mark.parametrize(
    ("low", "high"), [(None, 0.7), (0.0, 0.3), (0.0, None), (0.0, 3.4028235e38), (-3.4028235e38, 2.5)]
)
def test_other_bounds(low: float | None, high: float | None, tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    _clip(net, net.conv("image", 3, 6), low, high)
    check(net, tmp_path)


def test_relu6_of_old_opsets(tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8), opset=9)
    net.node("Clip", net.node("Relu", net.conv("image", 3, 6, gain=20.0)), min=0.0, max=6.0)
    assert last(check(net, tmp_path)).ceiling == 6.0


@pytest.mark.parametrize("slope", [0.5, 0.125, 2.0**-7])
def test_leaky_relu(slope: float, tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    data = net.node("LeakyRelu", net.conv("image", 3, 6), alpha=slope)
    net.node("LeakyRelu", net.node("Add", net.conv(data, 6, 6), data), alpha=slope)
    model = check(net, tmp_path)
    assert 2.0 ** -last(model).leak == slope
    assert schedule(model).operations


def _add_sub(net: Builder, data: str) -> str:
    shift = net.constant(net.random.normal(size=(1, 5, 1, 1)).astype(np.float32))
    return net.node("Sub", net.constant(np.float32(0.25)), net.node("Sub", data, shift))


def _mul_div(net: Builder, data: str) -> str:
    scale = net.constant(net.random.uniform(0.5, 2, (5, 1, 1)).astype(np.float32))
    return net.node("Div", net.node("Mul", scale, data), net.constant(np.float32(-3)))


@pytest.mark.parametrize("arithmetic", [_add_sub, _mul_div])
def test_arithmetic_with_constants_is_folded(arithmetic: Callable[[Builder, str], str], tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    net.node("Relu", arithmetic(net, net.conv("image", 3, 5, bias=True)))
    model = check(net, tmp_path)
    assert len(model.graph.layers) == 2
    schedule(model)


def test_constants_that_differ_inside_a_channel_are_refused(tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    rows = net.constant(net.random.normal(size=(1, 1, 8, 1)).astype(np.float32))
    path = net.save(net.node("Mul", net.conv("image", 3, 5), rows, name="rows"), tmp_path / "net.onnx")
    with pytest.raises(UserError, match=r"'rows' \(Mul\): only arithmetic with one constant per channel"):
        import_onnx(path)


def test_explicit_padding_joins_the_window(tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    data = net.node("Pad", "image", net.constant([0, 0, 1, 2, 0, 0, 0, 1]))
    data = net.node("Relu", net.conv(data, 3, 5, kernel=4, pads=[1, 0, 1, 1]))
    data = net.node("Pad", data, net.constant([0, 0, 1, 1, 0, 0, 1, 1]))
    pooled = net.node("AveragePool", data, kernel_shape=[3, 3], strides=[2, 2])
    net.conv(pooled, 5, 4)
    model = check(net, tmp_path)
    paddings = [layer.operator.pad for layer in model.graph.layers if isinstance(layer.operator, Convolution | Pooling)]
    assert paddings[:2] == [(2, 2, 1, 2), (1, 1, 1, 1)]
    schedule(model)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"), [(8, 3, 2, 0), (9, 2, 2, 1), (10, 3, 3, 1), (5, 1, 3, 0)]
)
def test_ceil_mode_of_maxima(size: int, kernel: int, stride: int, pads: int, tmp_path: Path) -> None:
    net = Builder(("N", 3, size, size))
    data = net.conv("image", 3, 4)
    net.node("MaxPool", data, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pads] * 4, ceil_mode=1)
    schedule(check(net, tmp_path))


STRIDES = pytest.mark.parametrize("strides", [[2, 1], [1, 3]])


@STRIDES
@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_unequal_strides(op: str, strides: list[int], tmp_path: Path) -> None:
    net = Builder(("N", 3, 12, 13))
    data = net.node("Relu", net.conv("image", 3, 5))
    settings = {"strides": strides, "pads": [1, 0, 1, 2]}
    if op == "Conv":
        data = net.conv(data, 5, 4, **settings)
    else:
        data = net.node(op, data, kernel_shape=[3, 4], **settings, **({"count_include_pad": 1} if "A" in op else {}))
    net.conv(data, 4 if op == "Conv" else 5, 3)
    model = check(net, tmp_path)
    made = model.graph.layers[2].operator
    assert isinstance(made, Convolution | Pooling)
    assert list(made.stride) == strides
    assert schedule(model).operations


@STRIDES
def test_shortcuts_of_unequal_strides(strides: list[int], tmp_path: Path) -> None:
    net = Builder(("N", 4, 12, 13))
    half = net.node("MaxPool", "image", kernel_shape=[1, 1], strides=strides)
    net.node("Relu", net.node("Add", net.conv("image", 4, 4, strides=strides), half))
    model = check(net, tmp_path)
    assert len(model.graph.layers) == 2
    assert last(model).shortcut == Shortcut((strides[0], strides[1]), 0, 4)
    assert schedule(model).operations


@pytest.mark.parametrize(
    ("dilations", "more"),
    [
        ([2, 2], {}),
        ([1, 3], {"pads": [1, 2, 0, 1]}),
        ([1, 2], {"strides": [2, 3], "pads": [0, 1, 1, 2]}),
        ([2, 1], {"strides": [2, 2], "ceil_mode": 1}),
    ],
)
def test_dilated_maxima(dilations: list[int], more: dict[str, object], tmp_path: Path) -> None:
    net = Builder(("N", 3, 10, 12))
    data = net.node("MaxPool", net.conv("image", 3, 4), kernel_shape=[2, 3], dilations=dilations, **more)
    net.conv(data, 4, 3)
    model = check(net, tmp_path)
    made = model.graph.layers[2].operator
    assert isinstance(made, Pooling)
    assert (made.kernel, list(made.dilation)) == ((2, 3), dilations)
    assert schedule(model).operations


def test_dilated_averages(tmp_path: Path) -> None:
    net = Builder(("N", 3, 10, 12), opset=19)
    settings = {"kernel_shape": [2, 3], "dilations": [2, 3], "pads": [1, 2, 1, 1], "count_include_pad": 1}
    net.conv(net.node("AveragePool", net.conv("image", 3, 4), **settings), 4, 3)
    assert schedule(check(net, tmp_path)).operations


def test_global_maximum(tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 6))
    net.dense(net.node("Flatten", net.node("GlobalMaxPool", net.conv("image", 3, 4))), 4, 3)
    schedule(check(net, tmp_path))


def test_transposition_of_single_pixels_is_layout(tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    pooled = net.node("GlobalAveragePool", net.conv("image", 3, 4))
    moved = net.node("Transpose", pooled, perm=[0, 2, 3, 1])
    net.dense(net.node("Reshape", moved, net.constant([0, -1])), 4, 3)
    check(net, tmp_path)


@pytest.mark.parametrize("ending", [("Softmax",), ("LogSoftmax",), ("Softmax", "ArgMax"), ("ArgMax",)])
def test_what_follows_the_logits_is_left_to_the_host(ending: tuple[str, ...], tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    data = net.dense(net.node("Flatten", net.conv("image", 3, 4)), 256, 10)
    logits = net.save(data, tmp_path / "logits.onnx")
    for op in ending:
        data = net.node(op, data, axis=1, name=f"the {op}")
    ended = net.model(data)
    kind = TensorProto.INT64 if ending[-1] == "ArgMax" else TensorProto.FLOAT
    ended.graph.output[0].CopyFrom(helper.make_tensor_value_info(data, kind, ["N", 1 if "ArgMax" in ending else 10]))
    onnx.save(ended, tmp_path / "net.onnx")
    model = import_onnx(tmp_path / "net.onnx")
    assert model.host == tuple(f"'the {op}' ({op})" for op in ending)
    assert model.graph.to_json()["layers"] == import_onnx(logits).graph.to_json()["layers"]
