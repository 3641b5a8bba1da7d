"""Turns a real-valued network into integers with power-of-two scales (docs/numbers.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np
import numpy.typing as npt

from cgap.boundary.threads import one_thread
from cgap.lowering.importer import ImportedModel
from cgap.lowering.onnx.network import shorten
from cgap.lowering.quantisation.calibrate import COARSEST, activation_fractions, weight_fractions
from cgap.lowering.quantisation.correction import BiasCorrection
from cgap.lowering.quantisation.options import QuantiseOptions
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph, FloatParameters, Layer, LayerNumbers, Shape
from fpga_model.numerics.fixed_point import (
    ACCUMULATOR_BITS,
    BIAS_BITS,
    FLOAT32_EXACT,
    MAX_SHIFT,
    FloatArray,
    Format,
    IntArray,
)
from fpga_model.operators import Concatenation, Convolution, Input, Operator, Pooling

INPUT_FORMAT = Format(8, 7)
"""The network's input is (pixel - 128) / 128."""


@dataclass(frozen=True, eq=False)
class _Weights:
    """Real parameters of a layer and the fraction bits [Nof] its weights would have if nothing else limited them.

    `together`: all channels have, and keep, the same ones.
    """

    given: FloatParameters
    frac: npt.NDArray[np.int64]
    together: bool = False

    @property
    def live(self) -> npt.NDArray[np.bool_]:
        """Output channels [Nof] with a weight that is not zero, or that share the fraction of such a channel."""
        live = np.any(self.given.weights != 0, axis=(1, 2, 3))
        return np.full_like(live, live.any()) if self.together else live


@one_thread
def quantise(model: ImportedModel, images: FloatArray, options: QuantiseOptions | None = None) -> FixedGraph:
    """Quantise a network.

    Args:
        model: the imported network; formats that it pins itself are kept instead of calibrated.
        images: real-valued calibration images [N, C, H, W], as the network reads them.
        options: 8 bits calibrated by mean square error when None.

    Raises:
        UserError: the numbers of a layer do not fit the hardware; the message names the layer.
    """
    options = options or QuantiseOptions()
    forms = stored_forms(model, options)
    return to_integers(model, images, forms, activation_fractions(model, images, forms, options), options)


def stored_forms(model: ImportedModel, options: QuantiseOptions) -> dict[str, Format]:
    """Bits and sign of every layer's stored output; the fractions are those of pinned formats, else without meaning.

    Raises:
        UserError: bits asked for a layer that has none of its own.
    """
    graph = model.graph
    for name in options.layer_bits:
        if name not in layers_with_bits(model):
            raise UserError(
                f"network {graph.name!r} has no layer {shorten(name)!r} to choose the bits of: the input has 8, maxima "
                f"those of what they read, and what the file stores already keeps its own"
            )
    unsigned = options.activations == "unsigned"
    nonnegative: dict[str, bool] = {}
    forms: dict[str, Format] = {}
    for layer in graph.layers:
        nonnegative[layer.name] = layer.operator.nonnegative([nonnegative[source] for source in layer.inputs])
        signed = not (unsigned and nonnegative[layer.name])
        if layer == graph.input:
            forms[layer.name] = INPUT_FORMAT
        elif layer.operator.keeps_format:
            forms[layer.name] = forms[layer.inputs[0]]
        else:
            chosen = Format(options.layer_bits.get(layer.name, options.bits), 0, signed)
            forms[layer.name] = model.pinned.get(layer.name, chosen)
    return forms


def layers_with_bits(model: ImportedModel) -> list[str]:
    """Layers whose bits can be chosen."""
    graph, pinned = model.graph, model.pinned
    return [
        layer.name
        for layer in graph.layers
        if layer != graph.input and not layer.operator.keeps_format and layer.name not in pinned
    ]


def to_integers(
    model: ImportedModel,
    images: FloatArray,
    forms: Mapping[str, Format],
    calibrated: Mapping[str, int],
    options: QuantiseOptions,
) -> FixedGraph:
    """The integers for stored outputs of bits and sign `forms` and, where settling allows, fractions `calibrated`.

    Raises:
        UserError: as `quantise`.
    """
    graph, together = model.graph, options.weight_fractions == "layer"
    fractions, pinned = dict(calibrated), {graph.input.name, *model.pinned}
    for layer in graph.layers:
        if layer.operator.keeps_format and layer.inputs[0] in pinned:
            pinned.add(layer.name)
        if layer.name in pinned:
            fractions[layer.name] = forms[layer.name].frac
    weights = {
        name: _Weights(given, weight_fractions(given.weights, forms[name].bits, together), together)
        for name, given in exact_parameters(model).items()
    }
    settle(graph.layers, weights, fractions)
    numbers: dict[str, LayerNumbers] = {}
    correction = BiasCorrection(model, images) if options.bias_correction else None
    for layer in graph.layers:
        output = replace(forms[layer.name], frac=fractions[layer.name])
        inputs = [numbers[source].output for source in layer.inputs]
        shape, given = graph.shape(layer.name), weights.get(layer.name)
        with _naming(layer):
            made = layer_numbers(layer.operator, output, inputs, shape, given)
            if correction is not None and given is not None and layer.name not in model.pinned:
                corrected = FloatParameters(given.given.weights, correction.corrected_bias(layer, made))
                made = layer_numbers(layer.operator, output, inputs, shape, replace(given, given=corrected))
        numbers[layer.name] = made
        if correction is not None:
            correction.advance(layer, made)
    return FixedGraph(graph, numbers)


def exact_parameters(model: ImportedModel) -> dict[str, FloatParameters]:
    """Weights and biases of the layers that have some, all in float64."""
    return {
        name: FloatParameters(given.weights.astype(np.float64, copy=False), given.bias)
        for name, given in model.parameters.items()
    }


def settle(layers: Sequence[Layer], weights: Mapping[str, _Weights], fractions: dict[str, int]) -> None:
    """Lower fraction bits, in place, until every layer's accumulator has at least those of what it adds and stores.

    Fractions only ever fall, so this ends: settled, or with a tensor beyond COARSEST.

    Raises:
        UserError: no fraction bits are low enough; the message names the layer.
    """
    changed = True
    while changed:
        changed = False
        for layer in layers:
            tensors = (layer.name, *layer.inputs)
            caps = highest_fractions(layer.operator, [fractions[name] for name in tensors], weights.get(layer.name))
            for name, cap in zip(tensors, caps, strict=True):
                if cap >= fractions[name]:
                    continue
                if name == layers[0].name or cap < COARSEST:
                    raise UserError(
                        f"layer {shorten(layer.name)!r}: its weights are so large that {shorten(name)!r} would need "
                        f"{cap} fraction bits"
                    )
                fractions[name] = cap
                changed = True


@singledispatch
def highest_fractions(operator: Operator, fractions: Sequence[int], weights: _Weights | None) -> Sequence[int]:
    """The most fraction bits that (output, inputs...) may have, given those that they have now in `fractions`."""
    raise TypeError(f"no quantisation rule for {operator}")


@highest_fractions.register
def _(_operator: Input, fractions: Sequence[int], _weights: _Weights | None) -> Sequence[int]:
    return fractions


@highest_fractions.register
def _(operator: Convolution, fractions: Sequence[int], weights: _Weights) -> Sequence[int]:
    output, data, *others = fractions
    accumulators = np.where(weights.live, data + weights.frac, np.iinfo(np.int64).max)
    caps = [min(output, int(accumulators.min())), data]
    if operator.shortcut is not None:
        caps.append(min(others[0], int(accumulators[operator.shortcut.reach].min())))
    return caps


@highest_fractions.register
def _(operator: Pooling, fractions: Sequence[int], _weights: _Weights | None) -> Sequence[int]:
    output, data = fractions
    return (min(output, data), data) if operator.mode == "sum" else (min(fractions),) * 2


@highest_fractions.register
def _(_operator: Concatenation, fractions: Sequence[int], _weights: _Weights | None) -> Sequence[int]:
    return min(fractions), *fractions[1:]


@singledispatch
def layer_numbers(
    operator: Operator,
    output: Format,
    inputs: Sequence[Format],
    shape: Shape,
    weights: _Weights | None,
) -> LayerNumbers:
    """The integers of a layer whose output maps have `shape`, for settled formats of its output and inputs.

    Raises:
        UserError: they do not fit the hardware.
    """
    raise TypeError(f"no quantisation rule for {operator}")


@layer_numbers.register
def _(
    _operator: Input, _output: Format, _inputs: Sequence[Format], shape: Shape, _weights: _Weights | None
) -> LayerNumbers:
    return LayerNumbers(INPUT_FORMAT, np.zeros(shape.channels, np.int64))


@layer_numbers.register
def _(
    _operator: Pooling, output: Format, inputs: Sequence[Format], shape: Shape, _weights: _Weights | None
) -> LayerNumbers:
    shift = inputs[0].frac - output.frac
    if shift > MAX_SHIFT:
        raise UserError(f"its sums would be shifted by {shift} bits; at most {MAX_SHIFT} are possible")
    return LayerNumbers(output, np.full(shape.channels, shift, np.int64))


@layer_numbers.register
def _(
    operator: Concatenation, output: Format, inputs: Sequence[Format], _shape: Shape, _weights: _Weights | None
) -> LayerNumbers:
    # Beyond the largest shift nothing of a stored number is left: any larger one gives the same zeros.
    shifts = np.array([min(form.frac - output.frac, MAX_SHIFT) for form in inputs], np.int64)
    return LayerNumbers(output, shifts[operator.sources()])


@layer_numbers.register
def _(
    operator: Convolution, output: Format, inputs: Sequence[Format], _shape: Shape, weights: _Weights
) -> LayerNumbers:
    aligned = [output.frac, *(form.frac for form in inputs[1:])]
    lowest = max(aligned) - inputs[0].frac
    highest = min(aligned) + MAX_SHIFT - inputs[0].frac
    if lowest > highest:
        raise UserError(f"its output and shortcut, with {aligned} fraction bits, are too far apart to be added")
    # A channel without weights only adds its bias and shortcut: it needs no more fraction bits than they have.
    frac = np.where(weights.live, np.clip(weights.frac, lowest, highest), lowest)
    bits = max(form.bits for form in (output, *inputs))
    while True:
        numbers, refused, inexact = _convolution_numbers(operator, output, inputs, weights.given, frac)
        stuck = refused & (frac <= lowest)
        if stuck.any():
            raise UserError(
                f"output channel {int(np.argmax(stuck))} could overflow: its bias must fit {BIAS_BITS[bits]} bits and "
                f"its sums {ACCUMULATOR_BITS[bits]} bits, with {lowest + inputs[0].frac} fraction bits"
            )
        lowered = refused | (inexact & (frac > lowest))
        if weights.together:
            lowered[:] = refused.any()
        if not lowered.any():
            return numbers
        frac = np.where(lowered, frac - 1, frac)


def _convolution_numbers(
    operator: Convolution,
    output: Format,
    inputs: Sequence[Format],
    given: FloatParameters,
    frac: npt.NDArray[np.int64],
) -> tuple[LayerNumbers, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The integers for weight fractions `frac`, and which output channels would better have fewer.

    Returns:
        The integers; the channels [Nof] that the hardware cannot hold; and those that float32 cannot, not because of
        their products but because a bias or shortcut is so much larger: there the last bits of weights do not matter.
    """
    accumulator = inputs[0].frac + frac
    bias = np.rint(np.ldexp(given.bias, accumulator))
    bits = max(form.bits for form in (output, *inputs))
    limit = 1 << (BIAS_BITS[bits] - 1)
    wide = (bias < -limit) | (bias >= limit)
    weights = _round_weights(given.weights, frac, output.bits)
    numbers = LayerNumbers(
        output=output,
        shift=accumulator - output.frac,
        weights=weights,
        weight_frac=frac,
        bias=np.where(wide, 0, bias).astype(np.int64),
        shortcut_shift=accumulator - inputs[1].frac if operator.shortcut is not None else None,
    )
    magnitudes = [1 << (form.wide_bits - 1) for form in inputs]
    bounds = operator.channel_bounds(numbers, magnitudes)
    products = np.abs(weights.astype(np.int64)).sum(axis=(1, 2, 3)) * magnitudes[0]
    # Of 8 stored bits 24 are enough for any accumulator; of 16 they are not, and few layers are exact in float32.
    inexact = (bounds >= FLOAT32_EXACT) & (products < FLOAT32_EXACT // 2) & (output.bits == 8)
    return numbers, wide | (bounds >= 1 << (ACCUMULATOR_BITS[bits] - 1)), inexact


def _round_weights(weights: FloatArray, frac: npt.NDArray[np.int64], bits: int) -> IntArray:
    form = Format(bits, 0)
    integers = np.rint(np.ldexp(weights, frac.reshape(-1, 1, 1, 1)))
    return np.clip(integers, form.low, form.high).astype(form.dtype)


@contextmanager
def _naming(layer: Layer) -> Iterator[None]:
    """Adds the layer's name to errors."""
    try:
        yield
    except UserError as error:
        raise UserError(f"layer {shorten(layer.name)!r}: {error}") from error
