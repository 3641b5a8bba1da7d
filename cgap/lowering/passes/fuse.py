"""Passes that turn ONNX operators into the accelerator's layers, fusing what one layer does at once.

The nodes they make are in the domain `cgap`:

    Convolution(data, weights [Nof, Nif/groups, Nky, Nkx], bias [Nof], shortcut?)
                                                         stride, pad, groups, activation,
                                                         shortcut (strides, offset)
    FullyConnected(data, weights [Nof, K], bias [Nof])   activation
    Pooling(data)                                        mode, kernel, stride, pad, dilation, divisor
    Concatenation(data, ...)                             parts: input, first channel, channels of each (concatenate.py)

Weights that something was folded into are float64; others may stay the file's own float32. `pad` is (top, left, bottom,
right). An activation is `relu` (0 or 1), and `ceiling` and `leak` where there are such.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.lowering.onnx.network import DOMAIN, Edit, Network, Node, prune, rewrite
from cgap.lowering.passes.affine import WEIGHTED, Affine, channels_of, depthwise, plain_layer, repeat
from cgap.lowering.passes.support import MAX_KERNEL, ceil_pads, spread_kernel, window_pads


def lower_convolutions(network: Network) -> Network:
    """Pass: Conv becomes Convolution, with a bias always."""

    def match(network: Network, node: Node) -> Edit | None:
        if not node.is_a("Conv"):
            return None
        weights = _exact(network.constants[node.inputs[1]])
        bias = network.constant(node, 2)
        strides = node.attributes.get("strides", [1, 1])
        weights = spread(weights, node.attributes.get("dilations", [1, 1]))
        weights, pads = _within_kernel(weights, list(window_pads(network, node, list(weights.shape[2:]), strides)))
        settings = {
            "stride": strides,
            "pad": pads,
            "groups": node.attributes.get("group", 1),
            "relu": 0,
        }
        values = np.zeros(len(weights)) if bias is None else bias.astype(np.float64)
        return _weighted(network, node, "Convolution", weights, values, settings)

    return rewrite(network, match)


def _exact(weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Weights such that folding float64 numbers into them makes float64 numbers; those of most files are so as read."""
    return weights if weights.dtype in (np.float32, np.float64) else weights.astype(np.float64)


def spread(weights: npt.NDArray[Any], dilations: list[int]) -> npt.NDArray[Any]:
    """The kernel [..., Nky, Nkx] that a dilated one is: with zeros between its weights."""
    if max(dilations) == 1:
        return weights
    rows, columns = ((size - 1) * step + 1 for size, step in zip(weights.shape[2:], dilations, strict=True))
    wide = np.zeros((*weights.shape[:2], rows, columns), weights.dtype)
    wide[:, :, :: dilations[0], :: dilations[1]] = weights
    return wide


def _within_kernel(weights: npt.NDArray[Any], pads: list[int]) -> tuple[npt.NDArray[Any], list[int]]:
    """A kernel with lines of zeros, such that it is wider than the padding: no window may see nothing but padding."""
    top, left, bottom, right = pads
    lines = [(0, 0), (0, 0)]
    for size, before, after in zip(weights.shape[2:], (top, left), (bottom, right), strict=True):
        # Zeros before the kernel allow for more padding behind it, and the other way round.
        lines.append((max(0, after - size + 1), max(0, before - size + 1)))
    (front, back), (first, last) = lines[2:]
    if not any(map(any, lines)):
        return weights, pads
    return np.pad(weights, lines), [top + front, left + first, bottom + back, right + last]


def lower_fully_connected(network: Network) -> Network:
    """Pass: Gemm, and MatMul by a constant, become FullyConnected."""

    def match(network: Network, node: Node) -> Edit | None:
        if not node.is_a("Gemm", "MatMul"):
            return None
        weights, alpha = _exact(network.constants[node.inputs[1]]), node.attributes.get("alpha", 1.0)
        if alpha != 1:
            weights = weights * np.float64(alpha)
        rows = weights if node.attributes.get("transB", 0) else weights.T
        bias = network.constant(node, 2)
        values = np.zeros(len(rows))
        if bias is not None:
            values = values + bias.astype(np.float64).reshape(-1) * node.attributes.get("beta", 1.0)
        return _weighted(network, node, "FullyConnected", rows, values, {"relu": 0})

    return rewrite(network, match)


def _weighted(
    network: Network,
    node: Node,
    op: str,
    weights: npt.NDArray[Any],
    bias: npt.NDArray[Any],
    settings: dict[str, Any],
) -> Edit:
    names = network.fresh(f"{node.output}.weights"), network.fresh(f"{node.output}.bias")
    lowered = Node(node.name, op, (node.inputs[0], *names), (node.output,), settings, DOMAIN)
    return Edit((node,), lowered, constants=dict(zip(names, (weights, bias), strict=True)))


def fuse_shortcuts(network: Network) -> Network:
    """Pass: a sum is added in the accumulators of the later convolution that feeds it, or else becomes a layer.

    That layer repeats one of its tensors, and the other is its shortcut.
    """

    def match(network: Network, node: Node) -> Edit | None:
        if not node.is_a("Add"):
            return None
        candidates = []
        for data, other in (node.inputs, node.inputs[::-1]):
            layer = plain_layer(network, data)
            if layer is not None and layer.is_a("Convolution", domain=DOMAIN):
                candidates.append((network.positions[layer.output], layer, other))
        for _, layer, other in sorted(candidates, key=lambda item: -item[0]):
            traced = _trace_shortcut(network, other)
            if traced is not None:
                source, *place = traced
                fused = replace(layer, inputs=(*layer.inputs, source), outputs=node.outputs)
                return Edit((layer, node), fused.with_attributes(shortcut=place))
        return _sum_alone(network, node)

    return rewrite(network, match)


def _sum_alone(network: Network, node: Node) -> Edit | None:
    channels = channels_of(network, node.output)
    # The image first: of all tensors it alone cannot give up fraction bits to be added to something coarse.
    for data, other in sorted((node.inputs, node.inputs[::-1]), key=lambda pair: pair[0] != network.input):
        traced = _trace_shortcut(network, other)
        if channels is not None and traced is not None and _trace_shortcut(network, data) == (data, 1, 1, 0):
            source, *place = traced
            layer, constants = depthwise(network, node, repeat(data, channels), [source], {"shortcut": place})
            return Edit((node,), layer, constants=constants)
    return None


def _trace_shortcut(network: Network, tensor: str) -> Step | None:
    """Follow a shortcut back to a stored tensor."""
    strides, offset = [1, 1], 0
    while True:
        node = network.producer(tensor)
        step = None if node is None or node.domain else _SHORTCUT_STEPS.get(node.op, _no_step)(network, node)
        if step is None:
            return None if tensor in network.constants else (tensor, strides[0], strides[1], offset)
        tensor, rows, columns, first = step
        strides = [strides[0] * rows, strides[1] * columns]
        if max(strides) > MAX_KERNEL:
            return None
        offset += first


Step = tuple[str, int, int, int]
"""The tensor read, the strides of its rows and columns, the channel where it lands."""


def _no_step(_network: Network, _node: Node) -> Step | None:
    return None


def _pad_step(network: Network, node: Node) -> Step | None:
    pads = node.attributes["pads"]
    if min(pads) < 0 or any(pads[axis] or pads[axis + 4] for axis in (0, 2, 3)) or node.attributes.get("value", 0.0):
        return None
    return node.inputs[0], 1, 1, pads[1]


def _concat_step(network: Network, node: Node) -> Step | None:
    data = [tensor for tensor in node.inputs if tensor not in network.constants]
    if len(data) != 1 or node.attributes.get("axis") not in (1, -3):
        return None
    zeros = [network.constants[tensor] for tensor in node.inputs if tensor != data[0]]
    if any(np.any(value) for value in zeros):
        return None
    before = node.inputs[: node.inputs.index(data[0])]
    return data[0], 1, 1, sum(network.constants[tensor].shape[1] for tensor in before)


def _slice_step(network: Network, node: Node) -> Step | None:
    shape, made = network.shape(node.inputs[0]), network.shape(node.output)
    starts = network.argument(node, "starts", 1)
    if shape is None or made is None or starts is None or len(shape) != 4:
        return None
    axes = network.argument(node, "axes", 3) or list(range(len(starts)))
    steps = network.argument(node, "steps", 4) or [1] * len(starts)
    taken = dict.fromkeys(range(4), 1)
    for start, axis, step in zip(starts, axes, steps, strict=True):
        if start != 0 or step < 1:
            return None
        taken[axis % 4] = step
    whole = all(made[axis] == (shape[axis] - 1) // taken[axis] + 1 for axis in range(4))
    return (node.inputs[0], taken[2], taken[3], 0) if whole and taken[0] == taken[1] == 1 else None


def _subsampling_pool_step(network: Network, node: Node) -> Step | None:
    """A pooling of single pixels is a subsampling."""
    if any(width != 1 for width in node.attributes["kernel_shape"]) or any(window_pads(network, node, [1, 1], [1, 1])):
        return None
    rows, columns = node.attributes.get("strides", [1, 1])
    return node.inputs[0], rows, columns, 0


_SHORTCUT_STEPS = {
    "Pad": _pad_step,
    "Concat": _concat_step,
    "Slice": _slice_step,
    "MaxPool": _subsampling_pool_step,
    "AveragePool": _subsampling_pool_step,
}


def lower_pooling(network: Network) -> Network:
    """Pass: pooling operators become Pooling; a mean is a sum that still owes its division."""

    def match(network: Network, node: Node) -> Edit | None:
        if not node.is_a("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"):
            return None
        shape = network.shape(node.inputs[0])
        assert shape is not None
        kernel = list(node.attributes.get("kernel_shape", shape[2:]))
        strides = node.attributes.get("strides", [1, 1])
        maximum = node.op in ("MaxPool", "GlobalMaxPool")
        wide = spread_kernel(node, kernel)
        pads = window_pads(network, node, wide, strides)
        settings = {
            "mode": "max" if maximum else "sum",
            "kernel": kernel,
            "stride": strides,
            "pad": list(ceil_pads(network, node, wide, strides, pads)),
            "dilation": node.attributes.get("dilations", [1, 1]),
            "divisor": 1 if maximum else math.prod(kernel),
        }
        return Edit((node,), Node(node.name, "Pooling", node.inputs[:1], (node.output,), settings, DOMAIN))

    return rewrite(network, match)


def fold_divisions(network: Network) -> Network:
    """Pass: the division of a mean moves into the weights of the layers that read the sum, through other pooling.

    Where anything else reads the mean, a depthwise convolution divides.
    """
    owed: dict[str, int] = {}
    constants = dict(network.constants)
    nodes = []
    for node in network.nodes:
        data, divisor = node.inputs[0], owed.get(node.inputs[0], 1)
        if node.is_a("Pooling", domain=DOMAIN):
            divisor *= node.attributes["divisor"]
            node = node.with_attributes(divisor=1)
            if divisor != 1 and _takes_division(network, node.output):
                owed[node.output] = divisor
            elif divisor != 1:
                total = network.fresh(f"{node.output}.sum")
                nodes.append(replace(node, outputs=(total,)))
                share = np.full(network.shapes[node.output][1], 1 / divisor)
                mean = replace(node, name=f"{node.name or node.output}.mean")
                node, added = depthwise(network, mean, Affine(total, share, np.zeros_like(share)))
                constants.update(added)
        elif divisor != 1:
            name = network.fresh(f"{node.output}.divided")
            constants[name] = constants[node.inputs[1]] / np.float64(divisor)
            node = replace(node, inputs=(data, name, *node.inputs[2:]))
        nodes.append(node)
    return prune(replace(network, nodes=tuple(nodes), constants=constants))


def _takes_division(network: Network, tensor: str) -> bool:
    """Whether everything that reads `tensor` has weights for it, or is pooling, which passes a factor on."""
    return tensor not in network.outputs and all(
        node.is_a("Pooling", domain=DOMAIN) or (node.is_a(*WEIGHTED, domain=DOMAIN) and tensor not in node.inputs[3:])
        for node in network.readers(tensor)
    )
