"""Writes a quantised network as QDQ ONNX, with a Q/DQ pair exactly where the hardware rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from cgap.boundary.files import write_atomic
from cgap.lowering.onnx.network import IR_VERSION
from fpga_model.graph import FixedGraph, Layer, LayerNumbers, Shape
from fpga_model.numerics.fixed_point import FLOAT32_EXACT, Format
from fpga_model.operators import Concatenation, Convolution, Input, Operator, Pooling

OPSET = 17
OPSET_16_BITS = 21
"""The first that has QuantizeLinear to 16 bits."""


@dataclass(frozen=True)
class QdqModel:
    """The names in an exported QDQ file.

    Attributes:
        outputs: name of the real-valued output, by layer name: "logits" for the only one, else the layer's own.
        stored: name of the tensor with the stored integers, by layer name.
        unproven: layers whose accumulators could leave float32's exact range, where onnxruntime's sums might round.
    """

    outputs: dict[str, str]
    stored: dict[str, str]
    unproven: list[str]


def export_qdq(fixed: FixedGraph, path: Path, stored_outputs: bool = False) -> QdqModel:
    """Write the network for onnxruntime.

    It reads the same real-valued image as the original network and returns its real-valued outputs, named as
    `QdqModel.outputs` says. Run with graph optimisations disabled it repeats the stored integers bit for bit in all
    layers that are not `unproven`; with them, onnxruntime may take integer kernels, which saturate inside on
    processors without VNNI.

    Args:
        fixed: the quantised network.
        path: file to write; the same network gives the same bytes.
        stored_outputs: also make the stored integers of every layer outputs of the model.
    """
    writer = _Writer(fixed)
    for layer in fixed.graph.layers:
        writer.write(layer)
    content: bytes = writer.model(stored_outputs).SerializeToString(deterministic=True)
    write_atomic(path, content)
    return QdqModel(dict(writer.outputs), dict(writer.stored), unproven_layers(fixed))


def unproven_layers(fixed: FixedGraph) -> list[str]:
    """Layers whose sums are not proven to be exact in float32."""
    return [layer.name for layer in fixed.graph.layers if fixed.bounds(layer.name)[0] >= FLOAT32_EXACT]


def doubtful_layers(fixed: FixedGraph) -> set[str]:
    """Layers whose stored integers onnxruntime might not repeat: the unproven ones, and what is computed from them."""
    found = set(unproven_layers(fixed))
    for layer in fixed.graph.layers:
        if found.intersection(layer.inputs):
            found.add(layer.name)
    return found


@dataclass
class _Writer:
    """Collects the nodes and initialisers of the model."""

    fixed: FixedGraph
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initialisers: list[TensorProto] = field(default_factory=list)
    stored: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: {"logits"})

    def __post_init__(self) -> None:
        self.image = self.fixed.graph.input.name
        names = [layer.name for layer in self.fixed.graph.outputs]
        self.outputs = {name: name for name in names} if len(names) > 1 else {names[0]: "logits"}
        # Names of layers are kept for the nodes that compute them.
        self.taken.update(layer.name for layer in self.fixed.graph.layers)

    def tensor(self, wish: str) -> str:
        """A new tensor name."""
        while wish in self.taken:
            wish += "'"
        self.taken.add(wish)
        return wish

    def constant(self, wish: str, values: npt.NDArray[Any]) -> str:
        name = self.tensor(wish)
        self.initialisers.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op: str, inputs: list[str], wish: str, name: str | None = None, **attributes: Any) -> str:
        """Append a node, called like its output tensor or `name`; returns that tensor."""
        output = self.tensor(wish)
        self.nodes.append(helper.make_node(op, inputs, [output], name or output, **attributes))
        return output

    def real(self, name: str) -> str:
        """The stored tensor of a layer, dequantised."""
        form = self.fixed.format(name)
        scale, zero = self._scale(name, form)
        return self.node("DequantizeLinear", [self.stored[name], scale, zero], f"{name}.real")

    def write(self, layer: Layer) -> None:
        numbers = self.fixed.numbers[layer.name]
        inputs = [self.real(source) for source in layer.inputs] or [self.image]
        shape = self.fixed.graph.shape(layer.name)
        exact = write_operator(layer.operator, self, layer.name, inputs, numbers, shape)
        scale, zero = self._scale(layer.name, numbers.output)
        self.stored[layer.name] = self.node("QuantizeLinear", [exact, scale, zero], f"{layer.name}.stored")

    def _scale(self, name: str, form: Format) -> tuple[str, str]:
        scale = self.constant(f"{name}.scale", np.array(form.scale, np.float32))
        return scale, self.constant(f"{name}.zero", np.array(0, form.dtype))

    def dequantised(self, wish: str, values: npt.NDArray[Any], frac: npt.NDArray[np.int64]) -> str:
        """An integer initialiser [Nof, ...] with `frac` [Nof] fraction bits, dequantised."""
        integers = self.constant(f"{wish}.integers", values)
        scale = self.constant(f"{wish}.scale", np.ldexp(1.0, -frac).astype(np.float32))
        zero = self.constant(f"{wish}.zero", np.zeros(len(values), values.dtype))
        return self.node("DequantizeLinear", [integers, scale, zero], wish, axis=0)

    def model(self, stored_outputs: bool) -> onnx.ModelProto:
        graph = self.fixed.graph
        image, outputs = graph.shape(self.image), []
        for name, called in self.outputs.items():
            result, shape = self.real(name), graph.shape(name)
            flat = shape.pixels == 1
            ending = "Flatten" if flat else "Identity"
            self.nodes.append(helper.make_node(ending, [result], [called], self.tensor(f"{called}.layout")))
            outputs.append(_value(called, TensorProto.FLOAT, [shape.channels] if flat else _sizes(shape)))
        if stored_outputs:
            for name, tensor in self.stored.items():
                kind = helper.np_dtype_to_tensor_dtype(self.fixed.format(name).dtype)
                outputs.append(_value(tensor, kind, _sizes(graph.shape(name))))
        inputs = [_value(self.image, TensorProto.FLOAT, _sizes(image))]
        body = helper.make_graph(self.nodes, graph.name, inputs, outputs, self.initialisers)
        wide = any(self.fixed.format(layer.name).bits == 16 for layer in graph.layers)
        opsets = [helper.make_opsetid("", OPSET_16_BITS if wide else OPSET)]
        return helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cgap")


def _sizes(shape: Shape) -> list[int]:
    return [shape.channels, shape.height, shape.width]


def _value(name: str, kind: int, sizes: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["N", *sizes])


@singledispatch
def write_operator(
    operator: Operator,
    writer: _Writer,
    name: str,
    inputs: list[str],
    numbers: LayerNumbers,
    shape: Shape,
) -> str:
    """Write the exact, unrounded layer; returns the name of its tensor."""
    raise TypeError(f"no QDQ form for {operator}")


@write_operator.register
def _(_operator: Input, _writer: _Writer, _name: str, inputs: list[str], _numbers: LayerNumbers, _shape: Shape) -> str:
    return inputs[0]


@write_operator.register
def _(operator: Convolution, writer: _Writer, name: str, inputs: list[str], numbers: LayerNumbers, shape: Shape) -> str:
    assert numbers.weights is not None
    assert numbers.weight_frac is not None
    assert numbers.bias is not None
    weights = writer.dequantised(f"{name}.weights", numbers.weights, numbers.weight_frac)
    accumulator_frac = numbers.shift + numbers.output.frac
    bias = writer.dequantised(f"{name}.bias", numbers.bias.astype(np.int32), accumulator_frac)
    exact = writer.node(
        "Conv",
        [inputs[0], weights, bias],
        f"{name}.sums",
        name,
        kernel_shape=operator.kernel,
        strides=operator.stride,
        pads=operator.pad,
        group=operator.groups,
    )
    if operator.shortcut is not None:
        aligned = _shortcut(operator, writer, name, inputs[1], shape)
        exact = writer.node("Add", [exact, aligned], f"{name}.residual")
    return _activation(operator, writer, name, exact)


def _activation(operator: Convolution, writer: _Writer, name: str, exact: str) -> str:
    if operator.leak:
        exact = writer.node("LeakyRelu", [exact], f"{name}.leaky", alpha=2.0**-operator.leak)
    if operator.relu:
        exact = writer.node("Relu", [exact], f"{name}.relu")
    if operator.ceiling is not None:
        # Rounding never changes the order of two numbers, so that cutting before it or after it is the same.
        bounds = ["", writer.constant(f"{name}.ceiling", np.array(operator.ceiling, np.float32))]
        exact = writer.node("Clip", [exact, *bounds], f"{name}.clip")
    return exact


def _shortcut(operator: Convolution, writer: _Writer, name: str, data: str, shape: Shape) -> str:
    shortcut = operator.shortcut
    assert shortcut is not None
    if max(shortcut.stride) > 1:
        ends = [np.iinfo(np.int64).max] * 2
        bounds = ([0, 0], ends, [2, 3], shortcut.stride)
        parts = ("starts", "ends", "axes", "steps")
        arguments = [
            writer.constant(f"{name}.{part}", np.array(value, np.int64))
            for part, value in zip(parts, bounds, strict=True)
        ]
        data = writer.node("Slice", [data, *arguments], f"{name}.subsampled")
    after = shape.channels - shortcut.reach.stop
    if shortcut.channel_offset or after:
        amounts = np.array([0, shortcut.channel_offset, 0, 0, 0, after, 0, 0], np.int64)
        data = writer.node("Pad", [data, writer.constant(f"{name}.pads", amounts)], f"{name}.padded")
    return data


@write_operator.register
def _(operator: Pooling, writer: _Writer, name: str, inputs: list[str], _numbers: LayerNumbers, shape: Shape) -> str:
    window = {
        "kernel_shape": operator.kernel,
        "strides": operator.stride,
        "pads": operator.pad,
        "dilations": operator.dilation,
    }
    if operator.mode == "max":
        return writer.node("MaxPool", inputs, f"{name}.maxima", name, **window)
    # A grouped convolution with ones sums exactly; AveragePool would divide, and round.
    ones = writer.constant(f"{name}.ones", np.ones((shape.channels, 1, *operator.kernel), np.float32))
    return writer.node("Conv", [*inputs, ones], f"{name}.sums", name, group=shape.channels, **window)


@write_operator.register
def _(
    operator: Concatenation, writer: _Writer, name: str, inputs: list[str], _numbers: LayerNumbers, _shape: Shape
) -> str:
    parts, single = [], len(operator.parts) == 1
    for index, part in enumerate(operator.parts):
        bounds = {"starts": part.first, "ends": part.first + part.channels, "axes": 1}
        arguments = [
            writer.constant(f"{name}.part{index}.{key}", np.array([value], np.int64)) for key, value in bounds.items()
        ]
        called = name if single else None
        parts.append(writer.node("Slice", [inputs[part.source], *arguments], f"{name}.part{index}", called))
    return parts[0] if single else writer.node("Concat", parts, f"{name}.parts", name, axis=1)
