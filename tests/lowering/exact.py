"""Runs QDQ files in float64 with onnx's own reference evaluator, which shares no code with this project.

onnxruntime computes in float32, which 16-bit numbers leave; in float64 every sum is exact, whatever its order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from cgap.lowering import export_qdq
from fpga_model.graph import FixedGraph
from fpga_model.models.golden import run_reference


def _along(numbers: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    if numbers.ndim == 0:
        return numbers.astype(np.float64)
    dims = [1] * values.ndim
    dims[axis] = -1
    return numbers.astype(np.float64).reshape(dims)


class DequantizeLinear(OpRun):
    op_domain = ""

    def _run(self, x: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int = 1, **_: Any) -> tuple[np.ndarray]:
        return ((x.astype(np.float64) - _along(zero, x, axis)) * _along(scale, x, axis),)


class QuantizeLinear(OpRun):
    op_domain = ""

    def _run(self, x: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int = 1, **_: Any) -> tuple[np.ndarray]:
        limits = np.iinfo(zero.dtype)
        integers = np.rint(x / _along(scale, x, axis)) + _along(zero, x, axis)
        return (np.clip(integers, limits.min, limits.max).astype(zero.dtype),)


class MaxPool(OpRun):
    """The package's own computes another size where the padding differs from side to side."""

    op_domain = ""

    def _run(
        self, x: np.ndarray, kernel_shape: Any, pads: Any, strides: Any, dilations: Any, **_: Any
    ) -> tuple[np.ndarray]:
        around = [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])]
        wide = np.pad(x, around, constant_values=-np.inf)
        spans = tuple((size - 1) * step + 1 for size, step in zip(kernel_shape, dilations, strict=True))
        views = np.lib.stride_tricks.sliding_window_view(wide, spans, axis=(2, 3))
        return (views[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]].max(axis=(4, 5)),)


def exact_mismatches(fixed: FixedGraph, images: np.ndarray, path: Path) -> dict[str, int]:
    """Stored integers that differ between the reference and the exported file in float64, by layer."""
    exported = export_qdq(fixed, path, stored_outputs=True)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    evaluator = ReferenceEvaluator(model, new_ops=[DequantizeLinear, QuantizeLinear, MaxPool])
    expected = run_reference(fixed, images)
    found = evaluator.run(list(exported.stored.values()), {fixed.graph.input.name: images / 128.0})
    for name, stored in zip(exported.stored, found, strict=True):
        assert stored.dtype == fixed.format(name).dtype
    return {
        name: int(np.count_nonzero(expected[name] != stored))
        for name, stored in zip(exported.stored, found, strict=True)
    }
