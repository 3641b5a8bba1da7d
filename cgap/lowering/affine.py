"""Passes that fold what scales and shifts a layer's channels into its weights and bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.lowering.network import DOMAIN, Edit, Network, Node, rewrite

WEIGHTED = ("Convolution", "FullyConnected")


def fold_batch_norm(network: Network) -> Network:
    """Pass: batch normalisation scales and shifts the layer before it."""

    def match(network: Network, node: Node) -> Edit | None:
        layer = plain_layer(network, node.inputs[0]) if node.is_a("BatchNormalization") else None
        if layer is None:
            return None
        scale, offset, mean, variance = (network.constants[name].astype(np.float64) for name in node.inputs[1:5])
        with np.errstate(all="ignore"):  # what is not finite is reported with the layer's name
            factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        return _rescale(network, layer, node, factor, offset - mean * factor)

    return rewrite(network, match)


def fold_constant_arithmetic(network: Network) -> Network:
    """Pass: the sum, difference, product or quotient with one constant per channel joins the layer before it."""

    def match(network: Network, node: Node) -> Edit | None:
        if node.domain or node.op not in _ARITHMETIC:
            return None
        for index, data in enumerate(node.inputs):
            layer, value = plain_layer(network, data), network.constants.get(node.inputs[1 - index])
            if layer is None or value is None:
                continue
            channels = per_channel(value, layer, len(network.constants[layer.inputs[2]]))
            folded = None if channels is None else _ARITHMETIC[node.op](channels, index == 1)
            if folded is not None:
                return _rescale(network, layer, node, *folded)
        return None

    return rewrite(network, match)


def per_channel(value: npt.NDArray[Any], layer: Node, channels: int) -> npt.NDArray[np.float64] | None:
    """`value` as one number for each output channel of `layer`; None if it differs inside a channel."""
    dims = (1, channels, 1, 1) if layer.is_a("Convolution", domain=DOMAIN) else (1, channels)
    try:
        return np.broadcast_to(value, dims).reshape(-1).astype(np.float64)
    except ValueError:
        return None


Affine = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""What a layer's outputs are multiplied by, and what is then added to them, for each channel."""


def _sum(value: npt.NDArray[Any], _constant_first: bool) -> Affine | None:
    return np.ones_like(value), value


def _difference(value: npt.NDArray[Any], constant_first: bool) -> Affine | None:
    return (-np.ones_like(value), value) if constant_first else (np.ones_like(value), -value)


def _product(value: npt.NDArray[Any], _constant_first: bool) -> Affine | None:
    return value, np.zeros_like(value)


def _quotient(value: npt.NDArray[Any], constant_first: bool) -> Affine | None:
    if constant_first:
        return None
    with np.errstate(divide="ignore"):  # what is not finite is reported with the layer's name
        return 1 / value, np.zeros_like(value)


_ARITHMETIC = {"Add": _sum, "Sub": _difference, "Mul": _product, "Div": _quotient}


def plain_layer(network: Network, tensor: str) -> Node | None:
    """The layer with weights that makes `tensor` for one reader only, and does nothing after its sums yet."""
    layer = network.producer(tensor)
    if layer is None or not layer.is_a(*WEIGHTED, domain=DOMAIN) or not network.only_reader(tensor):
        return None
    busy = layer.attributes["relu"] or layer.attributes.keys() & {"shortcut", "ceiling", "leak"}
    return None if busy else layer


def _rescale(network: Network, layer: Node, last: Node, factor: npt.NDArray[Any], offset: npt.NDArray[Any]) -> Edit:
    """`layer`, its outputs multiplied by `factor` and shifted by `offset`, in the place of `last`."""
    weights, bias = (network.constants[name] for name in layer.inputs[1:3])
    names = network.fresh(f"{last.output}.weights"), network.fresh(f"{last.output}.bias")
    along = factor.reshape(-1, *[1] * (weights.ndim - 1))
    fused = replace(layer, inputs=(layer.inputs[0], *names), outputs=(last.output,))
    return Edit((layer, last), fused, constants={names[0]: weights * along, names[1]: bias * factor + offset})
