"""benchmarks/peers.py: what hls4ml gets is the network, and the documentation names the versions that it runs."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from cgap.app import models
from cgap.app.inputs import load_inputs
from cgap.lowering import import_onnx, quantise
from fpga_model.models.golden import run_float
from fpga_model.numerics.tensors import FloatParameters

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_the_network_for_hls4ml_is_the_same():
    """Fails if a layer, a shortcut or a weight is lost on the way to PyTorch: real arithmetic on the same integers."""
    torch = pytest.importorskip("torch")
    peer, flow = importlib.import_module("hls4ml_peer"), importlib.import_module("hls4ml_flow")
    imported = import_onnx(models.resolve("resnet20"))
    inputs = load_inputs(imported.image, None)
    fixed = quantise(imported, inputs.calibration().images)
    graph, images = fixed.graph, inputs.first(2).images
    parameters = {}
    for layer in graph.layers:
        numbers = fixed.numbers[layer.name]
        if numbers.weights is not None:
            frac = fixed.format(layer.inputs[0]).frac + numbers.weight_frac
            weights = np.ldexp(numbers.weights.astype(np.float64), -numbers.weight_frac[:, None, None, None])
            parameters[layer.name] = FloatParameters(weights, np.ldexp(numbers.bias.astype(np.float64), -frac))
    expected = run_float(graph, parameters, images.astype(np.float64))[graph.output.name].reshape(2, -1)
    made = peer.Rebuilt.of(fixed)
    network = flow.Network(made.layers, made.arrays).eval()
    with torch.no_grad():
        assert network(torch.from_numpy(images)).numpy() == pytest.approx(expected, abs=1e-4)
    assert set(made.formats) <= {layer["name"] for layer in made.layers} | {"image"}


def test_the_documentation_names_the_versions():
    """Fails if the tables of the documentation are of other versions than the command installs."""
    packages = importlib.import_module("peers").PACKAGES
    text = (ROOT / "docs" / "exporting.md").read_text("utf-8")
    for tool, name in (("scale-sim", "SCALE-Sim"), ("zigzag", "ZigZag"), ("hls4ml", "hls4ml")):
        version = re.fullmatch(r"[\w-]+==([\d.]+)", packages[tool][0])
        assert version is not None
        assert f"| {name} {version[1]}" in text
