"""Channels that are stacked, cut and split: gathered from stored tensors, in real numbers and in integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from cgap.lowering import import_onnx, quantise
from fpga_model.operators import Concatenation, Part
from tests.lowering.models import Builder
from tests.lowering.test_operators import check, schedule
from tests.lowering.test_qdq import random_images


def channels(net: Builder, data: str, first: int, last: int) -> str:
    return net.node("Slice", data, *(net.constant([value]) for value in (first, last, 1)))


def concat(net: Builder, *data: str, axis: int = 1) -> str:
    return net.node("Concat", *data, axis=axis)


def gathered(model: object) -> list[tuple[tuple[str, ...], tuple[Part, ...]]]:
    """Inputs and parts of the concatenations."""
    layers = model.graph.layers  # type: ignore[attr-defined]
    return [(layer.inputs, layer.operator.parts) for layer in layers if isinstance(layer.operator, Concatenation)]


def test_branches_of_different_scales(tmp_path: Path) -> None:
    """The concatenation has the fraction of the coarsest branch; the finer ones are rounded once more."""
    net = Builder(("N", 3, 8, 8))
    fine, coarse = net.node("Relu", net.conv("image", 3, 4, gain=0.05)), net.conv("image", 3, 5, gain=20.0)
    net.conv(concat(net, fine, "image", coarse, axis=-3), 12, 4)
    model = check(net, tmp_path)
    assert gathered(model) == [(("conv_0", "image", "conv_2"), (Part(0, 0, 4), Part(1, 0, 3), Part(2, 0, 5)))]
    fixed = quantise(model, random_images(model.graph.shape("image"), 8) / 128.0)
    shifts = fixed.numbers["concat_3"].shift.tolist()
    assert shifts[0] > shifts[4] > shifts[7] == 0
    assert schedule(model).operations


def test_slices(tmp_path: Path) -> None:
    net = Builder(("N", 5, 4, 4))
    data = net.node("Relu", net.conv("image", 5, 7))
    first, second = channels(net, data, 1, 4), channels(net, data, -3, np.iinfo(np.int64).max)
    net.conv(net.node("Add", net.conv(first, 3, 3), second), 3, 2)
    model = check(net, tmp_path)
    assert gathered(model) == [(("conv_0",), (Part(0, 1, 3),)), (("conv_0",), (Part(0, 4, 3),))]


def test_nested_ones_become_one(tmp_path: Path) -> None:
    """And neighbouring ranges of one tensor become one range."""
    net = Builder(("N", 3, 4, 4))
    one, two = net.node("Relu", net.conv("image", 3, 4)), net.conv("image", 3, 5)
    inner = concat(net, one, concat(net, two, "image"))  # 4 + 5 + 3
    halves = concat(net, channels(net, inner, 2, 10), "image")
    net.conv(halves, 11, 3)
    model = check(net, tmp_path)
    parts = (Part(0, 2, 2), Part(1, 0, 5), Part(2, 0, 1), Part(2, 0, 3))
    assert gathered(model) == [(("conv_0", "conv_2", "image"), parts)]


def test_what_is_read_elsewhere_stays(tmp_path: Path) -> None:
    net = Builder(("N", 3, 4, 4))
    data = net.conv("image", 3, 2)
    inner = concat(net, data, "image")
    outer = concat(net, inner, data)
    net.node("Add", net.conv(inner, 5, 7), outer)
    model = check(net, tmp_path)
    assert gathered(model) == [
        (("conv_0", "image"), (Part(0, 0, 2), Part(1, 0, 3))),
        (("concat_1", "conv_0"), (Part(0, 0, 5), Part(1, 0, 2))),
    ]


def test_the_same_tensor_twice(tmp_path: Path) -> None:
    net = Builder(("N", 3, 4, 4))
    concat(net, net.node("Relu", net.conv("image", 3, 2)), "image", "image")
    assert gathered(check(net, tmp_path))[0][1] == (Part(0, 0, 2), Part(1, 0, 3), Part(1, 0, 3))


@pytest.mark.parametrize("opset", [11, 13])
def test_split(opset: int, tmp_path: Path) -> None:
    """As CSP and shuffle blocks do: one part goes on, the other joins it again later."""
    net = Builder(("N", 3, 6, 6), opset=opset)
    data = net.node("Relu", net.conv("image", 3, 7))
    sizes, settings = ([net.constant([3, 4])], {}) if opset == 13 else ([], {"split": [3, 4]})
    net.nodes.append(helper.make_node("Split", [data, *sizes], ["left", "right"], "cut", axis=1, **settings))
    concat(net, net.node("Relu", net.conv("left", 3, 3)), "right")
    model = check(net, tmp_path)
    assert gathered(model) == [
        (("conv_0",), (Part(0, 0, 3),)),
        (("conv_3", "conv_0"), (Part(0, 0, 3), Part(1, 3, 4))),
    ]


def test_a_split_that_is_joined_again_is_nothing(tmp_path: Path) -> None:
    net = Builder(("N", 3, 6, 6), opset=13)
    net.nodes.append(helper.make_node("Split", [net.conv("image", 3, 6)], ["a", "b"], "cut", axis=1))
    net.conv(concat(net, "a", "b"), 6, 2)
    assert [layer.name for layer in check(net, tmp_path).graph.layers] == ["image", "conv_0", "conv_3"]


def test_rows_of_classes(tmp_path: Path) -> None:
    """Two heads, as multi-task networks have."""
    net = Builder(("N", 3, 4, 4))
    flat = net.node("Flatten", net.node("GlobalAveragePool", net.conv("image", 3, 5)))
    concat(net, net.dense(flat, 5, 4, "one"), net.dense(flat, 5, 3, "two"), axis=-1)
    assert gathered(check(net, tmp_path))[0] == (("one", "two"), (Part(0, 0, 4), Part(1, 0, 3)))


def test_many_nested_concatenations_of_themselves_stay_small(tmp_path: Path) -> None:
    """Each doubles its channels: flattened blindly, twenty of them would be a million parts."""
    net = Builder(("N", 1, 1, 1))
    data = "image"
    for _ in range(20):
        data = concat(net, data, data)
    model = import_onnx(net.save(data, tmp_path / "net.onnx"))
    assert model.graph.shape(model.graph.output.name).channels == 1 << 20
    assert sum(len(parts) for _, parts in gathered(model)) == 40
