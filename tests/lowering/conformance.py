"""Runs ONNX's own node tests of the supported operators through import and the real-valued reference.

`python -m tests.lowering.conformance` writes the table in docs/operators.md anew.

A node test is one operator with its inputs and outputs. Here its first input becomes the image, the others become
initialisers; because activations and the like join the layer before them, an identity convolution stands before the
operator, and, where a mean needs a layer to take its division, one behind it. Data of one or three axes, of operators
that treat every number alone, get axes of one element in front.
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
from cgap.lowering.layout import HOST
from cgap.lowering.quantised import PAIR
from cgap.lowering.support import RULES
from fpga_model.errors import UserError
from fpga_model.reference import run_float

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"
BEGIN, END = "<!-- begin: made by python -m tests.lowering.conformance -->", "<!-- end -->"
PASSED, HOST_RUN, REFUSED, WRONG = "passed", "host", "refused", "wrong"
ELEMENTWISE = ("Add", "Clip", "Div", "Dropout", "Identity", "LeakyRelu", "Mul", "Relu", "Sub")
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
    inputs, outputs = case.data_sets[0]
    first = None
    for behind in (False, True):
        path = folder / "node.onnx"
        try:
            path.write_bytes(network(case.model, inputs, outputs, behind).SerializeToString())
            return Verdict(operator, case.name, *_compare(path, inputs[0], outputs[0], case.rtol))
        except UserError as error:
            first = first or str(error).replace(str(path), "the file")
    return Verdict(operator, case.name, REFUSED, _short(first or ""))


def network(model: onnx.ModelProto, inputs: list[Any], outputs: list[Any], behind: bool) -> onnx.ModelProto:
    """The test's node between an image and the output, with identity convolutions around it."""
    node, graph = onnx.NodeProto(), model.graph
    node.CopyFrom(graph.node[0])
    names = [info.name for info in graph.input]
    initialisers = [numpy_helper.from_array(np.asarray(v), n) for n, v in zip(names[1:], inputs[1:], strict=True)]
    data, made = np.asarray(inputs[0]), list(np.shape(outputs[0]))
    if node.op_type in ELEMENTWISE and data.ndim in (1, 3):
        lead = [1] if data.ndim == 3 else [1, *data.shape, 1, 1]
        made = [*lead, *made] if data.ndim == 3 else lead
        data = data.reshape([*lead, *data.shape] if data.ndim == 3 else lead)
    nodes, shape, last = [], list(data.shape), graph.output[0].name
    if data.ndim == 2:
        shape += [1, 1]
    image, feed = "the image", names[0]
    if data.ndim in (2, 4) and data.dtype == np.float32:
        before = feed if data.ndim == 4 else "maps"
        nodes.append(helper.make_node("Conv", [image, "eye"], [before], "before"))
        initialisers.append(_eye(shape[1], "eye"))
        if data.ndim == 2:
            nodes.append(helper.make_node("Flatten", [before], [feed], "rows"))
    else:
        image = feed
    nodes.append(node)
    if behind and len(made) == 4:
        nodes.append(helper.make_node("Conv", [last, "eye behind"], ["the output"], "behind"))
        initialisers.append(_eye(made[1], "eye behind"))
        last = "the output"
    kinds = [helper.np_dtype_to_tensor_dtype(np.asarray(values).dtype) for values in (data, outputs[0])]
    results = [helper.make_tensor_value_info(last, kinds[1], made), *graph.output[1:]]
    images = [helper.make_tensor_value_info(image, kinds[0], shape)]
    body = helper.make_graph(nodes, "node", images, results, initialisers)
    return helper.make_model(body, opset_imports=model.opset_import, ir_version=10)


def _eye(channels: int, name: str) -> TensorProto:
    return numpy_helper.from_array(np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1), name)


def _compare(path: Path, data: Any, expected: Any, rtol: float) -> tuple[str, str]:
    model = import_onnx(path)
    shape = model.graph.shape(model.graph.input.name)
    images = np.asarray(data).reshape(-1, shape.channels, shape.height, shape.width).astype(np.float64)
    made = run_float(model.graph, model.parameters, images)[model.graph.output.name]
    wanted = np.asarray(data if model.host else expected)
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
