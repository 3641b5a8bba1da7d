"""docs/adding-an-operator.md, followed: a layer that negates, from ONNX to integers, without a change elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from cgap.lowering import import_onnx, importer, quantise
from cgap.lowering.onnx.network import DOMAIN, Edit, Network, Node, rewrite
from cgap.lowering.passes import arrange, support
from cgap.lowering.passes.arrange_operators import each_number
from cgap.lowering.registration import OperatorSupport, register_operator
from fpga_model.errors import UserError
from fpga_model.graph import LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.numerics.fixed_point import FloatArray, Format, IntArray, requantise
from fpga_model.numerics.tensors import FloatParameters, LayerNumbers, Shape
from fpga_model.operators import Operator, base
from fpga_model.schedule.schedule import Kind, build_schedule
from tests.lowering.models import Builder
from tests.lowering.test_import import assert_same
from tests.lowering.test_qdq import mismatches, random_images


@dataclass(frozen=True)
class Negation(Operator):
    """Step 1: the negative of a tensor, kept in its format; -(-128) saturates."""

    kind: ClassVar[str] = "negation"
    template: ClassVar[str] = "negation"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def forward(self, inputs: Sequence[FloatArray], parameters: FloatParameters | None) -> FloatArray:
        return -inputs[0]

    def reference(self, inputs: Sequence[IntArray], numbers: LayerNumbers) -> tuple[IntArray, int]:
        return requantise(-inputs[0].astype(np.int64), 0, numbers.output.bits, relu=False)

    def accumulator_bound(self, numbers: LayerNumbers, input_bits: Sequence[int]) -> int:
        return 1 << (input_bits[0] - 1)

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Operator:
        return cls(**settings)


def _rule(network: Network, node: Node) -> str | None:
    """Step 2: when a node can be lowered."""
    shape = network.shape(node.inputs[0])
    return None if shape is not None and len(shape) == 4 else "maps [N, C, H, W] are supported"


def lower_negations(network: Network) -> Network:
    """Step 3: the pass."""

    def match(network: Network, node: Node) -> Edit | None:
        if not node.is_a("Neg"):
            return None
        return Edit((node,), Node(node.name, "Negation", node.inputs, node.outputs, {}, DOMAIN))

    return rewrite(network, match)


def fractions(_operator: Negation, fractions: Sequence[int], _weights: object) -> Sequence[int]:
    """Step 4: output and input share their fraction bits."""
    return (min(fractions),) * 2


def numbers(
    _operator: Negation, output: Format, _inputs: Sequence[Format], shape: Shape, _weights: object
) -> LayerNumbers:
    return LayerNumbers(output, np.zeros(shape.channels, np.int64))


def write(_operator: Negation, writer: Any, name: str, inputs: list[str], _numbers: LayerNumbers, _shape: Shape) -> str:
    """Step 5: the exact layer in ONNX's operators."""
    made: str = writer.node("Neg", inputs, f"{name}.negative")
    return made


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one call; the tables are restored after the test."""
    for table in (base._REGISTRY, arrange.HANDLERS, support.RULES, importer.BUILDERS):
        for key in ("negation", "Neg", "Negation"):
            monkeypatch.setitem(table, key, None)  # so that it is taken out again after the test
            del table[key]
    monkeypatch.setattr(importer, "ADDED_PASSES", [])
    register_operator(
        OperatorSupport(
            operator=Negation,
            onnx=("Neg",),
            rule=_rule,
            arrange=each_number,
            lower=lower_negations,
            node="Negation",
            build=lambda node, weights, inputs: Negation(),
            fractions=fractions,
            numbers=numbers,
            qdq=write,
        )
    )


def _network(path: Path) -> Path:
    net = Builder(("N", 3, 8, 8))
    data = net.node("Neg", net.node("Relu", net.conv("image", 3, 5)), name="minus")
    return net.save(net.conv(data, 5, 4), path)


def test_without_it_the_operator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'minus' \(Neg\): this operator is not supported"):
        import_onnx(_network(tmp_path / "net.onnx"))


@pytest.mark.usefixtures("added")
def test_with_it_the_operator_is_exact(tmp_path: Path) -> None:
    model = assert_same(_network(tmp_path / "net.onnx"))
    assert [layer.operator.kind for layer in model.graph.layers] == ["input", "convolution", "negation", "convolution"]
    images = random_images(model.graph.shape("image"), 6)
    fixed = quantise(model, images / 128.0)
    assert set(mismatches(fixed, images, tmp_path / "qdq.onnx").values()) == {0}
    assert LayerGraph.from_json(model.graph.to_json()).to_json() == model.graph.to_json()
    with pytest.raises(UserError, match=r"has no command for:\n  layer 'minus' \(negation\)\n"):
        build_schedule(fixed, Accelerator(), load_platform("zcu104"), Kind.RESIDENT)
