"""Chooses the fraction bits of activations from images, and of weights from their values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cgap.lowering.importer import ImportedModel
from cgap.lowering.onnx.network import shorten
from cgap.lowering.quantisation.options import QuantiseOptions
from fpga_model.errors import UserError
from fpga_model.models.golden import stream_float
from fpga_model.numerics.fixed_point import FloatArray, Format

CLIPPING = 3
"""How many fraction bits beyond the largest value are tried: each halves the range and the rounding error."""
HEADROOM = {8: 0, 16: 1}
"""Fraction bits left unused, by the bits of the tensor: what other images may hold beyond the calibration's largest
value. Of 16 bits one is cheap: rounding is far below what a single saturated value costs."""
FINEST, COARSEST = 24, -40
"""Most and fewest fraction bits of an activation; a network that needs others is out of any sensible range."""
BATCH = 32
"""Images that run together in real numbers."""


def fitting_fraction(largest: float, form: Format) -> int:
    """The most fraction bits with which a magnitude of `largest` is still rounded to an integer of `form`.

    Where there is nothing but zeros, numbers below one are expected.
    """
    if largest == 0:
        return form.bits - form.signed
    fraction = math.floor(math.log2((form.high + 0.5) / largest))
    # The logarithm is inexact: step to where the rule itself holds.
    while math.ldexp(largest, fraction) >= form.high + 0.5:
        fraction -= 1
    while math.ldexp(largest, fraction + 1) < form.high + 0.5:
        fraction += 1
    return fraction


def weight_fractions(weights: FloatArray, bits: int, together: bool = False) -> npt.NDArray[np.int64]:
    """Most fraction bits [Nof] with which no weight of [Nof, ...] is clipped; of all channels `together`, if wished.

    Clipping the largest weight where that loses less in mean square was tried: on a trained ResNet-20 it cost up to
    1 dB of the logits' signal-to-noise ratio, and never won more than 0.1 dB.
    """
    form, rows = Format(bits, 0), weights.reshape(len(weights), -1)
    found = [fitting_fraction(float(value), form) for value in np.abs(rows).max(axis=1)]
    for channel, row in enumerate(rows):
        # Weights that are integers already, the lowest of -128 among them: one bit less would round the others.
        finer = np.ldexp(row, found[channel] + 1)
        if finer.min() == form.low and finer.max() <= form.high and np.array_equal(finer, np.rint(finer)):
            found[channel] += 1
    if together:
        live = [fraction for fraction, row in zip(found, rows, strict=True) if row.any()]
        found = [min(live or found)] * len(found)
    return np.array(found, dtype=np.int64)


def squared_error(values: FloatArray, form: Format) -> float:
    """Sum of squared differences between `values` and their nearest numbers in `form`."""
    scaled = values * 2.0**form.frac
    rounded = np.clip(np.rint(scaled), form.low, form.high)
    rounded -= scaled
    return math.ldexp(float(np.vdot(rounded, rounded)), -2 * form.frac)


def activation_fractions(
    model: ImportedModel, images: FloatArray, forms: Mapping[str, Format], options: QuantiseOptions
) -> dict[str, int]:
    """Fraction bits of every layer's output over `images` [N, C, H, W], by `options.calibration`.

    Args:
        forms: bits and sign of each layer's output; their fractions do not count.

    Raises:
        UserError: no images, images with NaN, or activations of a size that fixed point cannot serve.
    """
    if len(images) == 0 or not np.isfinite(images).all():
        raise UserError("calibration needs images, and finite ones")
    largest = dict.fromkeys((layer.name for layer in model.graph.layers), 0.0)
    for _, name, values in real_tensors(model, images):
        largest[name] = max(largest[name], float(np.abs(values).max()))
    for name, value in largest.items():
        if not math.isfinite(value) or fitting_fraction(value, forms[name]) < COARSEST:
            raise UserError(f"layer {shorten(name)!r} makes numbers as large as {value:.3g}; check its weights")
    first = {name: min(fitting_fraction(value, forms[name]), FINEST) for name, value in largest.items()}
    found = _CHOICES[options.calibration](_Calibration(model, images, forms, first, options))
    return {name: fraction - HEADROOM[forms[name].bits] for name, fraction in found.items()}


@dataclass(frozen=True, eq=False)
class _Calibration:
    """What a choice of fractions may look at; `first` are those that clip nothing."""

    model: ImportedModel
    images: FloatArray
    forms: Mapping[str, Format]
    first: Mapping[str, int]
    options: QuantiseOptions


def _never_clipped(given: _Calibration) -> dict[str, int]:
    return dict(given.first)


def _least_error(given: _Calibration) -> dict[str, int]:
    """The fractions with the least mean square error. Against those that clip nothing this won 1 to 3.5 dB."""
    forms, first = given.forms, given.first
    errors = {name: np.zeros(CLIPPING + 1) for name in first}
    for _, name, values in real_tensors(given.model, given.images):
        for extra in range(CLIPPING + 1):
            errors[name][extra] += squared_error(values, replace(forms[name], frac=first[name] + extra))
    return {name: min(first[name] + int(np.argmin(errors[name])), FINEST) for name in first}


def _rarely_clipped(given: _Calibration) -> dict[str, int]:
    """The most fraction bits with which at most 100 - the chosen percentile percent of the values are clipped.

    Zeros do not count: they are exact in any format, and after ReLU there may be hardly anything else.
    """
    forms, first = given.forms, given.first
    # A magnitude is clipped beyond one fraction and not below it: counting values by that fraction is enough.
    counts = {name: np.zeros(FINEST - fraction + 1, np.int64) for name, fraction in first.items()}
    for _, name, values in real_tensors(given.model, given.images):
        magnitudes = np.abs(values[values != 0]) / np.float32(forms[name].high + 0.5)
        fitting = np.clip(-np.frexp(magnitudes)[1], first[name], FINEST)
        counts[name] += np.bincount(fitting - first[name], minlength=len(counts[name]))
    found = {}
    for name, fitted in counts.items():
        clipped = np.cumsum(fitted) - fitted
        allowed = np.flatnonzero(clipped <= (1 - given.options.percentile / 100) * fitted.sum())
        found[name] = first[name] + (int(allowed[-1]) if fitted.any() else 0)
    return found


_CHOICES = {"mse": _least_error, "max": _never_clipped, "percentile": _rarely_clipped}


def real_tensors(model: ImportedModel, images: FloatArray) -> Iterator[tuple[slice, str, FloatArray]]:
    """Every layer's real output for `images`, BATCH images at a time: which images, the layer, its output for them.

    No more tensors are held than layers still read.
    """
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        stream = stream_float(model.graph, model.parameters, images[part].astype(np.float32))
        for _ in model.graph.layers:
            with np.errstate(over="ignore", invalid="ignore"):  # infinite numbers are reported with the layer's name
                name, values = next(stream)
            yield part, name, values
