"""Runs ONNX files in onnxruntime, as an execution that this project did not write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fpga_model.errors import UserError

BATCH = 50


@cache
def _share_memory() -> None:
    """Give the sessions of this process one arena for their tensors: a network that runs as several sessions would ask
    the system for new memory in each."""
    import onnxruntime

    kinds, places = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType
    memory = onnxruntime.OrtMemoryInfo("Cpu", kinds.ORT_ARENA_ALLOCATOR, 0, places.DEFAULT)
    onnxruntime.create_and_register_allocator(memory, None)


def start_session(model: bytes, *, optimise: bool = True) -> Any:
    """An onnxruntime session of a model in one thread of the processor, which sends nothing to anybody.

    Raises:
        UserError: onnxruntime refuses the file.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    _share_memory()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Of small layers, threads take longer to wake than to compute: on two processors they took 1.6 times their time.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with _telling():
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_session(session: Any, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """All outputs of a session, by name. Raises UserError: onnxruntime fails on it."""
    names = [output.name for output in session.get_outputs()]
    with _telling():
        return dict(zip(names, session.run(None, dict(inputs)), strict=True))


def run_onnx(model: bytes, images: npt.NDArray[Any], *, optimise: bool = False) -> dict[str, npt.NDArray[Any]]:
    """All outputs of an ONNX file with one input, on images [N, ...] as it has them, by name. Graph optimisations are
    off unless they are asked for, so that what runs is what the file says.

    Raises:
        UserError: onnxruntime refuses the file or fails on it.
    """
    parts = list(_batches(start_session(model, optimise=optimise), images))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batches(session: Any, images: npt.NDArray[Any]) -> Iterator[dict[str, npt.NDArray[Any]]]:
    source = session.get_inputs()[0]
    batch = source.shape[0] if isinstance(source.shape[0], int) else BATCH
    for begin in range(0, len(images), batch):
        given = images[begin : begin + batch]
        padded = given
        if batch != BATCH:
            padded = np.pad(given, [(0, batch - len(given)), *[(0, 0)] * (given.ndim - 1)])
        yield {name: result[: len(given)] for name, result in run_session(session, {source.name: padded}).items()}


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise UserError(f"onnxruntime cannot run the model: {str(error).splitlines()[0]}") from error
