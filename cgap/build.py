"""One build: from a model to everything under build/NAME."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap import models
from cgap.files import replace_folder, safe_name, write_atomic
from cgap.inputs import Inputs, load_inputs, load_test_set
from cgap.lowering import ImportedModel, export_qdq, import_onnx, quantise
from cgap.report import Accuracy, Costs, Csim, Network, build_report
from cgap.trace import trace_json
from fpga_model.accelerator import Accelerator
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph
from fpga_model.platform import Platform, load_platform
from fpga_model.reference import run_reference
from fpga_model.schedule.build import build_schedule
from fpga_model.schedule.schedule import Kind, Schedule

Say = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """What a network is built for."""

    platform: Platform
    accelerator: Accelerator
    kind: Kind

    @classmethod
    def parse(cls, platform: str, array: str, schedule: str) -> Target:
        """From the command line's words. Raises UserError."""
        kinds = [kind.value for kind in Kind]
        if schedule not in kinds:
            raise UserError(f"no schedule {schedule!r}: choose {' or '.join(kinds)}")
        return cls(load_platform(platform), Accelerator.parse(array), Kind(schedule))


@dataclass(frozen=True, eq=False)
class Compiled:
    """A network lowered to integers and scheduled.

    `record` is the training record of a shipped model, else empty.
    """

    name: str
    onnx: Path
    record: dict[str, Any]
    imported: ImportedModel
    fixed: FixedGraph
    inputs: Inputs
    schedule: Schedule


def build_name(model: str) -> str:
    """The folder of a model under build/: its name, or its file's, made safe."""
    return safe_name(Path(model).stem if model.endswith(".onnx") else model, set())


def compile_model(model: str, target: Target, images: Path | None = None) -> Compiled:
    """Import, quantise and schedule. Raises UserError for whatever is wrong with the input."""
    onnx = models.resolve(model)
    record = next((entry.record for entry in models.pretrained() if entry.onnx == onnx), {})
    imported = import_onnx(onnx)
    inputs = load_inputs(imported.graph.shape(imported.graph.input.name), images)
    fixed = quantise(imported, inputs.images)
    schedule = build_schedule(fixed, target.accelerator, target.platform, target.kind)
    return Compiled(build_name(model), onnx, record, imported, fixed, inputs, schedule)


def network_figures(compiled: Compiled) -> Network:
    """MACs and weights, of the dense network too if the model's record tells."""
    dense = compiled.record.get("network", {})
    graph = compiled.imported.graph
    return Network(graph.macs(), graph.weights(), dense.get("dense_macs"), dense.get("dense_params"))


def measure_accuracy(compiled: Compiled, inputs: Inputs) -> Accuracy:
    """Float (onnxruntime on the model) and fixed (integer reference) accuracy; None without labels that fit."""
    output = compiled.fixed.graph.output.name
    if inputs.labels is None or compiled.fixed.graph.shape(output).size <= int(inputs.labels.max()):
        return Accuracy(0, None, None)
    logits = run_onnx(compiled.onnx, inputs.images)[0]
    stored = run_reference(compiled.fixed, inputs.integers(), keep=[output])[output]

    def right(scores: npt.NDArray[Any]) -> float:
        return float((scores.reshape(len(scores), -1).argmax(1) == inputs.labels).mean())

    return Accuracy(len(inputs.images), right(logits), right(stored))


def run_onnx(path: Path, images: npt.NDArray[np.float32], batch: int = 100) -> list[npt.NDArray[Any]]:
    """All outputs of an ONNX model on images [N, C, H, W], with onnxruntime's graph optimisations off."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    if isinstance(source.shape[0], int):
        batch = source.shape[0]
    parts = [session.run(None, {source.name: images[i : i + batch]}) for i in range(0, len(images), batch)]
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]
