"""Reads what is quantised already: integer weights, and tensors between QuantizeLinear and DequantizeLinear.

A pair of the two says how a tensor is stored. It leaves the network, which goes on in real numbers, and is remembered
in `Network.pairs`; the quantiser then keeps the formats that the accelerator has, and chooses the others itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.lowering.onnx.network import DOMAIN, Edit, Network, Node, StoredPair, prune, rewrite
from cgap.lowering.passes.support import supports
from fpga_model.errors import UserError
from fpga_model.numerics.fixed_point import Format

PAIR = ("QuantizeLinear", "DequantizeLinear")
_POOLS = ("MaxPool", "GlobalMaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean")
_PARTS = ("Slice", "Pad", "Dropout", "Identity")
LAYOUT = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
MAX_CONVERTED = 1 << 28
"""Most constants that are quantised or dequantised at import, those that several nodes read counted for each."""
MAX_FRACTION = 40
"""Formats with more fraction bits than this, or fewer than its negative, are out of any sensible range."""
_STORED = ("int8", "uint8", "int16", "uint16")

Constants = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class _Scale:
    """What a node of a pair divides or multiplies by: one number, or one for each index of `axis`."""

    scale: npt.NDArray[np.float64]
    zero: npt.NDArray[Any]
    axis: int

    def along(self, values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]] | None:
        """Scale and zero point, ready to broadcast against `values`; None if they do not fit."""
        if self.scale.size == 1:
            return self.scale.reshape(()), self.zero.astype(np.int64).reshape(())
        if not -values.ndim <= self.axis < values.ndim or values.shape[self.axis] != self.scale.size:
            return None
        dims = [1] * values.ndim
        dims[self.axis] = self.scale.size
        return self.scale.reshape(dims), self.zero.astype(np.int64).reshape(dims)

    def same(self, other: _Scale) -> bool:
        return (
            self.zero.dtype == other.zero.dtype
            and self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero, other.zero)
        )

    @property
    def cuts_negative(self) -> bool:
        """Whether the lowest integer stands for zero, so that saturation is a ReLU."""
        return self.zero.size == 1 and int(self.zero.reshape(())) == np.iinfo(self.zero.dtype).min

    @property
    def form(self) -> Format | None:
        """The format of the stored integers; None where the accelerator has no such one."""
        if self.scale.size != 1 or self.zero.any() or self.zero.dtype.name not in _STORED:
            return None
        mantissa, exponent = math.frexp(float(self.scale.reshape(())))
        if mantissa != 0.5 or abs(1 - exponent) > MAX_FRACTION:
            return None
        return Format(8 * self.zero.dtype.itemsize, 1 - exponent, self.zero.dtype.kind == "i")


def read_quantised(network: Network) -> Network:
    """Pass: integer constants become the numbers they stand for (float64, exact), and pairs around a tensor go.

    Quantisers leave out a ReLU where the saturation of its pair does the same; it comes back.
    """
    constants, pairs = dict(network.constants), dict(network.pairs)
    rename: dict[str, str] = {}
    quantisers: dict[str, Node] = {}
    nonnegative: set[str] = set()
    cut: dict[str, str] = {}
    converted = 0
    nodes, dropped = [], list(network.dropped)
    for given in network.nodes:
        node = replace(given, inputs=tuple(rename.get(tensor, tensor) for tensor in given.inputs))
        nodes.append(node)
        if _cannot_be_negative(constants, node, nonnegative):
            nonnegative.add(node.output)
        scale = _scale(constants, node, quantisers) if node.is_a(*PAIR) else None
        if scale is None:
            continue
        quantiser = quantisers.get(node.inputs[0])
        if node.inputs[0] in constants:
            converted += constants[node.inputs[0]].size
            if converted > MAX_CONVERTED:
                raise UserError(
                    f"network {network.name!r}: node {node.label} ({node.op}) is one of many that convert constants, "
                    f"more than {MAX_CONVERTED:,} together"
                )
            values = _converted(node, constants[node.inputs[0]], scale)
            if values is not None:
                constants[node.output] = values
                nodes.pop()
        elif node.is_a("QuantizeLinear"):
            quantisers[node.output] = node
        elif quantiser is not None and _same(_scale(constants, quantiser, quantisers), scale):
            data = quantiser.inputs[0]
            if scale.cuts_negative and data not in nonnegative and data != network.input and data not in cut:
                nodes[-1] = Node(quantiser.name, "Relu", (data,), node.outputs)
                nonnegative.add(node.output)
                cut[data] = data = node.output
            else:
                nodes.pop()
                data = rename[node.output] = cut.get(data, data) if scale.cuts_negative else data
            tensor, pair = _stored_tensor(network, data, rename), StoredPair(node.output, scale.form, data)
            if pairs.setdefault(tensor, pair).form != pair.form:
                dropped.append(node.output)
    outputs = tuple(rename.get(tensor, tensor) for tensor in network.outputs)
    network = replace(network, nodes=tuple(nodes), constants=constants, outputs=outputs)
    return prune(replace(network, pairs=pairs, dropped=tuple(dropped)))


def _same(one: _Scale | None, other: _Scale) -> bool:
    return one is not None and one.same(other)


def _cannot_be_negative(constants: Constants, node: Node, nonnegative: set[str]) -> bool:
    """Whether the output of a node is known not to be negative, given the tensors of which that is known."""

    def known(tensor: str) -> bool:
        return tensor in nonnegative or (tensor in constants and bool(np.all(constants[tensor] >= 0)))

    if node.is_a("Clip"):
        return known("".join(node.inputs[1:2])) or node.attributes.get("min", -1) >= 0
    if node.is_a("Add", "Concat", "Conv"):
        return all(map(known, node.inputs))
    return node.is_a("Relu") or (node.is_a(*LAYOUT, *_POOLS, *_PARTS) and node.inputs[0] in nonnegative)


def _scale(constants: Constants, node: Node, quantisers: Mapping[str, Node]) -> _Scale | None:
    """The parameters of a QuantizeLinear or DequantizeLinear; None unless they are constants of a kind that is read."""
    scale = constants.get(node.inputs[1])
    if scale is None or scale.dtype.kind != "f" or not (scale > 0).all() or node.attributes.get("block_size", 0):
        return None
    named = "".join(node.inputs[2:])
    zero = constants.get(named)
    if zero is None:
        if named or node.attributes.get("output_dtype", 0):
            return None
        integers = constants.get(node.inputs[0])
        quantiser = quantisers.get(node.inputs[0])
        if node.is_a("DequantizeLinear") and integers is not None:
            zero = np.zeros(scale.shape, integers.dtype)
        elif node.is_a("DequantizeLinear") and quantiser is not None:
            source = _scale(constants, quantiser, quantisers)
            zero = None if source is None else np.zeros(scale.shape, source.zero.dtype)
        else:
            zero = np.zeros(scale.shape, np.uint8)
    fits = zero is not None and (zero.size == scale.size == 1 or zero.shape == scale.shape)
    if zero is None or not fits or zero.dtype.name not in (*_STORED, "int32"):
        return None
    return _Scale(scale.astype(np.float64), zero, 0 if scale.size == 1 else node.attributes.get("axis", 1))


def _converted(node: Node, values: npt.NDArray[Any], by: _Scale) -> npt.NDArray[Any] | None:
    """A constant quantised or dequantised; None if its type or shape does not fit."""
    fitted = by.along(values)
    if fitted is None:
        return None
    scale, zero = fitted
    if node.is_a("DequantizeLinear"):
        return (values.astype(np.float64) - zero) * scale if values.dtype == by.zero.dtype else None
    if values.dtype.kind != "f" or by.zero.dtype.name not in _STORED:
        return None
    limits = np.iinfo(by.zero.dtype)
    return np.clip(np.rint(values / scale.astype(values.dtype)) + zero, limits.min, limits.max).astype(by.zero.dtype)


def _stored_tensor(network: Network, tensor: str, rename: Mapping[str, str]) -> str:
    """The tensor that holds the numbers of `tensor`: the one behind which only the layout was changed."""
    while (node := network.producer(tensor)) is not None and node.is_a(*LAYOUT):
        tensor = rename.get(node.inputs[0], node.inputs[0])
    return tensor


@supports(*PAIR)
def _pair(network: Network, node: Node) -> str | None:
    return (
        "it is read where a QuantizeLinear and a DequantizeLinear with the same constant, positive scale and zero "
        "point (of 8 or 16 bits) follow one another, or behind constants"
    )


def lower_sums(network: Network) -> Network:
    """Pass: the sum of every window, which QDQ models write as a depthwise convolution with ones, becomes Pooling.

    Only where its output is stored: an activation could not follow.
    """

    def match(network: Network, node: Node) -> Edit | None:
        weights = network.constant(node, 1) if node.is_a("Conv") and len(node.inputs) == 2 else None
        if weights is None or node.output not in network.pairs or not np.all(weights == 1) or weights.shape[1] != 1:
            return None
        if node.attributes.get("group", 1) != len(weights) or "auto_pad" in node.attributes:
            return None
        settings = {
            "mode": "sum",
            "kernel": list(weights.shape[2:]),
            "stride": node.attributes.get("strides", [1, 1]),
            "pad": list(node.attributes.get("pads", [0] * 4)),
            "dilation": node.attributes.get("dilations", [1, 1]),
            "divisor": 1,
        }
        return Edit((node,), Node(node.name, "Pooling", node.inputs[:1], (node.output,), settings, DOMAIN))

    return rewrite(network, match)
