"""The HLS backend: C++ for Vitis and Vivado HLS, run by C simulation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

from cgap.backends.common.backend import Build, Design, LayerFigures, Result, write_program
from cgap.backends.common.vectors import vector_files, write_vectors
from cgap.backends.hls.csim import Timing, find_compiler, run_csim
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
        """Raise UserError if the compiler is missing. The vendor's headers are looked for only when they are needed."""
        find_compiler()

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
        emit_hls(schedule, _layerwise(schedule), program.header, figures, out, program.capability, program.simulation)
        write_program(program, folder)
        return Build(program, folder)

    def run(self, build: Build, images: npt.NDArray[Any]) -> Result:
        """C simulation; reuses the golden values of the build if they are for these images. See `Backend`."""
        schedule = build.design.schedule
        with scratch() as other:
            vectors = build.folder / "vectors"
            source = vectors / vector_files(schedule.graph)[schedule.graph.input.name]
            if not source.is_file() or source.read_bytes() != images.tobytes():
                vectors = other / "vectors"
                write_vectors(schedule.fixed, images, vectors)
            workers = min(2, os.cpu_count() or 1)
            found = run_csim(build.folder, schedule.graph, vectors=vectors, workers=workers)
        layers = _figures(schedule, found.timing)
        return Result(
            images=found.images,
            outputs=found.outputs,
            cycles=found.timing.cycles if found.timing else None,
            read_bytes=sum(layer.read_bytes for layer in layers.values()) if layers else None,
            write_bytes=sum(layer.write_bytes for layer in layers.values()) if layers else None,
            mismatches=found.mismatches,
            seconds=found.seconds,
            layers=layers,
            differences=found.differences,
        )


def _figures(schedule: Schedule, timing: Timing | None) -> dict[str, LayerFigures]:
    """What each layer's commands took and moved, by the C++'s own count; layers without commands are left out."""
    if timing is None:
        return {}
    names = [layer.name for layer in schedule.graph.layers[1:]]
    return {
        name: LayerFigures(time.cycles, time.read_bytes, time.write_bytes)
        for name, time in zip(names, timing.layers, strict=True)
        if name in schedule.by_layer
    }


def _layerwise(schedule: Schedule) -> Schedule:
    """The layerwise schedule, whose commands every layer runs when it is alone."""
    if schedule.kind is Kind.LAYERWISE:
        return schedule
    return build_schedule(schedule.fixed, schedule.accelerator, schedule.platform, Kind.LAYERWISE)
