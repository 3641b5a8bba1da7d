"""`cgap export`: the network of a training run as an ONNX file."""

from __future__ import annotations

from pathlib import Path

from cgap.training.export import export_model
from cgap.training.state import load_run


def export_run(run: Path, output: Path, *, trust: bool = False) -> None:
    """Write the network of a training run as ONNX. Raises UserError as `load_run` and `export_model` do."""
    model, shape = load_run(run, trust=trust)
    export_model(model, output, shape)
