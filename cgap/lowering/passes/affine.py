"""Passes that fold what scales and shifts channels into the layers around it, or make it a layer of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.lowering.onnx.network import DOMAIN, Edit, Network, Node, rewrite

WEIGHTED = ("Convolution", "FullyConnected")
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Affine:
    """A node that multiplies every channel of `data` by `factor` [C], then adds `offset` [C].

    Or every number of the maps: then both are [C * H * W], which only a dense layer behind can take.
    """

    data: str
    factor: Values
    offset: Values


def read_affine(network: Network, node: Node) -> Affine | None:
    """What a node does to each channel; None if it does anything else."""
    if node.is_a("BatchNormalization"):
        return _batch_norm(network, node)
    return _arithmetic(network, node) if not node.domain and node.op in _ARITHMETIC else None


def fold_affine(network: Network) -> Network:
    """Pass: batch normalisation, and arithmetic with one constant per channel, join the layer before or behind them."""
    return rewrite(network, lambda network, node: _backward(network, node) or _forward(network, node))


def lower_affine(network: Network) -> Network:
    """Pass: what `fold_affine` left becomes a depthwise 1x1 convolution, and what follows joins that."""
    return rewrite(network, lambda network, node: _backward(network, node) or _alone(network, node))


def plain_layer(network: Network, tensor: str) -> Node | None:
    """The layer with weights that makes `tensor` for one reader only, and does nothing after its sums yet."""
    layer = network.producer(tensor)
    if layer is None or not layer.is_a(*WEIGHTED, domain=DOMAIN) or not network.only_reader(tensor):
        return None
    busy = layer.attributes["relu"] or layer.attributes.keys() & {"shortcut", "ceiling", "leak"}
    return None if busy else layer


def channels_of(network: Network, tensor: str) -> int | None:
    """Channels of maps [N, C, H, W] or rows [N, C]; None if `tensor` is neither."""
    shape = network.shape(tensor)
    return shape[1] if shape is not None and len(shape) in (2, 4) else None


def depthwise(
    network: Network,
    node: Node,
    affine: Affine,
    shortcut: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
) -> tuple[Node, dict[str, npt.NDArray[Any]]]:
    """A 1x1 convolution of single channels that makes what `node` makes, and its constants."""
    names = network.fresh(f"{node.output}.weights"), network.fresh(f"{node.output}.bias")
    attributes = {"stride": [1, 1], "pad": [0] * 4, "groups": len(affine.factor), "relu": 0, **(settings or {})}
    layer = Node(node.name, "Convolution", (affine.data, *names, *shortcut), (node.output,), attributes, DOMAIN)
    return layer, {names[0]: affine.factor.reshape(-1, 1, 1, 1), names[1]: affine.offset}


def repeat(data: str, channels: int) -> Affine:
    """What leaves `data` as they are."""
    return Affine(data, np.ones(channels), np.zeros(channels))


def _backward(network: Network, node: Node) -> Edit | None:
    """Into the weights and bias of the layer before."""
    affine = read_affine(network, node)
    layer = None if affine is None else plain_layer(network, affine.data)
    if affine is None or layer is None:
        return None
    weights, bias = (network.constants[name] for name in layer.inputs[1:3])
    if len(affine.factor) != len(weights):
        return None
    along = affine.factor.reshape(-1, *[1] * (weights.ndim - 1))
    with np.errstate(all="ignore"):  # what is not finite is reported with the layer's name
        return _reweighted(network, (layer, node), layer, weights * along, bias * affine.factor + affine.offset)


def _forward(network: Network, node: Node) -> Edit | None:
    """Into the weights of the one layer behind, whose padding with zeros must not see an offset."""
    affine = read_affine(network, node)
    if affine is None or not network.only_reader(node.output):
        return None
    (layer,) = network.readers(node.output)
    if not layer.is_a(*WEIGHTED, domain=DOMAIN) or (any(layer.attributes.get("pad", ())) and np.any(affine.offset)):
        return None
    weights, bias = (network.constants[name] for name in layer.inputs[1:3])
    groups = layer.attributes.get("groups", 1)
    pixels = 1
    if layer.is_a("FullyConnected", domain=DOMAIN):
        pixels, rest = divmod(weights.shape[1], len(affine.factor))
        if rest:
            return None
    elif weights.shape[1] * groups != len(affine.factor):
        return None

    def per_weight(values: Values) -> Values:
        """[Nif] -> [Nof, Nif/groups, 1, 1], or [Nof, Nif * H * W] for a dense layer."""
        values = np.repeat(values, pixels)
        rows = np.repeat(values.reshape(groups, -1), len(weights) // groups, axis=0)
        return rows.reshape(*rows.shape, *[1] * (weights.ndim - 2))

    with np.errstate(all="ignore"):
        offset = (weights * per_weight(affine.offset)).sum(axis=tuple(range(1, weights.ndim)))
        fused = replace(layer, inputs=(affine.data, *layer.inputs[1:]))
        return _reweighted(network, (node, layer), fused, weights * per_weight(affine.factor), bias + offset)


def _alone(network: Network, node: Node) -> Edit | None:
    """A layer of its own, unless what comes before still becomes one that can take it."""
    affine = read_affine(network, node)
    before = None if affine is None else network.producer(affine.data)
    if affine is None or (before is not None and read_affine(network, before) is not None):
        return None
    if len(affine.factor) != channels_of(network, affine.data):
        return None
    layer, constants = depthwise(network, node, affine)
    return Edit((node,), layer, constants=constants)


def _reweighted(
    network: Network, removed: tuple[Node, Node], layer: Node, weights: npt.NDArray[Any], bias: npt.NDArray[Any]
) -> Edit:
    """`layer` with other weights, in the place of the last of `removed`."""
    output = removed[-1].output
    names = network.fresh(f"{output}.weights"), network.fresh(f"{output}.bias")
    fused = replace(layer, inputs=(layer.inputs[0], *names, *layer.inputs[3:]), outputs=(output,))
    return Edit(removed, fused, constants=dict(zip(names, (weights, bias), strict=True)))


def _batch_norm(network: Network, node: Node) -> Affine | None:
    scale, offset, mean, variance = (network.constants[name].astype(np.float64) for name in node.inputs[1:5])
    if scale.shape != (channels_of(network, node.inputs[0]),):
        return None
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        return Affine(node.inputs[0], factor, offset - mean * factor)


def _arithmetic(network: Network, node: Node) -> Affine | None:
    for index, data in enumerate(node.inputs):
        value = network.constants.get(node.inputs[1 - index])
        found = None if value is None or data in network.constants else per_channel(network, value, data)
        terms = None if found is None else _ARITHMETIC[node.op](found, index == 1)
        if terms is not None:
            return Affine(data, *terms)
    return None


def per_channel(network: Network, value: npt.NDArray[Any], data: str) -> Values | None:
    """`value` as one number for each channel of `data`, or for each number of its maps; None if it does not fit."""
    channels, shape = channels_of(network, data), network.shape(data)
    if channels is None or shape is None:
        return None
    for sizes in ((1, channels, 1, 1)[: len(shape)], (1, *shape[1:])):
        try:
            return np.broadcast_to(value, sizes).reshape(-1).astype(np.float64)
        except ValueError:
            continue
    return None


def _sum(value: Values, _constant_first: bool) -> tuple[Values, Values] | None:
    return np.ones_like(value), value


def _difference(value: Values, constant_first: bool) -> tuple[Values, Values] | None:
    return (-np.ones_like(value), value) if constant_first else (np.ones_like(value), -value)


def _product(value: Values, _constant_first: bool) -> tuple[Values, Values] | None:
    return value, np.zeros_like(value)


def _quotient(value: Values, constant_first: bool) -> tuple[Values, Values] | None:
    if constant_first:
        return None
    with np.errstate(divide="ignore"):  # what is not finite is reported with the layer's name
        return 1 / value, np.zeros_like(value)


_ARITHMETIC = {"Add": _sum, "Sub": _difference, "Mul": _product, "Div": _quotient}
