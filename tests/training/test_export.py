"""If these break, the hardware path gets another network than the one that was trained, or nameless layers."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from cgap import zoo  # noqa: E402
from cgap.app.export import export_run  # noqa: E402
from cgap.training.export import export_model  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(an odd-width ResNet-20 with batch statistics, its ONNX file)."""
    torch.manual_seed(1)
    model = zoo.build("resnet20", inner=(8, 12, 4, 12, 20, 16, 28, 36, 24))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    model.train()(torch.randn(16, 3, 32, 32))
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    export_model(model.eval(), path)
    return model, path


@pytest.mark.parametrize("count", [1, 5])
def test_onnxruntime_computes_the_same_logits_for_any_batch(exported, count):
    model, path = exported
    image = np.random.default_rng(count).uniform(-1, 1, (count, 3, 32, 32)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(path).run(["logits"], {"image": image})
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    assert np.abs(logits - expected).max() < 1e-4 * (1 + np.abs(expected).max())


def test_layers_keep_their_paths_and_batch_norms_are_folded(exported):
    model, path = exported
    graph = onnx.load(path).graph
    names = [node.name for node in graph.node]
    layers = [n for n, m in model.named_modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert [n.name for n in graph.node if n.op_type in ("Conv", "Gemm")] == layers
    assert len(set(names)) == len(names)
    assert {"stage1.0.relu1", "stage1.0.add", "stage2.0.shortcut.pad", "pool"} <= set(names)
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]
    assert "stage1.0.conv1.bias" in {tensor.name for tensor in graph.initializer}


def test_format_is_pinned_and_nothing_of_the_machine_is_in_it(exported):
    data = exported[1].read_bytes()
    model = onnx.load_from_string(data)
    assert (model.ir_version, model.opset_import[0].version) == (10, 18)
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == ["N", 3, 32, 32]
    assert b".py" not in data


def test_bytes_are_the_same_every_time(exported, tmp_path):
    export_model(exported[0], tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == exported[1].read_bytes()


def test_a_run_exports_with_the_widths_it_ended_with(finished, tmp_path):
    export_run(finished, tmp_path / "net.onnx")
    weights = {tensor.name: tensor.dims[0] for tensor in onnx.load(tmp_path / "net.onnx").graph.initializer}
    widths = json.loads((finished / "run.json").read_text())["widths"]
    inside = [name for name in widths if name != "input" and "[" not in name]
    assert len(inside) == 11
    assert all(weights[f"{name}.weight"] == widths[name] for name in inside)
    stages = [widths["stem.conv"], widths["stage2.0.conv2[1]"], widths["stage3.0.conv2[2]"]]
    assert [weights[f"stage{i}.2.conv2.weight"] for i in (1, 2, 3)] == [sum(stages[:i]) for i in (1, 2, 3)]


def test_what_is_not_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        export_run(tmp_path, tmp_path / "net.onnx")
    (tmp_path / "config.toml").touch()
    with pytest.raises(UserError, match="no checkpoint yet"):
        export_run(tmp_path, tmp_path / "net.onnx")


def test_a_network_that_cannot_be_exported_leaves_the_old_file(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    (tmp_path / "net.onnx").write_bytes(b"old")
    with pytest.raises(UserError, match="Odd: cannot be exported"):
        export_model(Odd(), tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == b"old"
