"""`cgap platforms`: the boards that ship with the package, as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from fpga_model.machine.platform import Platform, load_platform, platform_names


def platforms_json() -> dict[str, dict[str, Any]]:
    """All fields of every platform, by its name, with the usable bandwidth of its DRAM in GB/s."""
    return {name: _entry(load_platform(name)) for name in platform_names()}


def _entry(platform: Platform) -> dict[str, Any]:
    return {**asdict(platform), "usable_gb_per_s": platform.dram_bandwidth / 1e9}


def platforms_table() -> Table:
    """A line a platform; memory blocks are in the part's own unit."""
    table = Table(box=None, pad_edge=False)
    table.add_column("platform", no_wrap=True)
    for heading in ("kLUT", "kFF", "DSP", "memory blocks", "URAM", "MHz", "AXI", "DRAM", "GB/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("description")
    for name in platform_names():
        p = load_platform(name)
        table.add_row(
            name,
            f"{p.lut / 1e3:,.0f}",
            f"{p.ff / 1e3:,.0f}",
            f"{p.dsp:,}",
            f"{p.block.count:,} {p.block.name}",
            f"{p.ultra.count:,}" if p.ultra else "-",
            f"{p.clock_mhz:g}",
            f"{p.axi_ports} x {p.axi_bits}",
            p.dram_kind,
            f"{p.dram_bandwidth / 1e9:.1f}",
            p.description,
        )
    return table
