"""What a network is built for, and its schedule: what every command of `cgap` that costs a network begins with."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgap.app import models
from cgap.app.report import Accuracy, Costs, Csim, Network, build_report
from cgap.boundary.names import safe_name
from cgap.lowering import ImportedModel, ImportOptions, import_onnx
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.platform import Platform, load_platform
from fpga_model.schedule.plan import Kind, make_plan
from fpga_model.schedule.schedule import Schedule, schedule_plan

if TYPE_CHECKING:
    from cgap.lowering.quantisation.quality import Quality


@dataclass(frozen=True)
class Target:
    """What a network is built for. `capability` is None for an accelerator that runs this one network."""

    platform: Platform
    accelerator: Accelerator
    kind: Kind
    capability: Capability | None = field(default_factory=Capability)

    @classmethod
    def parse(
        cls,
        platform: str,
        array: str,
        schedule: str,
        page_depth: int = Accelerator.page_depth,
        capabilities: Sequence[str] = (),
        specialise: bool = False,
    ) -> Target:
        """From the command line's words. Raises UserError."""
        kinds = [kind.value for kind in Kind]
        if schedule not in kinds:
            raise UserError(f"no schedule {schedule!r}: choose {' or '.join(kinds)}")
        accelerator = Accelerator.parse(array, page_depth=page_depth)
        declared = None if specialise else Capability.parse(capabilities)
        if specialise and capabilities:
            raise UserError("--specialise builds for what the network needs: leave out --capability")
        return cls(load_platform(platform), accelerator, Kind(schedule), declared)

    def capability_for(self, *schedules: Schedule) -> Capability:
        """The capability set of an accelerator that is to run these schedules.

        Raises:
            UserError: they need more than was declared; all that is missing is named.
        """
        need = functools.reduce(Capability.joined, (schedule.needs for schedule in schedules))
        if self.capability is None:
            return need
        declared = self.capability.deepened(need)
        declared.check(need, schedules[0].graph.name)
        return declared


@dataclass(frozen=True, eq=False)
class Planned:
    """A network that is imported and scheduled. `record` is the training record of a shipped model, else empty."""

    name: str
    onnx: Path
    record: dict[str, Any]
    imported: ImportedModel
    schedule: Schedule


def build_name(model: str) -> str:
    """The folder of a model under build/: its name, or its file's, made safe."""
    return safe_name(Path(model).stem if model.endswith(".onnx") else model, set())


def plan_model(model: str, target: Target, options: ImportOptions | None = None) -> Planned:
    """Import and schedule, without integers: what a network costs does not depend on them. Raises UserError."""
    onnx = models.resolve(model)
    record = models.record_of(onnx)
    imported = import_onnx(onnx, options=options)
    plan = make_plan(imported.graph, target.accelerator, target.platform, target.kind)
    schedule = schedule_plan(plan)
    target.capability_for(schedule)
    return Planned(build_name(model), onnx, record, imported, schedule)


def network_figures(compiled: Planned) -> Network:
    """MACs and weights, of the dense network too if the model's record tells."""
    dense = compiled.record.get("network", {})
    graph = compiled.imported.graph
    return Network(graph.macs(), graph.weights(), dense.get("dense_macs"), dense.get("dense_params"))


def report_of(
    compiled: Planned,
    dataset: str | None,
    accuracy: Accuracy,
    costs: Costs,
    csim: Csim | None,
    quality: dict[str, Quality],
) -> dict[str, Any]:
    """The report of a network; what was not measured is None."""
    sha256 = compiled.imported.sha256
    return build_report(compiled.name, dataset, sha256, network_figures(compiled), accuracy, costs, csim, quality)
