"""How networks are refused: every node at fault at once, each reason once, with what can be done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cgap.lowering.onnx.network import DOMAIN, Network, Node, shorten
from fpga_model.errors import UserError

MAX_CUT = 16
"""Most outputs that a message proposes to cut a network at."""
_FUNCTIONS = (
    *("Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Selu", "Celu", "Gelu", "Erf", "Softplus", "Softsign"),
    *("Mish", "Exp", "Log", "Sqrt", "Pow", "Reciprocal", "ThresholdedRelu"),
)
_FUNCTION = (
    "no layer has tables of functions yet: train with Relu, Clip from 0 to 6, or LeakyRelu of a slope 2^-k instead"
)
_NORMALISERS = ("InstanceNormalization", "LayerNormalization", "GroupNormalization", "LpNormalization", "LRN")
UNSUPPORTED = {
    **dict.fromkeys(_FUNCTIONS, _FUNCTION),
    **dict.fromkeys(_NORMALISERS, "no layer normalises by what it reads: train with BatchNormalization instead"),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "Loop", "Scan", "If"), "no layer keeps a state, repeats or chooses"),
    **dict.fromkeys(("Resize", "Upsample"), "no layer enlarges maps yet: end the network before it"),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), "no layer regroups maps yet: end the network before it"),
    "ConvTranspose": "no layer makes larger maps than it reads yet: end the network before it",
    **dict.fromkeys(("Max", "Min", "Where"), "no layer compares tensors with each other yet: train with Add instead"),
    "Softmax": "inside a network it has no layer; at the end the host does it",
}
"""Why operators that people use have no layer, and what to do."""


class Unlowered(UserError):
    """A network with nodes that cannot be lowered.

    Attributes:
        found: these nodes, each with the reason.
        cut: tensors of the file in which all before these nodes ends: `--outputs` of them leaves the rest to the host.
    """

    def __init__(self, message: str, found: Sequence[tuple[Node, str]], cut: Sequence[str]) -> None:
        super().__init__(message)
        self.found, self.cut = tuple(found), tuple(cut)


def refuse(network: Network, found: list[tuple[Node, str]]) -> None:
    """Raise one error for all `found` nodes with their reasons, each reason once, if there are any."""
    if not found:
        return
    found = list({node.outputs: (node, reason) for node, reason in found}.values())
    groups: dict[tuple[str, str], list[Node]] = {}
    for node, reason in found:
        groups.setdefault((node.op, reason), []).append(node)
    lines = []
    for (op, reason), nodes in groups.items():
        if len(nodes) == 1:
            lines.append(f"  node {nodes[0].label} ({shorten(op)}): {reason}")
        else:
            labels = ", ".join(node.label for node in nodes[:3]) + (", ..." if len(nodes) > 3 else "")
            lines.append(f"  {len(nodes)} nodes ({shorten(op)}: {labels}): {reason}")
    cut = _cut_before(network, [node for node, _ in found])
    if cut:
        lines.append(f"or leave them, and all that follows, to the host: --outputs {','.join(cut)}")
    count = "1 node" if len(found) == 1 else f"{len(found)} nodes"
    message = f"network {network.name!r}: {count} cannot be lowered:\n" + "\n".join(lines)
    raise Unlowered(message, found, cut)


def _cut_before(network: Network, nodes: Sequence[Node]) -> list[str]:
    """Tensors of the file in which what depends on none of `nodes` ends; none if no layer with weights is there."""
    blocked = {tensor for node in nodes for tensor in node.outputs if tensor}
    ends: dict[str, None] = {}
    weighted = False
    for node in network.nodes:
        data = [tensor for tensor in node.inputs if tensor and tensor not in network.constants]
        if blocked.intersection((*data, *node.outputs)):
            blocked.update(filter(None, node.outputs))
            ends.update(dict.fromkeys(tensor for tensor in data if tensor not in blocked))
        else:
            weighted |= node.is_a("Conv", "Gemm", "MatMul") or node.domain == DOMAIN
    ends.update(dict.fromkeys(tensor for tensor in network.outputs if tensor not in blocked))
    ends.pop(network.input, None)
    usable = weighted and len(ends) <= MAX_CUT and all(tensor in network.file_names for tensor in ends)
    return [tensor for tensor in ends if "," not in tensor] if usable else []


def unknown(node: Node, supported: Iterable[str]) -> str:
    """Why an operator that has no rule is refused."""
    if node.domain:
        return f"this operator of the domain {shorten(node.domain)!r} is not supported"
    return UNSUPPORTED.get(node.op) or f"this operator is not supported; supported: {', '.join(sorted(supported))}"
