"""Chooses the fraction bits of activations from images, and of weights from their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.lowering.importer import ImportedModel
from cgap.lowering.onnx.network import shorten
from cgap.lowering.quantisation.options import QuantiseOptions
from cgap.lowering.quantisation.real import images_together, real_tensors
from fpga_model.errors import UserError
from fpga_model.numerics.fixed_point import FloatArray, Format

CLIPPING = 3
"""How many fraction bits beyond the largest value are tried: each halves the range and the rounding error."""
HEADROOM = {8: 0, 16: 1}
"""Fraction bits left unused, by the bits of the tensor: what other images may hold beyond the calibration's largest
value. Of 16 bits one is cheap: rounding is far below what a single saturated value costs."""
CACHED = 1 << 15
"""Values that are worked on at once where each takes several steps: what stays in the processor's cache."""
FINEST, COARSEST = 24, -40
"""Most and fewest fraction bits of an activation; a network that needs others is out of any sensible range."""


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


def squared_error(values: FloatArray, form: Format, clips: bool = True) -> float:
    """Sum of squared differences between `values` and their nearest numbers in `form`, which may be known to have room
    for them all."""
    total, flat = 0.0, values.reshape(-1)
    for start in range(0, flat.size, CACHED):
        scaled = flat[start : start + CACHED] * 2.0**form.frac
        rounded = np.rint(scaled)
        if clips:  # the slowest step
            np.clip(rounded, form.low, form.high, out=rounded)
        rounded -= scaled
        total += float(np.vdot(rounded, rounded))
    return math.ldexp(total, -2 * form.frac)


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
    count, choose = _CHOICES[options.calibration]
    largest = dict.fromkeys((layer.name for layer in model.graph.layers), 0.0)
    first: dict[str, int] = {}
    found: dict[str, npt.NDArray[Any]] = {}
    if len(images) > images_together(model):  # what all of them clip must be known before anything is counted
        for _, name, values in real_tensors(model, images):
            largest[name] = float(np.maximum(largest[name], np.abs(values).max()))
    for _, name, values in real_tensors(model, images):
        form = forms[name]
        if name not in first:
            first[name] = _first_fraction(name, float(np.maximum(largest[name], np.abs(values).max())), form)
        counted = count(values, form, first[name])
        found[name] = found[name] + counted if name in found else counted
    return {name: choose(found[name], first[name], options) - HEADROOM[forms[name].bits] for name in largest}


def _first_fraction(name: str, largest: float, form: Format) -> int:
    """The most fraction bits with which nothing of a layer is clipped. Raises UserError: it has no sensible ones."""
    if not math.isfinite(largest) or fitting_fraction(largest, form) < COARSEST:
        raise UserError(f"layer {shorten(name)!r} makes numbers as large as {largest:.3g}; check its weights")
    return min(fitting_fraction(largest, form), FINEST)


# Each calibration counts something of a layer's values, for every fraction that it may choose, the first being the one
# that clips nothing; and chooses by the sums over all images.


def _count_nothing(_values: FloatArray, _form: Format, _first: int) -> npt.NDArray[np.float64]:
    return np.zeros(0)


def _never_clipped(_counted: npt.NDArray[Any], first: int, _options: QuantiseOptions) -> int:
    return first


def _count_errors(values: FloatArray, form: Format, first: int) -> npt.NDArray[np.float64]:
    finer = [replace(form, frac=first + extra) for extra in range(1, CLIPPING + 1)]
    errors = [squared_error(values, replace(form, frac=first), clips=not form.signed)]
    return np.array(errors + [squared_error(values, each) for each in finer])


def _least_error(errors: npt.NDArray[Any], first: int, _options: QuantiseOptions) -> int:
    """The fraction with the least mean square error. Against that which clips nothing this won 1 to 3.5 dB."""
    return min(first + int(np.argmin(errors)), FINEST)


def _count_fitting(values: FloatArray, form: Format, first: int) -> npt.NDArray[np.int64]:
    """By fraction, the values that fit it and none above: each magnitude is clipped beyond one and not below it.

    Zeros do not count: they are exact in any format, and after ReLU there may be hardly anything else.
    """
    magnitudes = np.abs(values[values != 0]) / np.float32(form.high + 0.5)
    fitting = np.clip(-np.frexp(magnitudes)[1], first, FINEST)
    return np.bincount(fitting - first, minlength=FINEST - first + 1)


def _rarely_clipped(fitted: npt.NDArray[Any], first: int, options: QuantiseOptions) -> int:
    """The most fraction bits with which at most 100 - the chosen percentile percent of the values are clipped."""
    clipped = np.cumsum(fitted) - fitted
    allowed = np.flatnonzero(clipped <= (1 - options.percentile / 100) * fitted.sum())
    return first + (int(allowed[-1]) if fitted.any() else 0)


_Count = Callable[[FloatArray, Format, int], npt.NDArray[Any]]
_Choose = Callable[[npt.NDArray[Any], int, QuantiseOptions], int]
_CHOICES: dict[str, tuple[_Count, _Choose]] = {
    "mse": (_count_errors, _least_error),
    "max": (_count_nothing, _never_clipped),
    "percentile": (_count_fitting, _rarely_clipped),
}
