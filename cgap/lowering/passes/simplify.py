"""Passes that make a network smaller without changing what it computes: shapes, constants, no-ops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from cgap.lowering.onnx.network import IR_VERSION, Edit, Network, Node, declared_shape, prune, rewrite, shorten, to_onnx
from cgap.lowering.onnx.read import MAX_ELEMENTS, first_line
from fpga_model.errors import UserError

_ARITHMETIC = ("Add", "Ceil", "Div", "Floor", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal", "Sqrt", "Sub")
_LOGIC = ("And", "Equal", "Greater", "Less", "Not", "Where")
_LAYOUT = ("Concat", "Expand", "Pad", "Reshape", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze")
_OTHER = ("Cast", "Constant", "ConstantOfShape", "Gather", "Range", "ReduceProd", "ReduceSum", "Shape", "Size", "Slice")
FOLDABLE = frozenset(_ARITHMETIC + _LOGIC + _LAYOUT + _OTHER)
"""Operators that exporters compute shapes, indices and weights with: deterministic, and without subgraphs."""
_SIZED_BY_VALUES = frozenset({"ConstantOfShape", "Expand", "Range", "Tile"})
MAX_FOLDED = 1 << 24
"""Most numbers in a tensor that is computed at import."""
MAX_FOLLOWED = 1 << 10
"""Most numbers of a vector that shape inference follows one by one: shapes and indices have few."""
MAX_ROUNDS = 32
"""Most rounds of shapes that are computed from shapes."""
MAX_WORK = 1 << 28
"""Most numbers that are read and made by all that is computed in one pass."""


def derive_shapes(network: Network) -> Network:
    """Pass: infer shapes and fold what they and constants decide, again as long as one helps the other.

    Raises:
        UserError: as the two.
    """
    for _ in range(MAX_ROUNDS):
        before = len(network.nodes)
        network = fold_constants(infer_shapes(network))
        if len(network.nodes) == before:
            break
    return network


def infer_shapes(network: Network) -> Network:
    """Pass: derive the shape of every tensor with ONNX's own inference.

    Raises:
        UserError: shapes contradict each other, or a tensor is absurdly large.
    """
    # Of weights only the shapes matter; their values would be copied, and followed number by number.
    large = {name: value for name, value in network.constants.items() if value.size > MAX_FOLLOWED}
    rest = {name: value for name, value in network.constants.items() if name not in large}
    given = to_onnx(replace(network, constants=rest))
    given.graph.input.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in large.items()
    )
    try:
        _cut_long_vectors(given)
        model = shape_inference.infer_shapes(given, check_type=True, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise UserError(f"network {network.name!r}: shapes do not fit together: {first_line(error)}") from error
    infos = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    shapes = {info.name: shape for info in infos if (shape := declared_shape(info)) is not None}
    for name, shape in shapes.items():
        if math.prod(max(size, 1) for size in shape) > MAX_ELEMENTS:
            raise UserError(
                f"network {network.name!r}: tensor {shorten(name)!r} has the shape {list(shape)}, which is too large"
            )
    return replace(network, shapes=shapes)


def _cut_long_vectors(model: ModelProto) -> None:
    """Make inputs of `model` of vectors longer than MAX_FOLLOWED, or whose length only other numbers tell.

    A file of a few bytes can ask for vectors of any length, and inference with values would write out each of them.
    """
    typed = shape_inference.infer_shapes(model)
    infos = {info.name: info for info in [*typed.graph.value_info, *typed.graph.output]}
    kept = []
    for node in model.graph.node:
        kept.append(node)
        if node.op_type not in FOLDABLE or len(node.output) != 1 or node.output[0] not in infos:
            continue
        made = infos[node.output[0]]
        dims = made.type.tensor_type.shape.dim if made.type.tensor_type.HasField("shape") else None
        if dims is None:
            long = node.op_type in _SIZED_BY_VALUES
        else:
            long = len(dims) == 1 and not (dims[0].HasField("dim_value") and dims[0].dim_value <= MAX_FOLLOWED)
        if long:
            kept.pop()
            model.graph.input.append(made)
    model.graph.ClearField("node")
    model.graph.node.extend(kept)


def fold_constants(network: Network) -> Network:
    """Pass: compute what depends on constants, and on known shapes, alone.

    Raises:
        UserError: a computation on constants fails, or makes NaN or infinity.
    """
    constants = dict(network.constants)
    nodes, work = [], 0
    for node in network.nodes:
        folded = _fold(network, node, constants)
        if folded is None:
            nodes.append(node)
            continue
        work += sum(constants[name].size for name in node.inputs if name in constants)
        work += sum(value.size for value in folded.values())
        if work > MAX_WORK:
            raise UserError(
                f"network {network.name!r}: node {node.label} ({node.op}) is one of many that compute constants, "
                f"reading and making more than {MAX_WORK:,} numbers; compute them before export"
            )
        constants.update(folded)
    return prune(replace(network, nodes=tuple(nodes), constants=constants))


def _fold(network: Network, node: Node, constants: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]] | None:
    if not node.is_a(*FOLDABLE):
        return None
    if node.is_a("Shape"):
        shape = constants[node.inputs[0]].shape if node.inputs[0] in constants else network.shape(node.inputs[0])
        return None if shape is None else {node.output: _known_shape(node, tuple(shape))}
    if any(name and name not in constants for name in node.inputs):
        return None
    if node.attributes.get("to") == TensorProto.STRING or any(
        constants[n].dtype.kind in "OSU" for n in node.inputs if n
    ):
        return None  # nobody can say how long the texts would be
    model = _alone(network, node, {name: constants[name] for name in node.inputs if name})
    known = {name: network.shape(name) for name in node.outputs if name}
    if node.is_a("Range") and all(constants[name].size == 1 for name in node.inputs):
        # ONNX's inference and numpy lose lengths of more than 63 bits.
        start, limit, step = (Fraction(constants[name].item()) for name in node.inputs)
        known = {node.output: (max(0, math.ceil((limit - start) / step)),)} if step else known
    for size in (_sizes(model) if None in known.values() else known).values():
        if size is None:  # nor how much this would be
            return None
        if math.prod(max(axis, 1) for axis in size) > MAX_FOLDED:
            raise UserError(f"network {network.name!r}: node {node.label} ({node.op}) makes a constant of {list(size)}")
    return _evaluate(network, node, model)


def _known_shape(node: Node, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    start, end = node.attributes.get("start", 0), node.attributes.get("end", len(shape))
    return np.array(shape[start:end], dtype=np.int64)


def _alone(network: Network, node: Node, inputs: dict[str, npt.NDArray[Any]]) -> onnx.ModelProto:
    """A model of one node, whose inputs are all constants."""
    proto = helper.make_node(node.op, node.inputs, node.outputs, node.name, **node.attributes)
    graph = helper.make_graph(
        [proto],
        "folded",
        [],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.outputs if name],
        [numpy_helper.from_array(value, name) for name, value in inputs.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", network.opset)], ir_version=IR_VERSION)


def _sizes(model: onnx.ModelProto) -> dict[str, tuple[int, ...] | None]:
    """The shapes of what a model makes, None where they cannot be told without computing it."""
    try:
        made = shape_inference.infer_shapes(model).graph.output
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        return {info.name: None for info in model.graph.output}
    shapes = {info.name: declared_shape(info) for info in made}
    return {name: None if shape is None or min(shape, default=0) < 0 else shape for name, shape in shapes.items()}


def _evaluate(network: Network, node: Node, model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    from onnx.reference import ReferenceEvaluator  # takes a tenth of a second, and few networks have constants to fold

    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, {})
    except Exception as error:  # the evaluator runs the model's own operators and raises what numpy raises
        raise UserError(
            f"network {network.name!r}: node {node.label} ({node.op}) cannot be computed: {first_line(error)}"
        ) from error
    folded = {name: np.asarray(value) for name, value in zip(filter(None, node.outputs), results, strict=True)}
    for value in folded.values():
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise UserError(f"network {network.name!r}: node {node.label} ({node.op}) makes NaN or infinity")
    return folded


def remove_identities(network: Network) -> Network:
    """Pass: drop what does nothing at inference: Identity, Dropout, float casts, empty pads, whole slices."""

    def match(network: Network, node: Node) -> Edit | None:
        if node.domain or node.op not in _NOTHING or not _NOTHING[node.op](network, node):
            return None
        return Edit((node,), rename={node.output: node.inputs[0]})

    return rewrite(network, match)


def _drops_nothing(network: Network, node: Node) -> bool:
    training = network.constant(node, 2)
    return not (training is not None and np.any(training)) and not network.wanted(node.outputs[1:])


def _keeps_float(_network: Network, node: Node) -> bool:
    return bool(node.attributes.get("to") == onnx.TensorProto.FLOAT)


def _pads_nothing(network: Network, node: Node) -> bool:
    pads = network.argument(node, "pads", 1)
    return pads is not None and not any(pads)


def _same_shape(network: Network, node: Node) -> bool:
    shape = network.shape(node.inputs[0])
    return shape is not None and shape == network.shape(node.output)


def _takes_all(network: Network, node: Node) -> bool:
    steps = network.argument(node, "steps", 4)
    return _same_shape(network, node) and all(step == 1 for step in steps or [1])


_NOTHING: dict[str, Callable[[Network, Node], bool]] = {
    "Identity": lambda _network, _node: True,
    "Dropout": _drops_nothing,
    "Cast": _keeps_float,
    "Pad": _pads_nothing,
    "Slice": _takes_all,
    "Reshape": _same_shape,
    "Flatten": _same_shape,
    "Concat": lambda _network, node: len(node.inputs) == 1,
}
