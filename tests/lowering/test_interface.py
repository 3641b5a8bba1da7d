"""What a file leaves open: sizes, where the network begins and ends, what an image holds; old opsets, QONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cgap.lowering import ImportOptions, import_onnx, quantise
from fpga_model.errors import UserError
from fpga_model.models.golden import run_float, run_reference
from fpga_model.numerics.fixed_point import Format
from fpga_model.operators import Convolution
from tests.lowering.models import Builder
from tests.lowering.whole import check_file, drawn_images, session


def dynamic(path: Path) -> Path:
    """A network whose image may be of any size, with a view that depends on it."""
    net = Builder(("N", 3, "H", "W"))
    data = net.node("Relu", net.conv("image", 3, 4, stride=2))
    mean = net.node("GlobalAveragePool", data)
    batch = net.node("Gather", net.node("Shape", data), net.constant(np.array(0)), axis=0)
    shape = net.node("Concat", net.node("Unsqueeze", batch, net.constant([0])), net.constant([-1]), axis=0)
    return net.save(net.dense(net.node("Reshape", mean, shape), 4, 5), path)


def test_sizes_are_given(tmp_path: Path) -> None:
    path = dynamic(tmp_path / "net.onnx")
    with pytest.raises(UserError, match=r"no fixed size on axes 2, 3, \[1, 3, H, W\]; give it by --shape"):
        import_onnx(path)
    model = import_onnx(path, options=ImportOptions.parse("1,3,12,10", "", "", ""))
    assert str(model.graph.shape("image")) == "3x12x10"
    check_file(path, tmp_path, options=ImportOptions((1, 3, 12, 10)))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("1,3,12", "'image' has 4 axes"),
        ("1,4,12,12", r"the file fixes sizes of input 'image': \[N, 3, H, W\]"),
        ("1,3,0,12", "whole numbers from 1"),
        ("1,3,x,12", "give whole numbers, such as 1,3,224,224"),
    ],
)
def test_sizes_that_do_not_fit(shape: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        import_onnx(dynamic(tmp_path / "net.onnx"), options=ImportOptions.parse(shape, "", "", ""))


def cut(path: Path) -> Path:
    """Something unknown before and behind two heads."""
    net = Builder(("N", 3, 8, 8))
    data = net.conv(net.node("Tanh", "image", name="squash"), 3, 4)
    heads = net.conv(data, 4, 2), net.node("Relu", net.conv(data, 4, 3), name="second")
    net.node("Erf", heads[0], name="odd")
    return net.save([net.nodes[-1].output[0], net.node("Erf", heads[1], name="strange")], path)


def test_a_network_is_cut_out_of_a_file(tmp_path: Path) -> None:
    path = cut(tmp_path / "net.onnx")
    options = ImportOptions.parse("", "squash", "t2, second", "")
    model, _ = check_file(path, tmp_path, options=options)
    assert model.image.name == "t0"
    assert [found.name for _, found in model.results] == ["t2", "t4"]
    assert [layer.operator.kind for layer in model.graph.layers] == ["input"] + ["convolution"] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ImportOptions(outputs=("t2", "nowhere")),
            r"no tensor or node 'nowhere' to end with; the last tensors are .*t6",
        ),
        (ImportOptions(inputs=("nowhere",)), "no tensor or node 'nowhere' to begin with"),
        (ImportOptions(inputs=("t2",), outputs=("t4",)), "no output can be computed from 't2' alone"),
    ],
)
def test_cuts_that_are_impossible(options: ImportOptions, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        import_onnx(cut(tmp_path / "net.onnx"), options=options)


def test_two_images_are_refused() -> None:
    with pytest.raises(UserError, match="--inputs a,b: the accelerator reads one image"):
        ImportOptions.parse("", "a,b", "", "")


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (-3, 5)])
def test_images_of_another_range(low: float, high: float, tmp_path: Path) -> None:
    """Stored pixels are spread over the range; what they stand for is a scale and an offset, folded where possible."""
    net = Builder(("N", 3, 8, 8))
    scaled = net.node(
        "Div", net.node("Sub", "image", net.constant(np.float32(high / 2))), net.constant(np.float32(high))
    )
    path = net.save(net.conv(scaled, 3, 4), tmp_path / "net.onnx")
    model, _ = check_file(path, tmp_path, options=ImportOptions(image_range=(low, high)))
    ends = model.image.to_file(
        np.array([-128, 127], np.float32).reshape(2, 1, 1, 1).repeat(3, 1).repeat(8, 2).repeat(8, 3) / 128
    )
    assert ends.min() == pytest.approx(low, abs=1e-6)
    assert ends.max() == pytest.approx(high)


@pytest.mark.parametrize("text", ["1", "1,2,3", "a,b", "2,1", "0,inf"])
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="--image-range"):
        ImportOptions.parse("", "", "", text)


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT8])
@pytest.mark.parametrize("how", ["cast", "pair", "plain pair"])
def test_images_of_integers(kind: int, how: str, tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    number = helper.tensor_dtype_to_np_dtype(kind)
    if how == "cast":
        data = net.node("Mul", net.node("Cast", "image", to=TensorProto.FLOAT), net.constant(np.float32(1 / 255)))
    else:
        zero = [] if how == "plain pair" else [net.constant(np.array(3, number))]
        data = net.node("DequantizeLinear", "image", net.constant(np.float32(0.02)), *zero)
    model = net.model(net.conv(data, 3, 4))
    model.graph.input[0].type.tensor_type.elem_type = kind
    onnx.save(model, tmp_path / "net.onnx")
    found, _ = check_file(tmp_path / "net.onnx", tmp_path)
    pixels = found.image.to_file(drawn_images(found, 1, 0) / np.float32(128))
    assert pixels.dtype == number


def test_integers_that_something_else_reads(tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    model = net.model(net.conv(net.node("Relu", "image", name="odd"), 3, 4))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(UserError, match=r"node 'odd' \(Relu\) reads the image 'image' of int8; a Cast to float32"):
        import_onnx(tmp_path / "net.onnx")


def test_stored_outputs_keep_their_format(tmp_path: Path) -> None:
    """A file that ends in QuantizeLinear: its integers are the stored ones."""
    net = Builder(("N", 3, 8, 8))
    numbers = net.constant(np.float32(2.0**-4)), net.constant(np.array(0, np.int8))
    model = net.model(net.node("QuantizeLinear", net.conv("image", 3, 4), *numbers, name="store"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("t1", TensorProto.INT8, ["N", 4, 8, 8]))
    onnx.save(model, tmp_path / "net.onnx")
    found, fixed = check_file(tmp_path / "net.onnx", tmp_path)
    assert found.host == ("'store' (QuantizeLinear)",)
    assert fixed.format("conv_0") == Format(8, 4)


@pytest.mark.parametrize("opset", [6, 7, 8])
def test_old_opsets_are_converted(opset: int, tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8), opset=opset)
    data = net.conv("image", 3, 4, bias=True)
    data = net.node("Relu", net.batch_norm(data, 4) if opset > 6 else data)  # onnxruntime runs none of 6
    data = net.node("MaxPool", data, kernel_shape=[2, 2], strides=[2, 2])
    data = net.dense(net.node("Flatten", data), 64, 5) if opset > 6 else net.node("GlobalAveragePool", data)
    check_file(net.save(data, tmp_path / "net.onnx"), tmp_path)


def qonnx(net: Builder, data: str, scale: float | np.ndarray, bits: int, **settings: int) -> str:
    parameters = (
        net.constant(np.asarray(scale, np.float32)),
        net.constant(np.float32(0)),
        net.constant(np.float32(bits)),
    )
    return net.node("Quant", data, *parameters, domain="qonnx.custom_op.general", rounding_mode="ROUND", **settings)


def quantised_network(path: Path) -> Path:
    """As Brevitas writes it: narrow weights of 4 bits for each channel, activations of 8 and 4 bits."""
    net = Builder(("N", 3, 8, 8))
    data = qonnx(net, "image", 2.0**-7, 8, signed=1, narrow=0)
    for depth, channels in ((3, 4), (4, 5)):
        weights = net.constant(net.random.normal(0, 0.3, (channels, depth, 3, 3)).astype(np.float32))
        scales = 2.0 ** net.random.integers(-5, -2, (channels, 1, 1, 1))
        data = net.node("Conv", data, qonnx(net, weights, scales, 4, signed=1, narrow=1), pads=[1] * 4)
        data = qonnx(net, net.node("Relu", data), 2.0**-3, 4, signed=0, narrow=0)
    weights = net.constant(net.random.normal(0, 0.3, (320, 3)).astype(np.float32))
    data = net.node("MatMul", net.node("Flatten", data), qonnx(net, weights, 2.0**-5, 8, signed=1, narrow=1))
    model = net.model(qonnx(net, data, 2.0**-1, 8, signed=1, narrow=0))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(model.graph.output[0].name, TensorProto.FLOAT, ["N", 3])
    )
    onnx.save(model, path)
    return path


def plain(path: Path) -> bytes:
    """The same file in ONNX's own operators, for onnxruntime."""
    model = onnx.load(path)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Quant":
            nodes.append(node)
            continue
        settings = {item.name: item.i for item in node.attribute}
        bits = int(values[node.input[3]])
        low, high = (
            (-(2 ** (bits - 1)) + settings["narrow"], 2 ** (bits - 1) - 1) if settings["signed"] else (0, 2**bits - 1)
        )
        name = node.output[0]
        for what, value in (("low", low), ("high", high)):
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(value), f"{name}.{what}"))
        nodes += [
            helper.make_node("Div", [node.input[0], node.input[1]], [f"{name}.a"]),
            helper.make_node("Round", [f"{name}.a"], [f"{name}.b"]),
            helper.make_node("Clip", [f"{name}.b", f"{name}.low", f"{name}.high"], [f"{name}.c"]),
            helper.make_node("Mul", [f"{name}.c", node.input[1]], [name]),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


def test_qonnx_keeps_its_integers(tmp_path: Path) -> None:
    """Powers of two, 4 and 8 bits: the stored integers are what the file computes."""
    path = quantised_network(tmp_path / "net.onnx")
    model = import_onnx(path)
    images = drawn_images(model, 6, seed=1)
    fixed = quantise(model, images / 128.0)
    assert [str(fixed.format(layer.name).frac) for layer in model.graph.layers] == ["7", "3", "3", "1"]
    ceilings = [layer.operator.ceiling for layer in model.graph.layers if isinstance(layer.operator, Convolution)]
    assert ceilings == [15 / 8, 15 / 8, None]
    (expected,) = session(plain(path)).run(None, {"image": images / np.float32(128)})
    name = model.graph.output.name
    stored = run_reference(fixed, images, keep=[name])[name]
    assert np.array_equal(fixed.format(name).value(stored).reshape(expected.shape), expected)


def test_qonnx_of_other_widths_is_quantised_anew(tmp_path: Path) -> None:
    net = Builder(("N", 3, 8, 8))
    model = net.model(net.conv(qonnx(net, net.conv("image", 3, 4), 0.3, 6, signed=1, narrow=0), 4, 2))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("t2", TensorProto.FLOAT, ["N", 2, 8, 8]))
    onnx.save(model, tmp_path / "net.onnx")
    found = import_onnx(tmp_path / "net.onnx")
    assert found.dropped == ("t1",)
    images = drawn_images(found, 2, 0)
    assert run_float(found.graph, found.parameters, images / 128.0)["conv_2"].shape == (2, 2, 8, 8)


def test_qonnx_channels_last(tmp_path: Path) -> None:
    """Operators that read maps channels last become the same layers as ONNX's own."""
    made = []
    for last in (False, True):
        net = Builder(("N", 8, 8, 3) if last else ("N", 3, 8, 8))
        weights = net.random.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
        domain = {"domain": "qonnx.custom_op.channels_last"} if last else {}
        kernel = net.constant(weights.transpose(0, 2, 3, 1) if last else weights)
        data = net.node("Conv", "image", kernel, kernel_shape=[3, 3], pads=[1] * 4, **domain)
        parts = (net.constant(np.full(4, value, np.float32)) for value in (1.5, 0.1, 0.2, 0.8))
        data = net.node("Relu", net.node("BatchNormalization", data, *parts, **domain))
        data = net.node("MaxPool", data, kernel_shape=[2, 2], strides=[2, 2], **domain)
        model = net.model(data)
        size = ["N", 4, 4, 4]
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(data, TensorProto.FLOAT, size))
        onnx.save(model, tmp_path / f"{last}.onnx")
        made.append(import_onnx(tmp_path / f"{last}.onnx"))
    assert [layer.operator for layer in made[0].graph.layers] == [layer.operator for layer in made[1].graph.layers]
    for one, other in zip(made[0].parameters.values(), made[1].parameters.values(), strict=True):
        assert np.array_equal(one.weights, other.weights)
        assert np.array_equal(one.bias, other.bias)
