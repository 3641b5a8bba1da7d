"""Which part of a file is the network: its image, its outputs, sizes that the file leaves open, its opset."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper, shape_inference, version_converter

from cgap.lowering.onnx.network import declared_shape, shorten
from fpga_model.errors import UserError

MAX_IMAGE = 1 << 28
"""Most numbers of one image."""
READ_OPSET = 9
"""Oldest opset whose operators are read as they are; older files are converted to it."""
IMAGES = {TensorProto.FLOAT: "float32", TensorProto.INT8: "int8", TensorProto.UINT8: "uint8"}
"""Number types that an image may have."""


@dataclass(frozen=True)
class ImportOptions:
    """Settings for what a model file leaves open.

    Attributes:
        shape: sizes of the input, batch first, if the file leaves some open; empty: as in the file.
        inputs: the tensor where the network begins, if that is not the file's input.
        outputs: tensors, or the nodes that compute them, where the network ends; empty: the file's outputs.
        image_range: the lowest and the highest value in an image; None: [-1, 1) in steps of 1/128.

    Raises:
        UserError: sizes below one, or an empty range.
    """

    shape: tuple[int, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    image_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if any(size < 1 for size in self.shape):
            raise UserError(f"--shape {','.join(map(str, self.shape))}: sizes are whole numbers from 1")
        if self.image_range is not None:
            low, high = self.image_range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise UserError(f"--image-range {low:g},{high:g}: give the lowest value, then the highest")
        if len(self.inputs) > 1:
            raise UserError(f"--inputs {','.join(self.inputs)}: the accelerator reads one image")

    @classmethod
    def parse(cls, shape: str, inputs: str, outputs: str, image_range: str) -> ImportOptions:
        """Parse the command line's options; commas separate values. Raises UserError."""
        try:
            sizes = tuple(int(size) for size in _parts(shape))
        except ValueError as error:
            raise UserError(f"--shape {shape}: give whole numbers, such as 1,3,224,224") from error
        try:
            bounds = tuple(float(value) for value in _parts(image_range))
        except ValueError as error:
            raise UserError(f"--image-range {image_range}: give two numbers, such as 0,255") from error
        if len(bounds) not in (0, 2):
            raise UserError(f"--image-range {image_range}: give two numbers, such as 0,255")
        return cls(sizes, _parts(inputs), _parts(outputs), (bounds[0], bounds[1]) if bounds else None)

    def words(self) -> list[str]:
        """The command line's options that say the same."""
        values: dict[str, Iterable[object]] = {
            "--shape": self.shape,
            "--inputs": self.inputs,
            "--outputs": self.outputs,
            "--image-range": [int(bound) if bound.is_integer() else bound for bound in self.image_range or ()],
        }
        return [word for name, given in values.items() if given for word in (name, ",".join(map(str, given)))]


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def convert_opset(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model in an opset that is read.

    Raises:
        UserError: it is newer than this onnx package, or cannot be converted.
    """
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    if len(versions) != 1 or not 1 <= versions[0] <= newest:
        raise UserError(
            f"{path} uses ONNX opset {versions or 'none'}; opsets 1 to {newest} are read: export with one of them"
        )
    if versions[0] >= READ_OPSET:
        return model
    try:
        return version_converter.convert_version(model, READ_OPSET)
    except Exception as error:  # the converter's errors share no base class
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} uses ONNX opset {versions[0]}, which cannot be converted to {READ_OPSET} ({shorten(first)}): "
            f"export with opset {READ_OPSET} or newer"
        ) from error


def choose_interface(model: onnx.ModelProto, path: Path, options: ImportOptions) -> None:
    """Cut the graph to what `options` ask for, fix its sizes, and require one image in and something out, in place.

    A symbolic batch axis becomes 1; other shapes are derived anew.

    Raises:
        UserError: names all that is wrong with the interface, and what to do.
    """
    if options.outputs:
        _cut_outputs(model, path, options.outputs)
    if options.inputs:
        _cut_input(model, path, options.inputs[0])
    graph = model.graph
    _drop_unread_inputs(graph)
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in weights]
    faults = []
    if len(inputs) != 1:
        names = ", ".join(shorten(info.name) for info in inputs)
        faults.append(
            f"it has {len(inputs)} inputs ({names}), and one image is read: say with --inputs NAME at which tensor the "
            f"network begins"
            if inputs
            else "it has no input"
        )
    if not graph.output:
        faults.append("it has no output")
    if len(inputs) == 1:
        _size_image(inputs[0], options.shape)
        faults += _image_faults(inputs[0])
    if faults:
        raise UserError(f"{path}: " + "; ".join(faults))
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    del graph.value_info[:]


def _drop_unread_inputs(graph: onnx.GraphProto) -> None:
    """Inputs that no output depends on, such as the lengths of a batch, are nobody's."""
    made = {name: node for node in graph.node for name in node.output}
    needed, wanted = set(), [info.name for info in graph.output]
    while wanted:
        tensor = wanted.pop()
        if tensor not in needed:
            needed.add(tensor)
            wanted += made[tensor].input if tensor in made else []
    weights = {tensor.name for tensor in graph.initializer}
    images = [info for info in graph.input if info.name not in weights]
    unread = [info for info in images if info.name not in needed]
    if len(unread) < len(images):
        for info in unread:
            graph.input.remove(info)


def _size_image(image: onnx.ValueInfoProto, sizes: Sequence[int]) -> None:
    tensor = image.type.tensor_type
    if sizes:
        declared = declared_shape(image)
        if declared is not None and len(declared) != len(sizes):
            raise UserError(
                f"--shape {','.join(map(str, sizes))}: input {shorten(image.name)!r} has {len(declared)} axes, "
                f"{_sizes(image)}"
            )
        fixed = [have for have, size in zip(declared or (), sizes, strict=False) if have > 0 and have != size]
        if fixed:
            raise UserError(
                f"--shape {','.join(map(str, sizes))}: the file fixes sizes of input {shorten(image.name)!r}: "
                f"{_sizes(image)}"
            )
        tensor.shape.ClearField("dim")
        for size in sizes:
            tensor.shape.dim.add().dim_value = size
    elif tensor.HasField("shape") and tensor.shape.dim and tensor.shape.dim[0].dim_value < 1:
        tensor.shape.dim[0].dim_value = 1


def _sizes(image: onnx.ValueInfoProto) -> str:
    dims = image.type.tensor_type.shape.dim
    return (
        "[" + ", ".join(str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims) + "]"
    )


def _image_faults(image: onnx.ValueInfoProto) -> list[str]:
    name, shape, kind = shorten(image.name), declared_shape(image), image.type.tensor_type.elem_type
    found = []
    if kind not in IMAGES:
        called = TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else str(kind)
        found.append(f"input {name!r} holds {called.lower()}; images are float32, int8 or uint8")
    if shape is None:
        found.append(f"input {name!r} has no declared shape: give it by --shape, such as --shape 1,3,224,224")
        return found
    if not 2 <= len(shape) <= 4:
        found.append(f"input {name!r} has {len(shape)} axes, {list(shape)}; two to four are read, such as [N, C, H, W]")
    dynamic = [index for index, size in enumerate(shape) if size < 1]
    if dynamic:
        example = {4: "1,3,224,224", 3: "1,3,1000"}.get(len(shape), "1,128")
        found.append(
            f"input {name!r} has no fixed size on {'axis' if len(dynamic) == 1 else 'axes'} "
            f"{', '.join(map(str, dynamic))}, {_sizes(image)}; give it by --shape, such as --shape {example}"
        )
    elif math.prod(shape[1:]) > MAX_IMAGE:
        found.append(f"images of {list(shape[1:])} are too large; at most {MAX_IMAGE} numbers are taken")
    return found


def _cut_input(model: onnx.ModelProto, path: Path, name: str) -> None:
    """Make tensor `name` the image: what makes it goes, its shape is what ONNX infers."""
    graph = model.graph
    found = _tensor(graph, name)
    if found is None:
        raise UserError(f"{path}: no tensor or node {name!r} to begin with; {_near(graph)}")
    name = found
    if any(info.name == name for info in graph.input):
        kept = [info for info in graph.input if info.name == name]
    else:
        try:
            inferred = shape_inference.infer_shapes(model).graph.value_info
        except (shape_inference.InferenceError, RuntimeError, ValueError):
            inferred = []
        known = [info for info in (*inferred, *graph.value_info) if info.name == name]
        made = known[0] if known else helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        kept = [made]
        remaining = [node for node in graph.node if name not in node.output]
        del graph.node[:]
        graph.node.extend(remaining)
    weights = {tensor.name for tensor in graph.initializer}
    others = [info for info in graph.input if info.name in weights and info.name != name]
    del graph.input[:]
    graph.input.extend([*kept, *others])
    _drop_unreachable(graph, path, name)


def _drop_unreachable(graph: onnx.GraphProto, path: Path, name: str) -> None:
    """Drop nodes that read inputs which are gone, and outputs that depended on them."""
    known = {""} | {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        if all(tensor in known for tensor in node.input):
            kept.append(node)
            known.update(node.output)
    outputs = [info for info in graph.output if info.name in known]
    if not outputs:
        raise UserError(f"{path}: no output can be computed from {shorten(name)!r} alone")
    del graph.node[:]
    graph.node.extend(kept)
    del graph.output[:]
    graph.output.extend(outputs)


def _cut_outputs(model: onnx.ModelProto, path: Path, names: Sequence[str]) -> None:
    graph = model.graph
    found = [_tensor(graph, name) for name in names]
    unknown = [name for name, tensor in zip(names, found, strict=True) if tensor is None]
    if unknown:
        raise UserError(f"{path}: no tensor or node {', '.join(map(repr, unknown))} to end with; {_near(graph)}")
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None) for tensor in dict.fromkeys(found) if tensor
    )


def _tensor(graph: onnx.GraphProto, name: str) -> str | None:
    """The tensor called `name`, or the first that the node so called makes."""
    tensors = {output for node in graph.node for output in node.output} | {info.name for info in graph.input}
    if name in tensors:
        return name
    return next((node.output[0] for node in graph.node if node.name == name and node.output), None)


def _near(graph: onnx.GraphProto) -> str:
    last = [node.output[0] for node in graph.node if node.output][-5:]
    return f"the last tensors are {', '.join(map(shorten, last))}"
