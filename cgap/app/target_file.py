"""The file that says what a network is built for: written by `cgap explore`, read by `--config`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cgap.boundary.files import MIB, read_text
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import Platform, load_platform
from fpga_model.schedule.plan import Kind

if TYPE_CHECKING:
    from fpga_model.explore.space import Configuration

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class TargetFile(BaseModel):
    """Its fields; what is left out is as without a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    platform: str = Field("zcu104", description="a name from `cgap platforms`, or a .toml file")
    array: str = Field("8x8x4", description="Pox x Poy x Pof")
    schedule: str = Kind.RESIDENT.value
    pages: int = Accelerator.pages
    page_depth: int = Accelerator.page_depth
    weight_depth: int = Accelerator.weight_depth
    parameter_depth: int = Accelerator.parameter_depth
    port_bits: int | None = Field(None, description="width of the port to DRAM; the platform's own where left out")

    def parts(self) -> tuple[Platform, Accelerator, Kind]:
        """What it names. Raises UserError."""
        kinds = [kind.value for kind in Kind]
        if self.schedule not in kinds:
            raise UserError(f"no schedule {self.schedule!r}: choose {' or '.join(kinds)}")
        platform = load_platform(self.platform)
        accelerator = Accelerator.parse(
            self.array,
            pages=self.pages,
            page_depth=self.page_depth,
            weight_depth=self.weight_depth,
            parameter_depth=self.parameter_depth,
        )
        if self.port_bits is not None:
            if self.port_bits not in (32, 64, 128, 256, 512, 1024) or self.port_bits > platform.axi_bits:
                raise UserError(
                    f"port_bits is {self.port_bits}; it must be 32, 64, ... and no more than the "
                    f"{platform.axi_bits} of platform {platform.name}"
                )
            platform = platform.with_port(self.port_bits)
        return platform, accelerator, Kind(self.schedule)


def read_target(path: Path) -> TargetFile:
    """Read a file. Raises UserError, which names the field that is wrong."""
    try:
        return TargetFile.model_validate(tomllib.loads(read_text(path, MIB)))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(map(str, fault["loc"]))
        known = ", ".join(TargetFile.model_fields)
        said = (
            f"no field {field}; there are {known}" if fault["type"] == "extra_forbidden" else f"{field}: {fault['msg']}"
        )
        raise UserError(f"{path}: {said}") from error


def target_text(platform: str, configuration: Configuration, comment: str) -> str:
    """The text of a file."""
    fields: dict[str, Any] = {
        "platform": platform,
        "array": configuration.array,
        "schedule": configuration.kind.value,
        "pages": configuration.pages,
        "page_depth": configuration.page_depth,
        "weight_depth": configuration.weight_depth,
        "parameter_depth": configuration.parameter_depth,
        "port_bits": configuration.port_bits,
    }
    lines = [f"{key} = {_value(value)}" for key, value in fields.items()]
    return "\n".join([f"# {comment}", *lines]) + "\n"


def _value(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
