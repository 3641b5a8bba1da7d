"""Networks that are quantised already keep their integers where the accelerator has such numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto, helper

from cgap.app.models import resolve
from cgap.lowering import ImportedModel, QuantiseOptions, export_qdq, import_onnx, quantise
from cgap.lowering.quantisation.quality import against_file
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph, Shape
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.golden import run_reference
from fpga_model.numerics.fixed_point import Format
from fpga_model.operators import Convolution, Pooling
from fpga_model.schedule.schedule import Kind, build_schedule
from tests.lowering.models import Builder, residual_net
from tests.lowering.networks import random_cnns, save
from tests.lowering.test_options import options
from tests.lowering.test_qdq import random_images, session


def check_again(fixed: FixedGraph, images: np.ndarray, path: Path) -> ImportedModel:
    """Export, import, quantise with images that say nothing: every stored integer must be the same."""
    export_qdq(fixed, path)
    again = import_onnx(path)
    assert again.dropped == ()
    assert again.pinned == {layer.name: fixed.format(layer.name) for layer in fixed.graph.layers}
    repeated = quantise(again, np.zeros((1, *images.shape[1:])))
    expected, found = run_reference(fixed, images), run_reference(repeated, images)
    assert list(found) == list(expected)
    for name, stored in expected.items():
        assert np.array_equal(stored, found[name]), name
        assert stored.dtype == found[name].dtype
    return again


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(random_cnns(), options)
def test_our_own_files_come_back(tmp_path: Path, net: Builder, chosen: QuantiseOptions) -> None:
    model = import_onnx(save(net, tmp_path / "net.onnx"))
    shape = model.graph.shape(model.graph.input.name)
    fixed = quantise(model, random_images(shape, 6) / 128.0, chosen)
    check_again(fixed, random_images(shape, 4, seed=1), tmp_path / "qdq.onnx")


def test_resnet20_comes_back(tmp_path: Path) -> None:
    """The shipped network, its pooling too, so that the accelerator still takes it."""
    model = import_onnx(resolve("resnet20"))
    images = random_images(Shape(3, 32, 32), 8)
    again = check_again(quantise(model, images[:4] / 128.0), images, tmp_path / "qdq.onnx")
    kinds = [layer.operator.kind for layer in model.graph.layers]
    assert [layer.operator.kind for layer in again.graph.layers][:-1] == kinds[:-1]


def test_the_accelerator_takes_what_comes_back(tmp_path: Path) -> None:
    images = random_images(Shape(3, 16, 16), 4)
    fixed = quantise(import_onnx(residual_net(tmp_path / "net.onnx")), images / 128.0)
    again = quantise(check_again(fixed, images, tmp_path / "qdq.onnx"), images / 128.0)
    schedule = build_schedule(again, Accelerator(), load_platform("zcu104"), Kind.RESIDENT)
    assert {command.layer for command in schedule.operations} == {layer.name for layer in fixed.graph.layers[1:]}


def test_unsigned_pools_come_back_as_pools(tmp_path: Path) -> None:
    """A sum of numbers that are not negative is not either: no ReLU is missing behind it."""
    model, images = import_onnx(residual_net(tmp_path / "net.onnx")), random_images(Shape(3, 16, 16), 4)
    fixed = quantise(model, images / 128.0, QuantiseOptions(activations="unsigned"))
    again = check_again(fixed, images, tmp_path / "qdq.onnx")
    kinds = [[layer.operator.kind for layer in network.graph.layers][:-1] for network in (model, again)]
    assert kinds[0] == kinds[1]


def pair(net: Builder, data: str, scale: object, zero: object = np.int8(0), behind: object = None) -> str:
    """QuantizeLinear and DequantizeLinear around a tensor."""
    first = [net.constant(np.float32(scale)), net.constant(zero)]
    second = first if behind is None else [net.constant(np.float32(behind)), net.constant(zero)]
    return net.node("DequantizeLinear", net.node("QuantizeLinear", data, *first), *second)


def integers(net: Builder, values: np.ndarray, scale: object) -> str:
    """A constant behind DequantizeLinear, with a scale for all or for each output channel."""
    scales = np.asarray(scale, np.float32)
    given = [net.constant(values), net.constant(scales), net.constant(np.zeros(scales.shape, values.dtype))]
    return net.node("DequantizeLinear", *given, **({"axis": 0} if scales.ndim else {}))


def quantised_layer(net: Builder, data: str, scale: float, zero: object, weight_scale: object = 2.0**-7) -> str:
    """A 1x1 convolution of 3 to 3 channels with ReLU, integer weights and bias, stored with `scale`."""
    weights = integers(net, net.random.integers(-128, 128, (3, 3, 1, 1)).astype(np.int8), weight_scale)
    bias = integers(net, net.random.integers(-9999, 9999, 3).astype(np.int32), np.multiply(weight_scale, 2.0**-7))
    return pair(net, net.node("Relu", net.node("Conv", data, weights, bias)), scale, zero)


@pytest.mark.parametrize(
    ("zero", "form"),
    [
        (np.int8(0), Format(8, 6)),
        (np.uint8(0), Format(8, 6, signed=False)),
        (np.int16(0), Format(16, 6)),
        (np.uint16(0), Format(16, 6, signed=False)),
    ],
)
def test_powers_of_two_are_kept_exactly(zero: np.generic, form: Format, tmp_path: Path) -> None:
    """The integers are those that onnxruntime computes from the file itself, whatever the calibration images."""
    net = Builder(opset=21)
    made = quantised_layer(net, pair(net, "image", 2.0**-7), form.scale, zero, np.array([2.0**-7, 2.0**-6, 2.0**-9]))
    path = net.save(net.node("Flatten", made), tmp_path / "net.onnx")
    model = import_onnx(path)
    assert model.dropped == ()
    assert model.pinned == {"image": Format(8, 7), "conv_4": form}
    fixed = quantise(model, np.zeros((1, 3, 8, 8)))
    assert fixed.format("conv_4") == form
    images = random_images(Shape(3, 8, 8), 5)
    (real,) = session(path).run(None, {"image": images / np.float32(128)})
    assert np.array_equal(fixed.format("conv_4").value(run_reference(fixed, images)["conv_4"]).reshape(5, -1), real)


@pytest.mark.parametrize(("scale", "zero"), [(0.05, np.int8(0)), (2.0**-6, np.uint8(3)), (2.0**-60, np.int8(0))])
def test_other_scales_are_chosen_anew_and_measured(scale: float, zero: np.generic, tmp_path: Path) -> None:
    net = Builder()
    made = quantised_layer(net, pair(net, "image", 2.0**-7), scale, zero, 0.011)
    path = net.save(made, tmp_path / "net.onnx")
    model = import_onnx(path)
    assert model.quantised.keys() == {"image", "conv_4"}
    assert model.pinned == {"image": Format(8, 7)}
    images = random_images(Shape(3, 8, 8), 5) / 128.0
    fixed = quantise(model, images)
    found = against_file(model, fixed, images)
    assert found is not None
    assert found.keys() == {"conv_4"}
    if scale > 1e-9:
        assert found["conv_4"].snr_db is not None
        assert 20 < found["conv_4"].snr_db < 60


def test_pairs_that_no_layer_stores_are_named(tmp_path: Path) -> None:
    """The accelerator adds a shortcut before its rounding, so that what is rounded before the sum is not."""
    net = Builder()
    data = pair(net, net.conv("image", 3, 3), 2.0**-5)
    inner = pair(net, net.conv(data, 3, 3), 2.0**-5)
    total = pair(net, net.node("Relu", net.node("Add", inner, data)), 2.0**-4)
    model = import_onnx(net.save(total, tmp_path / "net.onnx"))
    assert model.dropped == (inner,)
    assert set(model.pinned.values()) == {Format(8, 5), Format(8, 4)}


def test_two_pairs_on_one_tensor(tmp_path: Path) -> None:
    net = Builder()
    data = net.conv("image", 3, 3)
    first, second, third = (pair(net, data, scale) for scale in (2.0**-5, 2.0**-5, 2.0**-3))
    total = net.node("Add", net.conv(first, 3, 3), second)
    model = import_onnx(net.save(net.node("Add", net.conv(third, 3, 3), total), tmp_path / "net.onnx"))
    assert model.dropped == (third,)
    assert list(model.pinned.values()) == [Format(8, 5)]


def test_fake_quantised_weights_and_layout(tmp_path: Path) -> None:
    """Float weights that pass a pair are rounded by it; a pair behind Flatten belongs to the tensor before it."""
    net = Builder(("N", 3, 4, 4))
    pooled = pair(net, net.node("GlobalAveragePool", net.conv("image", 3, 4)), 2.0**-6)
    weights = net.random.normal(0, 0.3, (4, 5)).astype(np.float32)
    flat = pair(net, net.node("Flatten", pooled), 2.0**-6)
    model = import_onnx(
        net.save(net.node("MatMul", flat, pair(net, net.constant(weights), 2.0**-7)), tmp_path / "n.onnx")
    )
    assert model.dropped == ()
    assert len(model.pinned) == 1
    expected = np.clip(np.rint(weights * 128), -128, 127) / 128 / 16
    assert np.array_equal(model.parameters[model.graph.output.name].weights.reshape(5, 4), expected.T)


def test_sums_written_as_convolutions_are_pooling(tmp_path: Path) -> None:
    net = Builder(("N", 3, 4, 4))
    ones = net.constant(np.ones((3, 1, 2, 2), np.float32))
    stored = pair(net, net.node("Conv", "image", ones, group=3), 2.0**-5)
    free = net.node("Conv", stored, ones, group=3)
    model = import_onnx(net.save(free, tmp_path / "net.onnx"))
    assert [type(layer.operator) for layer in model.graph.layers][1:] == [Pooling, Convolution]


@pytest.mark.parametrize(
    "nodes",
    [
        [("QuantizeLinear", 2.0**-4, {}), ("DequantizeLinear", 2.0**-5, {})],
        [("QuantizeLinear", 0.0, {}), ("DequantizeLinear", 0.0, {})],
        [("QuantizeLinear", -1.0, {}), ("DequantizeLinear", -1.0, {})],
    ],
)
def test_halves_of_pairs_are_refused_by_name(nodes: list, tmp_path: Path) -> None:
    net = Builder()
    data = net.conv("image", 3, 3)
    for op, scale, more in nodes:
        data = net.node(op, data, net.constant(np.float32(scale)), net.constant(np.int8(0)), name="bad", **more)
    with pytest.raises(UserError, match=r"'bad' \(DequantizeLinear\): it is read where"):
        import_onnx(net.save(data, tmp_path / "net.onnx"))


def test_a_model_of_onnxruntimes_own_quantiser(tmp_path: Path) -> None:
    """Its scales are no powers of two: all tensors are calibrated anew, and the logits stay near its own."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    path = residual_net(tmp_path / "float.onnx")
    images = (random_images(Shape(3, 16, 16), 16) / 128.0).astype(np.float32)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {"image": image[None]}

    made = tmp_path / "static.onnx"
    quantization.quantize_static(
        str(path), str(made), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True
    )
    model = import_onnx(made)
    original = import_onnx(path)
    assert [layer.operator for layer in model.graph.layers] == [layer.operator for layer in original.graph.layers]
    assert model.pinned == {"image": Format(8, 7)}  # -1 to 127/128 are 2^-7 apart, as luck has it
    fixed = quantise(model, images)
    found = against_file(model, fixed, images)
    assert found is not None
    assert set(found) == {layer.name for layer in model.graph.layers} - {"image"}
    output = found[model.graph.output.name].snr_db
    assert output is not None
    assert output > 15


@pytest.mark.parametrize("zero", [np.uint8(0), np.int8(-128)])
def test_a_saturation_that_is_a_relu_comes_back(zero: np.generic, tmp_path: Path) -> None:
    """onnxruntime's quantiser leaves the ReLU out; behind one that is there, or a maximum of it, there is none more."""
    net = Builder(("N", 3, 4, 4))
    cut = pair(net, net.conv("image", 3, 3), 2.0**-5, zero)
    plain = pair(net, net.conv(pair(net, net.node("MaxPool", cut, kernel_shape=[2, 2]), 2.0**-5, zero), 3, 3), 2.0**-5)
    model = import_onnx(net.save(plain, tmp_path / "net.onnx"))
    relus = [layer.operator.relu for layer in model.graph.layers if isinstance(layer.operator, Convolution)]
    assert relus == [True, False]
    assert model.dropped == ()


def test_a_relu_comes_back_once_for_several_readers(tmp_path: Path) -> None:
    """Quantisers write a DequantizeLinear for each reader."""
    net = Builder(("N", 3, 4, 4))
    parameters = net.constant(np.float32(2.0**-5)), net.constant(np.uint8(0))
    stored = net.node("QuantizeLinear", net.conv("image", 3, 3), *parameters)
    first, second = (net.node("DequantizeLinear", stored, *parameters) for _ in range(2))
    model = import_onnx(net.save(net.node("Add", net.conv(first, 3, 3), second), tmp_path / "net.onnx"))
    assert [layer.operator.relu for layer in model.graph.layers[1:]] == [True, False]
    assert model.pinned == {model.graph.layers[1].name: Format(8, 5, signed=False)}


def test_hostile_scales_do_not_crash(tmp_path: Path) -> None:
    """A scale for each channel, of the wrong number or on a constant that has no such axis."""
    for shape, axis in (((2,), 0), ((3,), 7), ((1, 3), 0)):
        net = Builder()
        values = net.constant(np.ones((3, 3, 1, 1), np.int8))
        scale, zero = net.constant(np.ones(shape, np.float32)), net.constant(np.zeros(shape, np.int8))
        weights = net.node("DequantizeLinear", values, scale, zero, axis=axis, name="bad")
        graph = helper.make_graph(
            [*net.nodes, helper.make_node("Conv", ["image", weights], ["y"], "conv")],
            "hostile",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 4, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            net.initialisers,
        )
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / "h.onnx"
        )
        with pytest.raises(UserError):
            import_onnx(tmp_path / "h.onnx")


def test_the_pair_of_the_output_is_kept(tmp_path: Path) -> None:
    net = Builder()
    model = import_onnx(net.save(pair(net, net.conv("image", 3, 4, bias=True), 0.25), tmp_path / "net.onnx"))
    assert list(model.pinned.values()) == [Format(8, 2)]
