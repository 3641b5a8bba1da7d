"""`schedule.json`: a schedule as a document with a version, and its reader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import ConvolveOp, LoadOp, Operation, PoolOp, StoreOp
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import FeatureTile
from fpga_model.schedule.dram import DramPlace
from fpga_model.schedule.plan import Kind
from fpga_model.schedule.tiling import Tiling

if TYPE_CHECKING:
    from fpga_model.schedule.schedule import Schedule

VERSION = 3
"""Of the document; larger when a key changes its meaning or goes."""
OPERATIONS: dict[str, type[Operation]] = {kind.__name__: kind for kind in (LoadOp, StoreOp, ConvolveOp, PoolOp)}
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class ScheduleDocument:
    """The content of `schedule.json`: enough to rerun the timeline (`timeline.execute`) without the network's integers.

    Attributes:
        kind: which of the two schedules.
        network: name of the network.
        accelerator, platform: what it is for; the platform's AXI port fits the accelerator.
        regions: bytes of each DRAM region.
        dram: what lies where in them.
        tilings: tile sizes of each computed layer.
        residents: tensors that stay on chip, under their layer's name.
        operations: in program order.
    """

    kind: Kind
    network: str
    accelerator: Accelerator
    platform: Platform
    regions: dict[str, int]
    dram: tuple[DramPlace, ...]
    tilings: dict[str, Tiling]
    residents: dict[str, FeatureTile]
    operations: tuple[Operation, ...]

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleDocument:
        """The document of a schedule."""
        return cls(
            schedule.kind,
            schedule.graph.name,
            schedule.accelerator,
            schedule.platform,
            schedule.dram.sizes,
            schedule.dram.places,
            schedule.tilings,
            schedule.residents,
            schedule.operations,
        )

    def to_json(self) -> str:
        """A stable text: the same schedule gives the same bytes."""
        document: dict[str, Any] = {
            "version": VERSION,
            "kind": self.kind.value,
            "network": self.network,
            "accelerator": asdict(self.accelerator),
            "platform": asdict(self.platform),
            "regions": self.regions,
            "dram": [asdict(place) for place in self.dram],
            "tilings": {name: asdict(tiling) for name, tiling in self.tilings.items()},
            "residents": {name: asdict(tile) for name, tile in self.residents.items()},
            "operations": [{"unit": c.unit.value, "kind": type(c).__name__, **asdict(c)} for c in self.operations],
        }
        return json.dumps(document, indent=1, default=_plain) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ScheduleDocument:
        """The inverse of `to_json`.

        Raises:
            UserError: the text is not a schedule, has another version, or is damaged.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"not a schedule: {error}") from error
        if not isinstance(document, dict) or "operations" not in document:
            raise UserError("not a schedule: it has no operations")
        if document.get("version") != VERSION:
            raise UserError(
                f"a schedule of version {document.get('version')!r}, and this cgap reads version {VERSION}: "
                f"build it again"
            )
        try:
            return cls(
                Kind(document["kind"]),
                str(document["network"]),
                _part(Accelerator, document["accelerator"]),
                _part(Platform, document["platform"]),
                {str(role): int(size) for role, size in document["regions"].items()},
                tuple(_part(DramPlace, place) for place in document["dram"]),
                {name: _part(Tiling, tiling) for name, tiling in document["tilings"].items()},
                {name: _part(FeatureTile, tile) for name, tile in document["residents"].items()},
                tuple(_operation(entry) for entry in document["operations"]),
            )
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"the schedule is damaged: {first}") from error


def _operation(entry: Mapping[str, Any]) -> Operation:
    rest = {key: value for key, value in entry.items() if key not in ("unit", "kind")}
    return _part(OPERATIONS[entry["kind"]], rest)


_ADAPTERS: dict[type, Any] = {}


def _part(kind: type[_Part], values: Any) -> _Part:
    """A dataclass from the values of its fields, nested ones included; ValueError if they do not fit."""
    from pydantic import TypeAdapter  # reading is rare, and importing it dear

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    if set(values) - set(kind.__dataclass_fields__):  # type: ignore[attr-defined]
        raise ValueError(f"{kind.__name__} has other fields than {sorted(values)}")
    made: _Part = _ADAPTERS[kind].validate_python(values)
    return made


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{value!r} cannot be written as JSON")
