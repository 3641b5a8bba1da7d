"""Turns a real-valued network into integers with power-of-two scales (docs/numbers.md)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import numpy as np

from cgap.lowering.calibrate import activation_fractions, weight_fractions
from cgap.lowering.importer import ImportedModel
from fpga_model.errors import UserError
from fpga_model.fixed_point import MAX_SHIFT, FloatArray, Format
from fpga_model.graph import FixedGraph, FloatParameters, LayerNumbers, Shape
from fpga_model.operators import Convolution, Input, Operator, Pooling

INPUT_FORMAT = Format(8, 7)
"""The network's input is (pixel - 128) / 128."""
ACCUMULATOR_BITS = 32
BIAS_BITS = 27
"""Bias and shift share one 32-bit record of the hardware."""
COARSEST = -24
"""Fewest fraction bits of an activation; a network that needs fewer is out of any sensible range."""

Fractions = dict[str, int]


def quantise(model: ImportedModel, images: FloatArray, bits: int = 8) -> FixedGraph:
    """Quantise a network.

    Args:
        model: the imported network.
        images: real-valued calibration images [N, C, H, W], as the network reads them.
        bits: of weights and stored activations; 8.

    Raises:
        UserError: the numbers of a layer do not fit the hardware; the message names the layer.
    """
    if bits != 8:
        raise UserError(f"{bits}-bit quantisation is not supported yet; use 8")
    fractions = activation_fractions(model, images, bits)
    fractions[model.graph.input.name] = INPUT_FORMAT.frac
    weight_fracs = {name: weight_fractions(given.weights, bits) for name, given in model.parameters.items()}
    _settle(model, weight_fracs, fractions)
    numbers: dict[str, LayerNumbers] = {}
    for layer in model.graph.layers:
        form = Format(bits, fractions[layer.name]) if layer.inputs else INPUT_FORMAT
        inputs = [numbers[source].output for source in layer.inputs]
        try:
            numbers[layer.name] = layer_numbers(
                layer.operator, form, inputs, model.graph.shape(layer.name), model.parameters.get(layer.name)
            )
        except UserError as error:
            raise UserError(f"layer {layer.name!r}: {error}") from error
    return FixedGraph(model.graph, numbers)
