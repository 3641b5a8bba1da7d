"""Random networks in every form that files have: layouts, ranks, several outputs, views; for property tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tests.lowering.models import Builder


@dataclass
class State:
    """The network so far: its tensor, channels and sizes, and how the file has them at this place."""

    data: str
    depth: int
    sizes: tuple[int, ...]
    last: bool

    @property
    def channel_axis(self) -> int:
        return len(self.sizes) + 1 if self.last else 1

    @property
    def spatial_axes(self) -> list[int]:
        return [axis + (1 if self.last else 2) for axis in range(len(self.sizes))]

    def shape(self) -> list[int]:
        return [*self.sizes, self.depth] if self.last else [self.depth, *self.sizes]


@st.composite
def networks_in_any_form(draw: st.DrawFn) -> tuple[Builder, list[str]]:
    """A network and its outputs: rows, signals or maps, channels first or last, read by one to three heads."""
    rank = draw(st.sampled_from([2, 3, 4, 4, 4]))
    last = rank > 2 and draw(st.booleans())
    depth = draw(st.integers(1, 5)) if rank > 2 else draw(st.integers(2, 40))
    sizes = tuple(draw(st.integers(1, 9)) for _ in range(rank - 2))
    state = State("image", depth, sizes, last)
    net = Builder(("N", *state.shape()), seed=draw(st.integers(0, 1 << 30)))
    state, ends = _begin(draw, net, state), []
    steps = (
        [_dense, _dense_activated] if rank == 2 else [_conv, _conv, _affine, _join, _concat, _crop, _pool, _turn, _pad]
    )
    for _ in range(draw(st.integers(1, 4))):
        state = draw(st.sampled_from(steps))(draw, net, state)
        if len(ends) < 2 and draw(st.integers(0, 4)) == 0 and any(node.op_type in _COMPUTING for node in net.nodes):
            ends.append(draw(st.sampled_from(HEADS))(draw, net, state))
    ends.append(
        draw(st.sampled_from(HEADS))(draw, net, _conv(draw, net, state) if rank > 2 else _dense(draw, net, state))
    )
    return net, list(dict.fromkeys(ends))


_COMPUTING = ("Conv", "Gemm", "MatMul")


def _begin(draw: st.DrawFn, net: Builder, state: State) -> State:
    """Reshapes and constants in front of everything."""
    if len(state.sizes) == 1 and not state.last and draw(st.booleans()):  # a signal seen as a row of maps
        data = net.node("Unsqueeze", state.data, net.constant([2]))
        return State(data, state.depth, (1, *state.sizes), False)
    if state.sizes and draw(st.integers(0, 3)) == 0:
        return _affine(draw, net, state)
    return state


def _first(net: Builder, state: State) -> str:
    """The tensor, channels first."""
    rank = len(state.sizes) + 2
    return net.node("Transpose", state.data, perm=[0, rank - 1, *range(1, rank - 1)]) if state.last else state.data


def _back(net: Builder, data: str, state: State) -> str:
    rank = len(state.sizes) + 2
    return net.node("Transpose", data, perm=[0, *range(2, rank), 1]) if state.last else data


def _weights(net: Builder, *shape: int) -> str:
    fan = int(np.prod(shape[1:]))
    return net.constant(net.random.normal(0, fan**-0.5, shape).astype(np.float32))


def _conv(draw: st.DrawFn, net: Builder, state: State) -> State:
    kernel = draw(st.sampled_from([1, 2, 3]))
    stride = draw(st.sampled_from([1, 1, 2]))
    pads = [draw(st.integers(0, 3)) for _ in range(2 * len(state.sizes))]
    middle = len(state.sizes)
    spans = [size + pads[axis] + pads[axis + middle] - kernel for axis, size in enumerate(state.sizes)]
    if min(spans) < 0:
        kernel, spans = 1, [span + kernel - 1 for span in spans]
    after = draw(st.sampled_from([1, 2, 3, 5, 7]))
    grouped = after % state.depth == 0 and draw(st.booleans())
    weights = _weights(net, after, 1 if grouped else state.depth, *[kernel] * middle)
    settings = {"pads": pads, "strides": [stride] * middle, "group": state.depth if grouped else 1}
    data = net.node("Conv", _first(net, state), weights, **settings)
    if draw(st.booleans()):
        data = net.batch_norm(data, after)
    made = State(_back(net, data, state), after, tuple(span // stride + 1 for span in spans), state.last)
    made.data = _activated(draw, net, made.data)
    return made


def _activated(draw: st.DrawFn, net: Builder, data: str) -> str:
    kind = draw(st.sampled_from(["none", "relu", "relu6", "leaky"]))
    if kind == "relu6":
        return net.node("Clip", data, net.constant(np.float32(0)), net.constant(np.float32(6)))
    if kind == "leaky":
        return net.node("LeakyRelu", data, alpha=0.25)
    return net.node("Relu", data) if kind == "relu" else data


def _affine(draw: st.DrawFn, net: Builder, state: State) -> State:
    shape = [1] * (len(state.sizes) + 2)
    shape[state.channel_axis] = state.depth
    if state.last and draw(st.booleans()):
        shape = shape[1:]
    values = net.random.uniform(0.5, 1.5, shape).astype(np.float32)
    op = draw(st.sampled_from(["Add", "Mul", "Sub", "Div"]))
    return State(net.node(op, state.data, net.constant(values)), state.depth, state.sizes, state.last)


def _join(draw: st.DrawFn, net: Builder, state: State) -> State:
    """A sum, a difference, or a sum of three, of what reads one tensor."""

    def branch() -> str:
        weights = _weights(net, state.depth, state.depth, *[1] * len(state.sizes))
        return _back(net, net.node("Conv", _first(net, state), weights), state)

    op = draw(st.sampled_from(["Add", "Sub", "Sum"]))
    parts = [branch(), state.data if draw(st.booleans()) else branch(), *([branch()] if op == "Sum" else [])]
    return State(_activated(draw, net, net.node(op, *parts)), state.depth, state.sizes, state.last)


def _concat(draw: st.DrawFn, net: Builder, state: State) -> State:
    after = draw(st.integers(1, 4))
    weights = _weights(net, after, state.depth, *[1] * len(state.sizes))
    other = _back(net, net.node("Conv", _first(net, state), weights), state)
    axis = state.channel_axis - draw(st.sampled_from([0, len(state.sizes) + 2]))
    data = net.node("Concat", state.data, other, axis=axis)
    if draw(st.booleans()):
        first = draw(st.integers(0, state.depth + after - 1))
        bounds = [net.constant([value]) for value in (first, state.depth + after, state.channel_axis)]
        return State(net.node("Slice", data, *bounds), state.depth + after - first, state.sizes, state.last)
    return State(data, state.depth + after, state.sizes, state.last)


def _crop(draw: st.DrawFn, net: Builder, state: State) -> State:
    starts, ends, steps, sizes = [], [], [], []
    for size in state.sizes:
        starts.append(draw(st.integers(0, size - 1)))
        ends.append(draw(st.integers(starts[-1] + 1, size)))
        steps.append(draw(st.integers(1, 3)))
        sizes.append(len(range(starts[-1], ends[-1], steps[-1])))
    bounds = [net.constant(value) for value in (starts, ends, state.spatial_axes, steps)]
    return State(net.node("Slice", state.data, *bounds), state.depth, tuple(sizes), state.last)


def _pad(draw: st.DrawFn, net: Builder, state: State) -> State:
    rank = len(state.sizes) + 2
    amounts, sizes = [0] * (2 * rank), []
    for axis, size in zip(state.spatial_axes, state.sizes, strict=True):
        amounts[axis], amounts[axis + rank] = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        sizes.append(size + amounts[axis] + amounts[axis + rank])
    return State(net.node("Pad", state.data, net.constant(amounts)), state.depth, tuple(sizes), state.last)


def _pool(draw: st.DrawFn, net: Builder, state: State) -> State:
    """Maxima and averages, with borders that are not counted; a signal's window is one line."""
    kernel = [draw(st.integers(1, min(3, size))) for size in state.sizes]
    strides = [draw(st.integers(1, 2)) for _ in kernel]
    before = [draw(st.integers(0, size - 1)) for size in kernel]
    after = [draw(st.integers(0, size - 1)) for size in kernel]
    settings = {"kernel_shape": kernel, "strides": strides, "pads": before + after}
    op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    if op == "AveragePool" and draw(st.booleans()):
        settings["count_include_pad"] = 1
    data = _back(net, net.node(op, _first(net, state), **settings), state)
    spans = [
        size + sum(pads) - k for size, pads, k in zip(state.sizes, zip(before, after, strict=True), kernel, strict=True)
    ]
    return State(
        data, state.depth, tuple(span // step + 1 for span, step in zip(spans, strides, strict=True)), state.last
    )


def _turn(draw: st.DrawFn, net: Builder, state: State) -> State:
    """The other layout from here on; a signal of [N, L, C] as a dense layer for each sample reads it."""
    if state.last and draw(st.booleans()):
        after = draw(st.integers(1, 5))
        weights = _weights(net, state.depth, after)
        return State(net.node("MatMul", state.data, weights), after, state.sizes, True)
    rank = len(state.sizes) + 2
    order = [0, rank - 1, *range(1, rank - 1)] if state.last else [0, *range(2, rank), 1]
    return State(net.node("Transpose", state.data, perm=order), state.depth, state.sizes, not state.last)


def _dense(draw: st.DrawFn, net: Builder, state: State) -> State:
    after = draw(st.integers(1, 9))
    if draw(st.booleans()):
        return State(net.dense(state.data, state.depth, after, f"fc{len(net.nodes)}"), after, (), False)
    return State(net.node("MatMul", state.data, _weights(net, state.depth, after)), after, (), False)


def _dense_activated(draw: st.DrawFn, net: Builder, state: State) -> State:
    made = _dense(draw, net, state)
    data = net.batch_norm(made.data, made.depth) if draw(st.booleans()) else made.data
    return State(_activated(draw, net, data), made.depth, (), False)


def _as_it_is(_draw: st.DrawFn, _net: Builder, state: State) -> str:
    return state.data


def _flattened(draw: st.DrawFn, net: Builder, state: State) -> str:
    """One dense layer over one or two flattened tensors, in whatever order the file has them."""
    count = int(np.prod(state.sizes)) * state.depth
    flat = net.node("Flatten", state.data) if state.sizes else state.data
    if state.sizes and draw(st.booleans()):
        smaller = net.node("ReduceMax", state.data, axes=state.spatial_axes, keepdims=0)
        parts = [flat, smaller] if draw(st.booleans()) else [smaller, flat]
        flat, count = _activated(draw, net, net.node("Concat", *parts, axis=1)), count + state.depth
    return net.node("MatMul", flat, _weights(net, count, draw(st.integers(1, 6))))


def _averaged(draw: st.DrawFn, net: Builder, state: State) -> str:
    if not state.sizes:
        return state.data
    axes = state.spatial_axes[: draw(st.integers(1, len(state.sizes)))]
    if draw(st.integers(0, 3)) == 0:
        axes = [*axes, state.channel_axis]
    if draw(st.booleans()):
        return net.node("ReduceMean", state.data, axes=axes, keepdims=0)
    return net.node("ReduceSum", state.data, net.constant(axes), keepdims=0)


def _scored(draw: st.DrawFn, net: Builder, state: State) -> str:
    return net.node(draw(st.sampled_from(["Sigmoid", "Softmax"])), state.data)


HEADS = (_as_it_is, _flattened, _flattened, _averaged, _scored)
