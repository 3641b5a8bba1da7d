"""onnxruntime, which knows nothing of this project, must repeat every stored integer from the exported QDQ model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cgap.lowering import export_qdq, import_onnx, quantise
from cgap.lowering.onnx.qdq import unproven_layers
from fpga_model.graph import FixedGraph, Layer, LayerGraph, LayerNumbers, Shape
from fpga_model.models.golden import run_float, run_reference
from fpga_model.numerics.fixed_point import Format
from fpga_model.operators import Convolution, Input
from tests.lowering.bounds import beyond_bounds
from tests.lowering.models import Builder, residual_net
from tests.lowering.networks import random_cnns, save


def random_images(shape: Shape, count: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(-128, 128, (count, shape.channels, shape.height, shape.width))
    return drawn.astype(np.int8)


def session(path: Path, optimise: bool = False, integer_kernels: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if not integer_kernels:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def mismatches(fixed: FixedGraph, images: np.ndarray, path: Path, **how: bool) -> dict[str, int]:
    """Stored integers that differ between the reference and onnxruntime, by layer."""
    exported = export_qdq(fixed, path, stored_outputs=True)
    assert exported.unproven == []
    expected = run_reference(fixed, images)
    found = session(path, **how).run(list(exported.stored.values()), {fixed.graph.input.name: images / np.float32(128)})
    return {
        name: int(np.count_nonzero(expected[name] != stored))
        for name, stored in zip(exported.stored, found, strict=True)
    }


# The same networks every time: a failure comes back, and a slow run is not another set of networks.
@settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(random_cnns(), st.integers(0, 1 << 30))
def test_random_networks_bit_for_bit(tmp_path: Path, net: Builder, seed: int) -> None:
    """Every stored integer is onnxruntime's on the QDQ file, and as near to the original network as roundings allow."""
    model = import_onnx(save(net, tmp_path / "net.onnx"))
    shape = model.graph.shape(model.graph.input.name)
    fixed = quantise(model, random_images(shape, 8, seed) / 128.0)
    assume(not unproven_layers(fixed))  # the random gains strain a few networks beyond float32
    # Other images than those of the calibration, so that saturation happens too.
    images = random_images(shape, 6, seed + 1)
    found = mismatches(fixed, images, tmp_path / "qdq.onnx")
    assert found.keys() == {layer.name for layer in model.graph.layers}
    assert set(found.values()) == {0}, found
    distant = beyond_bounds(model, fixed, images, tmp_path / "net.onnx")
    assert distant == [], distant


@pytest.fixture(scope="module")
def resnet20(tmp_path_factory: pytest.TempPathFactory) -> FixedGraph:
    path = residual_net(tmp_path_factory.mktemp("resnet") / "resnet20.onnx", (16, 32, 64), blocks=3, size=32)
    return quantise(import_onnx(path), random_images(Shape(3, 32, 32), 8) / 128.0)


@pytest.mark.parametrize(
    "how",
    [
        {"optimise": False},
        {"optimise": True, "integer_kernels": False},
        {"optimise": True},
    ],
)
def test_resnet20_bit_for_bit(resnet20: FixedGraph, how: dict[str, bool], tmp_path: Path) -> None:
    assert resnet20.graph.macs() == 40_551_040
    if how == {"optimise": True} and not exact_integer_kernels():
        pytest.skip("onnxruntime's 8-bit kernels saturate inside on processors without VNNI")
    found = mismatches(resnet20, random_images(Shape(3, 32, 32), 5, seed=1), tmp_path / "qdq.onnx", **how)
    assert len(found) == 22
    assert set(found.values()) == {0}, found


def exact_integer_kernels() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "vnni" in cpuinfo.read_text()


def test_a_wrong_integer_is_noticed(resnet20: FixedGraph, tmp_path: Path) -> None:
    """The comparison can fail: one changed weight shows."""
    name = resnet20.graph.layers[5].name
    weights = resnet20.numbers[name].weights
    assert weights is not None
    exported = export_qdq(resnet20, tmp_path / "qdq.onnx", stored_outputs=True)
    images = random_images(Shape(3, 32, 32), 2)
    expected = run_reference(resnet20, images)[name]
    model = onnx.load(tmp_path / "qdq.onnx")
    tensor = next(t for t in model.graph.initializer if t.name == f"{name}.weights.integers")
    changed = weights.copy()
    changed[0, 0, 1, 1] ^= 1
    tensor.raw_data = changed.tobytes()
    onnx.save(model, tmp_path / "changed.onnx")
    (found,) = session(tmp_path / "changed.onnx").run([exported.stored[name]], {"image": images / np.float32(128)})
    assert np.count_nonzero(found != expected)


def test_logits_are_the_dequantised_last_tensor(resnet20: FixedGraph, tmp_path: Path) -> None:
    export_qdq(resnet20, tmp_path / "qdq.onnx")
    model = onnx.load(tmp_path / "qdq.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [output.name for output in model.graph.output] == ["logits"]
    images = random_images(Shape(3, 32, 32), 3)
    (logits,) = session(tmp_path / "qdq.onnx").run(None, {"image": images / np.float32(128)})
    stored = run_reference(resnet20, images, keep=["fc"])["fc"]
    assert np.array_equal(logits, resnet20.format("fc").value(stored).reshape(3, 10))


def test_every_output_is_stored_and_returned(tmp_path: Path) -> None:
    """Three heads, one of them read by another, one through a Sigmoid that the host runs; two names for one tensor."""
    net = Builder(("N", 3, 8, 8))
    data = net.node("Relu", net.conv("image", 3, 6))
    inner = net.conv(data, 6, 4)
    mean = net.node("Flatten", net.node("GlobalAveragePool", data))
    ends = [net.node("Sigmoid", net.conv(inner, 4, 2)), inner, net.dense(mean, 6, 5), net.node("Identity", inner)]
    path = net.save(ends, tmp_path / "net.onnx")
    model = import_onnx(path)
    names = [layer.name for layer in model.graph.outputs]
    assert names == ["conv_5", "conv_2", "fc"]
    assert model.host == ("'sigmoid_6' (Sigmoid)",)
    images = random_images(Shape(3, 8, 8), 4)
    real = run_float(model.graph, model.parameters, images / 128.0, keep=names)
    given = session(path).run(None, {"image": images / np.float32(128)})
    for name, expected in zip(names, (np.log(given[0] / (1 - given[0])), *given[1:]), strict=False):
        assert np.allclose(real[name].reshape(expected.shape), expected, atol=1e-4), name
    fixed = quantise(model, images / 128.0)
    assert set(mismatches(fixed, images, tmp_path / "qdq.onnx").values()) == {0}
    exported = export_qdq(fixed, tmp_path / "qdq.onnx")
    assert exported.outputs == {name: name for name in names}
    stored = run_reference(fixed, images, keep=names)
    results = session(tmp_path / "qdq.onnx").run(list(names), {"image": images / np.float32(128)})
    for name, result in zip(names, results, strict=True):
        assert np.array_equal(result, fixed.format(name).value(stored[name]).reshape(result.shape)), name


def test_the_same_network_gives_the_same_bytes(resnet20: FixedGraph, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_qdq(resnet20, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(("depth", "unproven"), [(1040, []), (1041, ["conv"])])
def test_layers_beyond_float32_are_named(depth: int, unproven: list[str], tmp_path: Path) -> None:
    """126 * 128 * 1040 lies below 2^24, one more input map does not."""
    graph = LayerGraph("wide")
    graph.add(Layer("image", Input(Shape(depth, 1, 1))))
    graph.add(Layer("conv", Convolution(depth, 1, (1, 1)), ("image",)))
    zeros = np.zeros(1, np.int64)
    numbers = LayerNumbers(Format(8, 0), zeros + 14, np.full((1, depth, 1, 1), 126, np.int8), zeros + 7, zeros)
    fixed = FixedGraph(graph, {"image": LayerNumbers(Format(8, 7), np.zeros(depth, np.int64)), "conv": numbers})
    assert export_qdq(fixed, tmp_path / "qdq.onnx").unproven == unproven


def test_hostile_layer_names_do_not_collide(tmp_path: Path) -> None:
    net = Builder()
    data = "image"
    for name in ("a", "a.stored", "a.weights", "logits", 'x/../"y"\n', "a.bias.integers"):
        weights = net.constant(net.random.normal(size=(3, 3, 1, 1)).astype(np.float32))
        data = net.node("Conv", data, weights, name=name)
    model = import_onnx(net.save(data, tmp_path / "net.onnx"))
    images = random_images(Shape(3, 8, 8), 2)
    fixed = quantise(model, images / 128.0)
    assert set(mismatches(fixed, images, tmp_path / "qdq.onnx").values()) == {0}


def test_resnet20_stays_close_to_float(tmp_path: Path) -> None:
    model = import_onnx(residual_net(tmp_path / "net.onnx", (16, 32, 64), blocks=3, size=32))
    images = random_images(Shape(3, 32, 32), 8)
    fixed = quantise(model, images / 128.0)
    real = run_float(model.graph, model.parameters, images / 128.0, keep=["fc"])["fc"]
    stored = run_reference(fixed, images, keep=["fc"])["fc"]
    error = fixed.format("fc").value(stored) - real
    assert np.sqrt((error**2).mean() / (real**2).mean()) < 0.05
