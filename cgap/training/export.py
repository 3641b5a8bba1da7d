"""From a trained network to ONNX: batch norms folded, layers under their module paths, the same bytes every time."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from cgap.boundary.files import write_atomic
from cgap.lowering.onnx.runtime import start_session
from fpga_model.errors import UserError

OPSET = 18
IR_VERSION = 10
"""The newest that every supported onnxruntime reads; onnx itself would write a newer one."""

INPUT, OUTPUT = "image", "logits"
TOLERANCE = 1e-3
_ROLES = {"W": "weight", "B": "bias", "C": "bias"}


def export_model(model: nn.Module, output: Path, input_shape: tuple[int, ...] = (3, 32, 32)) -> None:
    """Write `model` as ONNX, atomically: input `image` float32 [N, *input_shape], output `logits` [N, classes].

    The input is (pixel - 128) / 128; N stays symbolic, all else is static. Batch norms are folded into the
    convolutions, a layer's node is named by its module path, and onnxruntime has reproduced the network's logits
    before the file is written. Raises UserError if the network cannot be exported or the check fails.
    """
    converted = to_onnx(model, input_shape)
    data = converted.SerializeToString(deterministic=True)
    _check(model, data, input_shape)
    write_atomic(output, data)


def to_onnx(model: nn.Module, input_shape: tuple[int, ...] = (3, 32, 32)) -> onnx.ModelProto:
    """`export_model` without the check and the file."""
    if find_spec("onnxscript") is None:
        raise UserError("exporting needs the package onnxscript: pip install onnxscript")
    training = model.training
    model.eval()
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (torch.zeros(2, *input_shape),),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                verbose=False,
            )
            assert program is not None
            exported = program.model_proto
    except Exception as error:  # the exporter wraps whatever went wrong in types of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{type(model).__name__}: cannot be exported to ONNX: {reason}") from error
    finally:
        model.train(training)
    return _tidy(exported, model)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's deprecation notes and its wish for torchvision to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _tidy(exported: onnx.ModelProto, model: nn.Module) -> onnx.ModelProto:
    """The same graph under names of its own: no source paths, no counters of the exporter, no metadata."""
    graph = exported.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    renamed = {value.name: value.name for value in (*graph.input, *graph.output)}
    parameters = model.state_dict()
    initializers: list[onnx.TensorProto] = []
    nodes, taken = [], set[str]()
    for node in graph.node:
        name = _node_name(node, model, taken)
        formals = onnx.defs.get_schema(node.op_type, OPSET, node.domain).inputs
        inputs: list[str] = []
        for position, old in enumerate(node.input):
            if old in constants:
                formal = formals[min(position, len(formals) - 1)].name
                new = old if old in parameters else f"{name}.{_ROLES.get(formal, formal)}"
                array = onnx.numpy_helper.to_array(constants[old])
                if new not in {tensor.name for tensor in initializers}:
                    initializers.append(onnx.numpy_helper.from_array(array, new))
                inputs.append(new)
            else:
                inputs.append(renamed[old] if old else "")
        for old in node.output:
            renamed.setdefault(old, name)
        clean = onnx.NodeProto(op_type=node.op_type, domain=node.domain, name=name)
        clean.input.extend(inputs)
        clean.output.extend(renamed[old] for old in node.output)
        clean.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
        nodes.append(clean)
    sides = ([onnx.helper.make_value_info(v.name, v.type) for v in side] for side in (graph.input, graph.output))
    graph_inputs, graph_outputs = sides
    tidy = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, type(model).__name__, graph_inputs, graph_outputs, initializers),
        producer_name="cgap",
        ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )
    tidy = onnx.shape_inference.infer_shapes(tidy, strict_mode=True)
    onnx.checker.check_model(tidy)
    return tidy


def _node_name(node: onnx.NodeProto, model: nn.Module, taken: set[str]) -> str:
    """The path of the layer that the node is, or the path of the module it lies in and its operator."""
    paths = {name for name, _ in model.named_modules()}
    weights = [name.removesuffix(".weight") for name in node.input if name.endswith(".weight")]
    if weights and weights[0] in paths:
        base = weights[0]
    else:
        scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
        path = next((s for s in reversed(_strings(scopes)) if s in paths and s), "")
        leaf = path and not any(model.get_submodule(path).children())
        builtin = leaf and type(model.get_submodule(path)).__module__.startswith("torch.nn.")
        base = path if builtin else ".".join(filter(None, (path, node.op_type.lower())))
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def _strings(text: str) -> list[str]:
    """The entries of a printed list of plain strings, which is how the exporter stores scopes."""
    return [part.strip().strip("'\"") for part in text.strip("[]").split(",")]


def _check(model: nn.Module, data: bytes, input_shape: tuple[int, ...]) -> None:
    """Raise UserError unless onnxruntime computes the network's logits from the exported bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, *input_shape))
    image = ((pixels - 128) / 128).astype(np.float32)
    (logits,) = start_session(data).run([OUTPUT], {INPUT: image})
    training = model.training
    model.eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    model.train(training)
    error = float(np.abs(logits - expected).max() / (1 + np.abs(expected).max()))
    if not error <= TOLERANCE:
        raise UserError(f"the exported network differs from the trained one by {error:.2g} of its logits' range")
