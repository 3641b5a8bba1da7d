"""Bias correction: what rounding weights and activations does to the mean of each output channel is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.lowering.importer import ImportedModel
from cgap.lowering.quantisation.real import BATCH
from fpga_model.graph import Layer, LayerNumbers
from fpga_model.numerics.fixed_point import FloatArray, IntArray
from fpga_model.operators import Convolution, Input


class BiasCorrection:
    """Runs the real and the integer network side by side, layer by layer, over calibration images [N, C, H, W].

    Each layer is corrected for integers that come from layers corrected before it. Tensors are kept as long as a
    layer reads them.
    """

    def __init__(self, model: ImportedModel, images: FloatArray) -> None:
        self.model = model
        self.images = images.astype(np.float32)
        self.real: dict[str, FloatArray] = {}
        self.stored: dict[str, IntArray] = {}
        self._last_reader = {source: layer.name for layer in model.graph.layers for source in layer.inputs}

    def corrected_bias(self, layer: Layer, numbers: LayerNumbers) -> FloatArray:
        """The real bias [Nof] plus the mean of the real sums less the integer ones, before rounding and activation."""
        operator, given = layer.operator, self.model.parameters[layer.name]
        if not isinstance(operator, Convolution):
            return given.bias
        difference = np.zeros(operator.Nof)
        for part in self._parts():
            real = operator.sums([self.real[source][part] for source in layer.inputs], given)
            sums = operator.accumulators([self.stored[source][part] for source in layer.inputs], numbers)
            frac = (numbers.shift + numbers.output.frac).reshape(-1, 1, 1)
            difference += (real - np.ldexp(sums.astype(np.float64), -frac)).mean(axis=(2, 3)).sum(axis=0)
        return given.bias + difference / len(self.images)

    def advance(self, layer: Layer, numbers: LayerNumbers) -> None:
        """Compute the layer's real and stored outputs, and forget what nobody reads after it."""
        operator, given = layer.operator, self.model.parameters.get(layer.name)
        if isinstance(operator, Input):
            self.real[layer.name], self.stored[layer.name] = self.images, numbers.output.quantise(self.images)
            return
        real: list[npt.NDArray[Any]] = []
        stored: list[npt.NDArray[Any]] = []
        for part in self._parts():
            real.append(operator.forward([self.real[source][part] for source in layer.inputs], given))
            stored.append(operator.reference([self.stored[source][part] for source in layer.inputs], numbers)[0])
        self.real[layer.name], self.stored[layer.name] = np.concatenate(real), np.concatenate(stored)
        for source in {source for source in layer.inputs if self._last_reader[source] == layer.name}:
            del self.real[source], self.stored[source]

    def _parts(self) -> Iterator[slice]:
        return (slice(start, start + BATCH) for start in range(0, len(self.images), BATCH))
