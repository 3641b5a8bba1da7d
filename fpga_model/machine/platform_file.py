"""The form of a platform file, and what is said of one that departs from it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fpga_model.errors import UserError
from fpga_model.machine.platform import MemoryKind, Platform

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LIMIT = 1e12
Count = Annotated[int, Field(gt=0, lt=_LIMIT)]
Number = Annotated[float, Field(gt=0, lt=_LIMIT, allow_inf_nan=False)]
Shape = Annotated[list[Count], Field(min_length=2, max_length=2)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Resources(_Section):
    """What the part has, and how many 8-bit multiply-accumulates go into one of its DSP blocks."""

    lut: Count
    ff: Count
    dsp: Count
    dsp_name: str = "DSP"
    dsp_macs: Count = 1


class MemoryBlocks(_Section):
    """Memory blocks of one kind, and the shapes [width in bits, words] that one can have."""

    name: str
    count: Count
    shapes: Annotated[list[Shape], Field(min_length=1)]

    def kind(self) -> MemoryKind:
        return MemoryKind(self.name, self.count, tuple((width, depth) for width, depth in self.shapes))


class Memory(_Section):
    """The usual blocks, and the large ones of a part that has them."""

    block: MemoryBlocks
    ultra: MemoryBlocks | None = None


class Clock(_Section):
    """The accelerator's clock."""

    mhz: Number


class Dram(_Section):
    """Width of the data bus, transfers a second, and the share of that peak which is usable."""

    kind: str
    width_bits: Count
    megatransfers: Number
    efficiency: Number


class Axi(_Section):
    """The port to DRAM: how many such ports there are, and what one does."""

    ports: Count = 1
    width_bits: Count
    burst_beats: Count
    outstanding: Count
    read_latency: Count
    write_latency: Count
    burst_gap_bytes: Count


class Energy(_Section):
    """Energy of DRAM traffic."""

    dram_pj_per_bit: Number


class PlatformFile(_Section):
    """A whole file."""

    name: str
    description: str
    part: str
    resources: Resources
    memory: Memory
    clock: Clock
    dram: Dram
    axi: Axi
    energy: Energy

    @model_validator(mode="after")
    def _sound(self) -> PlatformFile:
        width, beats = self.axi.width_bits, self.axi.burst_beats
        if width not in (32, 64, 128, 256, 512, 1024):
            raise ValueError(f"axi.width_bits is {width}; AXI has 32, 64, ... 1024")
        if beats not in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            raise ValueError(
                f"axi.burst_beats is {beats}; bursts are cut where an address is a multiple of their length, which "
                f"must be a power of two up to 256"
            )
        if self.dram.efficiency > 1:
            raise ValueError(f"dram.efficiency is {self.dram.efficiency}; it is a share, at most 1")
        return self

    def platform(self) -> Platform:
        """What the machine's model knows of it."""
        memory = self.memory
        return Platform(
            name=self.name,
            description=self.description,
            part=self.part,
            **self.resources.model_dump(),
            block=memory.block.kind(),
            ultra=None if memory.ultra is None else memory.ultra.kind(),
            clock_mhz=self.clock.mhz,
            dram_kind=self.dram.kind,
            dram_width_bits=self.dram.width_bits,
            dram_megatransfers=self.dram.megatransfers,
            dram_efficiency=self.dram.efficiency,
            axi_ports=self.axi.ports,
            axi_bits=self.axi.width_bits,
            burst_beats=self.axi.burst_beats,
            outstanding=self.axi.outstanding,
            read_latency=self.axi.read_latency,
            write_latency=self.axi.write_latency,
            burst_gap_bytes=self.axi.burst_gap_bytes,
            dram_pj_per_bit=self.energy.dram_pj_per_bit,
        )


def read(text: str, source: str) -> Platform:
    """Read a platform description; `source` names it in errors. Raises UserError, which names the field."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides the parser's own: too many digits, too deep
        raise UserError(f"platform {source}: not valid TOML: {error}") from error
    try:
        return PlatformFile.model_validate(table).platform()
    except ValidationError as error:
        raise UserError(f"platform {source}: {_sentence(error.errors(include_url=False)[0])}") from error


def _sentence(fault: Any) -> str:
    """One fault of pydantic's in words."""
    kind, value = fault["type"], fault["input"]
    field = ".".join(str(part) for part in fault["loc"])
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    if kind == "extra_forbidden":
        return f"unknown field {field}" if "." in field else f"unknown section {field!r}"
    if kind in ("greater_than", "less_than", "finite_number"):
        return f"{field} is {value}; it must be above 0 and below {_LIMIT:g}"
    if kind in ("model_type", "model_attributes_type"):
        return f"{field} must be a section ([{field}]), not a value"
    if "shapes" in fault["loc"]:
        return f"{field} must be given as a list"
    kind = _field_kind(fault["loc"])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        first, *_ = kind.model_fields
        return (
            f"section [{field}] is missing: {field}.{first} must be given{_wanted(_field_kind((*fault['loc'], first)))}"
        )
    return f"{field} must be given{_wanted(kind)}"


def _field_kind(path: tuple[str | int, ...]) -> Any:
    """The type of the field at a path; of what may be left out, the one of what may be given."""
    kind: Any = PlatformFile
    for part in path:
        kind = kind.model_fields[part].annotation
        kind = next((part for part in getattr(kind, "__args__", ()) if part is not type(None)), kind)
    return kind


def _wanted(kind: Any) -> str:
    return {str: " as text", int: " as a whole number", float: " as a number"}.get(kind, "")
