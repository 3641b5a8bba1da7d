"""Passes over the edges: padding around maps, and what is left to the host behind the outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cgap.lowering.onnx.network import Edit, Network, Node, prune, rewrite
from cgap.lowering.passes.arrange import hosted_outputs, tail
from cgap.lowering.passes.support import MAX_KERNEL, only_maxima_read
from fpga_model.errors import UserError

HOST = ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "ArgMin", "TopK", "Exp", "NonMaxSuppression")
"""What heads end in: it leaves the order of scores as it is, names the best, or decodes boxes."""


def leave_to_host(network: Network) -> Network:
    """Pass: drop what follows the logits or scores; the accelerator's outputs are those, and the host does the rest.

    The host's part begins with one of `HOST` and is all that is computed from it, if no weights follow.
    """
    network, stored = _real_outputs(network)
    hosted: dict[str, Node] = {}
    behind = tail(network)
    for node in network.nodes:
        data = [tensor for tensor in node.inputs if tensor and tensor not in network.constants]
        begins = node.is_a(*HOST) and node.inputs[0] != network.input
        if node.output in behind and (begins or any(tensor in hosted for tensor in data)):
            hosted.update(dict.fromkeys(filter(None, node.outputs), node))
    found = hosted_outputs(network, hosted)
    if not found:
        raise UserError(f"network {network.name!r} computes nothing that the host could not do alone")
    outputs, names = zip(*found, strict=True)
    left = tuple(f"{node.label} ({node.op})" for node in (*dict.fromkeys(hosted.values()), *stored))
    return prune(replace(network, outputs=outputs, output_names=names, host=left))


def _real_outputs(network: Network) -> tuple[Network, list[Node]]:
    """Outputs that the file quantises, dequantised: the pair says how they are stored."""
    nodes, outputs, names, found = list(network.nodes), [], [], []
    for tensor, name in zip(network.outputs, network.output_names, strict=True):
        node = network.producer(tensor)
        if node is None or not node.is_a("QuantizeLinear"):
            outputs.append(tensor)
            names.append(name)
            continue
        real = network.fresh(f"{tensor}.real")
        nodes.append(Node(f"{node.name or tensor}.real", "DequantizeLinear", (tensor, *node.inputs[1:]), (real,)))
        outputs.append(real)
        names.append(node.inputs[0])
        found.append(node)
    return replace(network, nodes=tuple(nodes), outputs=tuple(outputs), output_names=tuple(names)), found


def fold_padding(network: Network) -> Network:
    """Pass: rows and columns of zeros around maps become the padding of the window that reads them."""

    def match(network: Network, node: Node) -> Edit | None:
        source = network.producer(node.inputs[0])
        if not node.is_a("Conv", "AveragePool", "MaxPool") or source is None or not source.is_a("Pad"):
            return None
        around = spatial_padding(source)
        own = list(node.attributes.get("pads", [0] * 4))
        if around is None or node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
            return None
        if node.is_a("MaxPool") and not _harmless(network, source):
            return None
        if node.is_a("AveragePool") and any(own) and not node.attributes.get("count_include_pad", 0):
            return None
        pads = [first + second for first, second in zip(around, own, strict=True)]
        kernel = [MAX_KERNEL] * 2 if node.is_a("Conv") else node.attributes["kernel_shape"]
        if any(pad >= kernel[index % 2] for index, pad in enumerate(pads)) or node.attributes.get("ceil_mode", 0):
            return None
        settings = {"pads": pads, "count_include_pad": 1} if node.is_a("AveragePool") else {"pads": pads}
        return Edit((node,), replace(node, inputs=(source.inputs[0], *node.inputs[1:])).with_attributes(**settings))

    return rewrite(network, match)


def _harmless(network: Network, node: Node) -> bool:
    """Whether what a padding adds is never larger than what a window has besides."""
    return only_maxima_read(network, node) or (
        node.attributes.get("value", 0.0) == 0 and _nonnegative(network, node.inputs[0])
    )


def _nonnegative(network: Network, tensor: str) -> bool:
    """Whether a tensor is known to hold no negative number."""
    node = network.producer(tensor)
    if node is None:
        return False
    if node.is_a("Relu"):
        return True
    if node.is_a("Clip"):
        low = network.constant(node, 1)
        return node.attributes.get("min", -1.0) >= 0 or (low is not None and bool(np.all(low >= 0)))
    passes = ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "Slice", "Concat")
    return node.is_a(*passes) and all(_nonnegative(network, name) for name in node.inputs)


def spatial_padding(node: Node) -> list[int] | None:
    """(top, left, bottom, right) of a padding of maps [N, C, H, W]; None if it pads anything else, or cuts."""
    amounts = node.attributes["pads"]
    if amounts[0] or amounts[1] or amounts[4] or amounts[5] or min(amounts) < 0:
        return None
    return [amounts[index] for index in (2, 3, 6, 7)]
