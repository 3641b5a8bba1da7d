"""Passes over what only moves numbers: padding, transposition, reshaping, and what is left to the host."""

from __future__ import annotations

from dataclasses import replace

from cgap.lowering.onnx.network import DOMAIN, Edit, Network, Node, prune, rewrite

HOST = ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "ArgMin", "TopK", "Identity")
"""Operators that, at the end of a network, leave the order of scores as it is, or only name the best."""
LAYOUT = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that leave every number where it is in memory."""


def leave_to_host(network: Network) -> Network:
    """Pass: drop what follows the logits; the accelerator's outputs are the logits, and the host does the rest."""
    left: dict[str, None] = {}
    outputs = []
    for tensor in network.outputs:
        behind: list[str] = []
        while (node := network.producer(tensor)) is not None and node.is_a(*HOST) and network.producer(node.inputs[0]):
            if node.op != "Identity":
                behind.insert(0, f"{node.label} ({node.op})")
            tensor = node.inputs[0]
        left.update(dict.fromkeys(behind))
        outputs.append(tensor)
    return prune(replace(network, outputs=tuple(outputs), host=tuple(left)))


def fold_padding(network: Network) -> Network:
    """Pass: rows and columns of zeros around maps become the padding of the window that reads them."""

    def match(network: Network, node: Node) -> Edit | None:
        source = network.producer(node.inputs[0])
        if not node.is_a("Conv", "AveragePool") or source is None or not source.is_a("Pad"):
            return None
        around = spatial_padding(network, source)
        own = list(node.attributes.get("pads", [0] * 4))
        counted = node.op == "Conv" or not any(own) or node.attributes.get("count_include_pad", 0)
        if around is None or not counted or node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
            return None
        pads = [first + second for first, second in zip(around, own, strict=True)]
        weights = network.constant(node, 1)
        kernel = list(node.attributes["kernel_shape"] if weights is None else weights.shape[2:])
        steps = node.attributes.get("dilations", [1, 1]) if node.op == "Conv" else [1, 1]
        spans = [(size - 1) * step for size, step in zip(kernel, steps, strict=True)]
        if any(pad > spans[index % 2] for index, pad in enumerate(pads)):
            return None
        settings = {"pads": pads} if node.op == "Conv" else {"pads": pads, "count_include_pad": 1}
        return Edit((node,), replace(node, inputs=(source.inputs[0], *node.inputs[1:])).with_attributes(**settings))

    return rewrite(network, match)


def spatial_padding(network: Network, node: Node) -> list[int] | None:
    """(top, left, bottom, right) of a padding of maps [N, C, H, W] by zeros; None if it does anything else."""
    pads, shape = network.argument(node, "pads", 1), network.shape(node.inputs[0])
    axes = network.argument(node, "axes", 3) or [0, 1, 2, 3]
    if pads is None or shape is None or len(shape) != 4 or len(pads) != 2 * len(axes) or min(pads) < 0:
        return None
    amounts = [0] * 8
    for index, axis in enumerate(axes):
        amounts[axis % 4], amounts[axis % 4 + 4] = pads[index], pads[index + len(axes)]
    return None if amounts[0] or amounts[1] or amounts[4] or amounts[5] else [amounts[i] for i in (2, 3, 6, 7)]


def keeps_order(network: Network, node: Node) -> bool:
    """Whether a transposition leaves all numbers where they are: only axes of one element move past others."""
    shape = network.shape(node.inputs[0])
    if shape is None:
        return False
    order = node.attributes.get("perm", list(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        return False
    # The batch axis counts as one that moves, whatever its size.
    moving = [axis for axis in order if axis == 0 or shape[axis] != 1]
    return moving == sorted(moving)


def lower_transpositions(network: Network) -> Network:
    """Pass: a transposition that moves no number becomes a reshape."""

    def match(network: Network, node: Node) -> Edit | None:
        if not node.is_a("Transpose") or not keeps_order(network, node):
            return None
        return Edit((node,), Node(node.name, "Reshape", node.inputs, node.outputs))

    return rewrite(network, match)


def remove_layout(network: Network) -> Network:
    """Pass: drop what only changes how an image's numbers are arranged, in order, for a dense layer or the host."""

    def match(network: Network, node: Node) -> Edit | None:
        if not node.is_a(*LAYOUT):
            return None
        source, made = network.shapes[node.inputs[0]], network.shapes[node.output]
        before = network.producer(node.inputs[0])
        if source[:1] != made[:1]:
            return None
        if before is not None and before.is_a(*LAYOUT):
            if network.shapes[before.inputs[0]][:1] != made[:1]:
                return None
            return Edit((node,), Node(node.name, "Reshape", (before.inputs[0],), (node.output,)))
        flat = all(reader.is_a("FullyConnected", domain=DOMAIN) for reader in network.readers(node.output))
        if (_maps(source) and _maps(source) == _maps(made)) or flat:
            return Edit((node,), rename={node.output: node.inputs[0]})
        return None

    return rewrite(network, match)


def _maps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[C, H, W] of a tensor [N, C, H, W] or [N, C]."""
    return (*shape[1:], 1, 1)[:3] if len(shape) in (2, 4) else ()
