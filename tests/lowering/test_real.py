"""Real tensors layer by layer: the numbers, the parts, what is held."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import cgap.lowering.quantisation.real as real
from cgap.lowering import ImportedModel
from cgap.lowering.quantisation.real import real_tensors
from fpga_model.graph import FloatParameters, Layer, LayerGraph, Shape
from fpga_model.models.golden import run_float
from fpga_model.numerics.fixed_point import FloatArray
from fpga_model.operators import Concatenation, Convolution, FullyConnected, Input, Part, Pooling, Shortcut


def deep(layers: int) -> ImportedModel:
    """A chain of convolutions, every other with a shortcut, on maps of 32x32."""
    random, graph = np.random.default_rng(3), LayerGraph("deep")
    graph.add(Layer("image", Input(Shape(4, 32, 32))))
    parameters, last = {}, ["image", "image"]
    for index in range(layers):
        added = Shortcut((1, 1), 0, 4) if index % 2 else None
        operator = Convolution(4, 4, (3, 3), pad=(1, 1, 1, 1), relu=True, shortcut=added)
        graph.add(Layer(f"conv_{index}", operator, tuple(last) if added else (last[0],)))
        weights = random.normal(0, 0.2, (4, 4, 3, 3)).astype(np.float32)
        parameters[f"conv_{index}"] = FloatParameters(weights, np.zeros(4, np.float32))
        last = [f"conv_{index}", last[0]]
    return ImportedModel(graph, parameters)


def every_operator() -> ImportedModel:
    """Each operator, with what it may have."""
    random, graph = np.random.default_rng(5), LayerGraph("every")
    parameters: dict[str, FloatParameters] = {}

    def add(name: str, operator: Convolution, *inputs: str) -> None:
        graph.add(Layer(name, operator, inputs))
        weights, bias = random.normal(0, 0.2, operator.weight_shape), random.normal(0, 1, operator.Nof)
        parameters[name] = FloatParameters(weights, bias)

    graph.add(Layer("image", Input(Shape(3, 11, 9))))
    add("strided", Convolution(3, 8, (3, 5), (2, 1), (0, 2, 1, 1), leak=3), "image")
    add("grouped", Convolution(8, 4, (3, 3), pad=(1, 1, 1, 1), groups=4, ceiling=1.5, relu=True), "strided")
    graph.add(Layer("largest", Pooling("max", (2, 2), (1, 1), (0, 0, 1, 1)), ("grouped",)))
    graph.add(Layer("sum", Pooling("sum", (3, 3), (1, 1), (1, 1, 1, 1)), ("largest",)))
    graph.add(Layer("both", Concatenation((Part(0, 1, 2), Part(1, 0, 4))), ("sum", "largest")))
    add("shortcut", Convolution(6, 9, (1, 1), (2, 1), shortcut=Shortcut((2, 1), 3, 4)), "both", "grouped")
    add("projection", Convolution(6, 9, (1, 1)), "both")
    add(
        "only reader",
        Convolution(6, 9, (3, 3), pad=(1, 1, 1, 1), shortcut=Shortcut((1, 1), 0, 9)),
        "both",
        "projection",
    )
    add("logits", FullyConnected(graph.shape("shortcut"), 7), "shortcut")
    return ImportedModel(graph, parameters)


def images(model: ImportedModel, count: int = 11) -> FloatArray:
    shape = model.graph.shape("image")
    return np.random.default_rng(4).normal(0, 1, (count, shape.channels, shape.height, shape.width)).astype(np.float32)


@pytest.mark.parametrize("held_bytes", [1, 1 << 17, 64 << 20])
@pytest.mark.parametrize("model", [deep(9), every_operator()], ids=["deep", "every operator"])
def test_onnxruntime_gives_the_real_numbers(
    monkeypatch: pytest.MonkeyPatch, model: ImportedModel, held_bytes: int
) -> None:
    """But for the order of sums; and to the last bit the same, however many layers and images run at once: calibration
    chooses fractions by them."""
    given = images(model)
    whole = {name: values for _, name, values in real_tensors(model, given)}
    monkeypatch.setattr(real, "HELD_BYTES", held_bytes)
    monkeypatch.setattr(real, "BATCH", 4)
    found: dict[str, list[FloatArray]] = {}
    for part, name, values in real_tensors(model, given):
        assert values.dtype == np.float32
        assert part.start == sum(map(len, found.get(name, [])))
        found.setdefault(name, []).append(values)
    expected = run_float(model.graph, model.parameters, given.astype(np.float64))
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(whole[name], values, rtol=1e-5, atol=1e-5 * np.abs(values).max(), err_msg=name)
        assert np.concatenate(found[name]).tobytes() == whole[name].tobytes(), name


def test_a_deeper_network_holds_no_more_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a tensor is held after its last reader: each of these takes 0.5 MB, and 2 MB are 4 of them."""
    monkeypatch.setattr(real, "HELD_BYTES", 2 << 20)
    most = []
    for layers in (16, 64):
        model = deep(layers)
        seen: list[weakref.ref[FloatArray]] = []
        held = 0
        for _, _, values in real_tensors(model, images(model, 32)):
            seen.append(weakref.ref(values))
            held = max(held, sum(each() is not None for each in seen))
        most.append(held)
    assert most[1] == most[0] <= 8
