"""Reads ONNX files that nobody vouches for: everything is checked before it is used."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto, checker, external_data_helper, helper, inliner, numpy_helper

from cgap.boundary.files import read_bounded
from cgap.lowering.onnx.interface import READ_OPSET, ImportOptions, choose_interface, convert_opset
from cgap.lowering.onnx.network import Network, from_onnx, shorten
from fpga_model.errors import UserError

MAX_BYTES = 1 << 30
"""Largest model, external data included."""
MAX_ELEMENTS = 1 << 28
"""Most numbers in one tensor, weights or one image's feature maps."""
MAX_NODES = 100_000
"""Most nodes of a network, after its local functions are inlined."""


LARGE = 1 << 10
"""Tensors of more numbers than this are weights, whose values say nothing about the graph."""

Constants = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model as it was read, once.

    Attributes:
        own: the bytes of its file.
        external: the data of its tensors that lay in other files, in the order of `_external`.
    """

    own: bytes
    external: tuple[bytes, ...] = ()

    @cached_property
    def content(self) -> bytes:
        """The whole of it as one ONNX file: what was read, with the data in it that lay in other files."""
        if not self.external:
            return self.own
        model = onnx.load_model_from_string(self.own)
        _embed(model, self.external)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    @cached_property
    def sha256(self) -> str:
        """Of `content`."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(eq=False)
class OpenedModel:
    """An ONNX file of which no more is known than that it is one. An import takes its graph: it is good for one.

    Attributes:
        path, content: of the file.
        opset: of ONNX's own operators; None where it names none.
        producer: what wrote it, if it says so.
        operators: its nodes, counted by operator.
    """

    path: Path
    content: bytes
    opset: int | None
    producer: str | None
    operators: Counter[str]
    _model: onnx.ModelProto | None

    def take(self) -> onnx.ModelProto:
        """The model itself, once: whoever has it may change it."""
        model, self._model = self._model, None
        if model is None:
            raise ValueError(f"{self.path} was imported before: open it again")
        return model


def open_model(path: Path) -> OpenedModel:
    """Read and parse an ONNX file, without the files beside it.

    Raises:
        UserError: the file is missing, too large or not ONNX.
    """
    content = _read_bytes(path)
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not an ONNX file") from error
    if not model.ir_version or not model.graph.node:
        raise UserError(f"{path} is not an ONNX model: it holds no graph")
    _check_text(model, path)
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    made_by = model.producer_name, model.producer_version
    return OpenedModel(
        path,
        content,
        opset=opsets[0] if opsets else None,
        producer=" ".join(name for name in made_by if name and isinstance(name, str)) or None,
        operators=Counter(node.op_type for node in model.graph.node),
        _model=model,
    )


def read_model(opened: OpenedModel, options: ImportOptions) -> tuple[Network, ModelFile]:
    """Check an ONNX file, and read the files beside it in which it keeps its weights, each once.

    Weights leave the model as arrays before anything looks at it: they are copied once, whatever comes after.

    Raises:
        UserError: it is not a network with one image as input and an output whose every weight is there and finite.
    """
    path, model = opened.path, opened.take()
    check_node_count(model, path)
    file = ModelFile(opened.content, load_external_data(model, path))
    # The converter of old opsets may look at any tensor.
    weights = take_weights(model, path) if opened.opset is not None and opened.opset >= READ_OPSET else {}
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        _check_sizes(model, path)
        _check_sources(model, path)
        checker.check_model(_without(model, weights))
    except (checker.ValidationError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not a valid ONNX model: {first_line(error)}") from error
    _check_attributes(model, path)
    _check_finite(model, path, weights)
    choose_interface(model, path, options)
    model = convert_opset(model, path)
    return from_onnx(model, path.stem, weights), file


def first_line(error: Exception) -> str:
    """The first line of a message that may hold a whole dump."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(lines[0] if lines else type(error).__name__, 300)


def _read_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such file" if not path.exists() else f"{path} is not a file")
        return read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _check_text(model: onnx.ModelProto, path: Path) -> None:
    """Names are text; protobuf hands out as bytes what is not."""
    for names in _names(model.graph), *map(_function_names, model.functions):
        if not all(isinstance(name, str) for name in names):
            raise UserError(f"{path} is not a valid ONNX model: a name in it is not UTF-8 text")


def _function_names(function: onnx.FunctionProto) -> Iterator[str]:
    yield from (function.name, function.domain, function.overload)
    yield from (*function.input, *function.output, *function.attribute)
    yield from _node_names(function.node)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (entry.name for entry in (*graph.initializer, *graph.input, *graph.output, *graph.value_info))
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    yield from _node_names(graph.node)


def _node_names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name, attribute.t.name)
            for graph in (attribute.g, *attribute.graphs):
                yield from _names(graph)


def check_node_count(model: onnx.ModelProto, path: Path) -> None:
    """Count the nodes that there will be when local functions are inlined, before they are.

    Raises UserError if there are too many, or if functions call one another in a circle.
    """
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    counts: dict[tuple[str, str, str], int] = {}
    open_calls: set[tuple[str, str, str]] = set()

    def count(nodes: Iterable[onnx.NodeProto]) -> int:
        total = 0
        for node in nodes:
            total += 1 + sum(count(graph.node) for a in node.attribute for graph in (a.g, *a.graphs) if graph.node)
            called = (node.domain, node.op_type, node.overload)
            if called in functions:
                if called in open_calls:
                    raise UserError(f"{path} is not a valid ONNX model: function {shorten(called[1])!r} calls itself")
                if called not in counts:
                    open_calls.add(called)
                    counts[called] = count(functions[called].node)
                    open_calls.remove(called)
                total += counts[called]
            if total > MAX_NODES:
                raise UserError(f"{path}: more than {MAX_NODES:,} nodes, its functions' included; no more are taken")
        return total

    try:
        count(model.graph.node)
    except RecursionError as error:
        raise UserError(f"{path}: its functions call one another too deeply") from error


def _tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            # Whatever its type says: of a hostile file any field may be set.
            for field, value in attribute.ListFields():
                if field.name in ("t", "tensors"):
                    yield from (value,) if field.name == "t" else value
                elif field.name in ("sparse_tensor", "sparse_tensors"):
                    for sparse in (value,) if field.name == "sparse_tensor" else value:
                        yield from (sparse.values, sparse.indices)
                elif field.name in ("g", "graphs"):
                    for inner in (value,) if field.name == "g" else value:
                        yield from _graph_tensors(inner)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors(graph.node)


def _external(model: onnx.ModelProto) -> list[TensorProto]:
    """The tensors whose data lie in other files."""
    tensors = [*_graph_tensors(model.graph), *(t for function in model.functions for t in _tensors(function.node))]
    return [tensor for tensor in tensors if external_data_helper.uses_external_data(tensor)]


def load_external_data(model: onnx.ModelProto, path: Path) -> tuple[bytes, ...]:
    """Read weights kept beside the model, from files inside its folder only, into the model; returns them, too.

    Everything is checked before anything is read: of each file as much is read as its tensor's shape asks for.
    """
    pieces = [_locate(tensor, path) for tensor in _external(model)]
    total = sum(piece.length for piece in pieces)
    if total > MAX_BYTES:
        raise UserError(f"{path}: {total:,} bytes of external data; at most {MAX_BYTES:,} are read")
    data = tuple(piece.read() for piece in pieces)
    _embed(model, data)
    return data


def _embed(model: onnx.ModelProto, data: Iterable[bytes]) -> None:
    """Put the data of the tensors that have theirs in other files into the model."""
    for tensor, values in zip(_external(model), data, strict=True):
        tensor.raw_data = values
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


@dataclass(frozen=True)
class _Piece:
    """A tensor's bytes in a file; `where` says so in messages."""

    file: Path
    offset: int
    length: int
    where: str

    def read(self) -> bytes:
        try:
            with self.file.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.length)
        except OSError as error:
            raise UserError(f"{self.where}, which cannot be read: {error.strerror}") from error
        if len(data) != self.length:
            raise UserError(f"{self.where}, which became shorter while it was read")
        return data


def _locate(tensor: TensorProto, path: Path) -> _Piece:
    """The checked place of a tensor's data; its file need not hold more than its shape asks for."""
    entries = {item.key: item.value for item in tensor.external_data}
    location = Path(entries.get("location", ""))
    where = f"{path}: initialiser {shorten(tensor.name)!r} lies in {shorten(str(location))!r}"
    folder = path.resolve().parent
    try:
        file = (folder / location).resolve()
        inside = not location.is_absolute() and file.is_relative_to(folder)
        size = file.stat().st_size if inside and file.is_file() else -1
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", max(0, size - offset)))
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{where}, which is not a usable place: {first_line(error)}") from error
    if not inside:
        raise UserError(f"{where}, outside the model's folder; weights are read from inside it only")
    if size < 0:
        raise UserError(f"{where}, and there is no such file")
    if tensor.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        raise UserError(f"{where}, but it holds no numbers")
    expected = math.ceil(_elements(tensor, path) * _bits(tensor, path) / 8)
    if length != expected or not 0 <= offset <= size - length:
        raise UserError(
            f"{where}, bytes {offset} to {offset + length} of {size}; its shape {list(tensor.dims)} takes {expected}"
        )
    return _Piece(file, offset, length, where)


def _bits(tensor: TensorProto, path: Path) -> int:
    """Of one number, as files hold it."""
    name = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in TensorProto.DataType.values() else ""
    packed = next((bits for mark, bits in (("INT4", 4), ("FLOAT4", 4), ("INT2", 2)) if mark in name), None)
    return packed or 8 * _kind(tensor, path).itemsize


def _kind(tensor: TensorProto, path: Path) -> np.dtype[Any]:
    try:
        return helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError as error:
        raise UserError(f"{path}: tensor {shorten(tensor.name)!r} has no known number type") from error


def _elements(tensor: TensorProto, path: Path) -> int:
    count: int = math.prod(tensor.dims)
    if not all(0 <= dim <= MAX_ELEMENTS for dim in (count, *tensor.dims)):
        raise UserError(
            f"{path}: tensor {shorten(tensor.name)!r} has the shape {list(tensor.dims)}; "
            f"at most {MAX_ELEMENTS} numbers are taken"
        )
    return count


def take_weights(model: onnx.ModelProto, path: Path) -> Constants:
    """Take the data of large initialisers out of a model, in which they keep their names, types and shapes.

    Raises:
        UserError: the data of one do not fill its shape.
    """
    taken: Constants = {}
    names = Counter(tensor.name for tensor in model.graph.initializer)
    for tensor in model.graph.initializer:
        count = _elements(tensor, path)
        plain = tensor.HasField("raw_data") and not tensor.HasField("segment") and names[tensor.name] == 1
        if count <= LARGE or not plain:  # what is odd is left for the checker to say
            continue
        kind = _kind(tensor, path)
        if kind.kind in "fiu" and kind.isbuiltin == 1:
            data = tensor.raw_data
            if len(data) != count * kind.itemsize:
                raise _unfilled(tensor, path)
            taken[tensor.name] = np.frombuffer(data, kind.newbyteorder("<")).reshape(tensor.dims)
            tensor.ClearField("raw_data")
    return taken


def _without(model: onnx.ModelProto, weights: Constants) -> onnx.ModelProto:
    """A copy in which the tensors that were taken out are inputs: without data they are no valid initialisers."""
    if not weights:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    given = {info.name for info in copy.graph.input}
    kept = [tensor for tensor in copy.graph.initializer if tensor.name not in weights]
    copy.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in copy.graph.initializer
        if tensor.name in weights and tensor.name not in given
    )
    copy.graph.ClearField("initializer")
    copy.graph.initializer.extend(kept)
    return copy


def _unfilled(tensor: TensorProto, path: Path) -> UserError:
    return UserError(f"{path}: the data of tensor {shorten(tensor.name)!r} do not fill its shape {list(tensor.dims)}")


def _check_sizes(model: onnx.ModelProto, path: Path) -> None:
    for tensor in _graph_tensors(model.graph):
        count = _elements(tensor, path)
        if not tensor.HasField("raw_data"):
            continue
        kind = _kind(tensor, path)
        if kind.itemsize > 1 and len(tensor.raw_data) != count * kind.itemsize:
            raise _unfilled(tensor, path)


def _check_sources(model: onnx.ModelProto, path: Path) -> None:
    """Every tensor read must exist: say which initialiser is missing before the checker speaks of sorting."""
    graph = model.graph
    made = {""} | {tensor.name for tensor in graph.initializer} | {info.name for info in graph.input}
    made |= {sparse.values.name for sparse in graph.sparse_initializer}
    made |= {tensor for node in graph.node for tensor in node.output}
    missing = [
        f"{shorten(node.name or node.op_type)!r} ({node.op_type}) reads {shorten(tensor)!r}"
        for node in graph.node
        for tensor in node.input
        if tensor not in made
    ]
    if missing:
        raise UserError(f"{path}: missing initialisers: {'; '.join(missing)}")


_KINDS = {
    AttributeProto.SPARSE_TENSOR: "a sparse tensor",
    AttributeProto.SPARSE_TENSORS: "sparse tensors",
    AttributeProto.TYPE_PROTO: "a type",
    AttributeProto.TYPE_PROTOS: "types",
}
"""Kinds of attributes that nothing is made of here."""


def _check_attributes(model: onnx.ModelProto, path: Path) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type in _KINDS:
                raise UserError(
                    f"{path}: node {shorten(node.name or node.op_type)!r} ({shorten(node.op_type)}): attribute "
                    f"{shorten(attribute.name)!r} holds {_KINDS[attribute.type]}, which is not supported"
                )


def _fills(model: onnx.ModelProto, name: str) -> bool:
    """Whether a number is only what paddings fill with, which may be below all others."""
    readers = [node for node in model.graph.node if name in node.input]
    return all(node.op_type == "Pad" and list(node.input).index(name) == 2 for node in readers)


def _check_finite(model: onnx.ModelProto, path: Path, weights: Constants) -> None:
    if model.graph.sparse_initializer:
        raise UserError(f"{path}: sparse initialisers are not supported; store the weights densely")
    for tensor in model.graph.initializer:
        try:
            values = weights[tensor.name] if tensor.name in weights else numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise UserError(
                f"{path}: initialiser {shorten(tensor.name)!r} is unreadable: {first_line(error)}"
            ) from error
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            if values.size == 1 and values.min() == -np.inf and _fills(model, tensor.name):
                continue
            readers = [shorten(node.name or node.op_type) for node in model.graph.node if tensor.name in node.input]
            raise UserError(f"{path}: initialiser {shorten(tensor.name)!r}, read by {readers}, holds NaN or infinity")
