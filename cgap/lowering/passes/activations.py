"""The pass that fuses activations into the layer before them: one small class for each ONNX operator."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np

from cgap.lowering.onnx.network import DOMAIN, Edit, Network, Node, replace_outputs, rewrite
from cgap.lowering.passes.affine import WEIGHTED, channels_of, depthwise, repeat
from fpga_model.numerics.fixed_point import MAX_SHIFT

Settings = dict[str, float]
"""Attributes that an activation adds to its layer: relu, ceiling, leak."""


class Activation(ABC):
    """What one ONNX operator means as an activation."""

    op: ClassVar[str]

    @abstractmethod
    def settings(self, network: Network, node: Node) -> Settings | str:
        """The layer's attributes, or the reason why the node has none."""


class Relu(Activation):
    op = "Relu"

    def settings(self, network: Network, node: Node) -> Settings | str:
        return {"relu": 1}


class LeakyRelu(Activation):
    op = "LeakyRelu"

    def settings(self, network: Network, node: Node) -> Settings | str:
        alpha = float(node.attributes.get("alpha", 0.01))
        leak = -math.log2(alpha) if 0 < alpha < 1 else 0
        if leak != int(leak) or not 1 <= leak <= MAX_SHIFT:
            return (
                f"its slope is {alpha:g}; powers of two from 2^-1 to 2^-{MAX_SHIFT} are exact shifts: train with "
                f"such a slope, for example 0.125"
            )
        return {"leak": int(leak)}


class PRelu(Activation):
    op = "PRelu"

    def settings(self, network: Network, node: Node) -> Settings | str:
        slopes = network.constant(node, 1)
        if slopes is None or slopes.size == 0 or np.any(slopes != slopes.flat[0]):
            return "its slopes must be constant and all the same; train with one slope, for example 0.125"
        return LeakyRelu().settings(network, node.with_attributes(alpha=float(slopes.flat[0])))


class Clip(Activation):
    op = "Clip"

    def settings(self, network: Network, node: Node) -> Settings | str:
        low, high = (self._bound(network, node, name, index) for index, name in ((1, "min"), (2, "max")))
        if low is None or high is None:
            return "its bounds must be constant numbers"
        if low not in (0.0, -math.inf) or high <= 0:
            return (
                f"it cuts below {low:g} and above {high:g}; from zero or from nothing to a positive bound is supported"
            )
        found: Settings = {"relu": 1} if low == 0 else {}
        # Exporters write the largest float where nothing is cut.
        return found if high >= np.finfo(np.float32).max else {**found, "ceiling": high}

    @staticmethod
    def _bound(network: Network, node: Node, name: str, index: int) -> float | None:
        """One bound, infinite when absent; None when it is no constant number."""
        endless = -math.inf if name == "min" else math.inf
        value = node.attributes.get(name)
        if value is None:
            if index >= len(node.inputs) or not node.inputs[index]:
                return endless
            found = network.constant(node, index)
            if found is None or found.size != 1:
                return None
            value = found.reshape(-1)[0]
        bound = float(value)
        return endless if bound <= -float(np.finfo(np.float32).max) and name == "min" else bound


ACTIVATIONS: dict[str, Activation] = {kind.op: kind() for kind in (Relu, LeakyRelu, PRelu, Clip)}


def fuse_activations(network: Network) -> Network:
    """Pass: an activation joins the layer that makes its input, or becomes a layer that changes nothing else.

    Maxima between the layer and the activation do not matter: an activation never changes the order of two numbers.
    """

    def match(network: Network, node: Node) -> Edit | None:
        settings = _settings(network, node)
        if settings is None:
            return None
        if not settings:
            return Edit((node,), rename={node.output: node.inputs[0]})
        joined = _joined(network, node, settings)
        if joined is not None:
            return Edit((node,), joined)
        layer = _layer_before(network, node.inputs[0])
        merged = merge(layer, settings) if layer is not None else None
        if layer is None or merged is None:
            return _alone(network, node, settings)
        if layer.output == node.inputs[0]:
            return Edit((layer, node), replace_outputs(layer, node).with_attributes(**merged))
        return Edit((node,), rename={node.output: node.inputs[0]}, changed=(layer.with_attributes(**merged),))

    return rewrite(network, match)


def _joined(network: Network, node: Node, settings: Settings) -> Node | None:
    """One activation in place of two that follow one another, so that a chain halves with every sweep.

    It reads what the first of the two reads. None for leaky ones, whose order matters.
    """
    before = network.producer(node.inputs[0])
    earlier = None if before is None else _settings(network, before)
    if before is None or not earlier or "leak" in earlier or "leak" in settings:
        return None
    both = merge_bounds(earlier, settings)
    bounds = {"min": 0.0 if both.get("relu") else -math.inf, "max": both.get("ceiling", math.inf)}
    return replace(node, op="Clip", inputs=(before.inputs[0],), attributes=bounds)


def merge_bounds(first: Settings, second: Settings) -> Settings:
    """Two activations that only cut, as one."""
    relu = int(first.get("relu", 0) or second.get("relu", 0))
    ceilings = [bounds["ceiling"] for bounds in (first, second) if "ceiling" in bounds]
    return {"relu": relu, **({"ceiling": min(ceilings)} if ceilings else {})}


def _settings(network: Network, node: Node) -> Settings | None:
    """What a node does as an activation; None if it is none."""
    activation = None if node.domain else ACTIVATIONS.get(node.op)
    found = None if activation is None else activation.settings(network, node)
    return None if isinstance(found, str) else found


def _layer_before(network: Network, tensor: str) -> Node | None:
    """The layer with weights behind which nothing but maxima lead to `tensor` alone."""
    while network.only_reader(tensor):
        node = network.producer(tensor)
        if node is None or node.is_a(*WEIGHTED, domain=DOMAIN):
            return node
        if not node.is_a("MaxPool", "GlobalMaxPool"):
            return None
        tensor = node.inputs[0]
    return None


def _alone(network: Network, node: Node, settings: Settings) -> Edit | None:
    """An identity with the activation, unless what comes before still becomes a layer that may take it."""
    before, channels = network.producer(node.inputs[0]), channels_of(network, node.inputs[0])
    if channels is None or (before is not None and _settings(network, before) is not None):
        return None
    layer, constants = depthwise(network, node, repeat(node.inputs[0], channels), settings=dict(settings))
    return Edit((node,), layer, constants=constants)


def merge(layer: Node, settings: Settings) -> Settings | None:
    """The attributes of a layer that gets another activation after the one it has; None if no layer does both."""
    before = layer.attributes
    if "leak" in settings:
        return None if before["relu"] or "ceiling" in before or "leak" in before else settings
    if "leak" in before and settings.get("relu"):
        return None
    return merge_bounds({key: value for key, value in before.items() if key in ("relu", "ceiling")}, settings)
