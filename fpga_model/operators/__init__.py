"""Operators: one small class each, with its shape rule, its numerics, its costs and its template."""

from fpga_model.operators.base import ComputeOperator, Operator, operator_from_json, operator_to_json, register
from fpga_model.operators.concatenation import Concatenation, Part
from fpga_model.operators.convolution import Convolution, FullyConnected, Shortcut
from fpga_model.operators.pooling import Pooling
from fpga_model.operators.source import Input

__all__ = [
    "ComputeOperator",
    "Concatenation",
    "Convolution",
    "FullyConnected",
    "Input",
    "Operator",
    "Part",
    "Pooling",
    "Shortcut",
    "operator_from_json",
    "operator_to_json",
    "register",
]
