"""From an ONNX file to the layer graph, through a visible list of passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.boundary.files import write_atomic
from cgap.lowering.onnx.axes import MAPS, FileTensor
from cgap.lowering.onnx.interface import ImportOptions
from cgap.lowering.onnx.network import DOMAIN, Network, Node, StoredPair, shorten, to_onnx
from cgap.lowering.onnx.read import ModelFile, OpenedModel, open_model, read_model
from cgap.lowering.passes import arrange_operators  # noqa: F401 - fills the table of handlers
from cgap.lowering.passes.activations import fuse_activations
from cgap.lowering.passes.affine import WEIGHTED, fold_affine, lower_affine
from cgap.lowering.passes.arrange import arrange
from cgap.lowering.passes.borders import lower_bordered_averages, lower_cuts, resolve_ceil_mode
from cgap.lowering.passes.concatenate import lower_concatenations
from cgap.lowering.passes.fuse import (
    fold_divisions,
    fuse_shortcuts,
    lower_convolutions,
    lower_fully_connected,
    lower_pooling,
)
from cgap.lowering.passes.image import read_image
from cgap.lowering.passes.layout import fold_padding, leave_to_host
from cgap.lowering.passes.qonnx import read_qonnx
from cgap.lowering.passes.quantised import lower_sums, read_quantised
from cgap.lowering.passes.simplify import derive_shapes, fold_constants, remove_identities
from cgap.lowering.passes.support import check_lowered, check_supported
from fpga_model.errors import UserError
from fpga_model.graph import FloatParameters, Layer, LayerGraph, Shape
from fpga_model.numerics.fixed_point import Format
from fpga_model.operators import Concatenation, Convolution, FullyConnected, Input, Operator, Part, Pooling, Shortcut
from fpga_model.operators.windows import pair

Pass = Callable[[Network], Network]

PASSES: tuple[Pass, ...] = (
    read_qonnx,
    derive_shapes,
    resolve_ceil_mode,
    remove_identities,
    leave_to_host,
    read_quantised,
    fold_constants,
    arrange,
    check_supported,
    fold_padding,
    lower_bordered_averages,
    lower_sums,
    lower_convolutions,
    lower_fully_connected,
    fold_affine,
    lower_affine,
    fuse_shortcuts,
    lower_cuts,
    fuse_shortcuts,
    fuse_activations,
    lower_pooling,
    lower_concatenations,
    check_lowered,
    fold_divisions,
)


ADDED_PASSES: list[Pass] = []
"""Passes of registered operators (`registration.py`), which run before poolings are lowered."""


def passes() -> tuple[Pass, ...]:
    """All passes, in order."""
    place = PASSES.index(lower_pooling)
    return (*PASSES[:place], *ADDED_PASSES, *PASSES[place:])


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """A network as read from an ONNX file, in real numbers.

    Attributes:
        graph: its layers.
        parameters: weights and biases of the layers that have some, by layer name: float64, or the file's own weights
            where nothing was folded into them.
        file: the ONNX file.
        host: nodes after the logits that the accelerator does not run, such as a softmax, as named in messages.
        quantised: the format in which the file itself stores the output of a layer, by layer name, if it does.
        dropped: dequantised tensors of the file that no layer stores, or that two pairs store differently.
        file_image: the input in the file's layout, if that is not maps [N, C, H, W].
        results: the outputs in the file's layout, each with its layer's name.
    """

    graph: LayerGraph
    parameters: dict[str, FloatParameters]
    file: ModelFile = field(default_factory=lambda: ModelFile(b""), repr=False)
    host: tuple[str, ...] = ()
    quantised: Mapping[str, StoredPair] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    file_image: FileTensor | None = None
    results: tuple[tuple[str, FileTensor], ...] = ()

    @property
    def content(self) -> bytes:
        """The ONNX file as it was read, with the data in it that lay in other files."""
        return self.file.content

    @property
    def sha256(self) -> str:
        """Of `content`."""
        return self.file.sha256

    @property
    def image(self) -> FileTensor:
        """The input as the file has it."""
        name, shape = self.graph.input.name, self.graph.shape(self.graph.input.name)
        maps = shape.channels, shape.height, shape.width
        return self.file_image or FileTensor(name, (1, *maps), maps, MAPS)

    @property
    def pinned(self) -> dict[str, Format]:
        """The formats that the file gives for stored outputs and that the accelerator has, by layer name."""
        return {name: pair.form for name, pair in self.quantised.items() if pair.form is not None}


def import_onnx(
    source: Path | str | OpenedModel, dump: Path | None = None, options: ImportOptions | None = None
) -> ImportedModel:
    """Import a network.

    Args:
        source: an ONNX file: its path, or the file opened.
        dump: folder to write the network to, as an ONNX file after every pass, for inspection.
        options: settings for what the file leaves open; None: no settings.

    Raises:
        UserError: the file cannot be read or the network cannot be lowered; the message names what is at fault.
    """
    options = options or ImportOptions()
    opened = source if isinstance(source, OpenedModel) else open_model(Path(source))
    network, file = read_model(opened, options)
    network = read_image(network, options)
    _dump(network, dump, 0, "read")
    for index, step in enumerate(passes(), start=1):
        network = step(network)
        _dump(network, dump, index, step.__name__)
    graph, parameters = to_layers(network)
    names = {network.input: network.input, **_layer_names(network)}
    quantised = {names[tensor]: pair for tensor, pair in network.pairs.items() if tensor in names}
    gone = [pair.real for tensor, pair in network.pairs.items() if tensor not in names]
    if network.image is None or len(network.results) != len(network.outputs):
        raise UserError(f"network {network.name!r}: its outputs {list(network.outputs)} cannot be lowered")
    results = tuple((names[tensor], found) for tensor, found in zip(network.outputs, network.results, strict=True))
    return ImportedModel(
        graph=graph,
        parameters=parameters,
        file=file,
        host=network.host,
        quantised=quantised,
        dropped=(*network.dropped, *gone),
        file_image=network.image,
        results=results,
    )


def _dump(network: Network, folder: Path | None, index: int, step: str) -> None:
    if folder is not None:
        content: bytes = to_onnx(network).SerializeToString(deterministic=True)
        write_atomic(folder / f"{index:02d}_{step}.onnx", content)


def to_layers(network: Network) -> tuple[LayerGraph, dict[str, FloatParameters]]:
    """The layer graph of a network of which only the accelerator's own nodes are left.

    Raises:
        UserError: layers do not fit together, or there are none.
    """
    graph = LayerGraph(network.name)
    parameters: dict[str, FloatParameters] = {}
    shape = network.shapes[network.input]
    graph.add(Layer(network.input, Input(Shape(*shape[1:]))))
    layer_of = {network.input: network.input}
    names = _layer_names(network)
    for node in network.nodes:
        name = names[node.output]
        weighted = node.is_a(*WEIGHTED, domain=DOMAIN)
        tensors = (node.inputs[0], *node.inputs[3:]) if weighted else node.inputs
        missing = [tensor for tensor in tensors if tensor not in layer_of]
        if missing:
            raise UserError(f"layer {shorten(name)!r} reads {shorten(missing[0])!r}, which no layer makes")
        sources = tuple(layer_of[tensor] for tensor in tensors)
        weights, bias = (network.constants[tensor] for tensor in node.inputs[1:3]) if weighted else (None, None)
        operator = BUILDERS[node.op](node, weights, [graph.shape(source) for source in sources])
        graph.add(Layer(name, operator, sources))
        layer_of[node.output] = name
        if weights is not None and bias is not None and isinstance(operator, Convolution):
            parameters[name] = _parameters(name, weights.reshape(operator.weight_shape), bias)
    if not network.nodes:
        raise UserError(f"network {network.name!r} computes nothing")
    for tensor in network.outputs:
        if tensor == network.input or tensor not in layer_of:
            what = "is the image itself" if tensor == network.input else "depends on no image"
            raise UserError(f"network {network.name!r}: its output {shorten(tensor)!r} {what}; leave it out")
    graph.name_outputs(layer_of[tensor] for tensor in network.outputs)
    graph.validate()
    return graph, parameters


def _parameters(name: str, weights: npt.NDArray[Any], bias: npt.NDArray[Any]) -> FloatParameters:
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise UserError(f"layer {shorten(name)!r}: its weights become NaN or infinity when they are folded")
    return FloatParameters(weights, bias)


def _layer_names(network: Network) -> dict[str, str]:
    """The node's own name, else its output's, made unique: by output tensor."""
    names: dict[str, str] = {}
    taken = {network.input}
    for node in network.nodes:
        wishes = [wish for wish in (node.name, node.output) if wish and wish not in taken]
        name = wishes[0] if wishes else node.output
        count = 2
        while name in taken:
            name = f"{node.output}_{count}"
            count += 1
        taken.add(name)
        names[node.output] = name
    return names


def _convolution(node: Node, weights: npt.NDArray[Any], inputs: list[Shape]) -> Operator:
    channels, depth, rows, columns = weights.shape
    top, left, bottom, right = node.attributes["pad"]
    shortcut = None
    if "shortcut" in node.attributes:
        *strides, offset = node.attributes["shortcut"]
        shortcut = Shortcut(pair(strides), offset, inputs[1].channels)
    return Convolution(
        in_channels=depth * node.attributes["groups"],
        out_channels=channels,
        kernel=(rows, columns),
        stride=pair(node.attributes["stride"]),
        pad=(top, left, bottom, right),
        shortcut=shortcut,
        groups=node.attributes["groups"],
        **_activation(node),
    )


def _activation(node: Node) -> dict[str, Any]:
    """The settings of what follows a layer's sums."""
    settings = node.attributes
    return {"relu": bool(settings["relu"]), "ceiling": settings.get("ceiling"), "leak": settings.get("leak", 0)}


def _fully_connected(node: Node, weights: npt.NDArray[Any], inputs: list[Shape]) -> Operator:
    if weights.shape[1] != inputs[0].size:
        raise UserError(
            f"layer {node.label}: {weights.shape[1]} weights for each output do not match its input {inputs[0]}"
        )
    return FullyConnected(inputs[0], len(weights), **_activation(node))


def _pooling(node: Node, _weights: npt.NDArray[Any] | None, _inputs: list[Shape]) -> Operator:
    kernel, stride, dilation = (pair(node.attributes[name]) for name in ("kernel", "stride", "dilation"))
    top, left, bottom, right = node.attributes["pad"]
    return Pooling(node.attributes["mode"], kernel, stride, (top, left, bottom, right), dilation)


def _concatenation(node: Node, _weights: npt.NDArray[Any] | None, _inputs: list[Shape]) -> Operator:
    numbers = iter(node.attributes["parts"])
    return Concatenation(tuple(Part(*part) for part in zip(*[numbers] * 3, strict=True)))


BUILDERS: dict[str, Callable[..., Operator]] = {
    "Concatenation": _concatenation,
    "Convolution": _convolution,
    "FullyConnected": _fully_connected,
    "Pooling": _pooling,
}
"""Makes the operator of a `cgap` node from the node, its weights if any, and the shapes that it reads."""
