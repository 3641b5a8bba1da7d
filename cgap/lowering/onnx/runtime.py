"""Runs ONNX files in onnxruntime, as an execution that this project did not write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fpga_model.errors import UserError

BATCH = 50


def start_session(model: bytes, *, optimise: bool = True) -> Any:
    """An onnxruntime session of a model in one thread of the processor, which sends nothing to anybody."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Of small layers, threads take longer to wake than to compute: on two processors they took 1.6 times their time.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_onnx(model: bytes, images: npt.NDArray[Any], *, optimise: bool = False) -> dict[str, npt.NDArray[Any]]:
    """All outputs of an ONNX file with one input, on images [N, ...] as it has them, by name. Graph optimisations are
    off unless they are asked for, so that what runs is what the file says.

    Raises:
        UserError: onnxruntime refuses the file or fails on it.
    """
    parts = list(_batches(model, images, optimise))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batches(model: bytes, images: npt.NDArray[Any], optimise: bool) -> Iterator[dict[str, npt.NDArray[Any]]]:
    try:
        session = start_session(model, optimise=optimise)
        source = session.get_inputs()[0]
        names = [output.name for output in session.get_outputs()]
        batch = source.shape[0] if isinstance(source.shape[0], int) else BATCH
        for begin in range(0, len(images), batch):
            given = images[begin : begin + batch]
            padded = given
            if batch != BATCH:
                padded = np.pad(given, [(0, batch - len(given)), *[(0, 0)] * (given.ndim - 1)])
            results = session.run(None, {source.name: padded})
            yield {name: result[: len(given)] for name, result in zip(names, results, strict=True)}
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise UserError(f"onnxruntime cannot run the model: {str(error).splitlines()[0]}") from error
