"""What quantisation costs: how often each stored tensor saturates, and how far it is from the real network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from cgap.lowering.importer import ImportedModel
from cgap.lowering.onnx.axes import FileTensor
from cgap.lowering.onnx.runtime import run_onnx
from cgap.lowering.quantisation.calibrate import CACHED
from cgap.lowering.quantisation.real import real_tensors
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph
from fpga_model.models.golden import StoredTensors, run_reference
from fpga_model.numerics.fixed_point import FloatArray, Format, IntArray


@dataclass(frozen=True)
class Quality:
    """One stored tensor over some images.

    Attributes:
        values: how many it held.
        saturated: how many of them saturated.
        signal: sum of the squares of the real values.
        error: sum of the squared differences between what the stored integers stand for and the real values.
    """

    values: int = 0
    saturated: int = 0
    signal: float = 0.0
    error: float = 0.0

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio in dB; None where there is no signal, or no noise at all."""
        return 10 * math.log10(self.signal / self.error) if self.signal and self.error else None

    def __add__(self, other: Quality) -> Quality:
        return Quality(
            self.values + other.values,
            self.saturated + other.saturated,
            self.signal + other.signal,
            self.error + other.error,
        )


def compare(stored: IntArray, form: Format, real: npt.NDArray[Any], saturated: int = 0) -> Quality:
    """The quality of stored integers of `form` where `real` values of the same shape were meant."""
    signal = error = 0.0
    integers, values = stored.reshape(-1), real.reshape(-1)
    for start in range(0, stored.size, CACHED):
        exact = values[start : start + CACHED].astype(np.float64)
        difference = form.value(integers[start : start + CACHED])
        difference -= exact
        signal += float(np.vdot(exact, exact))
        error += float(np.vdot(difference, difference))
    return Quality(stored.size, saturated, signal, error)


def measure(
    model: ImportedModel, fixed: FixedGraph, images: FloatArray, stored: StoredTensors | None = None
) -> dict[str, Quality]:
    """Run the real and the integer network on `images` [N, C, H, W] and compare every stored tensor, by layer name.

    `stored` are the integers of these images where they are known already.
    """
    stored = stored or run_reference(fixed, fixed.format(fixed.graph.input.name).quantise(images))
    found: dict[str, Quality] = {}
    for part, name, values in real_tensors(model, images):
        found[name] = found.get(name, Quality()) + compare(stored[name][part], fixed.format(name), values)
    return {name: replace(quality, saturated=stored.saturated[name]) for name, quality in found.items()}


def against_file(model: ImportedModel, fixed: FixedGraph, images: FloatArray) -> dict[str, Quality] | None:
    """How far the tensors that the file quantises, and the network not as the file, are from the file's own values.

    Args:
        model: as imported, with the content of its file.
        images: real-valued images [N, C, H, W].

    Returns:
        By layer name; None if onnxruntime cannot run the file.
    """
    other = {name: pair.real for name, pair in model.quantised.items() if pair.form != fixed.format(name)}
    if not other:
        return {}
    proto = onnx.load_model_from_string(model.content)
    present = {info.name for info in proto.graph.output}
    wanted = [real for real in dict.fromkeys(other.values()) if real not in present]
    proto.graph.output.extend(helper.make_tensor_value_info(real, TensorProto.FLOAT, None) for real in wanted)
    integers = fixed.format(fixed.graph.input.name).quantise(images)
    stored = run_reference(fixed, integers, other)
    try:
        results = run_onnx(proto.SerializeToString(), model.image.to_file(images.astype(np.float32)))
    except UserError:
        return None
    real = {}
    for name, tensor in other.items():
        sizes = stored[name].shape
        seen = FileTensor(tensor, (1, *results[tensor].shape[1:]), sizes[1:], model.quantised[name].axes)
        real[name] = seen.from_file(results[tensor])
    return {name: compare(stored[name], fixed.format(name), real[name], stored.saturated[name]) for name in other}
