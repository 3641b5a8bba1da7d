"""Scales, offsets, activations, sums and means that no layer before takes: folded behind, or layers of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cgap.lowering.importer import ImportedModel
from fpga_model.operators import Convolution, Shortcut
from tests.lowering.models import Builder
from tests.lowering.test_operators import check


def depthwise(model: ImportedModel) -> dict[str, Convolution]:
    """Layers that stand alone: 1x1 convolutions of single channels, by name."""
    return {
        layer.name: layer.operator
        for layer in model.graph.layers
        if isinstance(layer.operator, Convolution)
        and layer.operator.groups == layer.operator.Nof
        and layer.operator.kernel == (1, 1)
    }


def scale(net: Builder, data: str, count: int, op: str = "Mul") -> str:
    return net.node(op, data, net.constant(net.random.uniform(0.5, 2, (count, 1, 1)).astype(np.float32)))


def _pool(net: Builder) -> str:
    return net.node("MaxPool", net.conv("image", 3, 4), kernel_shape=[2, 2], strides=[2, 2])


def _sum(net: Builder) -> str:
    data = net.node("Relu", net.conv("image", 3, 4))
    return net.node("Add", net.conv(data, 4, 4), data)


def _concatenation(net: Builder) -> str:
    return net.node("Concat", net.conv("image", 3, 1), "image", axis=1)


def _mean(net: Builder) -> str:
    return net.node("AveragePool", net.conv("image", 3, 4), kernel_shape=[3, 3], strides=[2, 2])


PLACES = [(_pool, 4), (_sum, 4), (_concatenation, 4), (_mean, 4), (lambda net: "image", 3)]


@pytest.mark.parametrize(("place", "count"), PLACES)
def test_batch_norm_and_activation(place: Callable[[Builder], str], count: int, tmp_path: Path) -> None:
    """As in DenseNet: normalised and cut before the convolution, whose padding is zero behind that."""
    net = Builder(("N", 3, 9, 9))
    net.conv(net.node("Relu", net.batch_norm(place(net), count)), count, 5)
    model = check(net, tmp_path)
    (made,) = depthwise(model).values()
    assert made.relu


@pytest.mark.parametrize(("place", "count"), PLACES)
def test_activation_alone(place: Callable[[Builder], str], count: int, tmp_path: Path) -> None:
    """Of a maximum the activation moves to the convolution before; of a sum it is the layer's own."""
    net = Builder(("N", 3, 9, 9))
    data = net.node("LeakyRelu", place(net), alpha=0.25)
    net.conv(data, count, 5)
    model = check(net, tmp_path)
    assert len(depthwise(model)) == (place not in (_pool, _sum))
    leaks = [layer.operator.leak for layer in model.graph.layers if isinstance(layer.operator, Convolution)]
    assert leaks.count(2) == 1


def test_activation_behind_layout_and_maxima_joins_its_layer(tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    pooled = net.node("MaxPool", net.conv("image", 3, 4), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    flat = net.node("Relu", net.node("Flatten", pooled))
    net.dense(flat, 64, 3)
    model = check(net, tmp_path)
    assert [layer.operator.kind for layer in model.graph.layers] == [
        "input",
        "convolution",
        "pooling",
        "fully_connected",
    ]
    assert model.graph.layers[1].operator.relu  # type: ignore[attr-defined]


def test_activation_beside_another_reader(tmp_path: Path) -> None:
    net = Builder()
    data = net.conv("image", 3, 4)
    net.node("Add", net.conv(net.node("Relu", data, name="alone"), 4, 4), data)
    model = check(net, tmp_path)
    assert list(depthwise(model)) == ["alone"]


def test_two_activations_that_no_layer_does_at_once(tmp_path: Path) -> None:
    net = Builder()
    data = net.node("Relu", net.conv("image", 3, 4))
    net.node("LeakyRelu", net.node("Sub", data, net.constant(np.float32(0.5))), alpha=0.5)
    net.node("Relu", net.node("LeakyRelu", net.conv(data, 4, 4), alpha=0.5), name="second")
    assert list(depthwise(check(net, tmp_path))) == ["second"]


def test_sum_of_activations(tmp_path: Path) -> None:
    """One of them is repeated, exactly, and takes the other and what follows."""
    net = Builder()
    first, second = (net.node("Relu", net.conv("image", 3, 4)) for _ in range(2))
    net.conv(net.node("Relu", net.node("Add", first, second, name="sum")), 4, 3)
    model = check(net, tmp_path)
    (made,) = depthwise(model).values()
    assert (made.shortcut, made.relu) == (Shortcut((1, 1), 0, 4), True)
    assert np.all(model.parameters["sum"].weights == 1)


def test_tensor_added_to_itself(tmp_path: Path) -> None:
    net = Builder()
    data = net.conv("image", 3, 4)
    net.node("Add", data, data, name="twice")
    assert check(net, tmp_path).graph.layers[-1].inputs == ("conv_0", "conv_0")


def test_sum_with_a_subsampled_shortcut(tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    data = net.node("Relu", net.conv("image", 3, 4))
    main = net.node("Relu", net.conv(data, 4, 6, stride=2))
    net.node("Add", net.option_a(data, 4, 6), main, name="sum")
    assert depthwise(check(net, tmp_path))["sum"].shortcut == Shortcut((2, 2), 0, 4)


def test_sum_of_rows(tmp_path: Path) -> None:
    net = Builder(("N", 3, 4, 4))
    flat = net.node("Flatten", net.node("GlobalAveragePool", net.conv("image", 3, 5)))
    hidden = net.node("Relu", net.dense(flat, 5, 5, "one"))
    net.node("Add", net.dense(hidden, 5, 5, "two"), hidden)
    check(net, tmp_path)


def _mean_as_output(net: Builder) -> None:
    net.node("AveragePool", net.conv("image", 3, 4), kernel_shape=[3, 3], name="mean")


def _mean_as_a_shortcut(net: Builder) -> None:
    mean = net.node("AveragePool", "image", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1, name="mean")
    net.node("Add", net.conv("image", 3, 3), mean)


def _means_added(net: Builder) -> None:
    pools = [net.node("AveragePool", "image", kernel_shape=[size] * 2, strides=[4, 4]) for size in (2, 4)]
    net.node("Add", *pools)


def _mean_beside_a_concatenation(net: Builder) -> None:
    """One reader has weights, the other has not."""
    mean = net.node("AveragePool", net.conv("image", 3, 4), kernel_shape=[2, 2], strides=[2, 2], name="mean")
    net.node("Concat", mean, net.node("Relu", net.conv(mean, 4, 2)), axis=1)


@pytest.mark.parametrize(
    ("make", "count"),
    [(_mean_as_output, 1), (_mean_as_a_shortcut, 1), (_means_added, 2), (_mean_beside_a_concatenation, 1)],
)
def test_means_that_no_weights_divide(make: Callable[[Builder], None], count: int, tmp_path: Path) -> None:
    net = Builder()
    make(net)
    assert len(depthwise(check(net, tmp_path))) == count


def _normalise(net: Builder) -> str:
    """(x - mean) / std, as the first nodes of a network that takes its pixels as they are."""
    mean = net.constant(np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1))
    return scale(net, net.node("Sub", "image", mean), 3, "Div")


def test_normalisation_of_the_image_before_padding(tmp_path: Path) -> None:
    """The offset must not move behind the padding; the scale does."""
    net = Builder()
    net.conv(_normalise(net), 3, 4)
    model = check(net, tmp_path)
    assert list(depthwise(model)) == ["sub_0"]
    assert np.all(model.parameters["sub_0"].weights == 1)


def test_normalisation_of_the_image_without_padding(tmp_path: Path) -> None:
    net = Builder()
    net.conv(_normalise(net), 3, 4, pads=[0] * 4)
    assert len(check(net, tmp_path).graph.layers) == 2


def test_normalisation_before_other_readers(tmp_path: Path) -> None:
    net = Builder()
    data = _normalise(net)
    net.node("Add", net.conv(data, 3, 3), data)
    assert list(depthwise(check(net, tmp_path))) == ["sub_0"]


@pytest.mark.parametrize(("depth", "channels", "groups"), [(6, 4, 2), (6, 12, 6), (5, 3, 1)])
def test_scales_join_the_convolution_behind(depth: int, channels: int, groups: int, tmp_path: Path) -> None:
    net = Builder(("N", depth, 7, 7))
    weights = net.constant(net.random.normal(0, 0.4, (channels, depth // groups, 3, 3)).astype(np.float32))
    net.node("Conv", scale(net, "image", depth), weights, group=groups, pads=[1, 1, 1, 1])
    assert len(check(net, tmp_path).graph.layers) == 2


def test_scales_and_offsets_join_the_dense_layer_behind(tmp_path: Path) -> None:
    """One for each number of the row, whatever map it comes from."""
    net = Builder(("N", 3, 4, 4))
    flat = net.node("Flatten", net.node("Relu", net.conv("image", 3, 5)))
    net.dense(net.batch_norm(flat, 80), 80, 7)
    model = check(net, tmp_path)
    assert [layer.operator.kind for layer in model.graph.layers] == ["input", "convolution", "fully_connected"]


def test_batch_norm_behind_arithmetic_behind_a_convolution(tmp_path: Path) -> None:
    net = Builder()
    net.batch_norm(scale(net, net.conv("image", 3, 4), 4), 4)
    assert len(check(net, tmp_path).graph.layers) == 2


def test_prelu_with_one_slope(tmp_path: Path) -> None:
    net = Builder()
    net.node("PRelu", net.conv("image", 3, 4), net.constant(np.full((4, 1, 1), 0.25, np.float32)))
    operator = check(net, tmp_path).graph.layers[-1].operator
    assert isinstance(operator, Convolution)
    assert operator.leak == 2
