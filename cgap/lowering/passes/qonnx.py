"""Reads QONNX: the `Quant` nodes that Brevitas and QKeras export become constants and Q/DQ pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.lowering.onnx.network import Network, Node, prune
from cgap.lowering.passes.simplify import fold_constants

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
CHANNELS_LAST = ("qonnx.custom_op.channels_last", "qonnx.custom_op.channels_last.conv")
_ROUNDINGS = {"ROUND": np.rint, "HALF_EVEN": np.rint, "FLOOR": np.floor, "CEIL": np.ceil}


def read_qonnx(network: Network) -> Network:
    """Pass: quantised weights become the numbers they stand for, quantised activations pairs of Q and DQ.

    Where the accelerator has no such format (a width other than 8 bits, a sign bit less), the tensor is quantised anew;
    what unsigned integers cut off stays cut off.
    """
    if not any(node.domain in (*DOMAINS, *CHANNELS_LAST) for node in network.nodes):
        return network
    network = _channels_first(fold_constants(network))
    constants, dropped = dict(network.constants), list(network.dropped)
    nodes: list[Node] = []
    rename: dict[str, str] = {}
    for given in network.nodes:
        node = replace(given, inputs=tuple(rename.get(tensor, tensor) for tensor in given.inputs))
        if node.domain not in DOMAINS or node.op not in ("Quant", "BipolarQuant"):
            nodes.append(replace(node, domain="" if node.domain in DOMAINS and node.op == "Identity" else node.domain))
            continue
        parameters = [constants.get(name) for name in node.inputs[1:]]
        values = constants.get(node.inputs[0])
        if any(value is None for value in parameters):
            nodes.append(node)  # nobody can say how it is stored: refused by name
        elif values is not None:
            constants[node.output] = _quantised(node, values, [value for value in parameters if value is not None])
        elif node.op == "BipolarQuant":
            nodes.append(node)
        else:
            made, tensor = _activation(network, node, [v for v in parameters if v is not None], constants)
            nodes += made
            rename[node.output] = tensor
            if not made or made[-1].op != "DequantizeLinear":
                dropped.append(node.output)
    outputs = tuple(rename.get(tensor, tensor) for tensor in network.outputs)
    return prune(replace(network, nodes=tuple(nodes), constants=constants, outputs=outputs, dropped=tuple(dropped)))


def _channels_first(network: Network) -> Network:
    """Operators of maps that lie channels last, with their weights, become ONNX's own between transpositions."""
    nodes: list[Node] = []
    for node in network.nodes:
        if node.domain not in CHANNELS_LAST or node.op not in ("Conv", "MaxPool", "BatchNormalization"):
            nodes.append(node)
            continue
        kernel = node.attributes.get("kernel_shape", [0, 0])
        rank = 4 if node.is_a("BatchNormalization", domain=node.domain) else len(kernel) + 2
        first, last = [0, rank - 1, *range(1, rank - 1)], [0, *range(2, rank), 1]
        turned = 2 if node.op == "Conv" else 1
        inputs = list(node.inputs)
        for index in range(turned):
            inputs[index] = network.fresh(f"{node.output}.first.{index}")
            perm = {"perm": first}
            nodes.append(
                Node(f"{node.name or node.output}.{index}", "Transpose", (node.inputs[index],), (inputs[index],), perm)
            )
        inner = network.fresh(f"{node.output}.channels")
        nodes.append(replace(node, inputs=tuple(inputs), outputs=(inner,), domain=""))
        nodes.append(Node(f"{node.name or node.output}.last", "Transpose", (inner,), node.outputs[:1], {"perm": last}))
    return replace(network, nodes=tuple(nodes))


def _quantised(node: Node, values: npt.NDArray[Any], parameters: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    scale = parameters[0].astype(np.float64)
    if node.op == "BipolarQuant":
        return np.where(values < 0, -scale, scale).astype(np.float32)
    zero = parameters[1].astype(np.float64)
    low, high = _limits(node, int(parameters[2].reshape(-1)[0]))
    rounding = _ROUNDINGS.get(node.attributes.get("rounding_mode", "ROUND").upper(), np.rint)
    integers = np.clip(rounding(values.astype(np.float64) / scale + zero), low, high)
    return ((integers - zero) * scale).astype(np.float32)


def _limits(node: Node, bits: int) -> tuple[float, float]:
    """The lowest and highest integer."""
    signed, narrow = node.attributes.get("signed", 1), node.attributes.get("narrow", 0)
    if not signed:
        return 0.0, 2.0**bits - 1 - narrow
    return -(2.0 ** (bits - 1)) + narrow, 2.0 ** (bits - 1) - 1


def _activation(
    network: Network, node: Node, parameters: list[npt.NDArray[Any]], constants: dict[str, npt.NDArray[Any]]
) -> tuple[list[Node], str]:
    """The nodes that stand for a quantised activation, and the tensor that its readers read."""
    scale, zero, width = parameters
    bits, signed = int(width.reshape(-1)[0]), bool(node.attributes.get("signed", 1))
    data, nodes = node.inputs[0], []
    centred = not np.any(zero) and scale.size == 1

    def constant(what: str, value: npt.NDArray[Any]) -> str:
        name = network.fresh(f"{node.output}.{what}")
        constants[name] = value
        return name

    if centred and not signed:
        high = _limits(node, bits)[1] * float(scale.reshape(()))
        bounds = constant("low", np.array(0, np.float32)), constant("high", np.array(high, np.float32))
        cut = network.fresh(f"{node.output}.cut")
        nodes.append(Node(f"{node.name or node.output}.cut", "Clip", (data, *bounds), (cut,)))
        data = cut
    fits = bits == 8 and signed and not node.attributes.get("narrow", 0)
    if not centred or not (fits or (not signed and bits < 8)):
        return nodes, data
    numbers = constant("scale", scale.astype(np.float32).reshape(())), constant("zero", np.array(0, np.int8))
    stored, real = network.fresh(f"{node.output}.stored"), node.output
    nodes.append(Node(f"{node.name or real}.q", "QuantizeLinear", (data, *numbers), (stored,)))
    nodes.append(Node(f"{node.name or real}.dq", "DequantizeLinear", (stored, *numbers), (real,)))
    return nodes, real
