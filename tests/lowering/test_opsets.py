"""One network in the forms of every opset: the same layers and the same integers come out of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cgap.lowering import ImportedModel, import_onnx, quantise
from cgap.lowering.onnx.interface import READ_OPSET
from fpga_model.graph import FixedGraph
from tests.lowering.models import Builder
from tests.lowering.test_import import assert_same
from tests.lowering.test_qdq import mismatches, random_images

NEWEST = onnx.defs.onnx_opset_version()
END = np.iinfo(np.int64).max


class Versions(Builder):
    """Writes what is an attribute in one opset and an input in another, as `opset` has it."""

    def moved(self, op: str, since: int, data: str, **lists: list[int]) -> str:
        """A node whose `lists` are inputs, in this order, from opset `since` on."""
        if self.opset < since:
            return self.node(op, data, **lists)
        return self.node(op, data, *(self.constant(np.array(numbers)) for numbers in lists.values()))

    def clip(self, data: str, low: float, high: float) -> str:
        if self.opset < 11:
            return self.node("Clip", data, min=low, max=high)
        return self.node("Clip", data, *(self.constant(np.float32(bound)) for bound in (low, high)))

    def mean(self, data: str) -> str:
        if self.opset < 18:
            return self.node("ReduceMean", data, axes=[2, 3], keepdims=1)
        return self.node("ReduceMean", data, self.constant(np.array([2, 3])), keepdims=1)

    def dropout(self, data: str) -> str:
        if self.opset < 12:
            return self.node("Dropout", data, ratio=0.25)
        return self.node("Dropout", data, self.constant(np.float32(0.25)), self.constant(np.array(False)))

    def split(self, data: str, sizes: list[int]) -> list[str]:
        names = [f"part_{len(self.nodes)}_{index}" for index in range(len(sizes))]
        late = self.opset >= 13
        inputs = [data, self.constant(np.array(sizes))] if late else [data]
        more: dict[str, Any] = {} if late else {"split": sizes}
        self.nodes.append(onnx.helper.make_node("Split", inputs, names, "split", axis=1, **more))
        return names


def network(opset: int, path: Path) -> Path:
    """Every operator whose form, defaults or type constraints have changed between opsets."""
    net = Versions(("N", 3, 12, 12), opset=opset)
    data = net.moved("Pad", 11, "image", pads=[0, 0, 1, 0, 0, 0, 0, 1])
    data = net.clip(net.batch_norm(net.conv(data, 3, 4, pads=[0] * 4, kernel=2), 4), 0.0, 6.0)
    half = net.moved("Slice", 10, data, starts=[0, 0], ends=[END, END], axes=[2, 3])
    pooled = net.node("MaxPool", half, kernel_shape=[1, 1], strides=[2, 2])
    pads = [0, 0, 0, 0, 0, 2, 0, 0]
    if opset >= 18:  # since then for some axes only
        wide = net.node("Pad", pooled, net.constant([0, 2]), "", net.constant([1]))
    else:
        wide = net.moved("Pad", 11, pooled, pads=pads)
    data = net.node("LeakyRelu", net.node("Add", net.conv(data, 4, 6, stride=2), wide), alpha=0.25)
    first, rest = net.split(data, [2, 4])
    back = net.moved("Slice", 10, rest, starts=[1], ends=[-1], axes=[1])
    data = net.node("Concat", net.node("Relu", net.conv(first, 2, 3)), back, axis=1)
    data = net.node(
        "PRelu", net.node("AveragePool", data, kernel_shape=[2, 2]), net.constant(np.full((5, 1, 1), 0.5, np.float32))
    )
    scaled = net.node("Div", data, net.constant(np.full((1, 5, 1, 1), 3.0, np.float32)))
    data = net.node("MaxPool", net.node("Identity", scaled), kernel_shape=[2, 2], strides=[2, 2])
    data = net.mean(net.dropout(net.node("Cast", data, to=onnx.TensorProto.FLOAT)))
    data = net.moved("Squeeze", 13, net.moved("Unsqueeze", 13, data, axes=[4]), axes=[3, 4])
    data = net.node("Reshape", net.node("Flatten", data), net.constant([0, -1]))
    bias = net.constant(np.zeros(6, np.float32))  # optional since 11
    hidden = net.node("Gemm", data, net.constant(net.random.normal(size=(5, 6)).astype(np.float32)), bias)
    product = net.node("MatMul", hidden, net.constant(net.random.normal(size=(6, 4)).astype(np.float32)))
    return net.save(net.node("Softmax", product, name="classes", axis=-1 if opset >= 13 else 1), path)


def integers(model: ImportedModel) -> FixedGraph:
    return quantise(model, random_images(model.graph.shape("image"), 4) / 128.0)


@pytest.fixture(scope="module")
def middle(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImportedModel, FixedGraph]:
    model = import_onnx(network(17, tmp_path_factory.mktemp("opset") / "net.onnx"))
    return model, integers(model)


def test_the_network_is_what_onnxruntime_computes(middle: tuple[ImportedModel, FixedGraph], tmp_path: Path) -> None:
    model, fixed = middle
    assert model.host == ("'classes' (Softmax)",)
    path = network(17, tmp_path / "net.onnx")
    cut = onnx.load(path)
    del cut.graph.node[-1]
    cut.graph.output[0].name = cut.graph.node[-1].output[0]
    onnx.save(cut, path)
    assert_same(path)
    found = mismatches(fixed, random_images(model.graph.shape("image"), 6, seed=1), tmp_path / "qdq.onnx")
    assert set(found.values()) == {0}, found


@pytest.mark.parametrize("opset", range(READ_OPSET, NEWEST + 1))
def test_every_opset_gives_the_same_layers_and_integers(
    opset: int, middle: tuple[ImportedModel, FixedGraph], tmp_path: Path
) -> None:
    path = network(opset, tmp_path / "net.onnx")
    onnx.checker.check_model(onnx.load(path), full_check=True)
    model, expected = import_onnx(path), middle[1]
    assert model.graph.to_json() == middle[0].graph.to_json()
    for name, numbers in integers(model).numbers.items():
        wanted = expected.numbers[name]
        assert numbers.output == wanted.output, name
        for field in ("shift", "weights", "weight_frac", "bias", "shortcut_shift"):
            given, other = getattr(numbers, field), getattr(wanted, field)
            assert (given is None) == (other is None), (name, field)
            assert given is None or np.array_equal(given, other), (name, field)
