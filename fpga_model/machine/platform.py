"""Platforms: what an accelerator is put on. Each is a TOML file that cites the source of its figures."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator, ceil_div

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

INTERVAL_UNIT = 256
"""Beat intervals are counted in 1/256 cycle, so that hardware keeps time with an adder."""

AXI_BOUNDARY = 4096
"""AXI4 forbids a burst to cross a multiple of this address."""

_SECTIONS: dict[str, dict[str, type]] = {
    "resources": {"dsp": int, "ramb36": int, "lut": int},
    "clock": {"mhz": float},
    "dram": {"kind": str, "width_bits": int, "megatransfers": float, "efficiency": float},
    "axi": {
        "width_bits": int,
        "burst_beats": int,
        "outstanding": int,
        "read_latency": int,
        "write_latency": int,
        "burst_gap_bytes": int,
    },
    "energy": {"dram_pj_per_bit": float},
}


@dataclass(frozen=True)
class Platform:
    """An FPGA with its DRAM port. Latencies are in accelerator cycles, bandwidth in bytes per second."""

    name: str
    description: str
    part: str
    dsp: int
    ramb36: int
    lut: int
    clock_mhz: float
    dram_kind: str
    dram_width_bits: int
    dram_megatransfers: float
    dram_efficiency: float
    axi_bits: int
    burst_beats: int
    outstanding: int
    read_latency: int
    write_latency: int
    burst_gap_bytes: int
    dram_pj_per_bit: float

    @property
    def beat_bytes(self) -> int:
        return self.axi_bits // 8

    @property
    def burst_bytes(self) -> int:
        """Bursts are cut at multiples of this address."""
        return min(AXI_BOUNDARY, self.burst_beats * self.beat_bytes)

    @property
    def dram_bandwidth(self) -> float:
        """Usable DRAM bandwidth in bytes per second."""
        return self.dram_width_bits / 8 * self.dram_megatransfers * 1e6 * self.dram_efficiency

    @property
    def burst_gap(self) -> int:
        """Idle bus cycles that every burst costs."""
        return ceil_div(self.burst_gap_bytes, self.beat_bytes)

    @cached_property
    def beat_interval(self) -> int:
        """Time of one beat on the bus in 1/256 cycle: 256 where DRAM keeps up with the port."""
        cycles = self.beat_bytes * self.clock_mhz * 1e6 / self.dram_bandwidth
        return max(INTERVAL_UNIT, math.ceil(cycles * INTERVAL_UNIT))

    @property
    def bytes_per_cycle(self) -> float:
        """The most bytes one direction moves in a cycle."""
        return self.beat_bytes * INTERVAL_UNIT / self.beat_interval

    def fitted(self, accelerator: Accelerator) -> Platform:
        """This platform with an AXI port no wider than a feature word, so that no command moves part of a beat."""
        return replace(self, axi_bits=min(self.axi_bits, 8 * accelerator.feature_word_bytes))

    def check_latencies(self) -> None:
        """Raise UserError if the DRAM answers sooner than the units can fetch commands and forget bursts.

        docs/microarchitecture.md, sections 3, 4 and 7.
        """
        beat = ceil_div(self.beat_interval, INTERVAL_UNIT)
        for name, least in (
            ("read_latency", max(4, beat + self.burst_gap - 3)),
            ("write_latency", max(2, beat + self.burst_gap - 5)),
        ):
            if getattr(self, name) < least:
                raise UserError(
                    f"platform {self.name}: axi.{name} is {getattr(self, name)}; with a beat every {beat} cycles and "
                    f"{self.burst_gap} idle cycles a burst it must be at least {least}"
                )

    def check(self, accelerator: Accelerator) -> None:
        """Raise UserError if the accelerator needs more than this platform has."""
        needs = {"DSP blocks": (accelerator.dsps(), self.dsp), "RAMB36 blocks": (accelerator.ramb36(), self.ramb36)}
        for what, (needed, available) in needs.items():
            if needed > available:
                raise UserError(
                    f"platform {self.name} is too small: the {accelerator.Pox}x{accelerator.Poy}x{accelerator.Pof} "
                    f"accelerator needs {needed:,} {what} and there are {available:,}; "
                    f"choose a smaller array or buffers, or a larger platform"
                )


_MAX_BYTES = 1 << 20


def platform_names() -> list[str]:
    """Names of the platforms that ship with the package."""
    folder = resources.files("fpga_model") / "platforms"
    return sorted(entry.name[: -len(".toml")] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_platform(name: str) -> Platform:
    """The platform of that name, or the one described by the TOML file at that path. Raises UserError."""
    if name.endswith(".toml"):
        try:
            path = Path(name)
            if path.exists() and (not path.is_file() or path.stat().st_size > _MAX_BYTES):
                raise UserError(f"platform file {name}: is not a file of at most {_MAX_BYTES:,} bytes")
            return parse_platform(path.read_text("utf-8"), name)
        except OSError as error:
            raise UserError(f"platform file {name}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"platform file {name} is not text") from error
    if name not in platform_names():
        near = get_close_matches(name, platform_names(), 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(platform_names())}"
        raise UserError(f"no platform {name!r}: {hint} (or give the path of a .toml file)")
    text = (resources.files("fpga_model") / "platforms" / f"{name}.toml").read_text("utf-8")
    return parse_platform(text, name)


def parse_platform(text: str, source: str) -> Platform:
    """Read a platform description; `source` names it in errors. Raises UserError."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides the parser's own: too many digits, too deep
        raise UserError(f"platform {source}: not valid TOML: {error}") from error
    values: dict[str, Any] = {key: table.pop(key, None) for key in ("name", "description", "part")}
    for key, value in values.items():
        if not isinstance(value, str):
            raise UserError(f"platform {source}: {key} must be given as text")
    prefixes = {"resources": "", "clock": "clock_", "dram": "dram_", "axi": "", "energy": ""}
    for section, fields in _SECTIONS.items():
        entries = table.pop(section, {})
        if not isinstance(entries, dict):
            raise UserError(f"platform {source}: {section} must be a section ([{section}]), not a value")
        for key, kind in fields.items():
            value = _number(source, f"{section}.{key}", entries.pop(key, None), kind)
            values["axi_bits" if (section, key) == ("axi", "width_bits") else prefixes[section] + key] = value
        if entries:
            raise UserError(f"platform {source}: unknown field {section}.{next(iter(entries))}")
    if table:
        raise UserError(f"platform {source}: unknown section {next(iter(table))!r}")
    if values["axi_bits"] % 32 or not 32 <= values["axi_bits"] <= 1024 or values["axi_bits"] & (values["axi_bits"] - 1):
        raise UserError(f"platform {source}: axi.width_bits is {values['axi_bits']}; AXI has 32, 64, ... 1024")
    if values["burst_beats"] not in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        raise UserError(
            f"platform {source}: axi.burst_beats is {values['burst_beats']}; bursts are cut where an address is a "
            f"multiple of their length, which must be a power of two up to 256"
        )
    if values["dram_efficiency"] > 1:
        raise UserError(f"platform {source}: dram.efficiency is {values['dram_efficiency']}; it is a share, at most 1")
    platform = Platform(**values)
    platform.check_latencies()
    return platform


def _number(source: str, field: str, value: Any, kind: type) -> Any:
    if kind is str:
        if not isinstance(value, str):
            raise UserError(f"platform {source}: {field} must be given as text")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (kind is int and not isinstance(value, int)):
        raise UserError(
            f"platform {source}: {field} must be given as {'a whole number' if kind is int else 'a number'}"
        )
    if not 0 < value < 1e12:
        raise UserError(f"platform {source}: {field} is {value}; it must be above 0 and below 1e12")
    return kind(value)
