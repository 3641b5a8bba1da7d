"""Random small CNNs for property tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.lowering.models import Builder


@st.composite
def random_cnns(draw: st.DrawFn) -> Builder:
    """Chains of convolutions, sums, concatenations, pools, layers that stand alone and dense layers.

    The last node is the output. Maps may be as small as one pixel; channel counts are small or prime.
    """
    height, width = draw(st.integers(1, 10)), draw(st.integers(1, 10))
    net = Builder(("N", draw(st.integers(1, 4)), height, width), seed=draw(st.integers(0, 1 << 30)))
    data, depth = "image", int(net.image[1])
    for _ in range(draw(st.integers(1, 4))):
        steps = [_identity, _projection, _grouped, _branches, _slices, _standing_alone, _sum_alone, _scaled]
        if min(height, width) >= 4:
            steps += [_plain, _plain, _option_a, _concat_zeros, _maxima, _dilated]
        if min(height, width) >= 5:  # the average leaves one row and column less for a kernel of up to 4
            steps += [_average]
        step = draw(st.sampled_from(steps))
        data, depth, height, width = step(draw, net, data, depth, height, width)
    endings = ["none", "dense", "pooled"]
    if all(node.op_type == "Identity" for node in net.nodes):  # nothing to compute yet
        endings.remove("none")
    ending = draw(st.sampled_from(endings))
    if ending == "pooled":
        data = net.node("Flatten", net.node("GlobalAveragePool", data))
        net.dense(data, depth, draw(st.integers(1, 11)))
    elif ending == "dense":
        net.dense(net.node("Flatten", data), depth * height * width, draw(st.integers(1, 11)))
    return net


State = tuple[str, int, int, int]
PRIMES = (1, 2, 3, 5, 7, 11, 13)
STRIDES = st.sampled_from([[1, 1], [1, 1], [2, 2], [3, 3], [2, 1], [1, 2], [1, 3]])


def _activate(draw: st.DrawFn, net: Builder, data: str, depth: int) -> str:
    if draw(st.booleans()):
        data = net.batch_norm(data, depth)
    return _activate_sum(draw, net, data)


def _conv(draw: st.DrawFn, net: Builder, state: State) -> State:
    data, depth, height, width = state
    kernel, strides = draw(st.sampled_from([1, 2, 3, 4])), draw(STRIDES)
    pads = [draw(st.integers(0, kernel - 1)) for _ in range(4)]
    after = draw(st.sampled_from(PRIMES))
    # Weights far from one strain the limits on shifts and fractions.
    gain = draw(st.sampled_from([1.0, 1.0, 1.0, 2.0**-9, 2.0**7]))
    made = net.conv(data, depth, after, kernel, 1, draw(st.booleans()), gain, pads=pads, strides=strides)
    return made, after, *_slid((height, width), (kernel, kernel), strides, pads)


def _slid(size: Sequence[int], spans: Sequence[int], strides: Sequence[int], pads: list[int]) -> tuple[int, int]:
    """Rows and columns of the output of a window that spans `spans`."""
    rows, columns = ((size[axis] + pads[axis] + pads[axis + 2] - spans[axis]) // strides[axis] + 1 for axis in (0, 1))
    return rows, columns


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
    strides, after = draw(st.sampled_from([[2, 2], [2, 1], [1, 2]])), depth + before + behind
    small = [-(-side // step) for side, step in zip((height, width), strides, strict=True)]
    zeros = [net.constant(np.zeros((1, count, *small), np.float32)) for count in (before, behind)]
    half = net.node("MaxPool", data, kernel_shape=[1, 1], strides=strides)
    shortcut = net.node("Concat", zeros[0], half, zeros[1], axis=1)
    total = net.node("Add", net.conv(data, depth, after, strides=strides), shortcut)
    return _activate_sum(draw, net, total), after, small[0], small[1]


def _branches(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    """Two or three readers of one tensor, of different scales, and possibly the tensor itself, stacked."""
    parts, total = [], 0
    for _ in range(draw(st.integers(2, 3))):
        kind = draw(st.sampled_from(["plain", "plain", "wide", "maxima", "same"]))
        after = draw(st.sampled_from(PRIMES)) if kind in ("plain", "wide") else depth
        if kind in ("plain", "wide"):
            gain = draw(st.sampled_from([1.0, 0.05, 20.0]))
            made = net.conv(data, depth, after, kernel=1 if kind == "plain" else 3, gain=gain)
            parts.append(_activate(draw, net, made, after))
        else:
            pooled = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
            parts.append(data if kind == "same" else net.node("MaxPool", data, **pooled))
        total += after
    return net.node("Concat", *parts, axis=draw(st.sampled_from([1, -3]))), total, height, width


def _slices(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    """Two ranges of the channels of a convolution, one of them processed, in another order, nested at times."""
    before = draw(st.sampled_from([2, 3, 5, 7]))
    data = _activate(draw, net, net.conv(data, depth, before, kernel=1), before)
    cut = draw(st.integers(1, before - 1))
    begin = draw(st.integers(0, cut))
    first, second = (
        net.node("Slice", data, *map(net.constant, bounds))
        for bounds in (([0], [cut], [1]), ([begin], [np.iinfo(np.int64).max], [1]))
    )
    if draw(st.booleans()):
        first = _activate(draw, net, net.conv(first, cut, cut), cut)
    if draw(st.booleans()):
        second = net.node("Concat", second, data, axis=1)
        begin -= before
    return net.node("Concat", second, first, axis=1), before - begin + cut, height, width


def _affine(draw: st.DrawFn, net: Builder, data: str, depth: int) -> str:
    """Normalisation, or arithmetic with constants that may be negative, of each channel."""
    op = draw(st.sampled_from(["batch norm", "Mul", "Add", "Sub", "Div"]))
    if op == "batch norm":
        return net.batch_norm(data, depth)
    values = net.random.uniform(0.5, 1.5, (depth, 1, 1)) * net.random.choice([-1, 1], (depth, 1, 1))
    operands = [data, net.constant(values.astype(np.float32))]
    return net.node(op, *(reversed(operands) if op in ("Add", "Mul", "Sub") and draw(st.booleans()) else operands))


def _standing_alone(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    """A scale or an activation with another reader of its input beside it, so that no layer takes it."""
    made = _affine(draw, net, data, depth) if draw(st.booleans()) else data
    made = _activate_sum(draw, net, made)
    how = draw(st.sampled_from(["chain", "sum", "concat"]))
    if how == "sum":
        made = net.node("Add", net.conv(made, depth, depth), data)
    elif how == "concat":
        made, depth = net.node("Concat", made, data, axis=1), 2 * depth
    return (net.node("Identity", made) if made == "image" else made), depth, height, width


def _scaled(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    """Scales and offsets before a convolution, some of which it can take."""
    for _ in range(draw(st.integers(1, 2))):
        data = _affine(draw, net, data, depth)
    pad, after = draw(st.sampled_from([0, 1])), draw(st.sampled_from(PRIMES))
    made = net.conv(data, depth, after, kernel=2 * pad + 1)
    return _activate(draw, net, made, after), after, height, width


def _sum_alone(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    """A sum of activations, of which no convolution can take the other."""
    after = draw(st.sampled_from([depth, *PRIMES]))
    gain = draw(st.sampled_from([1.0, 0.1]))
    parts = [net.node("Relu", net.conv(data, depth, after, gain=size)) for size in (1.0, gain)]
    if after == depth and draw(st.booleans()):
        parts[0] = data
    return _activate(draw, net, net.node("Add", *parts), after), after, height, width


def _activate_sum(draw: st.DrawFn, net: Builder, data: str) -> str:
    kind = draw(st.sampled_from(["none", "relu", "relu", "relu6", "leaky"]))
    if kind == "relu6":
        return net.node("Clip", data, net.constant(np.float32(0)), net.constant(np.float32(6)))
    if kind == "leaky":
        return net.node("LeakyRelu", data, alpha=draw(st.sampled_from([0.5, 0.125, 2.0**-6])))
    return net.node("Relu", data) if kind == "relu" else data


def _maxima(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    steps = draw(st.sampled_from([[1, 1], [2, 1], [3, 1], *([[1, 2], [2, 2]] if width >= 5 else [])]))
    strides, pads = draw(STRIDES), [draw(st.integers(0, 1)) for _ in range(4)]
    settings = {"kernel_shape": [2, 3], "strides": strides, "dilations": steps, "pads": pads}
    spans = steps[0] + 1, 2 * steps[1] + 1
    return net.node("MaxPool", data, **settings), depth, *_slid((height, width), spans, strides, pads)


def _average(draw: st.DrawFn, net: Builder, data: str, depth: int, height: int, width: int) -> State:
    """An average, and the convolution that takes its division."""
    strides = [1, draw(st.sampled_from([1, 2]))] if width >= 9 else [1, 1]
    pooled = net.node("AveragePool", data, kernel_shape=[2, 2], strides=strides)
    return _plain(draw, net, pooled, depth, *_slid((height, width), (2, 2), strides, [0] * 4))


def save(net: Builder, path: Path) -> Path:
    """Write the network; its last node is the output."""
    return net.save(net.nodes[-1].output[0], path)
