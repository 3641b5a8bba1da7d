"""The schedule: a plan with its operations, which is what every execution is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability, needs
from fpga_model.machine.hazards import with_waits
from fpga_model.machine.operations import Operation
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import FeatureTile
from fpga_model.schedule.dram import DramImage, ParameterLayout
from fpga_model.schedule.plan import Kind, Plan, make_plan
from fpga_model.schedule.sequence import make_operations
from fpga_model.schedule.tiling import Tiling

if TYPE_CHECKING:
    from fpga_model.machine.program import Program


@dataclass(frozen=True, eq=False)
class Schedule:
    """One network on one accelerator: operations in program order, which is also a valid sequential execution.

    Attributes:
        plan: residents, tile sizes, DRAM.
        operations: all operations with what they wait for, those of one layer contiguous.
        integers: the quantised network; None where only costs are asked for.
    """

    plan: Plan
    operations: tuple[Operation, ...]
    integers: FixedGraph | None

    @property
    def kind(self) -> Kind:
        return self.plan.kind

    @property
    def graph(self) -> LayerGraph:
        return self.plan.graph

    @property
    def accelerator(self) -> Accelerator:
        return self.plan.accelerator

    @property
    def platform(self) -> Platform:
        return self.plan.platform

    @property
    def dram(self) -> DramImage:
        return self.plan.dram

    @property
    def parameters(self) -> dict[str, ParameterLayout]:
        return self.plan.parameters

    @property
    def tilings(self) -> dict[str, Tiling]:
        return self.plan.tilings

    @property
    def residents(self) -> dict[str, FeatureTile]:
        return self.plan.residents

    @property
    def fixed(self) -> FixedGraph:
        """The quantised network."""
        if self.integers is None:
            raise ValueError("this schedule was made without integers: its costs can be asked for, nothing else")
        return self.integers

    @cached_property
    def by_layer(self) -> Mapping[str, tuple[Operation, ...]]:
        """The operations of every computed layer, in program order."""
        found: dict[str, list[Operation]] = {name: [] for name in self.plan.layers}
        for operation in self.operations:
            found[operation.layer].append(operation)
        return {name: tuple(operations) for name, operations in found.items()}

    @cached_property
    def needs(self) -> Capability:
        """The least capability set of an accelerator that runs this."""
        return needs(self.operations, self.accelerator)

    @cached_property
    def program(self) -> Program:
        """The commands of the three units."""
        from fpga_model.machine.program import Regions, make_program

        _ = self.fixed
        sizes = self.dram.sizes
        regions = Regions(sizes["parameters"], sizes["input"], sizes["output"], sizes["feature"])
        layers = [layer.name for layer in self.graph.layers]
        return make_program(self.operations, layers, self.accelerator, self.platform.beat_bytes, regions)

    def program_bytes(self) -> bytes:
        """`program.bin`.

        Raises:
            UserError: a value does not fit its field; names layer, field, value and limit.
        """
        return self.program.to_bytes([layer.name for layer in self.graph.layers])

    def to_json(self) -> str:
        """`schedule.json`: a stable text, which `ScheduleDocument.from_json` reads back."""
        from fpga_model.schedule.document import ScheduleDocument

        return ScheduleDocument.of(self).to_json()


def check_numbers(fixed: FixedGraph) -> None:
    """Refuse, all at once, the tensors that the accelerator cannot store.

    Raises:
        UserError: names every layer whose output is not a signed 8-bit tensor.
    """
    forms = {layer.name: fixed.format(layer.name) for layer in fixed.graph.layers}
    found = [
        f"{name!r} ({'' if form.signed else 'unsigned '}{form.bits} bits)".replace(" 8 bits", "")
        for name, form in forms.items()
        if (form.bits, form.signed) != (8, True)
    ]
    if found:
        raise UserError(
            f"network {fixed.graph.name!r} runs in integers, but this accelerator stores signed 8-bit tensors only, "
            f"not those of {', '.join(found)}: quantise it to 8 bits with signed activations"
        )


def schedule_plan(plan: Plan, fixed: FixedGraph | None = None) -> Schedule:
    """The schedule of a plan; without integers it serves for costs only.

    Raises:
        UserError: the accelerator cannot store a tensor.
    """
    if fixed is not None:
        check_numbers(fixed)
    return Schedule(plan, with_waits(make_operations(plan, fixed), plan.accelerator), fixed)


def build_schedule(fixed: FixedGraph, accelerator: Accelerator, platform: Platform, kind: Kind) -> Schedule:
    """The schedule of a quantised network on an accelerator.

    Raises:
        UserError: the platform is too small for the accelerator, or a layer has no command or does not fit its buffers.
    """
    plan = make_plan(fixed.graph, accelerator, platform, kind)
    return schedule_plan(plan, fixed)
