"""The RTL backend: SystemVerilog, run by Verilator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

from cgap.backends.common.backend import Build, Design, LayerFigures, Result, write_program
from cgap.backends.common.drivers import emit_drivers
from cgap.backends.rtl.emit import emit_rtl
from cgap.backends.rtl.trace import compare
from cgap.backends.rtl.twin import Waves
from cgap.backends.rtl.twin import build as build_twin
from cgap.backends.rtl.verilate import find_verilator
from fpga_model.models.golden import run_reference
from fpga_model.schedule.schedule import Schedule

WAVES_BEFORE, WAVES_AFTER = 500, 2000
"""Cycles of a waveform before and after the start of the first command that differs."""


@dataclass(frozen=True)
class RtlBackend:
    """Emits into `rtl/` and `driver/` of a build. A run is compared with the simulator and the integer reference.

    Attributes:
        waves: file for the waveform of a difference: an FST file that begins shortly before it.
    """

    waves: Path | None = None

    name: ClassVar[str] = "rtl"
    folder: ClassVar[str] = "rtl"
    title: ClassVar[str] = "SystemVerilog"

    def require(self) -> None:
        """Raise UserError if Verilator is missing."""
        find_verilator()

    def emit(self, program: Design, folder: Path) -> Build:
        """Write SystemVerilog, scripts, program and weights; see `Backend`."""
        emit_rtl(program.schedule, program.capability, program.header, folder / self.folder)
        emit_drivers(folder / "driver")
        write_program(program, folder)
        return Build(program, folder)

    def run(self, build: Build, images: npt.NDArray[Any]) -> Result:
        """Simulation of the RTL, built once for each accelerator; see `Backend`.

        Raises:
            UserError: Verilator or a compiler is missing.
            RuntimeError: commands, bursts or stored values differ from simulator or integer reference.
        """
        schedule = build.design.schedule
        run = build_twin(schedule).run(images, trace=True)
        assert run.trace is not None, "a trace was asked for"
        stored = run_reference(schedule.fixed, images)
        found = compare(schedule, run.trace, run.bases, stored)
        if found.differences:
            lines = ["the RTL is not what the simulator says:", *found.differences]
            if self.waves is not None:
                lines.append(_draw(schedule, images, found.cycle or 0, self.waves))
            raise RuntimeError("\n".join(lines))
        mismatches = sum(int((tensor != stored[name]).sum()) for name, tensor in run.outputs.items())
        return Result(
            images=len(images),
            outputs=run.outputs,
            cycles=run.cycles,
            read_bytes=run.read_bytes,
            write_bytes=run.write_bytes,
            mismatches=mismatches + sum(found.mismatches.values()),
            seconds=round(run.seconds, 3),
            layers={
                name: LayerFigures(cycles, found.traffic[name].read_bytes, found.traffic[name].write_bytes)
                for name, cycles in found.cycles.items()
            },
        )


def _draw(schedule: Schedule, images: npt.NDArray[Any], cycle: int, path: Path) -> str:
    """Write the waveform around the start of a command of the first image; says what it shows."""
    window = Waves(path.resolve(), max(0, cycle - WAVES_BEFORE), cycle + WAVES_AFTER)
    build_twin(schedule, waves=True).draw(images[:1], window)
    return f"waveform of cycles {window.begin} to {window.end}: {path} (docs/rtl.md says how to read it)"
