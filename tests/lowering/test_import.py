"""Imported networks compute what onnxruntime computes, whatever way the exporter wrote a pattern."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from cgap.lowering import ImportedModel, import_onnx
from cgap.lowering.importer import PASSES
from fpga_model.graph import Shape
from fpga_model.models.golden import run_float
from fpga_model.operators import Convolution, FullyConnected, Pooling, Shortcut
from tests.lowering.models import Builder, residual_net


def assert_same(path: Path, count: int = 3) -> ImportedModel:
    """Import `path` and compare it with onnxruntime on random images."""
    model = import_onnx(path)
    shape = model.graph.shape(model.graph.input.name)
    images = np.random.default_rng(7).uniform(-1, 1, (count, shape.channels, shape.height, shape.width))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {model.graph.input.name: images.astype(np.float32)})
    made = run_float(model.graph, model.parameters, images)[model.graph.output.name]
    assert np.allclose(made.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    return model


def test_residual_network(tmp_path: Path) -> None:
    model = assert_same(residual_net(tmp_path / "net.onnx", (4, 6, 9), blocks=2, size=16))
    layers = model.graph.layers
    assert model.graph.name == "net"
    assert [layer.name for layer in layers[:3]] == ["image", "conv_0", "conv_3"]
    assert [layer.name for layer in layers[-2:]] == ["gap", "fc"]
    shortcuts = [layer.operator.shortcut for layer in layers if isinstance(layer.operator, Convolution)]
    assert [found for found in shortcuts if found] == [
        *[Shortcut((1, 1), 0, 4)] * 2,
        *[Shortcut((2, 2), 0, 4), Shortcut((1, 1), 0, 6)],
        *[Shortcut((2, 2), 0, 6), Shortcut((1, 1), 0, 9)],
    ]
    assert all(layer.operator.relu for layer in layers[1:-2] if isinstance(layer.operator, Convolution))


def test_dump_writes_the_network_after_every_pass(tmp_path: Path) -> None:
    import_onnx(residual_net(tmp_path / "net.onnx"), dump=tmp_path / "dump")
    files = sorted(path.name for path in (tmp_path / "dump").iterdir())
    assert files == ["00_read.onnx"] + [f"{i:02d}_{step.__name__}.onnx" for i, step in enumerate(PASSES, start=1)]
    last = onnx.load(tmp_path / "dump" / files[-1])
    assert {node.domain for node in last.graph.node} == {"cgap"}


def _global_average(net: Builder, data: str) -> str:
    return net.node("Flatten", net.node("GlobalAveragePool", data))


def _reduce_mean(net: Builder, data: str) -> str:
    return net.node("ReduceMean", data, axes=[-1, -2], keepdims=0)


def _reduce_mean_of_opset_18(net: Builder, data: str) -> str:
    net.opset = 18
    return net.node("ReduceMean", data, net.constant(np.array([2, 3])), keepdims=0)


def _average_pool(net: Builder, data: str) -> str:
    return net.node("Flatten", net.node("AveragePool", data, kernel_shape=[4, 4]), axis=1)


def _two_averages(net: Builder, data: str) -> str:
    """The divisors of pools that follow each other multiply; maxima between them do not matter."""
    first = net.node("AveragePool", data, kernel_shape=[2, 2], strides=[1, 1])
    maxima = net.node("MaxPool", first, kernel_shape=[2, 2], strides=[1, 1])
    return net.node("Flatten", net.node("AveragePool", maxima, kernel_shape=[2, 2]))


def _squeeze(net: Builder, data: str) -> str:
    pooled = net.node("GlobalAveragePool", data)
    return net.node("Squeeze", net.node("Squeeze", pooled, net.constant([3])), net.constant([2]))


def _computed_shape(net: Builder, data: str) -> str:
    """How exporters write x.view(x.size(0), -1) with a dynamic batch."""
    pooled = net.node("GlobalAveragePool", data)
    batch = net.node("Gather", net.node("Shape", pooled), net.constant(np.array(0)), axis=0)
    batch = net.node("Unsqueeze", batch, net.constant([0]))
    return net.node("Reshape", pooled, net.node("Concat", batch, net.constant([-1]), axis=0))


def _reshape_twice(net: Builder, data: str) -> str:
    pooled = net.node("Reshape", net.node("GlobalAveragePool", data), net.constant([0, 1, -1]))
    return net.node("Reshape", pooled, net.constant([0, -1]))


@pytest.mark.parametrize(
    "pool",
    [
        _global_average,
        _reduce_mean,
        _reduce_mean_of_opset_18,
        _average_pool,
        _two_averages,
        _squeeze,
        _computed_shape,
        _reshape_twice,
    ],
)
def test_averages_become_sums_and_layout_disappears(pool: Callable[[Builder, str], str], tmp_path: Path) -> None:
    net = Builder(("N", 3, 4, 4))
    data = net.node("Relu", net.conv("image", 3, 5, bias=True))
    model = assert_same(net.save(net.dense(pool(net, data), 5, 4), tmp_path / "net.onnx"))
    operators = [layer.operator for layer in model.graph.layers[2:]]
    assert all(isinstance(operator, Pooling) for operator in operators[:-1])
    assert operators[-1] == FullyConnected(Shape(5, 1, 1), 4)


def test_mean_read_twice_divides_both_readers(tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    pooled = net.node("AveragePool", net.conv("image", 3, 4), kernel_shape=[2, 2], strides=[2, 2])
    both = net.node("Add", net.conv(pooled, 4, 5), net.conv(pooled, 4, 5, bias=True))
    assert_same(net.save(both, tmp_path / "net.onnx"))


def _gemm_untransposed(net: Builder, data: str) -> str:
    weights = net.random.normal(size=(80, 7)).astype(np.float32)
    return net.node("Gemm", data, net.constant(weights), net.constant(np.float32(0.5)), alpha=0.5, beta=2.0)


def _gemm_without_bias(net: Builder, data: str) -> str:
    return net.node("Gemm", data, net.constant(net.random.normal(size=(80, 7)).astype(np.float32)))


def _matmul_and_add(net: Builder, data: str) -> str:
    product = net.node("MatMul", data, net.constant(net.random.normal(size=(80, 7)).astype(np.float32)))
    return net.node("Add", net.constant(np.arange(7, dtype=np.float32)), product)


def _dense_relu_dropout(net: Builder, data: str) -> str:
    hidden = net.node("Dropout", net.node("Relu", net.dense(data, 80, 9, "hidden")))
    return net.node("Identity", net.dense(hidden, 9, 7))


@pytest.mark.parametrize("dense", [_gemm_untransposed, _gemm_without_bias, _matmul_and_add, _dense_relu_dropout])
def test_dense_layers_read_maps_in_order(dense: Callable[[Builder, str], str], tmp_path: Path) -> None:
    """A wrong order of C, H, W would go unnoticed on 1x1 maps."""
    net = Builder(("N", 3, 8, 8))
    data = net.node("MaxPool", net.conv("image", 3, 5), kernel_shape=[2, 2], strides=[2, 2])
    model = assert_same(net.save(dense(net, net.node("Flatten", data)), tmp_path / "net.onnx"))
    first = next(layer.operator for layer in model.graph.layers if isinstance(layer.operator, FullyConnected))
    assert first.in_shape == Shape(5, 4, 4)


def _concat_zeros(net: Builder, data: str) -> str:
    half = net.node("AveragePool", data, kernel_shape=[1, 1], strides=[2, 2])
    zeros = [net.constant(np.zeros((1, count, 4, 4), np.float32)) for count in (1, 2)]
    return net.node("Concat", zeros[0], half, zeros[1], axis=1)


def _pad_both_sides(net: Builder, data: str) -> str:
    half = net.node("MaxPool", data, kernel_shape=[1, 1], strides=[2, 2])
    return net.node("Pad", half, net.constant([0, 1, 0, 0, 0, 2, 0, 0]))


def _one_slice_for_each_axis(net: Builder, data: str) -> str:
    """The slices over batch and channels take everything and do nothing."""
    for axis, step in ((0, 1), (1, 1), (2, 2), (3, 2)):
        arguments = [net.constant([value]) for value in (0, np.iinfo(np.int64).max, axis, step)]
        data = net.node("Slice", data, *arguments)
    return net.node("Pad", data, net.constant([0, 1, 0, 0, 0, 2, 0, 0]), net.constant(np.float32(0)))


@pytest.mark.parametrize("shortcut", [_concat_zeros, _pad_both_sides, _one_slice_for_each_axis])
def test_subsampled_and_padded_shortcuts(shortcut: Callable[[Builder, str], str], tmp_path: Path) -> None:
    net = Builder((1, 3, 8, 8))
    data = net.node("Relu", net.conv("image", 3, 4))
    total = net.node("Add", shortcut(net, data), net.conv(data, 4, 7, stride=2))
    model = assert_same(net.save(total, tmp_path / "net.onnx"), count=1)
    operator = model.graph.layers[-1].operator
    assert isinstance(operator, Convolution)
    assert operator.shortcut == Shortcut((2, 2), 1, 4)


def test_projection_is_stored_and_added_to_the_later_convolution(tmp_path: Path) -> None:
    net = Builder()
    data = net.node("Relu", net.conv("image", 3, 4))
    projection = net.batch_norm(net.conv(data, 4, 6, kernel=1), 6)
    main = net.batch_norm(net.conv(data, 4, 6), 6)
    model = assert_same(net.save(net.node("Relu", net.node("Add", main, projection)), tmp_path / "net.onnx"))
    assert [(layer.name, layer.inputs) for layer in model.graph.layers[1:]] == [
        ("conv_0", ("image",)),
        ("conv_2", ("conv_0",)),
        ("conv_4", ("conv_0", "conv_2")),
    ]


@pytest.mark.parametrize("mode", ["VALID", "SAME_UPPER", "SAME_LOWER"])
def test_automatic_padding(mode: str, tmp_path: Path) -> None:
    net = Builder(("N", 3, 9, 7))
    weights = net.constant(net.random.normal(size=(4, 3, 4, 3)).astype(np.float32))
    assert_same(net.save(net.node("Conv", "image", weights, auto_pad=mode, strides=[2, 2]), tmp_path / "net.onnx"))


def test_uneven_kernels_strides_and_pads(tmp_path: Path) -> None:
    net = Builder(("N", 3, 11, 9))
    weights = net.constant(net.random.normal(size=(5, 3, 2, 5)).astype(np.float32))
    data = net.node("Conv", "image", weights, pads=[1, 2, 0, 3], strides=[3, 3])
    assert_same(net.save(net.node("MaxPool", data, kernel_shape=[3, 2], pads=[1, 0, 2, 1]), tmp_path / "net.onnx"))


def test_layer_names_are_unique_whatever_the_model_calls_its_nodes(tmp_path: Path) -> None:
    net = Builder()
    data = "image"
    for name in ("image", "", "same", "same", 'a/../"b"\n'):
        weights = net.constant(net.random.normal(size=(3, 3, 1, 1)).astype(np.float32))
        data = net.node("Conv", data, weights, name=name)
    model = import_onnx(net.save(data, tmp_path / "net.onnx"))  # onnxruntime refuses equal names, ONNX does not
    assert [layer.name for layer in model.graph.layers] == ["image", "t0", "t1", "same", "t3", 'a/../"b"\n']


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    path = residual_net(tmp_path / "net.onnx")
    expected = import_onnx(path)
    beside = tmp_path / "beside.onnx"
    onnx.save(onnx.load(path), beside, save_as_external_data=True, location="weights.bin", size_threshold=0)
    found = import_onnx(beside)
    assert found.sha256 != expected.sha256
    for name, given in expected.parameters.items():
        assert np.array_equal(found.parameters[name].weights, given.weights)


def test_weights_given_as_constant_nodes(tmp_path: Path) -> None:
    net = Builder()
    weights = onnx.numpy_helper.from_array(net.random.normal(size=(2, 3, 3, 3)).astype(np.float32))
    assert_same(net.save(net.node("Conv", "image", net.node("Constant", value=weights)), tmp_path / "net.onnx"))


def test_old_and_new_operator_versions(tmp_path: Path) -> None:
    """Opset 9 gives slices, pads and axes as attributes."""
    net = Builder(opset=9)
    data = net.node("Relu", net.conv("image", 3, 4))
    half = net.node("Slice", data, starts=[0, 0], ends=[8, 8], axes=[2, 3])
    padded = net.node("Pad", half, pads=[0, 0, 0, 0, 0, 2, 0, 0])
    total = net.node("Add", net.conv(data, 4, 6), padded)
    mean = net.node("ReduceMean", total, axes=[2, 3], keepdims=1)
    flat = net.node("Squeeze", mean, axes=[2, 3])
    assert_same(net.save(net.dense(flat, 6, 4), tmp_path / "net.onnx"))
