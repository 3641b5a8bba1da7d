"""Networks as torchvision builds them, 224x224 and random weights, and small ones of other kinds run exactly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cgap.lowering import export_qdq, import_onnx, quantise
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.golden import run_float, run_reference
from fpga_model.operators import Concatenation
from fpga_model.schedule.schedule import Kind, build_schedule
from tests.lowering import zoo
from tests.lowering.models import Builder
from tests.lowering.test_operators import check
from tests.lowering.test_qdq import random_images, session
from tests.lowering.whole import check_file


def resnet18(path: Path) -> Path:
    """The standard ResNet-18: 7x7 stem, maximum, four stages of two blocks, projections with stride 2."""
    net = Builder((1, 3, 224, 224))
    data = net.node("Relu", net.batch_norm(net.conv("image", 3, 64, kernel=7, stride=2), 64))
    data = net.node("MaxPool", data, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    depth = 64
    for width in (64, 128, 256, 512):
        for stride in (1 if width == 64 else 2, 1):
            inner = net.node("Relu", net.batch_norm(net.conv(data, depth, width, stride=stride), width))
            main = net.batch_norm(net.conv(inner, width, width), width)
            if (depth, stride) != (width, 1):
                data = net.batch_norm(net.conv(data, depth, width, kernel=1, stride=stride, pads=[0] * 4), width)
            data, depth = net.node("Relu", net.node("Add", main, data)), width
    return _classify(net, data, depth, path)


def mobilenet_v2(path: Path) -> Path:
    """The standard MobileNetV2: inverted residuals with depthwise convolutions and ReLU6."""
    net = Builder((1, 3, 224, 224))
    bounds = net.constant(np.float32(0)), net.constant(np.float32(6))

    def relu6(data: str, channels: int) -> str:
        return net.node("Clip", net.batch_norm(data, channels), *bounds)

    data, depth = relu6(net.conv("image", 3, 32, stride=2), 32), 32
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, width, count, first_stride in stages:
        for index in range(count):
            stride, hidden, source = (first_stride if index == 0 else 1), depth * expansion, data
            if expansion != 1:
                data = relu6(net.conv(data, depth, hidden, kernel=1, pads=[0] * 4), hidden)
            weights = net.constant(net.random.normal(0, 0.4, (hidden, 1, 3, 3)).astype(np.float32))
            data = net.node("Conv", data, weights, group=hidden, pads=[1] * 4, strides=[stride] * 2)
            data = net.batch_norm(net.conv(relu6(data, hidden), hidden, width, kernel=1, pads=[0] * 4), width)
            data = net.node("Add", source, data) if (stride, depth) == (1, width) else data
            depth = width
    return _classify(net, relu6(net.conv(data, depth, 1280, kernel=1, pads=[0] * 4), 1280), 1280, path)


def densenet() -> Builder:
    """A DenseNet-BC of growth 6: every layer reads all before it, normalised and cut first; means between blocks."""
    net, growth = Builder(("N", 3, 16, 16)), 6
    data, depth = net.conv("image", 3, 2 * growth), 2 * growth

    def normalised(data: str, depth: int) -> str:
        return net.node("Relu", net.batch_norm(data, depth))

    for block in range(2):
        if block:
            squeezed = net.conv(normalised(data, depth), depth, depth // 2, kernel=1)
            data = net.node("AveragePool", squeezed, kernel_shape=[2, 2], strides=[2, 2])
            depth //= 2
        features = [data]
        for _ in range(3):
            stacked = net.node("Concat", *features, axis=1) if features[1:] else data
            narrow = net.conv(normalised(stacked, depth), depth, 4 * growth, kernel=1)
            features.append(net.conv(normalised(narrow, 4 * growth), 4 * growth, growth))
            depth += growth
        data = net.node("Concat", *features, axis=1)
    pooled = net.node("Flatten", net.node("GlobalAveragePool", normalised(data, depth)), axis=1)
    net.dense(pooled, depth, 10)
    return net


def inception() -> Builder:
    """A stem and two Inception blocks of four branches each, in prime widths."""
    net = Builder(("N", 3, 16, 16))

    def unit(data: str, before: int, after: int, kernel: int) -> str:
        return net.node("Relu", net.batch_norm(net.conv(data, before, after, kernel=kernel), after))

    data, depth = unit("image", 3, 13, 3), 13
    for one, three, five, pooled in (7, 11, 5, 3), (13, 17, 7, 5):
        maxima = net.node("MaxPool", data, kernel_shape=[3, 3], pads=[1] * 4)
        mean = net.node("AveragePool", data, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
        branches = [
            unit(data, depth, one, 1),
            unit(unit(data, depth, three - 2, 1), three - 2, three, 3),
            unit(unit(maxima, depth, five - 2, 1), five - 2, five, 5),
            unit(mean, depth, pooled, 1),
        ]
        data, depth = net.node("Concat", *branches, axis=1), one + three + five + pooled
    net.dense(net.node("Flatten", net.node("GlobalAveragePool", data), axis=1), depth, 10)
    return net


@pytest.mark.parametrize("make", [densenet, inception])
def test_branching_networks(make: Callable[[], Builder], tmp_path: Path) -> None:
    model = check(make(), tmp_path)
    assert sum(isinstance(layer.operator, Concatenation) for layer in model.graph.layers) >= 2


def _classify(net: Builder, data: str, depth: int, path: Path) -> Path:
    pooled = net.node("Flatten", net.node("GlobalAveragePool", data), axis=1)
    return net.save(net.dense(pooled, depth, 1000), path)


@pytest.mark.parametrize(
    ("make", "macs", "weights"),
    [
        # The published figures, without biases; VGG-11's are of its convolutions and the narrow dense layers.
        (resnet18, 1_814_073_344, 11_678_912),
        (mobilenet_v2, 300_774_272, 3_469_760),
        # A depthwise convolution divides the sums of its 1000 classes.
        (partial(zoo.squeezenet, size=224), 349_151_936 + 1000, 1_231_552 + 1000),
        (zoo.vgg11, 7_485_456_384 + 25088 * 256 + 256 * 256 + 256_000, 9_217_728 + 25088 * 256 + 256 * 256 + 256_000),
    ],
)
def test_imports_and_runs_exactly(make: Callable[[Path], Path], macs: int, weights: int, tmp_path: Path) -> None:
    path = make(tmp_path / "net.onnx")
    model = import_onnx(path)
    assert (model.graph.macs(), model.graph.weights()) == (macs, weights)
    output = model.graph.output.name
    images = random_images(model.graph.shape("image"), 1)
    real = images / np.float32(128)
    (expected,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": real})
    made = run_float(model.graph, model.parameters, real, keep=[output])[output]
    assert np.allclose(made.reshape(expected.shape), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())

    fixed = quantise(model, real)
    exported = export_qdq(fixed, tmp_path / "qdq.onnx", stored_outputs=True)
    stored = run_reference(fixed, images)
    found = session(tmp_path / "qdq.onnx").run(list(exported.stored.values()), {"image": real})
    wrong = [
        name
        for name, tensor in zip(exported.stored, found, strict=True)
        if name not in exported.unproven and not np.array_equal(stored[name], tensor)
    ]
    assert wrong == []
    assert len(exported.unproven) <= len(stored) // 4


@pytest.mark.parametrize(
    ("make", "macs", "outputs"),
    [
        (zoo.resnet8, 12_501_632, 1),
        (zoo.mobilenet_quarter, 7_489_664, 1),
        (zoo.ds_cnn, 2_656_768, 1),
        (zoo.ssd, 6_610_624, 12),
        (zoo.pfld, 1_809_472, 1),
        (zoo.shufflenet, 1_484_736, 1),
        (zoo.ecg, 3_358_080, 1),
        (zoo.mlp, 109_184, 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_networks_that_people_have(make: Callable[[Path], Path], macs: int, outputs: int, tmp_path: Path) -> None:
    """As their exporters write them: exact in real numbers and in integers, and scheduled as they are."""
    model, fixed = check_file(make(tmp_path / "net.onnx"), tmp_path, count=2)
    assert (model.graph.macs(), len(model.results)) == (macs, outputs)
    for kind in Kind:
        assert build_schedule(fixed, Accelerator(), load_platform("zcu104"), kind).operations


def test_densenet121(tmp_path: Path) -> None:
    model, fixed = check_file(zoo.densenet121(tmp_path / "net.onnx"), tmp_path, count=1)
    assert sum(isinstance(layer.operator, Concatenation) for layer in model.graph.layers) == 58
    assert build_schedule(fixed, Accelerator(page_depth=1024), load_platform("zcu104"), Kind.RESIDENT).operations
