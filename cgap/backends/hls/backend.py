"""The HLS backend: C++ for Vitis and Vivado HLS, run by C simulation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

from cgap.backends.common.backend import Build, Design, Result, write_program
from cgap.backends.common.vectors import vector_files, write_vectors
from cgap.backends.hls.csim import find_ap_include, find_compiler, run_csim
from cgap.backends.hls.emit import emit_hls
from cgap.boundary.locks import scratch
from fpga_model.schedule.plan import Kind
from fpga_model.schedule.schedule import Schedule, build_schedule


class HlsBackend:
    """Emits into `hls/` of a build. A run compares every stored tensor with the integer reference."""

    name: ClassVar[str] = "c_simulation"
    folder: ClassVar[str] = "hls"
    title: ClassVar[str] = "C++"

    def require(self) -> None:
        """Raise UserError if the compiler or the vendor's headers are missing."""
        find_compiler()
        find_ap_include()

    def emit(self, program: Design, folder: Path) -> Build:
        """Write C++, scripts, test benches, program and weights; see `Backend`."""
        schedule, figures = program.schedule, {}
        for name, measured in program.simulation.layers.items():
            figures[name] = {
                "cycles (analytic)": program.analytic[name].cycles,
                "cycles (simulated)": measured.cycles,
                "bound": measured.bound,
                "DRAM bytes read": measured.dram_read_bytes,
                "DRAM bytes written": measured.dram_write_bytes,
            }
        out = folder / self.folder
        emit_hls(schedule, _layerwise(schedule), program.header, figures, out, program.capability)
        write_program(program, folder)
        return Build(program, folder)

    def run(self, build: Build, images: npt.NDArray[Any]) -> Result:
        """C simulation; golden values are those of the build where they are of these images. See `Backend`."""
        schedule = build.design.schedule
        with scratch() as other:
            vectors = build.folder / "vectors"
            source = vectors / vector_files(schedule.graph)[schedule.graph.input.name]
            if not source.is_file() or source.read_bytes() != images.tobytes():
                vectors = other / "vectors"
                write_vectors(schedule.fixed, images, vectors)
            workers = min(2, os.cpu_count() or 1)
            found = run_csim(build.folder, schedule.graph, vectors=vectors, workers=workers)
        return Result(
            images=found.images,
            outputs=found.outputs,
            cycles=None,
            read_bytes=None,
            write_bytes=None,
            mismatches=found.mismatches,
            seconds=found.seconds,
            differences=found.differences,
        )


def _layerwise(schedule: Schedule) -> Schedule:
    """The layerwise schedule, whose commands every layer runs when it is alone."""
    if schedule.kind is Kind.LAYERWISE:
        return schedule
    return build_schedule(schedule.fixed, schedule.accelerator, schedule.platform, Kind.LAYERWISE)
