"""How each ONNX operator looks over maps [N, C, H, W], whatever layout and rank the file wrote it for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.lowering.onnx.axes import Axes, View
from cgap.lowering.onnx.network import Node
from cgap.lowering.passes.arrange import Arranger, Stack, Unarranged, arranges

MOVES = (
    "it moves numbers between maps, rows and columns, which no layer does: a layout is followed only where channels, "
    "rows and columns stay whole (no shuffling of channels, no splitting of an axis)"
)


@arranges("Transpose")
def _transpose(to: Arranger, node: Node) -> None:
    view = to.view(node.inputs[0])
    order = node.attributes.get("perm", list(reversed(range(len(view.axes)))))
    if sorted(order) != list(range(len(view.axes))):
        to.leave(node)
    else:
        to.views[node.output] = _batch_first(view.transposed(order))


@arranges("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(to: Arranger, node: Node) -> None:
    if node.is_a("Flatten"):
        axis, given = node.attributes.get("axis", 1), to.network.shape(node.inputs[0])
        if given is not None and not -len(given) <= axis <= len(given):  # which ONNX's inference does not check
            raise Unarranged(f"its input has {len(given)} axes, and there is none {axis}")
    sizes, given_view = to.made(node), to.seen(node.inputs[0])
    if isinstance(given_view, Stack):
        if to.network.shape(node.inputs[0]) == sizes:
            to.views[node.output] = given_view
            return
        raise Unarranged(MOVES)
    view = given_view.reshaped(sizes)
    if view is None:
        raise Unarranged(MOVES)
    to.views[node.output] = _batch_first(view)


def _batch_first(view: View) -> View:
    if not view.axes or view.plain[0] != (0,):
        raise Unarranged("it moves the batch, which must stay the first axis")
    return view


@arranges("Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish")
def each_number(to: Arranger, node: Node) -> None:
    """An operator that treats every number alone."""
    given = to.seen(node.inputs[0])
    if isinstance(given, View):
        to.emit(replace(node, inputs=(given.base, *node.inputs[1:])), given.shape, given.axes)
        return
    parts = []
    for index, part in enumerate(given.parts):
        outputs = (to.fresh(f"{node.output}.{index}"),)
        name = f"{node.name or node.output}.{index}"
        moved = replace(node, name=name, inputs=(part.base, *node.inputs[1:]), outputs=outputs)
        parts.append(to.emit(moved, part.shape, part.axes))
    to.views[node.output] = Stack(given.concat, tuple(parts))


@arranges("Add", "Sub", "Mul", "Div", "Sum")
def _arithmetic(to: Arranger, node: Node) -> None:
    data = to.data(node)
    views = [to.view(tensor) for tensor in data]
    if len({view.sizes for view in views}) != 1 or views[0].sizes != to.network.shape(node.output):
        to.leave(node)
        return
    if len({(view.shape, view.plain) for view in views}) != 1:
        raise Unarranged("its operands are of one size, but one lies transposed to the other")
    view, operands = views[0], []
    for tensor in node.inputs:
        seen = to.views.get(tensor)
        operands.append(seen.base if isinstance(seen, View) else _like(to, view, tensor))
    if node.is_a("Sub") and len(data) == 2:
        negated = to.fresh(f"{node.output}.negated")
        minus = to.constant(f"{node.output}.minus", np.full((1, 1, 1, 1), -1.0, np.float32))
        to.emit(
            Node(f"{node.name or node.output}.negated", "Mul", (operands[1], minus), (negated,)), view.shape, view.axes
        )
        operands, node = [operands[0], negated], replace(node, op="Add")
    if node.is_a("Sum"):
        node = replace(node, op="Add")
        while len(operands) > 2:
            total = to.fresh(f"{node.output}.sum")
            part = Node(f"{node.name or node.output}.{total}", "Add", tuple(operands[:2]), (total,))
            to.emit(part, view.shape, view.axes)
            operands[:2] = [total]
        if len(operands) == 1:
            to.views[node.output] = view
            return
    to.emit(replace(node, inputs=tuple(operands)), view.shape, view.axes)


def _like(to: Arranger, view: View, tensor: str) -> str:
    """The constant `tensor` for the maps of `view`."""
    given = to.network.constants[tensor]
    if given.ndim == 0 or (view.is_maps and given.ndim == 4):
        return tensor
    return to.constant(f"{tensor}.maps", _fitting(view, given))


def _fitting(view: View, given: npt.NDArray[Any]) -> npt.NDArray[Any]:
    values = view.constant(given)
    if values is None:
        raise Unarranged(f"its constant of {list(given.shape)} does not fit {list(view.sizes)}")
    return values


@arranges("BatchNormalization")
def _batch_norm(to: Arranger, node: Node) -> None:
    view = to.view(node.inputs[0])
    places = view.places(channels_first=True)
    if places is not None and len(places) > 1:
        to.emit(replace(node, inputs=(view.base, *node.inputs[1:])), view.shape, view.axes)
        to.unseen.update(filter(None, node.outputs[1:]))
        return
    parts = [to.network.constant(node, index) for index in range(1, 5)]
    if len(view.axes) != 2 or any(part is None or part.shape != view.sizes[1:] for part in parts):
        raise Unarranged("it normalises something other than channels or flattened maps")
    scale, offset, mean, variance = (part.astype(np.float64) for part in parts if part is not None)
    with np.errstate(all="ignore"):  # what is not finite is reported with the layer's name
        factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        values = {"Mul": factor, "Add": offset - mean * factor}
    data, label = view.base, node.name or node.output
    for op, value in values.items():
        output = node.output if op == "Add" else to.fresh(f"{node.output}.scaled")
        inputs = data, to.constant(f"{output}.constant", _fitting(view, value))
        to.emit(Node(f"{label}.{op.lower()}", op, inputs, (output,)), view.shape, view.axes)
        data = output


def _channels(view: View) -> tuple[tuple[int, ...], ...]:
    """What an axis of the channels looks like."""
    return ((1,), ()) if view.shape[1] == 1 else ((1,),)


def _spatial(view: View) -> list[int]:
    """The axes of the maps that a window over [N, C, ...] slides along, for each axis of the tensor from the third."""
    if len(view.axes) > 4:
        raise Unarranged(f"its input has {len(view.axes) - 2} axes besides batch and channels; two are supported")
    places = view.places(channels_first=True)
    if places is None or len(places) < 3:
        raise Unarranged(f"its input {list(view.sizes)} is not channels first: [N, C, H, W] or [N, C, L] is needed")
    return list(places[2:])


_NEUTRAL = {"kernel_shape": 1, "strides": 1, "dilations": 1}


def _window_attributes(node: Node, spatial: Sequence[int]) -> dict[str, Any] | None:
    """Attributes of a window for rows and columns; None if one has not a number for each axis."""
    changed: dict[str, Any] = {}
    for name, neutral in _NEUTRAL.items():
        values = node.attributes.get(name)
        if values is None:
            continue
        if len(values) != len(spatial):
            return None
        by_axis = dict(zip(spatial, values, strict=True))
        changed[name] = [by_axis.get(axis, neutral) for axis in (2, 3)]
    pads = node.attributes.get("pads")
    if pads is not None:
        if len(pads) != 2 * len(spatial):
            return None
        before = dict(zip(spatial, pads[: len(spatial)], strict=True))
        after = dict(zip(spatial, pads[len(spatial) :], strict=True))
        changed["pads"] = [side.get(axis, 0) for side in (before, after) for axis in (2, 3)]
    return changed


def _emit_window(to: Arranger, node: Node, view: View, spatial: Sequence[int], changes: dict[str, Any]) -> None:
    made = to.made(node)
    sizes = dict(zip(spatial, made[2:], strict=True))
    shape = (*made[:2], sizes.get(2, 1), sizes.get(3, 1))
    to.emit(node.with_attributes(**changes), shape, ((0,), (1,), *((axis,) for axis in spatial)))
    to.unseen.update(filter(None, node.outputs[1:]))


@arranges("Conv")
def _conv(to: Arranger, node: Node) -> None:
    weights = to.network.constant(node, 1)
    view = to.view(node.inputs[0])
    if weights is None or weights.ndim != len(view.axes):
        to.leave(node)
        return
    spatial = _spatial(view)
    changes = _window_attributes(node, spatial)
    if changes is None:
        to.leave(node)
        return
    name = node.inputs[1]
    if spatial != [2, 3]:
        name = to.constant(f"{name}.maps", _spread(weights, spatial))
    _emit_window(to, replace(node, inputs=(view.base, name, *node.inputs[2:])), view, spatial, changes)


def _spread(weights: npt.NDArray[Any], spatial: Sequence[int]) -> npt.NDArray[Any]:
    """[Nof, Nif, ...] as [Nof, Nif, rows, columns]."""
    wide = weights.reshape(*weights.shape, *[1] * (4 - weights.ndim))
    rest = [axis for axis in (2, 3) if axis not in spatial]
    return wide.transpose(0, 1, *(2 + [*spatial, *rest].index(axis) for axis in (2, 3)))


@arranges("MaxPool", "AveragePool")
def _pool(to: Arranger, node: Node) -> None:
    view = to.view(node.inputs[0])
    spatial = _spatial(view)
    changes = _window_attributes(node, spatial)
    if changes is None or len(node.attributes["kernel_shape"]) != len(spatial):
        to.leave(node)
        return
    _emit_window(to, replace(node, inputs=(view.base,)), view, spatial, changes)


@arranges("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(to: Arranger, node: Node) -> None:
    view = to.view(node.inputs[0])
    if len(view.axes) < 3 or view.plain[0] != (0,) or view.plain[1] not in _channels(view):
        raise Unarranged(f"its input {list(view.sizes)} is not channels first: [N, C, H, W] or [N, C, L] is needed")
    empty: list[tuple[int, ...]] = [()] * (len(view.axes) - 2)
    to.emit(replace(node, inputs=(view.base,)), (*view.shape[:2], 1, 1), ((0,), (1,), *empty))


@arranges("ReduceMean", "ReduceMax", "ReduceSum")
def _reduce(to: Arranger, node: Node) -> None:
    view, rank = to.view(node.inputs[0]), len(to.view(node.inputs[0]).axes)
    axes = to.network.argument(node, "axes", 1)
    if axes is None and len([name for name in node.inputs if name]) > 1:
        raise Unarranged("its axes are computed by the network; constants are supported")
    if not axes:
        axes = [] if node.attributes.get("noop_with_empty_axes", 0) else list(range(rank))
    gone = {axis % rank for axis in axes}
    reduced = {axis for index in gone for axis in view.plain[index]}
    if 0 in reduced:
        raise Unarranged("it reduces over the batch")
    kept = [() if index in gone else group for index, group in enumerate(view.axes)]
    if not node.attributes.get("keepdims", 1):
        kept = [group for index, group in enumerate(view.axes) if index not in gone]
    data, shape = view.base, list(view.shape)
    steps = _reduction(to, node, reduced, view)
    for count, step in enumerate(steps, start=1):
        output = node.output if count == len(steps) else to.fresh(f"{node.output}.{count}")
        name = node.name if count == len(steps) else f"{node.name or node.output}.{count}"
        made = replace(step, name=name, inputs=(data, *step.inputs), outputs=(output,))
        if step.is_a("Conv"):
            shape[1] = 1
        elif not step.is_a("Mul"):
            kernel = step.attributes.get("kernel_shape", shape[2:])
            shape[2:] = [size - width + 1 for size, width in zip(shape[2:], kernel, strict=True)]
        to.emit(made, shape, tuple(kept))
        data = output
    if not steps:
        to.views[node.output] = View(view.base, view.shape, tuple(kept))


def _reduction(to: Arranger, node: Node, reduced: set[int], view: View) -> list[Node]:
    """The pooling, and the convolution over channels, that a reduction is; without names, inputs and outputs."""
    kind, steps = node.op.removeprefix("Reduce"), []
    pool = "MaxPool" if kind == "Max" else "AveragePool"
    if {axis for axis in (2, 3) if view.shape[axis] > 1} <= reduced and reduced & {2, 3}:
        steps.append(Node("", f"Global{pool}", (), ()))
    elif reduced & {2, 3}:
        kernel = [view.shape[axis] if axis in reduced else 1 for axis in (2, 3)]
        steps.append(Node("", pool, (), (), {"kernel_shape": kernel}))
    if 1 in reduced:
        if kind == "Max":
            raise Unarranged("a maximum over channels is supported by no layer; one over rows and columns is")
        ones = np.full((1, view.shape[1], 1, 1), 1 / view.shape[1])
        steps.append(Node("", "Conv", (to.constant(f"{node.output}.share", ones),), ()))
    if kind == "Sum" and reduced:
        count = np.full((1, 1, 1, 1), float(math.prod(view.shape[axis] for axis in reduced)))
        steps.append(Node("", "Mul", (to.constant(f"{node.output}.count", count),), ()))
    return steps


@arranges("Gemm", "MatMul")
def _product(to: Arranger, node: Node) -> None:
    given, weights = to.views.get(node.inputs[0]), to.network.constant(node, 1)
    if given is None or weights is None or weights.ndim != 2 or node.attributes.get("transA", 0):
        to.leave(node)
        return
    turned = bool(node.attributes.get("transB", 0))
    if isinstance(given, Stack):
        _stacked_product(to, node, given, weights if turned else weights.T)
        return
    sizes, depth = given.sizes, weights.shape[1 if turned else 0]
    if len(sizes) < 2 or given.plain[0] != (0,) or sizes[-1] != depth or (node.is_a("Gemm") and len(sizes) != 2):
        to.leave(node)
        return
    outputs, rows = weights.shape[0 if turned else 1], given.plain[-1]
    if {axis for axis in (1, 2, 3) if given.shape[axis] > 1} == set(rows):
        made = (given.shape[0], outputs, 1, 1)
        inside: list[tuple[int, ...]] = [()] * (len(sizes) - 2)
        moved = _dense(to, node, given, weights if turned else weights.T, in_order=turned or node.is_a("MatMul"))
        to.emit(moved, made, ((0,), *inside, (1,)))
    elif rows in _channels(given) and node.is_a("MatMul"):
        kernel = np.ascontiguousarray(weights.T).reshape(outputs, depth, 1, 1)
        name = to.constant(f"{node.inputs[1]}.maps", kernel)
        shape = (given.shape[0], outputs, *given.shape[2:])
        to.emit(Node(node.name, "Conv", (given.base, name), node.outputs), shape, (*given.axes[:-1], (1,)))
    else:
        raise Unarranged("it multiplies rows or columns of maps by a matrix; channels, or whole maps, are supported")


def _dense(to: Arranger, node: Node, view: View, rows: npt.NDArray[Any], in_order: bool) -> Node:
    """The node over maps: its weights `rows` [Nof, K] in the order of the maps' own numbers."""
    axes = view.axes[-1]
    if list(axes) == sorted(axes) and in_order:
        return replace(node, inputs=(view.base, *node.inputs[1:]))
    name = to.constant(f"{node.inputs[1]}.maps", _ordered(view, rows))
    attributes = {key: value for key, value in node.attributes.items() if key in ("alpha", "beta")}
    return replace(node, op="Gemm", inputs=(view.base, name, *node.inputs[2:]), attributes={**attributes, "transB": 1})


def _ordered(view: View, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    axes = view.axes[-1]
    wide = rows.reshape(len(rows), *(view.shape[axis] for axis in axes))
    return np.ascontiguousarray(wide.transpose(0, *(1 + np.argsort(axes)))).reshape(len(rows), -1)


def _stacked_product(to: Arranger, node: Node, stack: Stack, rows: npt.NDArray[Any]) -> None:
    """A dense layer over flattened maps of different sizes: the sum of one layer for each of them."""
    outputs, begin, total, shape = len(rows), 0, "", (stack.parts[0].shape[0], len(rows), 1, 1)
    if rows.shape[1] != sum(part.sizes[-1] for part in stack.parts):
        raise Unarranged(f"its weights {list(rows.shape)} do not fit its input")
    alpha = node.attributes.get("alpha", 1.0)
    for index, part in enumerate(stack.parts):
        own = _ordered(part, rows[:, begin : begin + part.sizes[-1]])
        begin += part.sizes[-1]
        last = index == len(stack.parts) - 1
        name, label = to.fresh(f"{node.output}.{index}"), node.name or node.output
        weights = to.constant(f"{node.output}.weights.{index}", own * np.float64(alpha))
        if index == 0:
            settings = {"transB": 1, "beta": node.attributes.get("beta", 1.0)}
            made = Node(f"{label}.{index}", "Gemm", (part.base, weights, *node.inputs[2:]), (name,), settings)
        else:
            to.constants[weights] = to.constants[weights].reshape(outputs, *part.shape[1:])
            made = Node(label if last else f"{label}.{index}", "Conv", (part.base, weights), (name,))
        to.emit(made, shape, ((0,), (1,)))
        if index == 0:
            total = name
            continue
        output = node.output if last else to.fresh(f"{node.output}.sum")
        to.emit(Node(f"{label}.sum{index}", "Add", (name, total), (output,)), shape, ((0,), (1,)))
        total = output


@arranges("Concat")
def _concat(to: Arranger, node: Node) -> None:
    given = to.network.shape(node.output)
    data = to.data(node)
    views = [to.view(tensor) for tensor in data]
    if given is None or not views:
        to.leave(node)
        return
    rank, axis = len(given), node.attributes["axis"] % len(given)
    if any(len(view.axes) != rank for view in views):
        to.leave(node)
        return
    alike = {view.shape[2:] for view in views}
    others = {tuple(view.plain[:axis] + view.plain[axis + 1 :]) for view in views}
    groups = {view.plain[axis] for view in views}
    along = max(groups, key=len)
    channels = all((places := view.places()) is not None and places[axis] == 1 for view in views)
    flattened = along[:1] == (1,) and len(groups) == 1 and axis > 0 and rank == 2
    if len(alike) == len(others) == 1 and (channels or flattened):
        own = (*views[0].axes[:axis], (1,), *views[0].axes[axis + 1 :]) if channels else views[0].axes
        stacked = [to.view(t).base if t in data else _full(to, views[0], own, t) for t in node.inputs]
        count = sum(to.shapes[t][1] if t in to.shapes else to.constants[t].shape[1] for t in stacked)
        shape = (views[0].shape[0], count, *views[0].shape[2:])
        axes = (*views[0].axes[:axis], (1,) if channels else along, *views[0].axes[axis + 1 :])
        to.emit(replace(node, inputs=tuple(stacked)).with_attributes(axis=1), shape, axes)
    elif rank == 2 and axis == 1 and len(data) == len(node.inputs):
        to.views[node.output] = Stack(node, tuple(views))
    else:
        raise Unarranged(
            "it concatenates rows, columns or other parts of maps; stored tensors are stacked along channels"
        )


def _full(to: Arranger, view: View, axes: Axes, tensor: str) -> str:
    """A constant part of a concatenation as maps: its channels are its own."""
    values = to.network.constants[tensor]
    around = view.shape[0] * math.prod(view.shape[2:])
    own = View(tensor, (view.shape[0], max(1, values.size // around), *view.shape[2:]), axes)
    wide = own.constant(values)
    if wide is None:
        raise Unarranged(f"its constant of {list(values.shape)} does not fit the others")
    return tensor if values.ndim == 4 and view.is_maps else to.constant(f"{tensor}.maps", wide)


def _along(view: View, axis: int) -> int:
    """The axis of the maps that axis `axis` of a tensor is."""
    places = view.places()
    if places is None or axis == 0:
        raise Unarranged("it cuts flattened maps or the batch; channels, rows and columns are cut whole")
    return places[axis]


@arranges("Slice")
def _slice(to: Arranger, node: Node) -> None:
    view, made = to.view(node.inputs[0]), to.made(node)
    starts, ends = to.network.argument(node, "starts", 1), to.network.argument(node, "ends", 2)
    if starts is None or ends is None:
        to.leave(node)
        return
    axes = to.network.argument(node, "axes", 3) or list(range(len(starts)))
    steps = to.network.argument(node, "steps", 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or any(
        not -len(made) <= axis < len(made) for axis in axes
    ):
        to.leave(node)
        return
    bounds = []
    for start, end, axis, step in zip(starts, ends, (axis % len(made) for axis in axes), steps, strict=True):
        taken = range(view.sizes[axis])[start:end:step] if step else range(0)
        if taken == range(view.sizes[axis]):
            continue
        if len(taken) == 1:
            taken = range(taken[0], taken[0] + 1)
        if taken.step < 0 or not len(taken):
            raise Unarranged("it takes nothing, or from the end to the front; positive steps are supported")
        bounds.append((taken.start, taken.stop, _along(view, axis), taken.step))
    _cut(to, node, view, bounds, node.output)


def _cut(to: Arranger, node: Node, view: View, bounds: list[tuple[int, int, int, int]], output: str) -> None:
    """A Slice of the maps by (start, end, axis of the maps, step): of channels first, then of rows and columns."""
    channels, rest = ([bound for bound in bounds if (bound[2] == 1) == first] for first in (True, False))
    if channels and rest:
        part = to.fresh(f"{output}.channels")
        _cut(to, replace(node, name=f"{node.name or output}.channels"), view, channels, part)
        view, bounds = to.view(part), rest
    shape = list(view.shape)
    for start, end, axis, step in bounds:
        shape[axis] = len(range(view.shape[axis])[start:end:step])
    if not bounds:
        to.views[output] = view
        return
    starts, ends, axes, steps = (list(part) for part in zip(*bounds, strict=True))
    settings = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    to.emit(Node(node.name, "Slice", (view.base,), (output,), settings), shape, view.axes)


@arranges("Split")
def _split(to: Arranger, node: Node) -> None:
    view = to.view(node.inputs[0])
    shapes = [to.made(node, index) for index in range(len(node.outputs))]
    axis, begin = node.attributes.get("axis", 0) % len(view.axes), 0
    if sum(shape[axis] for shape in shapes) != view.sizes[axis]:
        raise Unarranged("its parts are not all of its input")
    for output, shape in zip(node.outputs, shapes, strict=True):
        _cut(to, node, view, [(begin, begin + shape[axis], _along(view, axis), 1)], output)
        begin += shape[axis]


@arranges("Pad")
def _pad(to: Arranger, node: Node) -> None:
    view, pads = to.view(node.inputs[0]), to.network.argument(node, "pads", 1)
    axes = to.network.argument(node, "axes", 3) or list(range(len(view.axes)))
    if pads is None or len(pads) != 2 * len(axes):
        to.leave(node)
        return
    amounts, after = [0] * 8, view.axes
    for index, axis in enumerate(axes):
        if pads[index] or pads[index + len(axes)]:
            place = _along(view, axis % len(view.axes))
            amounts[place], amounts[place + 4] = pads[index], pads[index + len(axes)]
            after = tuple((place,) for place in view.places() or ())
    shape = [size + amounts[axis] + amounts[axis + 4] for axis, size in enumerate(view.shape)]
    attributes = {key: value for key, value in node.attributes.items() if key != "pads"}
    value = to.network.constant(node, 2)
    if value is not None and value.size == 1:
        attributes["value"] = float(value.reshape(()))
    elif len(node.inputs) > 2 and node.inputs[2]:
        to.leave(node)
        return
    to.emit(Node(node.name, "Pad", (view.base,), node.outputs, {**attributes, "pads": amounts}), shape, after)
