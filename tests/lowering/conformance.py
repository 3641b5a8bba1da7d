"""Runs ONNX's own node tests of the supported operators through import and the real-valued reference.

`python -m tests.lowering.conformance` writes the table in docs/operators.md anew.

A node test is one operator with its inputs and outputs. Here its first input becomes the image, the others become
initialisers; tensors of one shape that are added, multiplied or concatenated become channels of one image and are cut
out of it again. An identity convolution, or matrix, stands before the operator, so that it has a layer to join. Data of
one axis, of operators that treat every number alone, get axes of one element in front.
"""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cgap.lowering import import_onnx
from cgap.lowering.passes.layout import HOST
from cgap.lowering.passes.quantised import PAIR
from cgap.lowering.passes.support import RULES
from fpga_model.errors import UserError
from fpga_model.models.golden import run_float

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"
BEGIN, END = "<!-- begin: made by python -m tests.lowering.conformance -->", "<!-- end -->"
PASSED, HOST_RUN, REFUSED, WRONG = "passed", "host", "refused", "wrong"
ELEMENTWISE = ("Add", "Clip", "Div", "Dropout", "Identity", "LeakyRelu", "Mul", "Relu", "Sub")
STACKED = ("Add", "Concat", "Div", "Mul", "Sub")
ALONG_AXES = ("Concat", "Slice")
OPERATORS = sorted({*RULES, *HOST, "Identity", "Dropout"} - {*PAIR})
"""Without those that are read in pairs: alone they are nothing that a layer does."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of one node test: `reason` says why it was refused, or what is wrong."""

    operator: str
    test: str
    outcome: str
    reason: str = ""


def node_tests() -> Iterator[Any]:
    """ONNX's test cases that consist of one supported operator."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package computes infinities on purpose
        cases = collect_testcases(None)
    for case in cases:
        if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in OPERATORS:
            yield case


def judge(case: Any, folder: Path) -> Verdict:
    """Run one test case."""
    operator = case.model.graph.node[0].op_type
    inputs, outputs = ([np.asarray(values) for values in side] for side in case.data_sets[0])
    path = folder / "node.onnx"
    try:
        model, images = network(case.model, inputs, outputs[0])
        path.write_bytes(model.SerializeToString())
        return Verdict(operator, case.name, *_compare(path, images, inputs[0], outputs[0], case.rtol))
    except UserError as error:
        return Verdict(operator, case.name, REFUSED, _short(str(error).replace(str(path), "the file")))


def network(model: onnx.ModelProto, inputs: list[Any], output: Any) -> tuple[onnx.ModelProto, Any]:
    """The test's node between an image and the output, with an identity convolution before it; and the image."""
    node, graph = onnx.NodeProto(), model.graph
    node.CopyFrom(graph.node[0])
    names = [info.name for info in graph.input]
    stacked = node.op_type in STACKED and _alike(inputs)
    data, rest = [_lift(node, values) for values in (inputs if stacked else inputs[:1])], [] if stacked else inputs[1:]
    initialisers = [numpy_helper.from_array(v, n) for n, v in zip(names[len(data) :], rest, strict=True)]
    for attribute in node.attribute:
        if attribute.name == "axis" and node.op_type in ALONG_AXES:
            attribute.i %= inputs[0].ndim  # counted from the end, it would be another axis of lifted data
    image = np.concatenate(data, axis=1) if stacked else data[0]
    feed, nodes = names[0], []
    if image.dtype == np.float32 and image.ndim in (2, 3, 4):
        feed, whole = "the image", "maps" if stacked else names[0]
        nodes.append(helper.make_node("MatMul" if image.ndim == 2 else "Conv", [feed, "eye"], [whole], "before"))
        initialisers.append(_eye(image.shape[1], image.ndim, "eye"))
        for index, name in enumerate(names[: len(data)] if stacked else []):
            bounds = [index * data[0].shape[1], (index + 1) * data[0].shape[1], 1]
            arguments = [f"{name} {what}" for what in ("from", "to", "axis")]
            initialisers += [
                numpy_helper.from_array(np.array([at]), n) for n, at in zip(arguments, bounds, strict=True)
            ]
            nodes.append(helper.make_node("Slice", [whole, *arguments], [name], f"{name} as data"))
    nodes.append(node)
    made = list(_lift(node, output).shape)
    kinds = [helper.np_dtype_to_tensor_dtype(values.dtype) for values in (image, output)]
    results = [helper.make_tensor_value_info(graph.output[0].name, kinds[1], made), *graph.output[1:]]
    images = [helper.make_tensor_value_info(feed, kinds[0], image.shape)]
    body = helper.make_graph(nodes, "node", images, results, initialisers)
    return helper.make_model(body, opset_imports=model.opset_import, ir_version=10), image


def _alike(inputs: list[Any]) -> bool:
    """Whether there are several tensors of one shape, such as can be channels of one image."""
    shapes = {values.shape for values in inputs}
    return len(inputs) > 1 and len(shapes) == 1 and inputs[0].dtype == np.float32 and inputs[0].ndim in (2, 3, 4)


def _lift(node: onnx.NodeProto, data: Any) -> Any:
    """Data with axes of one element more, where the operator does not care."""
    return data[None] if node.op_type in ELEMENTWISE and data.ndim == 1 else data


def _eye(channels: int, axes: int, name: str) -> TensorProto:
    return numpy_helper.from_array(
        np.eye(channels, dtype=np.float32).reshape(channels, channels, *[1] * (axes - 2)), name
    )


def _compare(path: Path, image: Any, data: Any, expected: Any, rtol: float) -> tuple[str, str]:
    model = import_onnx(path)
    real = run_float(model.graph, model.parameters, model.image.from_file(image).astype(np.float64))
    layer, found = model.results[0]
    wanted, made = data if model.host else expected, found.to_file(real[layer])
    if made.size != wanted.size or not np.allclose(made.reshape(wanted.shape), wanted, rtol=rtol, atol=1e-5):
        return WRONG, "its result differs"
    return (HOST_RUN, "") if model.host else (PASSED, "")


def _short(message: str) -> str:
    """The reason in a refusal, without the names of the test's nodes."""
    lines = [line.split("): ", 1)[-1].strip() for line in message.splitlines() if line.strip()]
    reason = lines[1] if len(lines) > 1 else lines[0]
    return reason.replace("|", "\\|")


def table(verdicts: list[Verdict]) -> str:
    """The page's generated part."""
    by_operator: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_operator[verdict.operator].append(verdict)
    total = Counter(verdict.outcome for verdict in verdicts)
    lines = [
        BEGIN,
        "",
        "| operator | tests | passed | left to the host | refused | wrong |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in sorted(by_operator.items()):
        lines.append(f"| {name} | {len(found)} | {_cells(Counter(v.outcome for v in found))} |")
    lines += [f"| **all** | {len(verdicts)} | {_cells(total)} |", "", "Refused, and why:", "", "| test | reason |"]
    lines.append("|---|---|")
    lines += [f"| {v.test} | {v.reason} |" for v in sorted(verdicts, key=lambda v: v.test) if v.outcome == REFUSED]
    return "\n".join([*lines, "", END])


def _cells(counts: Counter[str]) -> str:
    return " | ".join(str(counts[outcome]) for outcome in (PASSED, HOST_RUN, REFUSED, WRONG))


def run() -> list[Verdict]:
    """The verdict on every node test, in the order of the `onnx` package."""
    with tempfile.TemporaryDirectory() as folder:
        return [judge(case, Path(folder)) for case in node_tests()]


def main() -> None:
    """Write the table into docs/operators.md."""
    text = PAGE.read_text("utf-8")
    begin, end = text.index(BEGIN), text.index(END) + len(END)
    PAGE.write_text(text[:begin] + table(run()) + text[end:], "utf-8")


if __name__ == "__main__":
    main()
