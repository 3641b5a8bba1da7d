"""The layer graph refuses what no later stage could make sense of, and says which layer is at fault."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fpga_model.errors import UserError
from fpga_model.graph import Layer, LayerGraph, Shape
from fpga_model.operators import Convolution, FullyConnected, Input, Pooling, Shortcut


def residual_graph() -> LayerGraph:
    graph = LayerGraph("small")
    graph.add(Layer("image", Input(Shape(3, 8, 8))))
    graph.add(Layer("first", Convolution(3, 5, (3, 3), pad=(1, 1, 1, 1), relu=True), ("image",)))
    graph.add(Layer("second", Convolution(5, 7, (3, 3), (2, 2), (1, 1, 1, 1), True), ("first",)))
    third = Convolution(7, 7, (3, 3), (1, 1), (1, 1, 1, 1), True, Shortcut((2, 2), 0, 5))
    graph.add(Layer("third", third, ("second", "first")))
    graph.add(Layer("pool", Pooling("sum", (4, 4), (1, 1)), ("third",)))
    graph.add(Layer("fc", FullyConnected(Shape(7, 1, 1), 10), ("pool",)))
    return graph


def test_order_shapes_and_counts() -> None:
    graph = residual_graph()
    graph.validate()
    assert [layer.name for layer in graph.layers] == ["image", "first", "second", "third", "pool", "fc"]
    assert graph.input.name == "image"
    assert graph.output.name == "fc"
    assert graph.shape("third") == Shape(7, 4, 4)
    assert graph.input_shapes("third") == [Shape(7, 4, 4), Shape(5, 8, 8)]
    assert [layer.name for layer in graph.consumers("first")] == ["second", "third"]
    assert graph.consumers("fc") == []
    assert graph.weights() == 135 + 315 + 441 + 70
    assert graph.macs() == 135 * 64 + (315 + 441) * 16 + 70


def test_json_keeps_everything_but_tensors() -> None:
    graph = residual_graph()
    document = json.loads(json.dumps(graph.to_json()))
    again = LayerGraph.from_json(document)
    assert again.layers == graph.layers
    assert again.to_json() == graph.to_json()
    assert [layer.name for layer in again.outputs] == [layer.name for layer in graph.outputs]


def test_the_networkx_graph_is_the_same_network() -> None:
    graph = residual_graph()
    found = graph.digraph
    assert list(found) == [layer.name for layer in graph.layers]
    for layer in graph.layers:
        assert list(found.successors(layer.name)) == [reader.name for reader in graph.consumers(layer.name)]
        assert found.nodes[layer.name] == {"layer": layer, "shape": graph.shape(layer.name)}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Layer("first", Pooling("max", (2, 2), (2, 2)), ("image",)), "two layers are called 'first'"),
        (Layer("new", Pooling("max", (2, 2), (2, 2)), ("gone",)), "'new' reads 'gone'"),
        (Layer("new", Pooling("max", (2, 2), (2, 2)), ("new",)), "'new' reads 'new'"),
        (
            Layer("new", Pooling("max", (2, 2), (2, 2)), ("first", "first")),
            "'new': pooling reads 1 tensors, 2 are given",
        ),
        (Layer("new", Convolution(4, 4, (1, 1)), ("first",)), "'new': reads 4 channels but is given 5x8x8"),
        (Layer("new", Input(Shape(3, 8, 8))), "'new': a network has one input"),
    ],
)
def test_layers_that_do_not_fit_are_named(layer: Layer, message: str) -> None:
    with pytest.raises(UserError, match=message):
        residual_graph().add(layer)


def test_several_outputs() -> None:
    """What was named comes first, read by others or not; then what nobody reads. `output` is for one alone."""
    graph = residual_graph()
    assert graph.outputs == (graph.output,)
    graph.add(Layer("side", Pooling("max", (2, 2), (2, 2)), ("first",)))
    graph.name_outputs(["third", "side", "third"])
    graph.validate()
    assert [layer.name for layer in graph.outputs] == ["third", "side", "fc"]
    with pytest.raises(UserError, match="needs one output, it has 3: 'third', 'side', 'fc'"):
        _ = graph.output
    document = json.loads(json.dumps(graph.to_json()))
    assert LayerGraph.from_json(document).outputs == graph.outputs
    assert document["outputs"] == ["third", "side", "fc"]


@pytest.mark.parametrize(("name", "message"), [("gone", "no layer 'gone'"), ("image", "'image' is no output")])
def test_outputs_are_layers_that_compute(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        residual_graph().name_outputs(["fc", name])


def test_an_empty_network_has_no_input() -> None:
    with pytest.raises(UserError, match="no input layer"):
        LayerGraph("empty").validate()


def test_unknown_layers_are_named() -> None:
    with pytest.raises(UserError, match="'small' has no layer 'x'"):
        residual_graph().shape("x")


def _swap(document: dict[str, Any]) -> None:
    document["layers"][1], document["layers"][2] = document["layers"][2], document["layers"][1]


def _cycle(document: dict[str, Any]) -> None:
    document["layers"][1]["inputs"] = ["third"]


def _unknown_kind(document: dict[str, Any]) -> None:
    document["layers"][4]["operator"]["kind"] = "mystery"


def _no_layers(document: dict[str, Any]) -> None:
    del document["layers"]


def _unknown_output(document: dict[str, Any]) -> None:
    document["outputs"] = ["gone"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_swap, "'second' reads 'first', which no earlier layer makes"),
        (_cycle, "'first' reads 'third', which no earlier layer makes"),
        (_unknown_kind, "layer 'pool': unknown operator 'mystery'"),
        (_no_layers, "not a layer graph"),
        (_unknown_output, "no layer 'gone'"),
        (lambda document: document.update(version=0), "version 0, and this cgap reads version 1"),
        (lambda document: document.pop("version"), "not a layer graph"),
    ],
)
def test_spoilt_documents_are_refused(spoil: Any, message: str) -> None:
    document = json.loads(json.dumps(residual_graph().to_json()))
    spoil(document)
    with pytest.raises(UserError, match=message):
        LayerGraph.from_json(document)
