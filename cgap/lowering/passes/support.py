"""What is supported: one rule per ONNX operator, which says in words why a node cannot be lowered."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cgap.lowering.onnx.network import DOMAIN, Network, Node, shorten
from cgap.lowering.passes.activations import ACTIVATIONS
from cgap.lowering.passes.arrange import TAKES_CONSTANTS
from cgap.lowering.passes.refusals import refuse, unknown
from fpga_model.errors import UserError

Rule = Callable[[Network, Node], "str | None"]
"""The reason why the node cannot be lowered, None when it can."""

RULES: dict[str, Rule] = {}
ARRANGED = (
    *("Flatten", "Reshape", "Split", "Squeeze", "Sum", "Transpose", "Unsqueeze"),
    *("ReduceMax", "ReduceMean", "ReduceSum"),
)
"""Operators that `arrange` replaces by others, or by nothing."""
MAX_KERNEL = 255
"""Most rows or columns of a window, from the first that it takes to the last, and between two windows."""
MAX_WEIGHTS = 1 << 28
"""Most weights of all layers, the zeros of dilated kernels and weights that layers share counted for each."""


def supports(*ops: str) -> Callable[[Rule], Rule]:
    """Decorator: the rule for ONNX operators `ops`."""

    def enter(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, rule))
        return rule

    return enter


def check_supported(network: Network) -> Network:
    """Pass: refuse, all at once, the nodes that no later pass can lower.

    Raises:
        UserError: names every such node with its operator and the reason.
    """
    found = list(network.problems)
    for node in network.nodes:
        rule = None if node.domain else RULES.get(node.op)
        if node.output in network.misread and rule is not None:
            continue
        reason = _unknown(node) if rule is None else _constant_data(network, node) or rule(network, node)
        if reason is not None:
            found.append((node, reason))
    kept = [
        (node, "its inputs or attributes do not fit each other")
        for node in network.nodes
        if node.output in network.kept
    ]
    refuse(network, found or kept[:1])
    weights = sum(_weights(network, node) for node in network.nodes)
    if weights > MAX_WEIGHTS:
        raise UserError(
            f"network {network.name!r}: its layers hold {weights:,} weights, the zeros of dilated kernels among them; "
            f"at most {MAX_WEIGHTS:,} are taken"
        )
    return network


def _weights(network: Network, node: Node) -> int:
    """How many weights the layer that a node becomes holds."""
    if not node.is_a("Conv", "Gemm", "MatMul"):
        return 0
    shape = network.constants[node.inputs[1]].shape
    return math.prod(shape[:2]) * math.prod(spread_kernel(node, list(shape[2:])) if node.op == "Conv" else shape[2:])


def _unknown(node: Node) -> str:
    return unknown(node, RULES)


def _constant_data(network: Network, node: Node) -> str | None:
    if node.op in TAKES_CONSTANTS or node.inputs[0] not in network.constants:
        return None
    return f"its data ({shorten(node.inputs[0])!r}) are constant; compute them before export"


def spread_kernel(node: Node, kernel: list[int]) -> list[int]:
    """Rows and columns from the first to the last that the windows of a convolution or pooling node take."""
    return [(size - 1) * step + 1 for size, step in zip(kernel, node.attributes.get("dilations", [1, 1]), strict=True)]


def window_pads(network: Network, node: Node, kernel: list[int], strides: list[int]) -> tuple[int, int, int, int]:
    """Padding (top, left, bottom, right) of a node with a `kernel` so spread, `auto_pad` resolved."""
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        top, left, bottom, right = node.attributes.get("pads", [0, 0, 0, 0])
        return top, left, bottom, right
    if mode == "VALID":
        return 0, 0, 0, 0
    shape = network.shape(node.inputs[0])
    assert shape is not None
    before, after = [], []
    for size, width, step in zip(shape[2:], kernel, strides, strict=True):
        total = max((-(-size // step) - 1) * step + width - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if mode == "SAME_UPPER" else large)
        after.append(large if mode == "SAME_UPPER" else small)
    return before[0], before[1], after[0], after[1]


def ceil_pads(
    network: Network, node: Node, kernel: list[int], strides: list[int], pads: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """`pads`, wider at the bottom and right by what `ceil_mode` lets the last windows reach beyond the padded map.

    As in ONNX, a window that would begin beyond the map and its left padding does not exist.
    """
    shape = network.shape(node.inputs[0])
    if not node.attributes.get("ceil_mode", 0) or shape is None:
        return pads
    after = []
    for axis in (0, 1):
        span = shape[2 + axis] + pads[axis] + pads[2 + axis] - kernel[axis]
        last = -(-span // strides[axis]) * strides[axis]
        if last >= shape[2 + axis] + pads[axis]:
            last -= strides[axis]
        after.append(pads[2 + axis] + max(0, last - span))
    return pads[0], pads[1], after[0], after[1]


def _check_window(network: Network, node: Node, kernel: list[int]) -> str | None:
    shape = network.shape(node.inputs[0])
    if shape is None or len(shape) != 4:
        return f"its input must be maps [N, C, H, W] of known size, it is {describe(network, node.inputs[0])}"
    if len(kernel) == 2 and min(kernel) < 1:
        return f"its kernel {kernel} is empty"
    if len(kernel) != 2:
        return f"the kernel has {len(kernel)} axes; two are supported"
    for name, length in (("strides", 2), ("dilations", 2), ("pads", 4), ("kernel_shape", 2)):
        if len(node.attributes.get(name, [0] * length)) != length:
            return f"{name} = {node.attributes[name]}; {length} numbers are needed"
    if list(node.attributes.get("kernel_shape", kernel)) != kernel:
        return f"kernel_shape {node.attributes['kernel_shape']} is not that of its weights, {kernel}"
    strides, steps = node.attributes.get("strides", [1, 1]), node.attributes.get("dilations", [1, 1])
    if min(*strides, *steps) < 1 or max(strides) > MAX_KERNEL:
        return f"strides {strides} and dilations {steps}; they must be positive, and strides at most {MAX_KERNEL}"
    spread = spread_kernel(node, kernel)
    if max(spread) > MAX_KERNEL:
        return f"its kernel, with dilations {steps}, covers {spread}; at most {MAX_KERNEL} rows and columns are taken"
    if node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER"):
        return f"unknown auto_pad {shorten(str(node.attributes['auto_pad']))!r}"
    top, left, bottom, right = pads = window_pads(network, node, spread, strides)
    if min(pads) < 0:
        return f"padding {list(pads)} is negative; cut the maps by a Slice"
    if node.op == "Conv":
        wide = [size + max(0, pad - size + 1) for size, pad in zip(spread * 2, (bottom, right, top, left), strict=True)]
        if max(pads) >= MAX_KERNEL or max(wide) > MAX_KERNEL:
            return f"padding {list(pads)} is larger than {MAX_KERNEL - 1} rows or columns"
    elif max(top, bottom) >= kernel[0] or max(left, right) >= kernel[1]:  # dilated or not, as onnxruntime demands
        return f"padding {list(pads)} must be less than the kernel {kernel}"
    return None


def describe(network: Network, tensor: str) -> str:
    shape = network.shapes.get(tensor)
    return "of unknown shape" if shape is None else str(["?" if size < 0 else size for size in shape])


def _must_be_constant(network: Network, node: Node, **inputs: int) -> str | None:
    for name, index in inputs.items():
        if index < len(node.inputs) and node.inputs[index] and network.constant(node, index) is None:
            return f"its {name} ({shorten(node.inputs[index])!r}) is computed by the network; a constant is supported"
    return None


@supports("Conv")
def _conv(network: Network, node: Node) -> str | None:
    reason = _must_be_constant(network, node, weights=1, bias=2)
    if reason:
        return reason
    weights = network.constants[node.inputs[1]]
    if weights.ndim != 4:
        return f"the kernel has {weights.ndim - 2} axes; two are supported"
    bias = network.constant(node, 2)
    if bias is not None and bias.shape != weights.shape[:1]:
        return f"its bias has the shape {list(bias.shape)}, for {len(weights)} output channels"
    reason = _check_window(network, node, list(weights.shape[2:]))
    if reason:
        return reason
    shape, groups = network.shapes[node.inputs[0]], node.attributes.get("group", 1)
    if groups < 1 or weights.shape[1] * groups != shape[1] or len(weights) % groups:
        return f"weights {list(weights.shape)} in {groups} groups do not fit an input of {shape[1]} channels"
    return None


def check_pool(network: Network, node: Node) -> str | None:
    """Why no pooling has such a window; None if one has."""
    if network.wanted(node.outputs[1:]):
        return "the indices of the maxima are read; only the maxima are supported"
    kernel = list(node.attributes["kernel_shape"])
    reason = _check_window(network, node, kernel)
    automatic = node.attributes.get("auto_pad", "NOTSET").startswith("SAME")
    if reason is None and automatic and spread_kernel(node, kernel) != kernel:
        return "auto_pad of dilated pooling means one thing to ONNX and another to onnxruntime; write its pads out"
    return reason


@supports("MaxPool")
def _max_pool(network: Network, node: Node) -> str | None:
    reason = check_pool(network, node)
    if reason is not None or not node.attributes.get("ceil_mode", 0):
        return reason
    kernel, strides = list(node.attributes["kernel_shape"]), node.attributes.get("strides", [1, 1])
    spread = spread_kernel(node, kernel)
    wide = ceil_pads(network, node, spread, strides, window_pads(network, node, spread, strides))
    if max(wide[2] - kernel[0], wide[3] - kernel[1]) >= 0:
        return "ceil_mode makes windows that reach beyond the padded map; pad explicitly instead"
    return None


@supports("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(network: Network, node: Node) -> str | None:
    shape = network.shape(node.inputs[0])
    if shape is None or len(shape) != 4 or min(shape) < 1:
        return f"its input must be maps [N, C, H, W] of known size, it is {describe(network, node.inputs[0])}"
    return None


@supports("Gemm")
def _gemm(network: Network, node: Node) -> str | None:
    shape = network.shape(node.inputs[0])
    if shape is None or len(shape) not in (2, 4) or node.attributes.get("transA", 0):
        return f"its first input must be rows [N, K], it is {describe(network, node.inputs[0])}"
    reason = _must_be_constant(network, node, weights=1, bias=2)
    if reason:
        return reason
    weights, bias = network.constants[node.inputs[1]], network.constant(node, 2)
    if weights.ndim != 2:
        return f"its weights have {weights.ndim} axes; two are needed"
    outputs = weights.shape[0 if node.attributes.get("transB", 0) else 1]
    if bias is not None and bias.size not in (1, outputs):
        return f"its bias has the shape {list(bias.shape)}, for {outputs} outputs"
    return None


@supports("MatMul")
def _matmul(network: Network, node: Node) -> str | None:
    shape = network.shape(node.inputs[0])
    weights = network.constant(node, 1)
    if shape is None or len(shape) not in (2, 4) or weights is None or weights.ndim != 2:
        return "rows [N, K] times a constant [K, M] are supported"
    return None


@supports("Sub", "Mul", "Div")
def _arithmetic(network: Network, node: Node) -> str | None:
    if any(tensor in network.constants for tensor in node.inputs):
        return None
    return (
        "both its operands are computed by the network, and no layer multiplies tensors yet (squeeze and excitation, "
        "hard-swish, gates): one must be a constant for each channel"
    )


@supports("LeakyRelu", "PRelu", "Clip")
def _activation(network: Network, node: Node) -> str | None:
    found = ACTIVATIONS[node.op].settings(network, node)
    return found if isinstance(found, str) else None


@supports("Add")
def _add(network: Network, node: Node) -> str | None:
    first, second = (network.shape(tensor) for tensor in node.inputs)
    constant = [tensor in network.constants for tensor in node.inputs]
    if not any(constant) and (first is None or first != second):
        return (
            f"it adds {describe(network, node.inputs[0])} to {describe(network, node.inputs[1])}; sizes must be equal"
        )
    return None


@supports("BatchNormalization")
def _batch_norm(network: Network, node: Node) -> str | None:
    if node.attributes.get("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
        return "it is in training mode; export the model in evaluation mode"
    reason = _must_be_constant(network, node, scale=1, bias=2, mean=3, variance=4)
    shapes = {network.shape(tensor) for tensor in node.inputs[1:5]}
    return reason or (f"its parameters have different shapes {shapes}" if len(shapes) != 1 else None)


def only_maxima_read(network: Network, node: Node) -> bool:
    """Whether a padding is with what is never a maximum, and nothing but maxima reads it."""
    lowest = node.attributes.get("value", 0.0) <= float(np.finfo(np.float32).min)
    return lowest and all(reader.is_a("MaxPool") for reader in network.readers(node.output))


@supports("Pad")
def _pad(network: Network, node: Node) -> str | None:
    mode = node.attributes.get("mode", "constant")
    if mode != "constant":
        return f"its mode is {mode}; padding with zeros is supported: train and export with padding_mode = 'zeros'"
    if network.argument(node, "pads", 1) is None:
        return "its amounts are computed by the network; constants are supported"
    if node.attributes.get("value", 0.0) and not only_maxima_read(network, node):
        return f"it pads with {node.attributes['value']:g}; zeros are supported, and before a maximum the lowest number"
    return None


@supports("Slice")
def _slice(network: Network, node: Node) -> str | None:
    arguments = [network.argument(node, "starts", 1), network.argument(node, "ends", 2)]
    return "starts and ends must be constants" if None in arguments else None


@supports("Relu", "Concat", *ARRANGED)
def _by_pattern(network: Network, node: Node) -> str | None:
    return None


_KNOWN = "of maps [N, C, H, W] or rows [N, C] of known size"
_CONSTANT_ARITHMETIC = f"only arithmetic with one constant per channel, {_KNOWN}, is supported"
LEFTOVER: dict[str, str] = {
    "Add": "sums of stored tensors, one of them subsampled and padded with zero channels at most, are supported; or "
    "the addition of a constant for each channel",
    "BatchNormalization": f"batch normalisation with a number for each channel, {_KNOWN}, is supported",
    **dict.fromkeys(("Sub", "Mul", "Div"), _CONSTANT_ARITHMETIC),
    **dict.fromkeys(("Relu", "LeakyRelu", "PRelu", "Clip"), f"activations {_KNOWN} are supported"),
    "Pad": f"padding is supported with zeros, of the channels, and of at most {MAX_KERNEL - 1} rows and columns",
    "Slice": "slicing is supported along the channels without steps, and of rows and columns with positive steps that "
    f"cuts off less than {MAX_KERNEL}",
    "Concat": "concatenation is supported of stored tensors along the channels, or of zero channels on a shortcut",
}
"""Why a node whose attributes are supported can still be left when all passes have run."""


def check_lowered(network: Network) -> Network:
    """Pass: refuse, all at once, the nodes that no pass could lower.

    Raises:
        UserError: names every such node with its operator and the reason.
    """
    refuse(network, [(node, LEFTOVER.get(node.op, _unknown(node))) for node in network.nodes if node.domain != DOMAIN])
    return network
