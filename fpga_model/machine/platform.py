"""Platforms: what an accelerator is put on. Each is a TOML file that cites the source of its figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from importlib import resources
from pathlib import Path

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator, ceil_div

INTERVAL_UNIT = 256
"""Beat intervals are counted in 1/256 cycle, so that hardware keeps time with an adder."""

AXI_BOUNDARY = 4096
"""AXI4 forbids a burst to cross a multiple of this address."""


@dataclass(frozen=True)
class MemoryKind:
    """The memory blocks of a part: their name, how many there are, and the (width in bits, words) each can have."""

    name: str
    count: int
    shapes: tuple[tuple[int, int], ...]

    def blocks(self, width: int, depth: int) -> int:
        """The least number of blocks that make a memory of `depth` words of `width` bits."""
        return min(ceil_div(width, w) * ceil_div(depth, d) for w, d in self.shapes)


@dataclass(frozen=True)
class Platform:
    """An FPGA with its DRAM port. Latencies are in accelerator cycles, bandwidth in bytes per second.

    Resources are in the part's own units: `block` says what its memory blocks are called and hold, `ultra` the same of
    large ones (None without), `dsp_name` what its multipliers are; each takes `dsp_macs` 8-bit multiply-accumulates.
    """

    name: str
    description: str
    part: str
    lut: int
    ff: int
    dsp: int
    dsp_name: str
    dsp_macs: int
    block: MemoryKind
    ultra: MemoryKind | None
    clock_mhz: float
    dram_kind: str
    dram_width_bits: int
    dram_megatransfers: float
    dram_efficiency: float
    axi_ports: int
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

    def with_port(self, bits: int) -> Platform:
        """This platform with a port of that width."""
        return self if bits == self.axi_bits else replace(self, axi_bits=bits)

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

    def blocks(self, accelerator: Accelerator) -> int:
        """Memory blocks of the accelerator's buffers on this part."""
        return sum(m.copies * self.block.blocks(m.width, m.depth) for m in accelerator.memories())

    def dsps(self, accelerator: Accelerator) -> int:
        """DSP blocks of the accelerator's array on this part."""
        return ceil_div(accelerator.macs, self.dsp_macs)

    def check(self, accelerator: Accelerator) -> None:
        """Raise UserError if the accelerator needs more than this platform has."""
        needs = {
            "DSP blocks": (self.dsps(accelerator), self.dsp),
            f"{self.block.name} blocks": (self.blocks(accelerator), self.block.count),
        }
        for what, (needed, available) in needs.items():
            if needed > available:
                raise UserError(
                    f"platform {self.name} is too small: the {accelerator.array} accelerator needs {needed:,} {what} "
                    f"and there are {available:,}; choose a smaller array or buffers, or a larger platform"
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
    from fpga_model.machine.platform_file import read  # pydantic takes longer to import than all the rest

    platform = read(text, source)
    platform.check_latencies()
    return platform
