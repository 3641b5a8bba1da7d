"""Emits the RTL project: SystemVerilog, file lists, constraints and a Vivado script."""

from __future__ import annotations

from pathlib import Path

from cgap.backends.common.templates import Header, environment, render
from cgap.backends.rtl.verilate import PACKAGES, parameters, rtl_sources
from cgap.boundary.files import write_atomic
from fpga_model.machine.capability import Capability
from fpga_model.models.resources import estimate_resources
from fpga_model.schedule.schedule import Schedule

PROJECT_FILES = ("accelerator.f", "accelerator.xdc", "vivado.tcl")


RAM = {
    "weights": "u_weights/u_ram",
    "load_queue": "u_load_queue/u_program",
    "compute_queue": "u_compute_queue/u_program",
    "store_queue": "u_store_queue/u_program",
}
"""The memory of a block that may go to UltraRAM."""


def ultra_memories(schedule: Schedule, capability: Capability) -> list[str]:
    """Instances of the memories for which the platform has too few ordinary blocks."""
    found = estimate_resources(schedule.accelerator, schedule.platform, capability)
    return [RAM[name] for name, usage in found.blocks.items() if usage.ultra]


def emit_rtl(schedule: Schedule, capability: Capability, header: Header, out: Path) -> None:
    """Write the project into the folder `out`; the same arguments give the same bytes.

    Args:
        schedule: what the network runs; its accelerator and platform are what is emitted.
        capability: what the accelerator is built for.
        header: head of the scripts.
        out: the folder, made when needed.
    """
    files = rtl_sources()
    modules = [name for name in files if name.endswith(".sv") and "/" not in name and name not in PACKAGES]
    context: dict[str, object] = {
        "header": header,
        "parameters": parameters(schedule.accelerator, capability, schedule.platform),
        "sources": [*PACKAGES, *modules],
        "bench": [name for name in files if name.startswith("sim/")],
        "part": schedule.platform.part,
        "clock_mhz": schedule.platform.clock_mhz,
        "ultra": ultra_memories(schedule, capability),
    }
    for name, text in files.items():
        write_atomic(out / name, text)
    templates = environment("rtl/project")
    for name in PROJECT_FILES:
        write_atomic(out / name, render(templates, f"{name}.j2", context))
