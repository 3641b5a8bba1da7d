"""The schedule: what every reader is given."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from fpga_model.graph import FixedGraph, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.commands import Command, FeatureTile
from fpga_model.machine.platform import Platform
from fpga_model.schedule.dram import DramImage, ParameterLayout
from fpga_model.schedule.tiling import Tiling


class Kind(str, Enum):
    """`layerwise`: every feature map travels through DRAM. `resident`: they stay on chip where they fit."""

    LAYERWISE = "layerwise"
    RESIDENT = "resident"


@dataclass(frozen=True, eq=False)
class Schedule:
    """One network on one accelerator: commands in program order, which is also a valid sequential execution.

    Attributes:
        kind: which of the two schedules.
        fixed: the integer network.
        accelerator, platform: what it runs on.
        dram: the DRAM image.
        parameters: where each layer's records and weights lie in it.
        tilings: tile sizes of each computed layer.
        residents: tensors that stay on chip, where, under their layer's name.
        commands: all commands; those of one layer are contiguous.
    """

    kind: Kind
    fixed: FixedGraph
    accelerator: Accelerator
    platform: Platform
    dram: DramImage
    parameters: dict[str, ParameterLayout]
    tilings: dict[str, Tiling]
    residents: dict[str, FeatureTile]
    commands: tuple[Command, ...]

    @property
    def graph(self) -> LayerGraph:
        return self.fixed.graph

    def layer_commands(self, layer: str) -> tuple[Command, ...]:
        """The commands of one layer, in program order."""
        return tuple(command for command in self.commands if command.layer == layer)

    def to_json(self) -> str:
        """A stable text: the same schedule gives the same bytes."""
        document: dict[str, Any] = {
            "kind": self.kind.value,
            "network": self.graph.name,
            "accelerator": asdict(self.accelerator),
            "platform": asdict(self.platform),
            "dram": [asdict(region) for region in self.dram.regions],
            "tilings": {name: asdict(tiling) for name, tiling in self.tilings.items()},
            "residents": {name: asdict(tile) for name, tile in self.residents.items()},
            "commands": [{"unit": c.unit.value, "kind": type(c).__name__, **asdict(c)} for c in self.commands],
        }
        return json.dumps(document, indent=1, default=_plain) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{value!r} cannot be written as JSON")
