"""Entering an operator: one call for all that the pipeline needs beside the operator's class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cgap.lowering import importer
from cgap.lowering.importer import BUILDERS, Pass
from cgap.lowering.onnx.network import Network
from cgap.lowering.onnx.qdq import write_operator
from cgap.lowering.passes import arrange, support
from cgap.lowering.quantisation.integers import highest_fractions, layer_numbers
from fpga_model.operators import Operator, register


@dataclass(frozen=True)
class OperatorSupport:
    """What the pipeline needs to know about an operator.

    Attributes:
        operator: its class, derived from `fpga_model.Operator`.
        onnx: the ONNX operators that it comes from.
        rule: why a node of these cannot be lowered, or None.
        arrange: its form over maps [N, C, H, W], whatever the file's layout.
        lower: the pass that turns such nodes into `cgap` nodes called `node`.
        node: that name.
        build: (node, weights, input shapes) -> the operator.
        fractions: (operator, input fractions, weights) -> highest fraction bits of output and inputs.
        numbers: (operator, output format, input formats, output shape, weights) -> its integers.
        qdq: (operator, writer, name, inputs, integers, output shape) -> the exact layer in ONNX's operators, unrounded.
    """

    operator: type[Operator]
    onnx: tuple[str, ...]
    rule: Callable[[Network, Any], str | None]
    arrange: arrange.Handler
    lower: Pass
    node: str
    build: Callable[..., Operator]
    fractions: Callable[..., Any]
    numbers: Callable[..., Any]
    qdq: Callable[..., str]


def register_operator(entry: OperatorSupport) -> None:
    """Register an operator with every part of the pipeline.

    A class derived from `ComputeOperator` also says which operations its tiles are; it is scheduled, simulated and
    emitted as they are.
    """
    register(entry.operator)
    for op in entry.onnx:
        arrange.HANDLERS[op] = entry.arrange
        support.RULES[op] = entry.rule
    importer.ADDED_PASSES.append(entry.lower)
    BUILDERS[entry.node] = entry.build
    highest_fractions.register(entry.operator)(entry.fractions)
    layer_numbers.register(entry.operator)(entry.numbers)
    write_operator.register(entry.operator)(entry.qdq)
