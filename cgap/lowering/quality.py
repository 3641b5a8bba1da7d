"""What quantisation costs: how often each stored tensor saturates, and how far it is from the real network."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from cgap.lowering.calibrate import BATCH
from cgap.lowering.importer import ImportedModel
from cgap.lowering.runtime import run_onnx
from fpga_model.errors import UserError
from fpga_model.fixed_point import FloatArray, Format, IntArray
from fpga_model.graph import FixedGraph
from fpga_model.reference import run_float, run_reference


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
    exact = real.astype(np.float64)
    difference = form.value(stored) - exact
    return Quality(stored.size, saturated, float(np.vdot(exact, exact)), float(np.vdot(difference, difference)))


def measure(
    model: ImportedModel, fixed: FixedGraph, images: FloatArray, keep: Collection[str] | None = None
) -> dict[str, Quality]:
    """Run the real and the integer network on `images` [N, C, H, W] and compare each stored tensor of `keep` (all)."""
    form = fixed.format(fixed.graph.input.name)
    found: dict[str, Quality] = {}
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH].astype(np.float32)
        stored = run_reference(fixed, form.quantise(part), keep)
        real = run_float(model.graph, model.parameters, part, stored.keys())
        for name, quality in compare_all(fixed, stored, real, stored.saturated).items():
            found[name] = found.get(name, Quality()) + quality
    return found


def compare_all(
    fixed: FixedGraph,
    stored: Mapping[str, IntArray],
    real: Mapping[str, npt.NDArray[Any]],
    saturated: Mapping[str, int],
) -> dict[str, Quality]:
    """The quality of every tensor of `real`, by layer name."""
    return {name: compare(stored[name], fixed.format(name), real[name], saturated[name]) for name in real}


def against_file(path: Path, model: ImportedModel, fixed: FixedGraph, images: FloatArray) -> dict[str, Quality] | None:
    """How far the tensors that the file quantises, and the network not as the file, are from the file's own values.

    Args:
        path: the file that `model` was imported from.
        images: real-valued images [N, C, H, W].

    Returns:
        By layer name; None if onnxruntime cannot run the file.
    """
    other = {name: pair.real for name, pair in model.quantised.items() if pair.form != fixed.format(name)}
    if not other:
        return {}
    proto = onnx.load(path)
    present = {info.name for info in proto.graph.output}
    wanted = [real for real in dict.fromkeys(other.values()) if real not in present]
    proto.graph.output.extend(helper.make_tensor_value_info(real, TensorProto.FLOAT, None) for real in wanted)
    integers = fixed.format(fixed.graph.input.name).quantise(images)
    stored = run_reference(fixed, integers, other)
    with TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.onnx"
        onnx.save(proto, probe)
        try:
            results = run_onnx(probe, images.astype(np.float32))
        except UserError:
            return None
    real = {name: results[tensor].reshape(stored[name].shape) for name, tensor in other.items()}
    return compare_all(fixed, stored, real, stored.saturated)
