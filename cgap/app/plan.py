"""What a network is built for, and its schedule: what every command of `cgap` that costs a network begins with."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from cgap.app import models
from cgap.boundary.names import safe_name
from cgap.lowering import ImportedModel, ImportOptions, import_onnx
from fpga_model.errors import UserError
from fpga_model.graph import LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.platform import Platform, load_platform
from fpga_model.models.resources import check_fits
from fpga_model.schedule.plan import BUFFERS, BuffersTooSmall, Kind, Plan, enough_buffers, make_plan
from fpga_model.schedule.schedule import Schedule, schedule_plan
from fpga_model.schedule.sharing import Sharing


@dataclass(frozen=True)
class Target:
    """What a network is built for. `capability` is None for an accelerator that runs this one network.

    `config` is the file that names all the rest, if one does.
    """

    platform: Platform
    accelerator: Accelerator
    kind: Kind
    capability: Capability | None = field(default_factory=Capability)
    config: Path | None = None

    @classmethod
    def parse(
        cls,
        platform: str = "zcu104",
        array: str = "8x8x4",
        schedule: str = Kind.RESIDENT.value,
        page_depth: int = Accelerator.page_depth,
        capabilities: Sequence[str] = (),
        specialise: bool = False,
        config: Path | None = None,
    ) -> Target:
        """Parse the command line's options; a file replaces all but the capability. Raises UserError."""
        declared = None if specialise else Capability.parse(capabilities)
        if specialise and capabilities:
            raise UserError("--specialise builds for what the network needs: leave out --capability")
        if config is not None:
            from cgap.app.target_file import read_target

            target = cls(*read_target(config).parts(), declared, config)
        else:
            kinds = [kind.value for kind in Kind]
            if schedule not in kinds:
                raise UserError(f"no schedule {schedule!r}: choose {' or '.join(kinds)}")
            accelerator = Accelerator.parse(array, page_depth=page_depth)
            target = cls(load_platform(platform), accelerator, Kind(schedule), declared)
        # Nothing is imported or calibrated for an accelerator that does not fit.
        check_fits(target.accelerator, target.platform, declared or Capability.least())
        return target

    def options(self) -> list[str]:
        """The command-line options for this target, without those at their defaults."""
        accelerator, usual = self.accelerator, Capability()
        words = ["--platform", self.platform.name]
        words += ["--array", accelerator.array, "--schedule", self.kind.value]
        if self.config is not None:
            words = ["--config", str(self.config)]
        elif accelerator.page_depth != Accelerator.page_depth:
            words += ["--page-depth", str(accelerator.page_depth)]
        if self.capability is None:
            return [*words, "--specialise"]
        changed = [f for f in fields(usual) if getattr(self.capability, f.name) != getattr(usual, f.name)]
        return words + [w for f in changed for w in ("--capability", f"{f.name}={getattr(self.capability, f.name)}")]

    def capability_for(self, network: str, need: Capability) -> Capability:
        """The capability set of an accelerator that is to run a network whose program needs this.

        Raises:
            UserError: it needs more than was declared (the message names all that is missing), or the platform is too
                small for an accelerator that can do it.
        """
        capability = need
        if self.capability is not None:
            capability = self.capability.deepened(need)
            capability.check(need, network)
        check_fits(self.accelerator, self.platform, capability)
        return capability


@dataclass(frozen=True, eq=False)
class Planned:
    """A network that is imported and scheduled.

    Attributes:
        name: name of its folder under build/.
        onnx: path of its file.
        record: the training record of a shipped model, otherwise empty.
        imported: the network as it was read.
        reading: the settings that it was read with.
        target: what it is built for.
        schedule: the network on that target.
    """

    name: str
    onnx: Path
    record: dict[str, Any]
    imported: ImportedModel
    reading: ImportOptions
    target: Target
    schedule: Schedule

    @cached_property
    def capability(self) -> Capability:
        """The capability set of its accelerator. Raises UserError if the network needs more than was declared."""
        return self.target.capability_for(self.schedule.graph.name, self.schedule.needs)

    def command(self, name: str) -> str:
        """The command line of `cgap NAME` that repeats the build."""
        model = self.name if self.record else self.onnx.name
        return shlex.join(["cgap", name, model, *self.reading.words(), *self.target.options()])


def build_name(model: str) -> str:
    """The folder of a model under build/: its name, or its file's, made safe."""
    return safe_name(Path(model).stem if model.endswith(".onnx") else model, set())


class LargerBuffers(UserError):
    """Buffers are too small, and `enough` of them would do; None: the platform has no room for them."""

    def __init__(self, message: str, enough: Accelerator | None) -> None:
        super().__init__(message)
        self.enough = enough


_OPTIONS = {"page_depth": "--page-depth"}


def plan_on(target: Target, graph: LayerGraph, sharing: Sharing | None = None) -> Plan:
    """The plan of a network. Raises LargerBuffers, or UserError if it does not fit for another reason.

    `sharing`: of the network, where it is planned more than once.
    """
    accelerator, platform, sharing = target.accelerator, target.platform, sharing or Sharing(graph)
    try:
        return make_plan(graph, accelerator, platform, target.kind, sharing)
    except BuffersTooSmall as error:
        enough = enough_buffers(graph, accelerator, platform, sharing)
        if enough is None:
            raise
        changed = [name for name in BUFFERS if getattr(enough, name) != getattr(accelerator, name)]
        words = " and ".join(f"{_OPTIONS.get(name, name)} {getattr(enough, name)}" for name in changed)
        try:
            check_fits(enough, platform, target.capability or Capability.least())
        except UserError as lack:
            raise LargerBuffers(f"{error}: {words} would do, but {lack}", None) from error
        raise LargerBuffers(f"{error}: {words} would do", enough) from error


def plan_model(model: str, target: Target, options: ImportOptions | None = None) -> Planned:
    """Import and schedule a network, without integers: its costs do not depend on them. Raises UserError."""
    onnx = models.resolve(model)
    record = models.record_of(onnx)
    options = options or ImportOptions()
    imported = import_onnx(onnx, options=options)
    schedule = schedule_plan(plan_on(target, imported.graph))
    planned = Planned(build_name(model), onnx, record, imported, options, target, schedule)
    _ = planned.capability
    return planned
