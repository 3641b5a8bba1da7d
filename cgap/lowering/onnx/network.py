"""The form that lowering passes work on: ONNX's nodes and tensors as plain Python values.

A pass is a function `Network -> Network`. Between passes a network can always be written as an ONNX file and looked
at; nodes that already have the accelerator's meaning are in the domain `cgap`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from cgap.lowering.onnx.axes import MAPS, Axes, FileTensor
from fpga_model.numerics.fixed_point import Format

DOMAIN = "cgap"
IR_VERSION = 10
"""The newest ONNX file version that every supported onnxruntime reads."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation. `outputs[0]` identifies it: tensor names are unique, node names need not be.

    Attributes:
        name: as in the model, possibly empty.
        op: ONNX operator, or one of `cgap`'s.
        inputs: tensor names, "" for an optional input that is absent.
        outputs: tensor names.
        attributes: Python values of the ONNX attributes.
        domain: "" for ONNX's own operators.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""

    @property
    def output(self) -> str:
        return self.outputs[0]

    @property
    def label(self) -> str:
        """How messages call the node."""
        return repr(shorten(self.name or self.output))

    def is_a(self, *ops: str, domain: str = "") -> bool:
        return self.domain == domain and self.op in ops

    def with_attributes(self, **changes: Any) -> Node:
        return replace(self, attributes={**self.attributes, **changes})


@dataclass(frozen=True)
class StoredPair:
    """A QuantizeLinear with its DequantizeLinear: how the file itself stores a tensor.

    Attributes:
        real: name in the file of the dequantised tensor.
        form: of the stored integers; None where the accelerator has none such.
        at: the tensor that the pair stands behind, in the file's layout.
        axes: how that tensor lies in the stored maps.
    """

    real: str
    form: Format | None
    at: str = ""
    axes: Axes = MAPS


@dataclass(frozen=True, eq=False)
class Network:
    """A graph of nodes in topological order, with one input and any number of outputs.

    Attributes:
        name: of the network.
        input: name of the tensor that is given.
        outputs: names of the tensors that are wanted, in the file's order; a pass may make two of them the same.
        nodes: in topological order.
        constants: initialisers and what has been computed from them.
        shapes: of tensors, the batch axis first; absent where unknown, -1 for an unknown size.
        opset: version of ONNX's operators.
        host: nodes behind the outputs that the host runs, as messages call them.
        pairs: how the file stores a tensor, where it does; the nodes that said so are gone.
        dropped: dequantised tensors whose pair contradicts another, and is ignored.
        output_names: what the file calls the outputs.
        image_scale, image_offset, image_kind: how the file's image differs from the stored one.
        image: the input as the file has it, once all tensors are maps.
        results: the outputs as the file has them, once all tensors are maps.
        problems: nodes that are known not to be lowered, and why.
        file_names: tensors that the file itself has.
        kept: outputs of nodes that could not be seen as maps.
        misread: those of them that read maps, so that the sizes of what they read mean nothing.
    """

    name: str
    input: str
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, npt.NDArray[Any]]
    shapes: Mapping[str, tuple[int, ...]]
    opset: int
    host: tuple[str, ...] = ()
    pairs: Mapping[str, StoredPair] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    image_scale: float = 1.0
    image_offset: float = 0.0
    image_kind: str = "float32"
    image: FileTensor | None = None
    results: tuple[FileTensor, ...] = ()
    problems: tuple[tuple[Node, str], ...] = ()
    file_names: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    misread: frozenset[str] = frozenset()

    @cached_property
    def _producers(self) -> dict[str, Node]:
        return {tensor: node for node in self.nodes for tensor in node.outputs if tensor}

    @cached_property
    def _readers(self) -> dict[str, list[Node]]:
        readers: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for tensor in node.inputs:
                readers[tensor].append(node)
        return readers

    @cached_property
    def positions(self) -> dict[str, int]:
        """The place of each node in `nodes`, by its output."""
        return {node.output: index for index, node in enumerate(self.nodes)}

    def producer(self, tensor: str) -> Node | None:
        """The node that makes `tensor`; None for the input and constants."""
        return self._producers.get(tensor)

    def readers(self, tensor: str) -> list[Node]:
        """Nodes that read `tensor`, once per use."""
        return self._readers.get(tensor, [])

    def wanted(self, tensors: Iterable[str]) -> bool:
        """Whether anything reads one of `tensors`, or it is an output."""
        return any(self.readers(tensor) or tensor in self.outputs for tensor in tensors if tensor)

    def only_reader(self, tensor: str) -> bool:
        """Whether `tensor` is used exactly once, and is no output of the network."""
        return len(self.readers(tensor)) == 1 and tensor not in self.outputs

    def constant(self, node: Node, index: int) -> npt.NDArray[Any] | None:
        """The constant that `node` reads as input `index`; None when absent or not constant."""
        return self.constants.get(node.inputs[index]) if index < len(node.inputs) and node.inputs[index] else None

    def argument(self, node: Node, name: str, index: int) -> list[int] | None:
        """A list of integers that older opsets give as attribute `name` and newer ones as constant input `index`."""
        if name in node.attributes:
            value = node.attributes[name]
            return [int(value)] if isinstance(value, int) else [int(item) for item in value]
        found = self.constant(node, index)
        if found is None or not np.issubdtype(found.dtype, np.integer):
            return None
        return [int(item) for item in found.reshape(-1)]

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """Shape of a tensor, None unless every size is known."""
        if tensor in self.constants:
            return tuple(self.constants[tensor].shape)
        shape = self.shapes.get(tensor)
        return None if shape is None or min(shape, default=0) < 0 else shape

    def fresh(self, wish: str) -> str:
        """A tensor name that is not used yet."""
        while wish in self.constants or wish in self._producers or wish == self.input:
            wish += "'"
        return wish


@dataclass(frozen=True, eq=False)
class Edit:
    """One local change of a network.

    Attributes:
        removed: nodes that go.
        node: what takes the place of the last of them in the order of nodes, if anything.
        rename: tensor read -> tensor to read instead.
        constants: new constants by tensor name.
        changed: nodes that take the places of those with the same output.
    """

    removed: tuple[Node, ...]
    node: Node | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    changed: tuple[Node, ...] = ()


def rewrite(network: Network, match: Callable[[Network, Node], Edit | None]) -> Network:
    """Apply the edits that `match` finds, sweep after sweep, until it finds none; what nobody reads is dropped.

    Edits of one sweep that touch a common node are applied one sweep after another.
    """
    while True:
        edits: list[Edit] = []
        touched: set[str] = set()
        for node in network.nodes:
            edit = match(network, node)
            if edit is None:
                continue
            mine = {
                tensor
                for gone in edit.removed + edit.changed
                for tensor in gone.outputs + gone.inputs
                if tensor and tensor not in network.constants
            }
            if mine.isdisjoint(touched):
                edits.append(edit)
                touched |= mine
        if not edits:
            return prune(network)
        network = prune(_apply(network, edits))


def _apply(network: Network, edits: Iterable[Edit]) -> Network:
    replaced: dict[str, Node | None] = {}
    rename: dict[str, str] = {}
    constants = dict(network.constants)
    position = network.positions
    for edit in edits:
        ordered = sorted(edit.removed, key=lambda node: position[node.output])
        replaced.update(dict.fromkeys((node.output for node in ordered), None))
        replaced[ordered[-1].output] = edit.node
        replaced.update((node.output, node) for node in edit.changed)
        rename.update(edit.rename)
        constants.update(edit.constants)
    nodes = (replaced.get(node.output, node) for node in network.nodes)
    return replace(
        network,
        nodes=tuple(
            replace(node, inputs=tuple(rename.get(tensor, tensor) for tensor in node.inputs))
            if any(tensor in rename for tensor in node.inputs)
            else node
            for node in nodes
            if node
        ),
        outputs=tuple(rename.get(tensor, tensor) for tensor in network.outputs),
        constants=constants,
    )


def prune(network: Network) -> Network:
    """Drop nodes and constants that no output depends on."""
    needed = set(network.outputs)
    nodes: list[Node] = []
    for node in reversed(network.nodes):
        if needed.intersection(node.outputs):
            nodes.append(node)
            needed.update(node.inputs)
    return replace(
        network,
        nodes=tuple(reversed(nodes)),
        constants={name: value for name, value in network.constants.items() if name in needed},
    )


def replace_outputs(node: Node, last: Node) -> Node:
    """`node` that makes what `last` made."""
    return replace(node, outputs=last.outputs)


def from_onnx(model: onnx.ModelProto, name: str, weights: Mapping[str, npt.NDArray[Any]]) -> Network:
    """The main graph of a checked model with one input (see `read`), its `weights` apart."""
    graph = model.graph
    constants = {
        tensor.name: weights[tensor.name] if tensor.name in weights else numpy_helper.to_array(tensor)
        for tensor in graph.initializer
    }
    nodes = []
    for proto in graph.node:
        attributes = {item.name: _attribute(item) for item in proto.attribute}
        nodes.append(
            Node(
                proto.name,
                proto.op_type,
                tuple(proto.input),
                tuple(proto.output),
                {key: value for key, value in attributes.items() if not (isinstance(value, list) and not value)},
                "" if proto.domain == "ai.onnx" else proto.domain,
            )
        )
    infos = [*graph.input, *graph.output, *graph.value_info]
    return Network(
        name=name,
        input=next(info.name for info in graph.input if info.name not in constants),
        outputs=tuple(info.name for info in graph.output),
        output_names=tuple(info.name for info in graph.output),
        file_names=frozenset(name for node in graph.node for name in node.output),
        nodes=tuple(nodes),
        constants=constants,
        shapes={info.name: shape for info in infos if (shape := declared_shape(info)) is not None},
        image_kind=next(
            np.dtype(helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)).name
            for info in graph.input
            if info.name not in constants
        ),
        opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
    )


def to_onnx(network: Network) -> onnx.ModelProto:
    """The network as an ONNX model, for shape inference and for looking at."""
    domains = sorted({node.domain for node in network.nodes if node.domain})
    return helper.make_model(
        helper.make_graph(
            [
                helper.make_node(n.op, n.inputs, n.outputs, n.name, domain=n.domain, **n.attributes)
                for n in network.nodes
            ],
            network.name,
            [helper.make_tensor_value_info(network.input, TensorProto.FLOAT, network.shapes[network.input])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in dict.fromkeys(network.outputs)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in network.constants.items()],
        ),
        opset_imports=[
            helper.make_opsetid("", network.opset),
            *(helper.make_opsetid(domain, 1) for domain in domains),
        ],
        ir_version=IR_VERSION,
    )


def declared_shape(info: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """Shape in a value's type, -1 for symbolic sizes; None when there is none."""
    if not info.type.tensor_type.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in info.type.tensor_type.shape.dim)


def shorten(text: str, limit: int = 120) -> str:
    """Text that fits a message."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _attribute(proto: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if isinstance(value, (int, float, TensorProto, onnx.GraphProto)) else list(value)
