"""What this project's own exporter writes, its importer must read: the two are the two ends of one file format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cgap import zoo  # noqa: E402
from cgap.lowering import import_onnx  # noqa: E402
from cgap.training.export import export_model  # noqa: E402
from fpga_model.models.golden import run_float  # noqa: E402
from fpga_model.operators import Convolution, Shortcut  # noqa: E402


def test_resnet20_comes_back_under_its_own_names(tmp_path: Path) -> None:
    network = zoo.build("resnet20").eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    export_model(network, tmp_path / "resnet20.onnx")
    model = import_onnx(tmp_path / "resnet20.onnx")

    convolutions = [name for name, module in network.named_modules() if isinstance(module, torch.nn.Conv2d)]
    assert [layer.name for layer in model.graph.layers] == ["image", *convolutions, "pool", "fc"]
    assert model.graph.macs() == 40_551_040
    operators = [layer.operator for layer in model.graph.layers if isinstance(layer.operator, Convolution)]
    assert all(operator.relu for operator in operators[:-1])
    shortcuts = [operator.shortcut for operator in operators if operator.shortcut]
    assert len(shortcuts) == 9
    assert shortcuts[3::3] == [Shortcut((2, 2), 0, 16), Shortcut((2, 2), 0, 32)]

    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    made = run_float(model.graph, model.parameters, images)["fc"].reshape(expected.shape)
    assert np.allclose(made, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
