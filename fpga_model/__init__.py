"""What an FPGA accelerator computes and what it costs: fixed point, layer graph, schedule, analytic model, simulator.

Usable without cgap; needs numpy and networkx, and pydantic to read platform files. The names in `__all__` are its
public interface (docs/api.md); each is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from fpga_model.lazy import exporter

if TYPE_CHECKING:
    from fpga_model.errors import UserError
    from fpga_model.explore.design import Design, evaluate_group
    from fpga_model.explore.front import exact_front, front
    from fpga_model.explore.space import Configuration, Space
    from fpga_model.graph import FixedGraph, Layer, LayerGraph
    from fpga_model.machine.accelerator import Accelerator
    from fpga_model.machine.capability import Capability
    from fpga_model.machine.platform import Platform, load_platform, parse_platform, platform_names
    from fpga_model.machine.program import Program, read_program
    from fpga_model.models.analytic import LayerEstimate, estimate
    from fpga_model.models.energy import Accesses, Energy, count_accesses, energy
    from fpga_model.models.golden import run_float, run_reference
    from fpga_model.models.published import reference_estimate
    from fpga_model.models.simulator import LayerCost, Simulation, simulate
    from fpga_model.numerics.fixed_point import Format, requantise
    from fpga_model.numerics.tensors import FloatParameters, LayerNumbers, Shape
    from fpga_model.operators import (
        ComputeOperator,
        Concatenation,
        Convolution,
        FullyConnected,
        Input,
        Operator,
        Part,
        Pooling,
        Shortcut,
        register,
    )
    from fpga_model.schedule.document import ScheduleDocument
    from fpga_model.schedule.plan import Kind, Plan, make_plan
    from fpga_model.schedule.schedule import Schedule, build_schedule, schedule_plan

__all__ = [
    "Accelerator",
    "Accesses",
    "Capability",
    "ComputeOperator",
    "Concatenation",
    "Configuration",
    "Convolution",
    "Design",
    "Energy",
    "FixedGraph",
    "FloatParameters",
    "Format",
    "FullyConnected",
    "Input",
    "Kind",
    "Layer",
    "LayerCost",
    "LayerEstimate",
    "LayerGraph",
    "LayerNumbers",
    "Operator",
    "Part",
    "Plan",
    "Platform",
    "Pooling",
    "Program",
    "Schedule",
    "ScheduleDocument",
    "Shape",
    "Shortcut",
    "Simulation",
    "Space",
    "UserError",
    "build_schedule",
    "count_accesses",
    "energy",
    "estimate",
    "evaluate_group",
    "exact_front",
    "front",
    "load_platform",
    "make_plan",
    "parse_platform",
    "platform_names",
    "read_program",
    "reference_estimate",
    "register",
    "requantise",
    "run_float",
    "run_reference",
    "schedule_plan",
    "simulate",
]

__getattr__ = exporter(
    __name__,
    {
        "fpga_model.errors": ("UserError",),
        "fpga_model.explore.design": ("Design", "evaluate_group"),
        "fpga_model.explore.front": ("exact_front", "front"),
        "fpga_model.explore.space": ("Configuration", "Space"),
        "fpga_model.graph": ("FixedGraph", "Layer", "LayerGraph"),
        "fpga_model.machine.accelerator": ("Accelerator",),
        "fpga_model.machine.capability": ("Capability",),
        "fpga_model.machine.platform": ("Platform", "load_platform", "parse_platform", "platform_names"),
        "fpga_model.machine.program": ("Program", "read_program"),
        "fpga_model.models.analytic": ("LayerEstimate", "estimate"),
        "fpga_model.models.energy": ("Accesses", "Energy", "count_accesses", "energy"),
        "fpga_model.models.golden": ("run_float", "run_reference"),
        "fpga_model.models.published": ("reference_estimate",),
        "fpga_model.models.simulator": ("LayerCost", "Simulation", "simulate"),
        "fpga_model.numerics.fixed_point": ("Format", "requantise"),
        "fpga_model.numerics.tensors": ("FloatParameters", "LayerNumbers", "Shape"),
        "fpga_model.operators": (
            "ComputeOperator",
            "Concatenation",
            "Convolution",
            "FullyConnected",
            "Input",
            "Operator",
            "Part",
            "Pooling",
            "Shortcut",
            "register",
        ),
        "fpga_model.schedule.document": ("ScheduleDocument",),
        "fpga_model.schedule.plan": ("Kind", "Plan", "make_plan"),
        "fpga_model.schedule.schedule": ("Schedule", "build_schedule", "schedule_plan"),
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
