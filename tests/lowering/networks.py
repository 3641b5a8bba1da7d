"""Random small CNNs for property tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.lowering.models import Builder


@st.composite
def random_cnns(draw: st.DrawFn) -> Builder:
    """Chains of convolutions, residual sums of every kind, pools and dense layers; the last node is the output.

    Maps may be as small as one pixel; channel counts are small or prime.
    """
    height, width = draw(st.integers(1, 10)), draw(st.integers(1, 10))
    net = Builder(("N", draw(st.integers(1, 4)), height, width), seed=draw(st.integers(0, 1 << 30)))
    data, depth = "image", int(net.image[1])
    for _ in range(draw(st.integers(1, 4))):
        steps = [_identity, _projection, _grouped]
        if min(height, width) >= 4:
            steps += [_plain, _plain, _option_a, _concat_zeros, _maxima, _dilated]
        if min(height, width) >= 5:  # the average leaves one row and column less for a kernel of up to 4
            steps += [_average]
        step = draw(st.sampled_from(steps))
        data, depth, height, width = step(draw, net, data, depth, height, width)
    ending = draw(st.sampled_from(["none", "dense", "pooled"]))
    if ending == "pooled":
        data = net.node("Flatten", net.node("GlobalAveragePool", data))
        net.dense(data, depth, draw(st.integers(1, 11)))
    elif ending == "dense":
        net.dense(net.node("Flatten", data), depth * height * width, draw(st.integers(1, 11)))
    return net


State = tuple[str, int, int, int]


def _activate(draw: st.DrawFn, net: Builder, data: str, depth: int) -> str:
    if draw(st.booleans()):
        data = net.batch_norm(data, depth)
    return _activate_sum(draw, net, data)


def _conv(draw: st.DrawFn, net: Builder, state: State, kernel: int | None = None, stride: int | None = None) -> State:
    data, depth, height, width = state
    kernel = kernel or draw(st.sampled_from([1, 2, 3, 4]))
    stride = stride or draw(st.sampled_from([1, 1, 2, 3]))
    pads = [draw(st.integers(0, kernel - 1)) for _ in range(4)]
    after = draw(st.sampled_from([1, 2, 3, 5, 7, 13]))
    # Weights far from one strain the limits on shifts and fractions.
    gain = draw(st.sampled_from([1.0, 1.0, 1.0, 2.0**-9, 2.0**7]))
    made = net.conv(data, depth, after, kernel, stride, draw(st.booleans()), gain, pads=pads)
    size = [(side + before + behind - kernel) // stride + 1 for side, before, behind in _sides(height, width, pads)]
    return made, after, size[0], size[1]


def _sides(height: int, width: int, pads: list[int]) -> list[tuple[int, int, int]]:
    return [(height, pads[0], pads[2]), (width, pads[1], pads[3])]


def _plain(draw: st.DrawFn, net: Builder, *state: object) -> State:
    data, depth, height, width = _conv(draw, net, state)  # type: ignore[arg-type]
    return _activate(draw, net, data, depth), depth, height, width


def _identity(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    inner = _activate(draw, net, net.conv(data, depth, 4), 4)
    total = net.node("Add", data, net.conv(inner, 4, depth))
    return _activate_sum(draw, net, total), depth, height, width


def _option_a(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    after = depth + draw(st.integers(0, 3))
    inner = net.conv(data, depth, after, stride=2)
    total = net.node("Add", inner, net.option_a(data, depth, after))
    return _activate_sum(draw, net, total), after, (height + 1) // 2, (width + 1) // 2


def _projection(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    after = draw(st.integers(1, 5))
    total = net.node("Add", net.conv(data, depth, after), net.conv(data, depth, after, kernel=1))
    return _activate_sum(draw, net, total), after, height, width


def _grouped(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    """A convolution in groups, depthwise among them, of any multiplier."""
    groups = draw(st.sampled_from([count for count in range(1, depth + 1) if depth % count == 0]))
    after = groups * draw(st.integers(1, 3))
    kernel = draw(st.sampled_from([1, 3, 5]))
    weights = net.random.normal(0, 0.5, (after, depth // groups, kernel, kernel)).astype(np.float32)
    made = net.node("Conv", data, net.constant(weights), group=groups, pads=[kernel // 2] * 4)
    return _activate(draw, net, made, after), after, height, width


def _dilated(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    after, steps = draw(st.integers(1, 5)), [draw(st.integers(1, 2)) for _ in range(2)]
    made = net.conv(data, depth, after, dilations=steps, pads=[*steps, *steps])
    return _activate(draw, net, made, after), after, height, width


def _concat_zeros(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    """An option A shortcut whose channels are padded on both sides by a concatenation."""
    before, behind = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    small, after = ((height + 1) // 2, (width + 1) // 2), depth + before + behind
    zeros = [net.constant(np.zeros((1, count, *small), np.float32)) for count in (before, behind)]
    half = net.node("MaxPool", data, kernel_shape=[1, 1], strides=[2, 2])
    shortcut = net.node("Concat", zeros[0], half, zeros[1], axis=1)
    total = net.node("Add", net.conv(data, depth, after, stride=2), shortcut)
    return _activate_sum(draw, net, total), after, *small


def _activate_sum(draw: st.DrawFn, net: Builder, data: str) -> str:
    kind = draw(st.sampled_from(["none", "relu", "relu", "relu6", "leaky"]))
    if kind == "relu6":
        return net.node("Clip", data, net.constant(np.float32(0)), net.constant(np.float32(6)))
    if kind == "leaky":
        return net.node("LeakyRelu", data, alpha=draw(st.sampled_from([0.5, 0.125, 2.0**-6])))
    return net.node("Relu", data) if kind == "relu" else data


def _maxima(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    stride, pads = draw(st.sampled_from([1, 2])), [draw(st.integers(0, 1)) for _ in range(4)]
    data = net.node("MaxPool", data, kernel_shape=[2, 3], strides=[stride, stride], pads=pads)
    return data, depth, (height + pads[0] + pads[2] - 2) // stride + 1, (width + pads[1] + pads[3] - 3) // stride + 1


def _average(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    """An average, and the convolution that takes its division."""
    pooled = net.node("AveragePool", data, kernel_shape=[2, 2], strides=[1, 1])
    return _plain(draw, net, pooled, depth, height - 1, width - 1)


def save(net: Builder, path: Path) -> Path:
    """Write the network; its last node is the output."""
    return net.save(net.nodes[-1].output[0], path)
