"""Networks that people have, written as their exporters write them, with weights of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.lowering.models import Builder


class LastBuilder(Builder):
    """Writes as tf2onnx does: maps are channels last, and every convolution stands between two transpositions."""

    def conv_last(self, data: str, depth: int, channels: int, kernel: int = 3, stride: int = 1, group: int = 1) -> str:
        weights = self.random.normal(
            0, (2 / (depth // group * kernel**2)) ** 0.5, (channels, depth // group, kernel, kernel)
        )
        bias = self.constant(self.random.normal(0, 0.1, channels).astype(np.float32))
        first = self.node("Transpose", data, perm=[0, 3, 1, 2])
        settings = {"auto_pad": "SAME_UPPER", "strides": [stride, stride], "group": group}
        made = self.node("Conv", first, self.constant(weights.astype(np.float32)), bias, **settings)
        return self.node("Transpose", made, perm=[0, 2, 3, 1])

    def mean_last(self, data: str, depth: int, classes: int) -> str:
        """A pooling of its own, a view, a matrix and its bias, a Softmax."""
        mean = self.node("ReduceMean", data, axes=[1, 2], keepdims=0)
        weights = self.random.normal(0, depth**-0.5, (depth, classes)).astype(np.float32)
        product = self.node("MatMul", mean, self.constant(weights))
        bias = self.constant(self.random.normal(0, 0.1, classes).astype(np.float32))
        return self.node("Softmax", self.node("Add", product, bias), axis=1)


def resnet8(path: Path) -> Path:
    """MLPerf Tiny's image classification, channels last."""
    net = LastBuilder(("N", 32, 32, 3))
    data, depth = net.node("Relu", net.conv_last("image", 3, 16)), 16
    for width in (16, 32, 64):
        stride = 1 if width == 16 else 2
        inner = net.node("Relu", net.conv_last(data, depth, width, stride=stride))
        inner = net.conv_last(inner, width, width)
        if stride == 2:
            data = net.conv_last(data, depth, width, kernel=1, stride=2)
        data, depth = net.node("Relu", net.node("Add", data, inner)), width
    return net.save(net.mean_last(data, 64, 10), path)


def mobilenet_quarter(path: Path) -> Path:
    """MobileNetV1 of a quarter of the width, 96x96, MLPerf Tiny's visual wake words, channels last."""
    net = LastBuilder(("N", 96, 96, 3))
    six = net.constant(np.float32(0)), net.constant(np.float32(6))
    data, depth = net.node("Clip", net.conv_last("image", 3, 8, stride=2), *six), 8
    plan = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for width, stride in plan:
        data = net.node("Clip", net.conv_last(data, depth, depth, stride=stride, group=depth), *six)
        data, depth = net.node("Clip", net.conv_last(data, depth, width, kernel=1), *six), width
    return net.save(net.mean_last(data, 256, 2), path)


def ds_cnn(path: Path) -> Path:
    """MLPerf Tiny's keyword spotting: a spectrogram of one map, [N, 49, 10] in the file."""
    net = Builder(("N", 49, 10))
    weights = net.constant(net.random.normal(0, 0.2, (64, 1, 10, 4)).astype(np.float32))
    data = net.node(
        "Conv", net.node("Unsqueeze", "image", net.constant([1])), weights, strides=[2, 2], pads=[4, 1, 5, 1]
    )
    data = net.node("Relu", net.batch_norm(data, 64))
    for _ in range(4):
        data = depthwise(net, data, 64)
        data = net.node("Relu", net.batch_norm(net.conv(data, 64, 64, kernel=1), 64))
    pooled = net.node("AveragePool", data, kernel_shape=[25, 5])
    return net.save(net.node("Softmax", net.dense(net.node("Flatten", pooled), 64, 12), axis=-1), path)


def depthwise(net: Builder, data: str, channels: int, stride: int = 1) -> str:
    weights = net.constant(net.random.normal(0, 0.4, (channels, 1, 3, 3)).astype(np.float32))
    made = net.node("Conv", data, weights, group=channels, pads=[1] * 4, strides=[stride] * 2)
    return net.node("Relu", net.batch_norm(made, channels))


def ssd(path: Path) -> Path:
    """A light detector: six scales, each with a head of scores and one of boxes, 12 outputs as they are."""
    net = Builder((1, 3, 96, 96))
    data, depth, ends = net.node("Relu", net.conv("image", 3, 16, stride=2)), 16, []
    for width in (24, 32, 48, 48, 32, 32):
        data = depthwise(net, data, depth, stride=2 if len(ends) < 10 else 1)
        data, depth = net.node("Relu", net.conv(data, depth, width, kernel=1)), width
        for values in (3 * 5, 3 * 4):
            head = net.conv(data, depth, values)
            ends.append(net.node("Transpose", head, perm=[0, 2, 3, 1]))
    return net.save(ends, path)


def pfld(path: Path) -> Path:
    """Landmarks: three scales, two averaged, flattened by sizes that are computed, concatenated before one matrix."""
    net = Builder((1, 3, 56, 56))

    def view(data: str) -> str:
        batch = net.node("Gather", net.node("Shape", data), net.constant(np.array(0)), axis=0)
        shape = net.node("Concat", net.node("Unsqueeze", batch, net.constant([0])), net.constant([-1]), axis=0)
        return net.node("Reshape", data, shape)

    data, depth = net.node("Relu", net.batch_norm(net.conv("image", 3, 16, stride=2), 16)), 16
    for stride in (2, 1, 1):
        inner = net.node("Relu", net.batch_norm(net.conv(data, depth, 32, kernel=1), 32))
        inner = net.batch_norm(net.conv(depthwise(net, inner, 32, stride), 32, 16, kernel=1), 16)
        data = net.node("Add", data, inner) if stride == 1 else inner
    first = net.node("AveragePool", data, kernel_shape=[14, 14])
    second = net.node("Relu", net.conv(data, 16, 32, stride=2))
    third = net.node("Relu", net.conv(second, 32, 64, kernel=7, pads=[0] * 4))
    stacked = net.node(
        "Concat",
        view(first),
        view(net.node("AveragePool", second, kernel_shape=[3, 3], strides=[2, 2])),
        view(third),
        axis=1,
    )
    return net.save(net.dense(stacked, 16 + 32 * 9 + 64, 196), path)


def shufflenet(path: Path) -> Path:
    """ShuffleNetV2's units, halves that are split and stacked again, without the shuffle between them."""
    net = Builder((1, 3, 64, 64))
    data = net.node("Relu", net.batch_norm(net.conv("image", 3, 24, stride=2), 24))
    data, depth = net.node("MaxPool", data, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 24

    def branch(given: str, before: int, after: int, stride: int) -> str:
        made = net.node("Relu", net.batch_norm(net.conv(given, before, after, kernel=1), after))
        weights = net.constant(net.random.normal(0, 0.4, (after, 1, 3, 3)).astype(np.float32))
        made = net.batch_norm(net.node("Conv", made, weights, group=after, pads=[1] * 4, strides=[stride] * 2), after)
        return net.node("Relu", net.batch_norm(net.conv(made, after, after, kernel=1), after))

    for width, count in ((48, 2), (96, 2)):
        half = width // 2
        side = net.batch_norm(
            net.node(
                "Conv",
                data,
                net.constant(net.random.normal(0, 0.4, (depth, 1, 3, 3)).astype(np.float32)),
                group=depth,
                pads=[1] * 4,
                strides=[2, 2],
            ),
            depth,
        )
        side = net.node("Relu", net.batch_norm(net.conv(side, depth, half, kernel=1), half))
        data, depth = net.node("Concat", side, branch(data, depth, half, 2), axis=1), width
        for _ in range(count):
            name = f"split {len(net.nodes)}"
            left, right = f"{name} a", f"{name} b"
            net.split(data, [half, half], (left, right), name)
            data = net.node("Concat", left, branch(right, half, half, 1), axis=1)
    return net.save(net.dense(net.node("ReduceMean", data, axes=[2, 3], keepdims=0), depth, 10), path)


def densenet121(path: Path, size: int = 64) -> Path:
    """The standard DenseNet-121, at 64x64."""
    net = Builder((1, 3, size, size))
    data = net.node("Relu", net.batch_norm(net.conv("image", 3, 64, kernel=7, stride=2), 64))
    data, depth = net.node("MaxPool", data, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 64
    for stage, count in enumerate((6, 12, 24, 16)):
        for _ in range(count):
            inner = net.conv(net.node("Relu", net.batch_norm(data, depth)), depth, 128, kernel=1)
            inner = net.conv(net.node("Relu", net.batch_norm(inner, 128)), 128, 32)
            data, depth = net.node("Concat", data, inner, axis=1), depth + 32
        if stage < 3:
            inner = net.conv(net.node("Relu", net.batch_norm(data, depth)), depth, depth // 2, kernel=1)
            data, depth = net.node("AveragePool", inner, kernel_shape=[2, 2], strides=[2, 2]), depth // 2
    data = net.node("Relu", net.batch_norm(data, depth))
    return net.save(net.dense(net.node("Flatten", net.node("GlobalAveragePool", data)), depth, 100), path)


def vgg11(path: Path, hidden: int = 256) -> Path:
    """VGG-11, its adaptive pooling written as exporters do for 224x224, its hidden dense layers narrower (memory)."""
    net = Builder((1, 3, 224, 224))
    data, depth = "image", 3
    for width in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
        if isinstance(width, str):
            data = net.node("MaxPool", data, kernel_shape=[2, 2], strides=[2, 2])
        else:
            data, depth = net.node("Relu", net.conv(data, depth, width, bias=True)), width
    data = net.node("Flatten", net.node("AveragePool", data, kernel_shape=[1, 1], strides=[1, 1]), axis=1)
    for before, after in ((512 * 49, hidden), (hidden, hidden)):
        data = net.node("Dropout", net.node("Relu", net.dense(data, before, after, f"fc{before}")))
    return net.save(net.dense(data, hidden, 1000), path)


def squeezenet(path: Path, size: int = 64) -> Path:
    """The standard SqueezeNet 1.1: fire modules, whose two expansions are stacked; the classes are a mean of maps."""
    net = Builder((1, 3, size, size))
    data, depth = net.node("Relu", net.conv("image", 3, 64, stride=2, bias=True, pads=[0] * 4)), 64
    for squeeze in (0, 16, 16, 0, 32, 32, 0, 48, 48, 64, 64):
        if not squeeze:
            data = net.node("MaxPool", data, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
            continue
        inner = net.node("Relu", net.conv(data, depth, squeeze, kernel=1, bias=True))
        wide = [net.node("Relu", net.conv(inner, squeeze, 4 * squeeze, kernel, bias=True)) for kernel in (1, 3)]
        data, depth = net.node("Concat", *wide, axis=1), 8 * squeeze
    classes = net.node("Relu", net.conv(net.node("Dropout", data), depth, 1000, kernel=1, bias=True))
    return net.save(net.node("Flatten", net.node("GlobalAveragePool", classes)), path)


def ecg(path: Path) -> Path:
    """A one-dimensional residual CNN over 187 samples of one lead, [N, 1, 187]."""
    net = Builder(("N", 1, 187))

    def conv(data: str, depth: int, channels: int) -> str:
        weights = net.random.normal(0, (2 / (5 * depth)) ** 0.5, (channels, depth, 5)).astype(np.float32)
        return net.node("Conv", data, net.constant(weights), net.constant(np.zeros(channels, np.float32)), pads=[2, 2])

    data, depth = conv("image", 1, 32), 32
    for _ in range(3):
        inner = conv(net.node("Relu", conv(data, 32, 32)), 32, 32)
        data = net.node("MaxPool", net.node("Relu", net.node("Add", inner, data)), kernel_shape=[5], strides=[2])
    hidden = net.node("Relu", net.dense(net.node("Flatten", data), depth * 20, 32, "hidden"))
    return net.save(net.node("Softmax", net.dense(hidden, 32, 5), axis=1), path)


def mlp(path: Path) -> Path:
    """MNIST's rows through three matrices."""
    net = Builder(("N", 784))
    data = net.node("Relu", net.dense("image", 784, 128, "first"))
    data = net.node("Relu", net.batch_norm(net.dense(data, 128, 64, "second"), 64))
    return net.save(net.dense(data, 64, 10), path)


SMALL: tuple[Callable[[Path], Path], ...] = (resnet8, ssd, pfld, ecg, mlp)
"""Those whose C simulation is part of `make test`."""
LARGE: tuple[Callable[[Path], Path], ...] = (ds_cnn, shufflenet, mobilenet_quarter, squeezenet)
