"""How far a quantised network may be from the real one: a bound for every number of every stored tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from cgap.lowering import ImportedModel
from fpga_model.graph import FixedGraph, Layer
from fpga_model.models.golden import run_float, run_reference
from fpga_model.operators import Convolution


def error_bounds(model: ImportedModel, fixed: FixedGraph, real: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Largest possible distances between stored and real numbers, by layer, for the real tensors `real`.

    Errors of the inputs pass through a layer's integer weights, errors of its weights through its real inputs; no
    activation and no saturation widens them; rounding adds half a step, and cutting what does not fit adds the excess.
    """
    errors: dict[str, np.ndarray] = {}
    for layer in model.graph.layers:
        form = fixed.format(layer.name)
        top, bottom = form.high * form.scale, form.low * form.scale
        excess = np.maximum(0, np.maximum(real[layer.name] - top, bottom - real[layer.name]))
        rounding = form.scale / 2 if layer.inputs else 0.0
        errors[layer.name] = _passed(model, fixed, layer, errors, real) + rounding + excess
    return errors


def _passed(
    model: ImportedModel, fixed: FixedGraph, layer: Layer, errors: dict[str, np.ndarray], real: dict[str, np.ndarray]
) -> np.ndarray:
    operator, numbers = layer.operator, fixed.numbers[layer.name]
    if not layer.inputs:
        return np.zeros_like(real[layer.name])
    if not isinstance(operator, Convolution):
        return operator.forward([errors[name] for name in layer.inputs], None)
    given = model.parameters[layer.name]
    weights = np.ldexp(numbers.weights.astype(float), -numbers.weight_frac.reshape(-1, 1, 1, 1))
    bias = np.ldexp(numbers.bias.astype(float), -(numbers.shift + numbers.output.frac))
    data = layer.inputs[0]
    passed = operator.accumulate(errors[data], np.abs(weights), np.abs(bias - given.bias))
    passed += operator.accumulate(np.abs(real[data]), np.abs(weights - given.weights), np.zeros_like(bias))
    if operator.shortcut is not None:
        passed[:, operator.shortcut.reach] += operator.shortcut.take(errors[layer.inputs[1]])
    return passed


def beyond_bounds(model: ImportedModel, fixed: FixedGraph, images: np.ndarray, path: Path) -> list[str]:
    """Layers with a stored number farther from the real network than its bound; "onnxruntime" for the network's output.

    The real output is onnxruntime's, of the original file at `path`; the real inner tensors are the reference's.
    """
    real = run_float(model.graph, model.parameters, images / 128.0)
    stored, bounds = run_reference(fixed, images), error_bounds(model, fixed, real)
    values = {name: fixed.format(name).value(integers) for name, integers in stored.items()}
    # float64 sums in two orders, and the largest numbers that they went through.
    slack = 1e-9 * max(float(np.abs(tensor).max()) for tensor in real.values())
    found = [name for name, value in values.items() if np.any(np.abs(value - real[name]) > bounds[name] + slack)]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    # One image at a time: zeros that a shortcut is concatenated with have a fixed batch.
    ones = [(image[None] / 128.0).astype(np.float32) for image in images]
    expected = np.concatenate([session.run(None, {model.graph.input.name: image})[0] for image in ones])
    output = model.graph.output.name
    distance = np.abs(values[output] - expected.reshape(values[output].shape))
    return found + ["onnxruntime"] * bool(np.any(distance > bounds[output] + 1e4 * slack))
