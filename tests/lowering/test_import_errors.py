"""Files from strangers: each fault gets one sentence that names the thing; nothing is a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cgap.lowering import ImportOptions, import_onnx
from cgap.lowering.onnx import read as read_module
from cgap.lowering.passes import simplify
from fpga_model.errors import UserError
from tests.lowering.models import Builder, residual_net


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        import_onnx(path)
    return str(caught.value)


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone.onnx") == f"{tmp_path / 'gone.onnx'}: no such file"


def test_folder(tmp_path: Path) -> None:
    assert "is not a file" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04 not onnx", b"{}", bytes(range(256)) * 9])
def test_not_an_onnx_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert str(path) in refused(path)


def test_truncated_files(tmp_path: Path) -> None:
    content = residual_net(tmp_path / "net.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    for length in range(1, len(content) - 1, len(content) // 37):
        path.write_bytes(content[:length])
        assert str(path) in refused(path)


def test_flipped_bytes_never_crash(tmp_path: Path) -> None:
    """Whatever a damaged file still means, it is imported or refused."""
    content = residual_net(tmp_path / "net.onnx", (2, 3), size=8).read_bytes()
    random = np.random.default_rng(3)
    path = tmp_path / "damaged.onnx"
    for _ in range(150):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), random.integers(1, 6)):
            damaged[position] = random.integers(0, 256)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(UserError):
            import_onnx(path)


def test_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_module, "MAX_BYTES", 1000)
    assert "larger than 1,000 bytes" in refused(residual_net(tmp_path / "net.onnx"))


def test_all_unsupported_nodes_are_listed_at_once(tmp_path: Path) -> None:
    net = Builder()
    data = net.node("Tanh", net.conv("image", 3, 4), name="gate")
    data = net.node("LeakyRelu", net.conv(data, 4, 4), name="leaky")
    weights = net.constant(np.ones((4, 4, 3, 3), np.float32))
    data = net.node("Conv", data, weights, name="wide", dilations=[200, 2], pads=[200, 2, 200, 2])
    bounds = net.constant(np.float32(-1)), net.constant(np.float32(1))
    data = net.node("Clip", net.conv(data, 4, 4), *bounds, name="both")
    message = refused(net.save(data, tmp_path / "net.onnx"))
    assert "4 nodes cannot be lowered" in message
    assert "node 'gate' (Tanh): no layer has tables of functions yet: train with Relu" in message
    assert "node 'wide' (Conv): its kernel, with dilations [200, 2], covers [401, 5]; at most 255" in message
    assert "node 'leaky' (LeakyRelu): its slope is 0.01; powers of two" in message
    assert "node 'both' (Clip): it cuts below -1 and above 1" in message


def test_each_reason_is_given_once_with_a_way_out(tmp_path: Path) -> None:
    net = Builder()
    data = net.node("Relu", net.conv("image", 3, 4))
    side = net.conv(data, 4, 2)
    for _ in range(4):
        data = net.conv(net.node("Tanh", data), 4, 4)
    net.node("ConvTranspose", data, net.constant(np.ones((4, 2, 2, 2), np.float32)), name="up")
    path = net.save([side, net.nodes[-1].output[0]], tmp_path / "net.onnx")
    lines = refused(path).splitlines()
    assert lines[0].endswith("5 nodes cannot be lowered:")
    assert lines[1].startswith(
        "  4 nodes (Tanh: 'tanh_3', 'tanh_5', 'tanh_7', ...): no layer has tables of functions yet"
    )
    assert lines[2].startswith("  node 'up' (ConvTranspose): no layer makes larger maps")
    assert lines[3] == "or leave them, and all that follows, to the host: --outputs t1,t2"
    cut = import_onnx(path, options=ImportOptions.parse("", "", "t1,t2", ""))
    assert [layer.name for layer in cut.graph.outputs] == ["conv_0", "conv_2"]


def _hard_swish(net: Builder, data: str) -> str:
    bounds = net.constant(np.float32(0)), net.constant(np.float32(6))
    gate = net.node("Clip", net.node("Add", data, net.constant(np.float32(3))), *bounds)
    return net.node("Div", net.node("Mul", data, gate, name="odd"), net.constant(np.float32(6)))


def _squeeze_and_excitation(net: Builder, data: str) -> str:
    gate = net.node("Sigmoid", net.conv(net.node("GlobalAveragePool", data), 4, 4, kernel=1), name="odd")
    return net.node("Mul", data, gate, name="gate")


def _upsampled(net: Builder, data: str) -> str:
    return net.node("Resize", data, "", net.constant(np.float32([1, 1, 2, 2])), name="odd")


def _slope_of_a_tenth(net: Builder, data: str) -> str:
    return net.node("LeakyRelu", data, alpha=0.1, name="odd")


@pytest.mark.parametrize(
    ("form", "way"),
    [
        (_hard_swish, "one must be a constant for each channel"),
        (_squeeze_and_excitation, "train with Relu, Clip from 0 to 6, or LeakyRelu of a slope 2^-k instead"),
        (_upsampled, "end the network before it"),
        (_slope_of_a_tenth, "train with such a slope, for example 0.125"),
    ],
)
def test_what_needs_other_hardware_is_one_line_with_a_way_out(
    form: Callable[[Builder, str], str], way: str, tmp_path: Path
) -> None:
    net = Builder()
    inner = net.conv("image", 3, 4)
    lines = refused(net.save(net.conv(form(net, inner), 4, 2), tmp_path / "net.onnx")).splitlines()
    (line,) = (line for line in lines if "'odd'" in line)
    assert line.endswith(way)
    assert lines[-1].startswith("or leave them, and all that follows, to the host: --outputs ")


def _concat_of_rows(net: Builder) -> str:
    return net.conv(net.node("Concat", net.conv("image", 3, 3), "image", axis=2, name="odd"), 3, 4)


def _shuffled_channels(net: Builder) -> str:
    apart = net.node("Reshape", net.conv("image", 3, 4), net.constant([0, 2, 2, 8, 8]), name="odd")
    return net.conv(
        net.node("Reshape", net.node("Transpose", apart, perm=[0, 2, 1, 3, 4]), net.constant([0, 4, 8, 8])), 4, 4
    )


def _matrix_over_columns(net: Builder) -> str:
    return net.node("MatMul", net.conv("image", 3, 4), net.constant(np.ones((8, 5), np.float32)), name="odd")


def _maximum_over_channels(net: Builder) -> str:
    return net.conv(net.node("ReduceMax", net.conv("image", 3, 4), axes=[1], name="odd"), 1, 4)


def _reflected_border(net: Builder) -> str:
    return net.conv(net.node("Pad", "image", net.constant([0, 0, 1, 1, 0, 0, 1, 1]), mode="reflect", name="odd"), 3, 4)


def _border_of_ones(net: Builder) -> str:
    pads = net.constant([0, 0, 1, 1, 0, 0, 1, 1]), net.constant(np.float32(1))
    return net.conv(net.node("Pad", "image", *pads, name="odd"), 3, 4)


def _concat_with_constants(net: Builder) -> str:
    return net.node("Concat", "image", net.constant(np.ones((1, 2, 8, 8), np.float32)), axis=1, name="odd")


def _every_second_channel(net: Builder) -> str:
    return net.node("Slice", "image", *map(net.constant, ([0], [3], [1], [2])), name="odd")


def _sum_with_every_pixel_its_own(net: Builder) -> str:
    return net.node("Add", net.conv("image", 3, 4), net.constant(np.ones((1, 4, 8, 8), np.float32)), name="odd")


def _reshaped_maps(net: Builder) -> str:
    return net.conv(net.node("Reshape", net.conv("image", 3, 4), net.constant([0, 16, 4, 4]), name="odd"), 16, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_concat_of_rows, "stored tensors are stacked along channels"),
        (_concat_with_constants, "stored tensors along the channels"),
        (_every_second_channel, "along the channels without steps"),
        (_sum_with_every_pixel_its_own, "sums of stored tensors"),
        (_reshaped_maps, "it moves numbers between maps, rows and columns"),
        (_shuffled_channels, "no shuffling of channels"),
        (_matrix_over_columns, "it multiplies rows or columns of maps by a matrix"),
        (_maximum_over_channels, "a maximum over channels"),
        (_reflected_border, "padding_mode = 'zeros'"),
        (_border_of_ones, "it pads with 1; zeros are supported"),
    ],
)
def test_patterns_that_no_layer_has(make: Callable[[Builder], str], message: str, tmp_path: Path) -> None:
    net = Builder()
    found = refused(net.save(make(net), tmp_path / "net.onnx"))
    assert "node 'odd' (" in found
    assert message in found


@pytest.mark.parametrize(
    ("op", "settings", "message"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2], "auto_pad": "SAME_UPPER"}, "write its pads out"),
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [3, 3], "pads": [2, 0, 0, 0]}, "less than the kernel [2, 2]"),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 3, 1, 1]}, "less than the kernel [3, 3]"),
    ],
)
def test_pooling_that_cannot_be_lowered(op: str, settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    net = Builder(("N", 3, 9, 9))
    path = net.save(net.node(op, net.conv("image", 3, 4), name="odd", **settings), tmp_path / "net.onnx")
    found = refused(path)
    assert "node 'odd'" in found
    assert message in found


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (("N", 3, "H", 8), "'image' has no fixed size on axis 2"),
        (("N", 3, 8, 0), "'image' has no fixed size on axis 3"),
        (("N",), "has 1 axes, [1]; two to four are read, such as [N, C, H, W]"),
        (("N", 3, 8, 8, 8), "has 5 axes, [1, 3, 8, 8, 8]; two to four are read, such as [N, C, H, W]"),
        (("N", 3, "H", "W"), "has no fixed size on axes 2, 3, [1, 3, H, W]; give it by --shape, such as --shape 1,3,"),
        (("N", 3, 1 << 20, 1 << 20), "too large"),
    ],
)
def test_image_shape(image: tuple[int | str, ...], message: str, tmp_path: Path) -> None:
    net = Builder()
    model = net.model(net.conv("image", 3, 4))
    wanted = helper.make_tensor_value_info("image", TensorProto.FLOAT, image)
    model.graph.input[0].CopyFrom(wanted)
    assert message in refused(save(model, tmp_path / "net.onnx"))


def test_integer_images(tmp_path: Path) -> None:
    net = Builder()
    model = net.model(net.conv("image", 3, 4))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    assert "'image' holds int64; images are float32, int8 or uint8" in refused(save(model, tmp_path / "net.onnx"))


def test_two_inputs(tmp_path: Path) -> None:
    net = Builder()
    model = net.model(net.node("Add", net.conv("image", 3, 4), "mask"))
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("t1", TensorProto.FLOAT, ["N", 4, 8, 8]))
    message = "it has 2 inputs (image, mask), and one image is read: say with --inputs NAME"
    assert message in refused(save(model, tmp_path / "net.onnx"))


def test_an_input_that_nothing_reads_does_not_matter(tmp_path: Path) -> None:
    net = Builder()
    model = net.model(net.conv("image", 3, 4))
    model.graph.input.append(helper.make_tensor_value_info("lengths", TensorProto.INT64, [1]))
    assert import_onnx(save(model, tmp_path / "net.onnx")).image.name == "image"


def test_missing_initialiser(tmp_path: Path) -> None:
    net = Builder()
    model = net.model(net.conv("image", 3, 4))
    del model.graph.initializer[0]
    assert "missing initialisers: 'conv_0' (Conv) reads 'const_0'" in refused(save(model, tmp_path / "net.onnx"))


def test_cycle(tmp_path: Path) -> None:
    net = Builder()
    model = net.model(net.node("Relu", net.conv("image", 3, 4)))
    model.graph.node[0].input[0] = "t1"
    assert "not a valid ONNX model" in refused(save(model, tmp_path / "net.onnx"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value: float, tmp_path: Path) -> None:
    net = Builder()
    net.constant(np.full((4, 3, 1, 1), value, np.float32), "kernel")
    message = refused(net.save(net.node("Conv", "image", "kernel", name="bad"), tmp_path / "net.onnx"))
    assert "initialiser 'kernel', read by ['bad'], holds NaN or infinity" in message


def test_batch_norm_with_negative_variance(tmp_path: Path) -> None:
    net = Builder()
    ones = net.constant(np.ones(4, np.float32))
    variance = net.constant(np.full(4, -2, np.float32))
    path = net.save(net.node("BatchNormalization", net.conv("image", 3, 4), *[ones] * 3, variance), tmp_path / "n.onnx")
    assert "layer 'conv_0': its weights become NaN or infinity" in refused(path)


def test_absurd_initialiser_is_refused_before_allocation(tmp_path: Path) -> None:
    net = Builder()
    model = net.model(net.conv("image", 3, 4))
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20, 1 << 10, 1]
    assert "tensor 'const_0' has the shape" in refused(save(model, tmp_path / "net.onnx"))


def test_absurd_constant_is_refused_before_allocation(tmp_path: Path) -> None:
    net = Builder()
    huge = net.node("ConstantOfShape", net.constant([1 << 14, 1 << 14]), name="huge")
    total = net.node("ReduceSum", huge, keepdims=0)
    path = net.save(net.node("Add", net.conv("image", 3, 4), total), tmp_path / "net.onnx")
    assert simplify.MAX_FOLDED < 1 << 28
    assert "node 'huge' (ConstantOfShape) makes a constant of [16384, 16384]" in refused(path)


def test_shapes_that_contradict_each_other(tmp_path: Path) -> None:
    net = Builder()
    path = net.save(net.conv(net.conv("image", 3, 4), 5, 4), tmp_path / "net.onnx")
    assert "channels" in refused(path) or "shapes do not fit" in refused(path)


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/passwd", "folder/../../outside.bin", "link.bin"])
def test_external_data_outside_the_folder(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(b"\0" * 10000)
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    message = refused(_external(folder, location))
    assert "outside the model's folder" in message
    assert "const_0" in message


@pytest.mark.parametrize("location", ["gone.bin", "", "a\0b", "x" * 5000])
def test_external_data_that_is_not_there(location: str, tmp_path: Path) -> None:
    assert "initialiser 'const_0'" in refused(_external(tmp_path, location))


def test_external_data_too_short(tmp_path: Path) -> None:
    (tmp_path / "short.bin").write_bytes(b"\0" * 10)
    assert "const_0" in refused(_external(tmp_path, "short.bin"))


def _external(folder: Path, location: str) -> Path:
    net = Builder()
    model = net.model(net.conv("image", 3, 4))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return save(model, folder / "net.onnx")


@pytest.mark.parametrize("opset", [0, 1000])
def test_opset(opset: int, tmp_path: Path) -> None:
    net = Builder()
    model = net.model(net.conv("image", 3, 4))
    model.opset_import[0].version = opset
    assert "opset" in refused(save(model, tmp_path / "net.onnx")).lower()


def test_operators_of_another_domain(tmp_path: Path) -> None:
    net = Builder()
    model = net.model(net.conv("image", 3, 4))
    model.graph.node.append(helper.make_node("Magic", ["t0"], ["out"], "spell", domain="elsewhere"))
    model.graph.output[0].name = "out"
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    message = refused(save(model, tmp_path / "net.onnx"))
    assert "node 'spell' (Magic): this operator of the domain 'elsewhere' is not supported" in message


def test_network_without_layers(tmp_path: Path) -> None:
    net = Builder()
    assert "computes nothing" in refused(net.save(net.node("Identity", "image"), tmp_path / "net.onnx"))


def test_import_writes_nothing(tmp_path: Path) -> None:
    net = Builder()
    path = net.save(net.node("Sigmoid", "image", name="../../../tmp/x"), tmp_path / "net.onnx")
    refused(path)
    assert list(tmp_path.iterdir()) == [path]
