"""Reads ONNX files that nobody vouches for: everything is checked before it is used."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, checker, external_data_helper, helper, inliner, numpy_helper

from cgap.lowering.onnx.network import Network, declared_shape, from_onnx, shorten
from fpga_model.errors import UserError

MAX_BYTES = 1 << 30
"""Largest model, external data included."""
MAX_ELEMENTS = 1 << 28
"""Most numbers in one tensor, weights or one image's feature maps."""
MIN_OPSET = 9


def read_model(path: Path) -> tuple[Network, str]:
    """Read and check an ONNX file.

    Returns:
        The network, and the SHA-256 of the file.

    Raises:
        UserError: the file is missing, too large, not ONNX, or not a network with one image as input whose every
            weight is there and finite.
    """
    content = _read_bytes(path)
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not an ONNX file") from error
    if not model.ir_version or not model.graph.node:
        raise UserError(f"{path} is not an ONNX model: it holds no graph")
    _check_text(model.graph, path)
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        _load_external_data(model, path)
        _check_sizes(model, path)
        _check_sources(model, path)
        checker.check_model(model)
    except (checker.ValidationError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not a valid ONNX model: {first_line(error)}") from error
    _check_opset(model, path)
    _check_finite(model, path)
    _fix_interface(model, path)
    return from_onnx(model, path.stem), hashlib.sha256(content).hexdigest()


def first_line(error: Exception) -> str:
    """The first line of a message that may hold a whole dump."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(lines[0] if lines else type(error).__name__, 300)


def _read_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such file" if not path.exists() else f"{path} is not a file")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} has {path.stat().st_size} bytes; models of at most {MAX_BYTES} bytes are read")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _check_text(graph: onnx.GraphProto, path: Path) -> None:
    """Names are text; protobuf hands out as bytes what is not."""
    names = [entry.name for entry in (*graph.initializer, *graph.input, *graph.output, *graph.value_info)]
    for node in graph.node:
        names += [node.name, node.op_type, *node.input, *node.output]
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} is not a valid ONNX model: a name in it is not UTF-8 text")


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _load_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Read weights kept beside the model, from files inside its folder only."""
    external = [tensor for tensor in _tensors(model.graph) if external_data_helper.uses_external_data(tensor)]
    folder = path.resolve().parent
    total = 0
    for tensor in external:
        entries = {item.key: item.value for item in tensor.external_data}
        location = Path(entries.get("location", ""))
        where = f"{path}: initialiser {shorten(tensor.name)!r} lies in {shorten(str(location))!r}"
        try:
            target = (folder / location).resolve()
            inside = not location.is_absolute() and target.is_relative_to(folder)
            size = target.stat().st_size if inside and target.is_file() else -1
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{where}, which is not a usable file name") from error
        if not inside:
            raise UserError(f"{where}, outside the model's folder; weights are read from inside it only")
        if size < 0:
            raise UserError(f"{where}, and there is no such file")
        total += _elements(tensor, path) * 8
        if size > MAX_BYTES or total > 8 * MAX_BYTES:
            raise UserError(f"{where}: external data beyond {MAX_BYTES} bytes is not read")
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except (OSError, ValueError, RuntimeError, checker.ValidationError) as error:
            raise UserError(f"{where}, which cannot be read: {first_line(error)}") from error
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _elements(tensor: TensorProto, path: Path) -> int:
    count: int = math.prod(tensor.dims)
    if not all(0 <= dim <= MAX_ELEMENTS for dim in (count, *tensor.dims)):
        raise UserError(
            f"{path}: tensor {shorten(tensor.name)!r} has the shape {list(tensor.dims)}; "
            f"at most {MAX_ELEMENTS} numbers are taken"
        )
    return count


def _check_sizes(model: onnx.ModelProto, path: Path) -> None:
    for tensor in _tensors(model.graph):
        count = _elements(tensor, path)
        if not tensor.HasField("raw_data"):
            continue
        try:
            kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        except KeyError as error:
            raise UserError(f"{path}: tensor {shorten(tensor.name)!r} has no known number type") from error
        if kind.itemsize > 1 and len(tensor.raw_data) != count * kind.itemsize:
            raise UserError(
                f"{path}: the data of tensor {shorten(tensor.name)!r} do not fill its shape {list(tensor.dims)}"
            )


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


def _check_opset(model: onnx.ModelProto, path: Path) -> None:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    if len(versions) != 1 or not MIN_OPSET <= versions[0] <= newest:
        raise UserError(f"{path} uses ONNX opset {versions or 'none'}; opsets {MIN_OPSET} to {newest} are read")


def _check_finite(model: onnx.ModelProto, path: Path) -> None:
    if model.graph.sparse_initializer:
        raise UserError(f"{path}: sparse initialisers are not supported; store the weights densely")
    for tensor in model.graph.initializer:
        try:
            values = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise UserError(
                f"{path}: initialiser {shorten(tensor.name)!r} is unreadable: {first_line(error)}"
            ) from error
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            readers = [shorten(node.name or node.op_type) for node in model.graph.node if tensor.name in node.input]
            raise UserError(f"{path}: initialiser {shorten(tensor.name)!r}, read by {readers}, holds NaN or infinity")


def _fix_interface(model: onnx.ModelProto, path: Path) -> None:
    """Require one image in and something out; a symbolic batch axis becomes 1; other shapes are derived anew."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in weights]
    if len(inputs) != 1:
        raise UserError(f"{path} needs one input, it has {len(inputs)}: {[shorten(info.name) for info in inputs]}")
    if not graph.output:
        raise UserError(f"{path} is not a valid ONNX model: it has no output")
    image = inputs[0]
    shape = declared_shape(image)
    if image.type.tensor_type.elem_type != TensorProto.FLOAT or shape is None or len(shape) != 4:
        raise UserError(f"{path}: input {shorten(image.name)!r} must be float32 images [N, C, H, W], it is {shape}")
    for axis, size in zip("CHW", shape[1:], strict=True):
        if size < 1:
            raise UserError(
                f"{path}: input {shorten(image.name)!r} has no fixed size on axis {axis} "
                f"({list(shape)}, -1 is dynamic); only the batch axis may be dynamic: export with a fixed image size"
            )
    if math.prod(shape[1:]) > MAX_ELEMENTS:
        raise UserError(f"{path}: images of {list(shape[1:])} are too large; at most {MAX_ELEMENTS} numbers are taken")
    if shape[0] < 1:
        image.type.tensor_type.shape.dim[0].dim_value = 1
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
