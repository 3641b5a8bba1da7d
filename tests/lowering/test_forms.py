"""Forms in which exporters and people write networks: each runs exactly, in real numbers and in integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from cgap.lowering import import_onnx
from fpga_model.operators import Concatenation, Convolution, FullyConnected, Pooling
from tests.lowering.models import Builder
from tests.lowering.whole import check_file

Make = Callable[[Builder], "str | list[str]"]


def matrix(net: Builder, depth: int, outputs: int) -> str:
    return net.constant(net.random.normal(0, depth**-0.5, (depth, outputs)).astype(np.float32))


def nhwc(net: Builder, data: str) -> str:
    return net.node("Transpose", data, perm=[0, 2, 3, 1])


def nchw(net: Builder, data: str) -> str:
    return net.node("Transpose", data, perm=[0, 3, 1, 2])


def size_of(net: Builder, data: str) -> str:
    """x.view(data.size(0), -1): the shape that exporters compute."""
    batch = net.node("Gather", net.node("Shape", data), net.constant(np.array(0)), axis=0)
    return net.node("Concat", net.node("Unsqueeze", batch, net.constant([0])), net.constant([-1]), axis=0)


def _last_window_dropped(net: Builder) -> str:
    pooled = net.node("MaxPool", "image", ceil_mode=1, kernel_shape=[2, 2], pads=[1, 1, 1, 1], strides=[2, 2])
    return net.node("GlobalAveragePool", net.conv(pooled, 3, 4, kernel=1))


def _single_pixels_padded(net: Builder) -> str:
    return net.conv("image", 3, 4, kernel=1, pads=[1, 2, 0, 1])


def _padding_wider_than_the_kernel(net: Builder) -> str:
    return net.conv("image", 3, 4, kernel=3, pads=[5, 0, 4, 7], strides=[2, 3])


def _sum_of_three(net: Builder) -> str:
    return net.node(
        "Relu", net.node("Sum", net.conv("image", 3, 4), net.conv("image", 3, 4, kernel=1), net.conv("image", 3, 4))
    )


def _views_by_other_sizes(net: Builder) -> str:
    first = net.conv("image", 3, 4, stride=2, pads=[0] * 4)
    second = net.conv(first, 4, 5, pads=[0] * 4)
    flat = net.node("Reshape", first, size_of(net, first))
    other = net.node("Reshape", second, size_of(net, flat))
    return net.dense(net.node("Concat", flat, other, axis=1), 36 + 5, 10)


def _activated_concatenation_of_flattened(net: Builder) -> str:
    first, second = net.conv("image", 3, 4, stride=2), net.conv("image", 3, 2, stride=4)
    parts = [net.node("Flatten", first), net.node("Flatten", nhwc(net, second)), net.node("Flatten", first)]
    stacked = net.node("Dropout", net.node("Relu", net.node("Concat", *parts, axis=1)))
    return net.node("MatMul", stacked, matrix(net, 64 + 8 + 64, 6))


def _concatenation_of_flattened_of_one_size(net: Builder) -> str:
    first, second = net.conv("image", 3, 4), net.conv("image", 3, 2)
    return net.dense(net.node("Concat", net.node("Flatten", first), net.node("Flatten", second), axis=1), 6 * 64, 5)


def _heads_left_to_the_host(net: Builder) -> list[str]:
    data = net.conv("image", 3, 4)
    return [
        net.node("Sigmoid", net.conv(data, 4, 1)),
        net.node("Softmax", net.dense(net.node("Flatten", data), 256, 3)),
    ]


def _transposed_and_flattened(net: Builder) -> str:
    return net.dense(net.node("Flatten", nhwc(net, net.conv("image", 3, 4))), 256, 5)


def _crop(net: Builder) -> str:
    bounds = [net.constant(value) for value in ([1, 2], [6, 9], [2, 3])]
    return net.node("Relu", net.node("Slice", net.conv("image", 3, 4), *bounds))


def _crop_with_steps(net: Builder) -> str:
    bounds = [net.constant(value) for value in ([0, 1, -6], [2, 8, 100], [1, 2, 3], [1, 3, 2])]
    return net.conv(net.node("Slice", net.conv("image", 3, 4), *bounds), 2, 4)


def _cropped_shortcut(net: Builder) -> str:
    data = net.conv("image", 3, 4)
    cut = net.node("Slice", data, *(net.constant(value) for value in ([1, 1], [9, 9], [2, 3])))
    return net.node("Add", net.conv(data, 4, 4), net.node("Pad", cut, net.constant([0, 0, 0, 0, 0, 0, 1, 1])))


def _sum_of_two_crops(net: Builder) -> str:
    crops = [net.node("Slice", "image", *map(net.constant, ([at], [at + 6], [2]))) for at in (0, 2)]
    return net.node("Add", *crops)


def _halves_of_rows(net: Builder) -> str:
    net.nodes.append(helper.make_node("Split", ["image"], ["top", "bottom"], "halves", axis=2))
    return net.node("Sub", "top", "bottom")


def _padded_alone(net: Builder) -> str:
    return net.node("Pad", net.conv("image", 3, 4), net.constant([0, 1, 2, 0, 0, 2, 1, 3]))


def _average_with_border(net: Builder) -> str:
    return net.node("AveragePool", net.conv("image", 3, 4), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _average_with_a_wide_uneven_border(net: Builder) -> str:
    pooled = net.node("AveragePool", "image", kernel_shape=[5, 4], pads=[2, 3, 1, 0], strides=[1, 2])
    return net.conv(pooled, 3, 4)


def _average_with_a_last_window(net: Builder) -> str:
    more = {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1, "count_include_pad": 1, "pads": [1, 0, 0, 1]}
    return net.node("AveragePool", net.conv("image", 3, 4), **more)


def _average_larger_than_the_map(net: Builder) -> str:
    small = net.node("MaxPool", "image", kernel_shape=[4, 4], strides=[4, 4])
    return net.node("AveragePool", small, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _padded_maxima(net: Builder) -> str:
    data = net.node("Pad", net.node("Relu", net.conv("image", 3, 4)), net.constant([0, 0, 1, 1, 0, 0, 1, 1]))
    return net.node("MaxPool", data, kernel_shape=[3, 3], strides=[2, 2])


def _maxima_padded_with_the_lowest(net: Builder) -> str:
    lowest = net.constant(np.float32(-np.inf if net.image[2] == 8 else np.finfo(np.float32).min))
    data = net.node("Pad", net.conv("image", 3, 4), net.constant([0, 0, 0, 0, 0, 0, 1, 1]), lowest)
    return net.node("MaxPool", data, kernel_shape=[2, 2], strides=[2, 2])


def _zeros_that_are_maxima(net: Builder) -> str:
    data = net.node("Pad", net.conv("image", 3, 4), net.constant([0, 0, 1, 1, 0, 0, 1, 1]))
    return net.node("MaxPool", data, kernel_shape=[3, 3], strides=[2, 2])


def _mean_over_channels(net: Builder) -> str:
    return net.conv(net.node("ReduceMean", net.conv("image", 3, 4), axes=[1]), 1, 2)


def _mean_over_everything(net: Builder) -> str:
    return net.node("ReduceMean", net.conv("image", 3, 4), axes=[1, 2, 3], keepdims=0)


def _means_over_one_axis(net: Builder) -> list[str]:
    data = net.conv("image", 3, 4)
    rows = net.node("ReduceMean", data, axes=[2], keepdims=0)
    return [rows, net.node("ReduceMax", data, axes=[-1], keepdims=1), net.node("ReduceSum", data, net.constant([2, 3]))]


def _difference(net: Builder) -> str:
    return net.node("Sub", net.conv("image", 3, 4), net.conv("image", 3, 4))


def _wide_stride(net: Builder) -> str:
    return net.conv("image", 3, 4, pads=[0] * 4, strides=[5, 6])


FORMS: tuple[Make, ...] = (
    *(_last_window_dropped, _single_pixels_padded, _padding_wider_than_the_kernel, _sum_of_three),
    *(_views_by_other_sizes, _activated_concatenation_of_flattened, _concatenation_of_flattened_of_one_size),
    *(
        _heads_left_to_the_host,
        _transposed_and_flattened,
        _crop,
        _crop_with_steps,
        _cropped_shortcut,
        _sum_of_two_crops,
    ),
    *(_halves_of_rows, _padded_alone, _average_with_border, _average_with_a_wide_uneven_border),
    *(_average_with_a_last_window, _average_larger_than_the_map, _padded_maxima, _maxima_padded_with_the_lowest),
    *(_zeros_that_are_maxima, _mean_over_channels, _mean_over_everything, _means_over_one_axis, _difference),
    _wide_stride,
)


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("size", [7, 8])
def test_form(make: Make, size: int, tmp_path: Path) -> None:
    sized = {
        7: (
            _last_window_dropped,
            _average_with_border,
            _average_with_a_wide_uneven_border,
            _padded_maxima,
            _crop,
            _maxima_padded_with_the_lowest,
        )
    }
    if size == 7 and make not in sized[7]:
        size = 9 if make in (_difference, _mean_over_channels) else 8
    net = Builder(("N", 3, size, size))
    check_file(net.save(make(net), tmp_path / "net.onnx"), tmp_path)


def test_padding_joins_the_maximum(tmp_path: Path) -> None:
    net = Builder()
    model, _ = check_file(net.save(_padded_maxima(net), tmp_path / "net.onnx"), tmp_path)
    assert [type(layer.operator) for layer in model.graph.layers[1:]] == [Convolution, Pooling]


# Ranks and layouts: the image's shape, and the network behind it.


def _rows(net: Builder) -> str:
    hidden = net.node("Relu", net.dense("image", 16, 8, "hidden"))
    return net.dense(net.batch_norm(hidden, 8), 8, 5)


def _rows_seen_as_maps(net: Builder) -> str:
    maps = net.node("Reshape", "image", net.constant([-1, 4, 6, 2]))
    return net.node("MatMul", net.node("Flatten", nhwc(net, net.conv(nchw(net, maps), 2, 3))), matrix(net, 72, 5))


def _signal(net: Builder) -> str:
    """A one-dimensional CNN."""
    weights = net.constant(net.random.normal(0, 0.3, (5, 3, 7)).astype(np.float32))
    data = net.node("Conv", "image", weights, strides=[2], pads=[3, 3])
    data = net.node("MaxPool", net.node("Relu", net.batch_norm(data, 5)), kernel_shape=[2], strides=[2])
    other = net.node(
        "Conv", data, net.constant(net.random.normal(0, 0.3, (5, 1, 3)).astype(np.float32)), group=5, pads=[1, 1]
    )
    data = net.node("Add", data, other)
    return net.dense(net.node("Squeeze", net.node("GlobalAveragePool", data), net.constant([2])), 5, 4)


def _signal_channels_last(net: Builder) -> str:
    """As tf2onnx writes Conv1D: a row of maps."""
    data = net.node("Unsqueeze", net.node("Transpose", "image", perm=[0, 2, 1]), net.constant([2]))
    weights = net.constant(net.random.normal(0, 0.3, (5, 3, 1, 7)).astype(np.float32))
    data = net.node("Squeeze", net.node("Relu", net.node("Conv", data, weights)), net.constant([2]))
    data = net.node("Transpose", data, perm=[0, 2, 1])
    return net.node("MatMul", net.node("Flatten", data), matrix(net, 5 * 14, 4))


def _spectrogram(net: Builder) -> str:
    data = net.conv(net.node("Unsqueeze", "image", net.constant([1])), 1, 4, stride=2)
    return net.dense(net.node("Flatten", data), 4 * 6 * 5, 3)


def _signal_of_one_channel(net: Builder) -> str:
    data = net.node("Unsqueeze", "image", net.constant([1]))
    weights = net.constant(net.random.normal(0, 0.3, (4, 1, 5)).astype(np.float32))
    return net.node("GlobalMaxPool", net.node("Conv", data, weights, strides=[2]))


def _tokens(net: Builder) -> str:
    """A dense layer for each pixel, on [N, H * W, C]."""
    data = net.node("Reshape", nhwc(net, net.conv("image", 3, 4)), net.constant([0, 64, 4]))
    data = net.node(
        "Add", net.node("MatMul", data, matrix(net, 4, 6)), net.constant(np.arange(6, dtype=np.float32) / 6)
    )
    return net.dense(net.node("ReduceMean", net.node("Relu", data), axes=[1], keepdims=0), 6, 5)


def _channels_last(net: Builder) -> str:
    """As tf2onnx writes a residual network: means, paddings, sums, concatenations and constants channels last."""
    data = net.node("Sub", "image", net.constant(np.array([0.1, -0.2, 0.3], np.float32)))
    data = net.node("Pad", data, net.constant([0, 1, 1, 0, 0, 0, 0, 0]))
    data = nhwc(net, net.conv(nchw(net, data), 3, 4, pads=[0, 0, 1, 1], strides=[2, 2]))
    data = net.node("Relu", net.node("Add", data, net.constant(np.array([[[0.1, 0.2, -0.3, 0.4]]], np.float32))))
    other = nhwc(net, net.batch_norm(net.conv(nchw(net, data), 4, 4), 4))
    data = net.node("Add", other, data)
    data = net.node(
        "Concat", data, net.node("Clip", other, net.constant(np.float32(0)), net.constant(np.float32(6))), axis=3
    )
    bounds = [net.constant(value) for value in ([1], [7], [3])]
    data = net.node("Slice", data, *bounds)
    mean = net.node("ReduceMean", data, axes=[1, 2], keepdims=1)
    return net.node("MatMul", net.node("Reshape", mean, net.constant([-1, 6])), matrix(net, 6, 5))


def _channels_last_flattened(net: Builder) -> str:
    data = nhwc(net, net.conv(nchw(net, "image"), 3, 4, stride=2))
    return net.node("MatMul", net.node("Reshape", data, net.constant([-1, 64])), matrix(net, 64, 5))


def _channels_last_of_one_channel(net: Builder) -> str:
    data = net.node("Pad", "image", net.constant([0, 1, 2, 0, 0, 0, 0, 0]))
    return nhwc(net, net.conv(nchw(net, data), 1, 4, pads=[0] * 4))


LAYOUTS: dict[Make, list[tuple[int, ...]]] = {
    _rows: [(16,)],
    _rows_seen_as_maps: [(48,)],
    _signal: [(3, 40), (3, 7)],
    _signal_channels_last: [(20, 3)],
    _spectrogram: [(11, 10)],
    _signal_of_one_channel: [(30,)],
    _tokens: [(3, 8, 8)],
    _channels_last: [(8, 8, 3), (9, 5, 3)],
    _channels_last_flattened: [(8, 8, 3)],
    _channels_last_of_one_channel: [(8, 8, 1), (2, 1, 1), (5, 1, 1)],
}


@pytest.mark.parametrize(("make", "image"), [(make, image) for make, images in LAYOUTS.items() for image in images])
def test_layout(make: Make, image: tuple[int, ...], tmp_path: Path) -> None:
    net = Builder(("N", *image))
    model, _ = check_file(net.save(make(net), tmp_path / "net.onnx"), tmp_path)
    assert model.image.shape[1:] == image


def test_layouts_cost_no_layer(tmp_path: Path) -> None:
    """The same network, channels first and last, becomes the same layers with the same weights."""
    made = []
    for last in (False, True):
        net = Builder(("N", 8, 8, 3) if last else ("N", 3, 8, 8))
        data = net.conv(nchw(net, "image") if last else "image", 3, 4)
        data = net.node("Relu", nhwc(net, data) if last else data)
        mean = net.node("ReduceMean", data, axes=[1, 2] if last else [2, 3], keepdims=0)
        made.append(import_onnx(net.save(net.dense(mean, 4, 5), tmp_path / f"{last}.onnx")))
    first, second = ([layer.operator for layer in model.graph.layers] for model in made)
    assert first == second
    for one, other in zip(made[0].parameters.values(), made[1].parameters.values(), strict=True):
        assert np.array_equal(one.weights, other.weights)


def test_dense_layer_over_parts_is_one_sum(tmp_path: Path) -> None:
    net = Builder()
    model, _ = check_file(net.save(_views_by_other_sizes(net), tmp_path / "net.onnx"), tmp_path)
    kinds = [type(layer.operator) for layer in model.graph.layers[1:]]
    assert kinds == [Convolution, Convolution, FullyConnected, Convolution]
    assert model.graph.layers[-1].operator.added is not None
    net = Builder()
    path = net.save(_concatenation_of_flattened_of_one_size(net), tmp_path / "one.onnx")
    kinds = [type(layer.operator) for layer in import_onnx(path).graph.layers[1:]]
    assert kinds == [Convolution, Convolution, Concatenation, FullyConnected]


def test_boxes_are_decoded_by_the_host(tmp_path: Path) -> None:
    """Heads as detectors have them: reshaped per box, stacked over scales, decoded and thinned out."""
    net, scores, boxes = Builder(("N", 3, 16, 16)), [], []
    data = net.node("Relu", net.conv("image", 3, 8, stride=2))
    for width in (8, 6, 4):
        for kind, count in ((scores, 2), (boxes, 4)):
            head = nhwc(net, net.conv(data, width, 3 * count))
            kind.append(net.node("Reshape", head, net.constant([1, -1, count])))
        data = net.node("Relu", net.conv(data, width, width - 2, stride=2))
    score = net.node("Softmax", net.node("Concat", *scores, axis=1), axis=2)
    box = net.node("Mul", net.node("Concat", *boxes, axis=1), net.constant(np.float32(0.1)))
    model = onnx.load(net.save([score, net.node("Exp", box)], tmp_path / "net.onnx"))
    model.graph.node.append(helper.make_node("Transpose", [score], ["turned"], perm=[0, 2, 1]))
    model.graph.node.append(helper.make_node("NonMaxSuppression", [box, "turned"], ["kept"], "thin out"))
    model.graph.output.append(helper.make_tensor_value_info("kept", onnx.TensorProto.INT64, ["kept", 3]))
    onnx.save(model, tmp_path / "net.onnx")
    found, _ = check_file(tmp_path / "net.onnx", tmp_path)
    assert [result.maps[0] for _, result in found.results] == [6, 6, 6, 12, 12, 12]
    assert len(found.graph.outputs) == 6
    assert "'thin out' (NonMaxSuppression)" in found.host
