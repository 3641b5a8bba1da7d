"""The first pass: what the image holds in the file, and what the accelerator stores of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.lowering.onnx.interface import ImportOptions
from cgap.lowering.onnx.network import Network, Node, shorten
from fpga_model.errors import UserError

STEPS = 256
"""Values that a stored pixel has, from -128/128 to 127/128."""


def read_image(network: Network, options: ImportOptions) -> Network:
    """An image of integers, or in a range of its own, becomes the stored one times a scale, plus an offset.

    Raises:
        UserError: integers that something other than a conversion to float reads, or a range for integers.
    """
    if network.image_kind == "float32":
        if options.image_range is None:
            return network
        low, high = options.image_range
        step = (high - low) / (STEPS - 1)
        return _scaled(network, step * STEPS / 2, low + step * STEPS / 2)
    if options.image_range is not None:
        raise UserError(f"--image-range is for images of float32; those of this file are {network.image_kind}")
    middle = STEPS / 2 if network.image_kind == "uint8" else 0.0
    return _converted(replace(network, image_scale=STEPS / 2, image_offset=middle))


def _scaled(network: Network, scale: float, offset: float) -> Network:
    """What reads the image reads the stored one times `scale`, plus `offset`."""
    nodes, constants, tensor = _affine(network, network.input, scale, offset, "image")
    readers = tuple(
        replace(n, inputs=tuple(tensor if t == network.input else t for t in n.inputs)) for n in network.nodes
    )
    return replace(
        network,
        nodes=(*nodes, *readers),
        constants={**network.constants, **constants},
        image_scale=scale,
        image_offset=offset,
    )


def _affine(
    network: Network, data: str, scale: float, offset: float, wish: str
) -> tuple[list[Node], dict[str, npt.NDArray[Any]], str]:
    nodes, constants = [], {}
    for op, value, neutral in (("Mul", scale, 1.0), ("Add", offset, 0.0)):
        if value == neutral:
            continue
        factor, output = network.fresh(f"{wish}.{op.lower()}"), network.fresh(f"{wish}.{op.lower()}ed")
        constants[factor] = np.array(value, np.float32)
        nodes.append(Node(f"{wish}.{op.lower()}", op, (data, factor), (output,)))
        data = output
    return nodes, constants, data


def _converted(network: Network) -> Network:
    """Conversions of the integers to real numbers become arithmetic on the stored image."""
    nodes: list[Node] = []
    constants = dict(network.constants)
    rename: dict[str, str] = {}
    for node in network.nodes:
        inputs = tuple(rename.get(tensor, tensor) for tensor in node.inputs)
        if network.input not in node.inputs:
            nodes.append(replace(node, inputs=inputs))
            continue
        scale, zero = _conversion(network, node)
        made, added, tensor = _affine(
            network, network.input, scale * network.image_scale, scale * (network.image_offset - zero), node.output
        )
        nodes += made
        constants.update(added)
        rename[node.output] = tensor
    outputs = tuple(rename.get(tensor, tensor) for tensor in network.outputs)
    return replace(network, nodes=tuple(nodes), constants=constants, outputs=outputs)


def _conversion(network: Network, node: Node) -> tuple[float, float]:
    """The scale and zero point by which a node makes real numbers of the image."""
    if node.is_a("Cast") and node.attributes.get("to") == 1:
        return 1.0, 0.0
    scale, zero = network.constant(node, 1), network.constant(node, 2)
    if node.is_a("DequantizeLinear") and scale is not None and scale.size == 1:
        if len(node.inputs) < 3 or not node.inputs[2]:
            return float(scale.reshape(())), 0.0
        if zero is not None and zero.size == 1:
            return float(scale.reshape(())), float(zero.reshape(()))
    raise UserError(
        f"node {node.label} ({node.op}) reads the image {shorten(network.input)!r} of {network.image_kind}; a Cast to "
        f"float32, or a DequantizeLinear with one constant scale, may: say with --inputs NAME where the network begins"
    )
