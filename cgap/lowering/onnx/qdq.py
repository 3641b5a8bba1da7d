"""Writes layer graphs as ONNX: quantised networks with a Q/DQ pair exactly where the hardware rounds, and real ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from cgap.boundary.files import write_atomic
from cgap.lowering.onnx.network import IR_VERSION
from fpga_model.graph import FixedGraph, FloatParameters, Layer, LayerGraph, LayerNumbers, Shape
from fpga_model.numerics.fixed_point import FLOAT32_EXACT, Format
from fpga_model.operators import Concatenation, Convolution, FullyConnected, Input, Operator, Pooling

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
    writer = _QdqWriter(fixed)
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


class _Writer(ABC):
    """Collects the nodes and initialisers of a model."""

    def __init__(self, taken: set[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[TensorProto] = []
        self.taken = taken

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

    @abstractmethod
    def parameters(self, name: str) -> tuple[str, str]:
        """The tensors of a layer's real weights [Nof, Nif / groups, Nky, Nkx] and biases [Nof]."""

    def model_of(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], opset: int
    ) -> onnx.ModelProto:
        body = helper.make_graph(self.nodes, name, inputs, outputs, self.initialisers)
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cgap")


class _QdqWriter(_Writer):
    """Layers whose stored integers are dequantised where they are read."""

    def __init__(self, fixed: FixedGraph) -> None:
        # Names of layers are kept for the nodes that compute them.
        super().__init__({"logits", *(layer.name for layer in fixed.graph.layers)})
        self.fixed = fixed
        self.stored: dict[str, str] = {}
        self.image = fixed.graph.input.name
        names = [layer.name for layer in fixed.graph.outputs]
        self.outputs = {name: name for name in names} if len(names) > 1 else {names[0]: "logits"}

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

    def parameters(self, name: str) -> tuple[str, str]:
        numbers = self.fixed.numbers[name]
        assert numbers.weights is not None
        assert numbers.weight_frac is not None
        assert numbers.bias is not None
        weights = self.dequantised(f"{name}.weights", numbers.weights, numbers.weight_frac)
        accumulator_frac = numbers.shift + numbers.output.frac
        return weights, self.dequantised(f"{name}.bias", numbers.bias.astype(np.int32), accumulator_frac)

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
        wide = any(self.fixed.format(layer.name).bits == 16 for layer in graph.layers)
        return self.model_of(graph.name, inputs, outputs, OPSET_16_BITS if wide else OPSET)


REAL = (Convolution, FullyConnected, Pooling, Concatenation)
"""The operators that `export_real` writes; of registered ones only the integers have an ONNX form."""


def export_real(
    graph: LayerGraph, parameters: Mapping[str, FloatParameters], layers: Sequence[Layer]
) -> tuple[bytes, dict[str, str]]:
    """Some of a graph's layers, of REAL operators, in float32: a model that reads what they need from other layers, by
    name, and returns the output of each; and the names of these outputs, by layer.
    """
    made = {layer.name for layer in layers}
    given = list(dict.fromkeys(source for layer in layers for source in layer.inputs if source not in made))
    writer = _RealWriter(parameters, {*given, *made})
    tensors = {name: name for name in given}
    for layer in layers:
        inputs = [tensors[source] for source in layer.inputs]
        shape = graph.shape(layer.name)
        tensors[layer.name] = write_operator(layer.operator, writer, layer.name, inputs, None, shape)
    outputs = {layer.name: tensors[layer.name] for layer in layers}
    model = writer.model_of(
        graph.name,
        [_value(name, TensorProto.FLOAT, _sizes(graph.shape(name))) for name in given],
        [_value(tensor, TensorProto.FLOAT, _sizes(graph.shape(name))) for name, tensor in outputs.items()],
        OPSET,
    )
    return model.SerializeToString(), outputs


class _RealWriter(_Writer):
    """Layers in real numbers."""

    def __init__(self, given: Mapping[str, FloatParameters], taken: set[str]) -> None:
        super().__init__(taken)
        self.given = given

    def parameters(self, name: str) -> tuple[str, str]:
        given = self.given[name]
        with np.errstate(over="ignore"):  # infinite numbers are reported with the layer's name
            weights, bias = given.weights.astype(np.float32), given.bias.astype(np.float32)
        return self.constant(f"{name}.weights", weights), self.constant(f"{name}.bias", bias)


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
    numbers: LayerNumbers | None,
    shape: Shape,
) -> str:
    """Write the exact, unrounded layer; returns the name of its tensor. A real network has no `numbers`."""
    raise TypeError(f"no QDQ form for {operator}")


@write_operator.register
def _(
    _operator: Input, _writer: _Writer, _name: str, inputs: list[str], _numbers: LayerNumbers | None, _shape: Shape
) -> str:
    return inputs[0]


@write_operator.register
def _(
    operator: Convolution, writer: _Writer, name: str, inputs: list[str], _numbers: LayerNumbers | None, shape: Shape
) -> str:
    exact = writer.node(
        "Conv",
        [inputs[0], *writer.parameters(name)],
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
def _(
    operator: Pooling, writer: _Writer, name: str, inputs: list[str], _numbers: LayerNumbers | None, shape: Shape
) -> str:
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
    operator: Concatenation,
    writer: _Writer,
    name: str,
    inputs: list[str],
    _numbers: LayerNumbers | None,
    _shape: Shape,
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
