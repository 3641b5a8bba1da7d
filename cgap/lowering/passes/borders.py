"""Passes over the borders of maps: last windows, averages over fewer pixels, cropping and padding alone.

What they need is made of depthwise convolutions: one with a single weight moves maps, and what it moves beyond the
border is gone, so that masks need no hardware of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.lowering.onnx.network import DOMAIN, Edit, Network, Node, rewrite
from cgap.lowering.passes.simplify import infer_shapes
from cgap.lowering.passes.support import MAX_KERNEL, ceil_pads, check_pool, supports, window_pads


def resolve_ceil_mode(network: Network) -> Network:
    """Pass: `ceil_mode` becomes padding where onnxruntime drops a last window that ONNX's inference counts."""
    while True:
        for node in network.nodes:
            kernel = node.attributes.get("kernel_shape", [])
            shape, made = network.shape(node.inputs[0]) if node.inputs else None, network.shape(node.output)
            if not node.is_a("MaxPool", "AveragePool") or not node.attributes.get("ceil_mode", 0):
                continue
            if shape is None or made is None or len(shape) != 4 or "auto_pad" in node.attributes or len(kernel) != 2:
                continue
            strides = node.attributes.get("strides", [1, 1])
            spans = [(k - 1) * d + 1 for k, d in zip(kernel, node.attributes.get("dilations", [1, 1]), strict=True)]
            pads = window_pads(network, node, spans, strides)
            wide = ceil_pads(network, node, spans, strides, pads)
            sizes = [(shape[2 + a] + wide[a] + wide[2 + a] - spans[a]) // strides[a] + 1 for a in (0, 1)]
            if sizes != list(made[2:]) and (node.is_a("MaxPool") or wide == pads):
                break
        else:
            return network
        explicit = node.with_attributes(ceil_mode=0, pads=list(wide))
        nodes = tuple(explicit if other is node else other for other in network.nodes)
        network = infer_shapes(replace(network, nodes=nodes))


@dataclass
class _Chain:
    """Depthwise convolutions one after the other, that make `output` in the end."""

    network: Network
    node: Node
    channels: int
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def depthwise(
        self,
        data: str,
        kernel: npt.NDArray[Any],
        size: Sequence[int],
        shortcut: str | None = None,
        **settings: Any,
    ) -> str:
        """Append the layer with `kernel` [Nky, Nkx] for every map, which makes maps of `size`; returns its tensor."""
        count = len(self.nodes)
        output = self.network.fresh(f"{self.node.output}.{count}")
        names = self.network.fresh(f"{output}.weights"), self.network.fresh(f"{output}.bias")
        self.constants[names[0]] = np.broadcast_to(kernel, (self.channels, 1, *kernel.shape)).copy()
        self.constants[names[1]] = np.zeros(self.channels)
        attributes = {"stride": [1, 1], "pad": [0] * 4, "groups": self.channels, "relu": 0, **settings}
        inputs = (data, *names, *([] if shortcut is None else [shortcut]))
        if shortcut is not None:
            attributes["shortcut"] = [1, 1, 0]
        label = f"{self.node.name or self.node.output}.{count}"
        self.nodes.append(Node(label, "Convolution", inputs, (output,), attributes, DOMAIN))
        batch = self.network.shapes[self.node.output][0]
        self.shapes[output] = (batch, self.channels, *size)
        return output

    def finished(self) -> list[Node]:
        """The layers, the last of them in the place of the node."""
        last = replace(self.nodes[-1], name=self.node.name, outputs=self.node.outputs[:1])
        return [*self.nodes[:-1], last]


def border_factors(size: int, kernel: int, stride: int, pads: tuple[int, int], made: int) -> list[float]:
    """For each output along one axis the kernel's size by the pixels that its window has on the map."""
    begins = [at * stride - pads[0] for at in range(made)]
    counts = [min(begin + kernel, size) - max(begin, 0) for begin in begins]
    return [kernel / count if count > 0 else 0.0 for count in counts]


def lower_bordered_averages(network: Network) -> Network:
    """Pass: an average whose windows divide by fewer pixels at the border becomes the plain one, corrected there.

    The rows of a border are cut out exactly, by moving the maps beyond the border and back, and added once more with a
    weight of their own; then the columns.
    """
    nodes, constants, shapes = [], dict(network.constants), dict(network.shapes)
    for node in network.nodes:
        factors = bordered(network, node)
        if factors is None or all(factor == 1 for axis in factors for factor in axis):
            settings = {} if factors is None else {"count_include_pad": 1}
            nodes.append(node.with_attributes(**settings) if settings else node)
            continue
        chain = _corrected(network, node, factors)
        nodes += chain.finished()
        constants.update(chain.constants)
        shapes.update(chain.shapes)
    return replace(network, nodes=tuple(nodes), constants=constants, shapes=shapes)


def bordered(network: Network, node: Node) -> list[list[float]] | None:
    """Factors of rows and columns of an average that does not count its padding; None if it is none such."""
    shape, made = network.shape(node.inputs[0]), network.shape(node.output)
    if not node.is_a("AveragePool") or shape is None or made is None or len(shape) != 4:
        return None
    kernel, strides = node.attributes["kernel_shape"], node.attributes.get("strides", [1, 1])
    if max(node.attributes.get("dilations", [1, 1])) > 1:
        return None
    pads = window_pads(network, node, kernel, strides)
    wide = ceil_pads(network, node, kernel, strides, pads)
    inner = [0, 0]
    if node.attributes.get("count_include_pad", 0):
        if wide == pads:
            return None
        inner = [1, 1]  # what ceil_mode adds is not counted, what the file pads is
    found = []
    for axis in (0, 1):
        before = pads[axis]
        size = shape[2 + axis] + (before + pads[2 + axis] if inner[axis] else 0)
        begin = (0, 0) if inner[axis] else (before, 0)
        found.append(border_factors(size, kernel[axis], strides[axis], begin, made[2 + axis]))
    return found


@supports("AveragePool")
def _average(network: Network, node: Node) -> str | None:
    reason = check_pool(network, node)
    factors = None if reason else bordered(network, node)
    if factors is not None and 0 in (*factors[0], *factors[1]):
        return "one of its windows has no pixel of the map; pad less"
    return reason


def _corrected(network: Network, node: Node, factors: list[list[float]]) -> _Chain:
    shape, made = network.shapes[node.inputs[0]], network.shapes[node.output]
    kernel, strides = node.attributes["kernel_shape"], node.attributes.get("strides", [1, 1])
    pads = ceil_pads(network, node, kernel, strides, window_pads(network, node, kernel, strides))
    chain, size = _Chain(network, node, shape[1]), made[2:]
    inner = [axis[len(axis) // 2] for axis in factors]
    share = np.full(kernel, math.prod(inner) / math.prod(kernel))
    data = chain.depthwise(node.inputs[0], share, size, stride=list(strides), pad=list(pads))
    for axis in (0, 1):
        data = _correct_axis(chain, data, size, axis, [factor / inner[axis] for factor in factors[axis]])
    return chain


def _correct_axis(chain: _Chain, data: str, size: Sequence[int], axis: int, factors: list[float]) -> str:
    """Multiply the lines near both ends of an axis by their factors, from the innermost line outwards."""
    half = len(factors) // 2
    before, after = _without_inner(factors[:half]), _without_inner(factors[half:][::-1])
    for depth in range(max(len(before), len(after)), 0, -1):
        gains = []
        for side in (before, after):
            inner = side[depth] if depth < len(side) else 1.0
            gains.append(side[depth - 1] / inner if depth <= len(side) else 1.0)
        sides = [(1, 1, gains[0])] if gains[0] == gains[1] else [(1, 0, gains[0]), (0, 1, gains[1])]
        for first, last, gain in sides:
            if gain != 1:
                edge = _edges(chain, data, size, axis, depth * first, depth * last)
                data = chain.depthwise(edge, np.full((1, 1), gain - 1), size, data)
    return data


def _without_inner(factors: list[float]) -> list[float]:
    """Factors from the border inwards, up to where they are one."""
    return factors[: max((index + 1 for index, factor in enumerate(factors) if factor != 1), default=0)]


def _edges(chain: _Chain, data: str, size: Sequence[int], axis: int, before: int, after: int) -> str:
    """The first `before` and the last `after` lines of maps along an axis, zeros between them."""
    *first, last = (by for by in (-before, before + after, -after) if by)
    inner = data
    for by in first:
        inner = chain.depthwise(inner, _move(axis, by, 1.0), size, pad=_pad(axis, by))
    return chain.depthwise(inner, _move(axis, last, -1.0), size, data, pad=_pad(axis, last))


def _move(axis: int, by: int, weight: float) -> npt.NDArray[Any]:
    """The kernel that moves maps by `by` lines, towards the end if positive, times `weight`."""
    line = np.zeros(abs(by) + 1)
    line[-1 if by < 0 else 0] = weight
    return line.reshape(-1, 1) if axis == 0 else line.reshape(1, -1)


def _pad(axis: int, by: int) -> list[int]:
    """(top, left, bottom, right) so that the moved maps keep their size."""
    pad = [0] * 4
    pad[axis if by > 0 else axis + 2] = abs(by)
    return pad


def lower_cuts(network: Network) -> Network:
    """Pass: rows and columns are cut off, left out or padded by a depthwise convolution, where no other layer does it.

    Zero channels that are added need a convolution over all channels.
    """

    def match(network: Network, node: Node) -> Edit | None:
        shape, made = network.shape(node.inputs[0]), network.shape(node.output)
        if shape is None or made is None or len(shape) != 4 or not node.is_a("Slice", "Pad"):
            return None
        found = _sliced(node, shape) if node.is_a("Slice") else _padded(node)
        if found is None:
            return None
        kernel, stride, pad, offset = found
        weights = np.broadcast_to(kernel, (shape[1], 1, *kernel.shape)).copy()
        groups = shape[1]
        if made[1] != shape[1]:
            groups = 1
            weights = np.zeros((made[1], shape[1], *kernel.shape))
            for channel in range(shape[1]):
                weights[offset + channel, channel] = kernel
        names = network.fresh(f"{node.output}.weights"), network.fresh(f"{node.output}.bias")
        settings = {"stride": stride, "pad": pad, "groups": groups, "relu": 0}
        layer = Node(node.name, "Convolution", (node.inputs[0], *names), node.outputs, settings, DOMAIN)
        return Edit((node,), layer, constants={names[0]: weights, names[1]: np.zeros(made[1])})

    return rewrite(network, match)


Cut = tuple[npt.NDArray[Any], list[int], list[int], int]
"""Kernel [Nky, Nkx], stride, padding, and the channel where the first one lands."""


def _sliced(node: Node, shape: Sequence[int]) -> Cut | None:
    takes = {axis: range(size) for axis, size in enumerate(shape)}
    attributes = node.attributes
    for start, end, axis, step in zip(*(attributes[key] for key in ("starts", "ends", "axes", "steps")), strict=True):
        takes[axis] = range(shape[axis])[start:end:step]
    if len(takes[1]) != shape[1] or any(taken.step < 1 or not len(taken) for taken in takes.values()):
        return None
    lines = []
    for axis in (2, 3):
        taken = takes[axis]
        line = np.zeros(shape[axis] - (len(taken) - 1) * taken.step if len(taken) > 1 else shape[axis])
        line[taken.start] = 1
        lines.append(line)
    strides = [takes[axis].step if len(takes[axis]) > 1 else 1 for axis in (2, 3)]
    if max(*strides, *map(len, lines)) > MAX_KERNEL:
        return None
    return np.outer(*lines), strides, [0] * 4, 0


def _padded(node: Node) -> Cut | None:
    pads = node.attributes["pads"]
    if min(pads) < 0 or pads[0] or pads[4] or node.attributes.get("value", 0.0):
        return None
    lines = []
    for axis in (2, 3):
        line = np.zeros(pads[axis] + pads[axis + 4] + 1)
        line[pads[axis + 4]] = 1
        lines.append(line)
    if max(map(len, lines)) > MAX_KERNEL:
        return None
    around = [pads[2] + pads[6], pads[3] + pads[7], pads[2] + pads[6], pads[3] + pads[7]]
    return np.outer(*lines), [1, 1], around, pads[1]
