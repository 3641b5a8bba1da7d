"""Processor seconds of each step from an ONNX file to emitted C++, best of several runs.

    python benchmarks/flow.py [MODEL] [--repeat 3]

CPU seconds, because wall time on a shared machine says more about its neighbours. What each step must at least do is
printed beside it, so that the distance from the bound can be seen.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from cgap.app.build import compile_model
from cgap.app.inputs import CALIBRATION_IMAGES, load_inputs
from cgap.app.models import resolve
from cgap.app.plan import Target
from cgap.backends.hls import Header, emit_hls, write_vectors, write_weights
from cgap.lowering import import_onnx, quantise
from fpga_model.models.analytic import estimate
from fpga_model.models.simulator import simulate
from fpga_model.schedule.plan import Kind
from fpga_model.schedule.schedule import build_schedule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="resnet20")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    path, target = resolve(arguments.model), Target.parse("zcu104", "8x8x4", "resident")
    compiled = compile_model(arguments.model, target)
    graph, fixed, schedule = compiled.imported.graph, compiled.fixed, compiled.schedule
    layerwise = build_schedule(fixed, target.accelerator, target.platform, Kind.LAYERWISE)
    images = load_inputs(compiled.imported.image, None)
    header = Header(arguments.model, compiled.imported.sha256, "benchmark")
    operations = 2 * CALIBRATION_IMAGES * graph.macs()

    def build(kind: Kind) -> Callable[[], Any]:
        return lambda: build_schedule(fixed, target.accelerator, target.platform, kind)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        steps: list[tuple[str, Callable[[], Any], str]] = [
            ("import", lambda: import_onnx(path), f"{path.stat().st_size:,} bytes read"),
            (
                f"quantise, {CALIBRATION_IMAGES} images",
                lambda: quantise(compiled.imported, images.calibration().images),
                f"{2 * operations / 1e9:.1f} GFLOP, twice through",
            ),
            ("schedule, resident", build(Kind.RESIDENT), f"{len(schedule.operations)} commands"),
            ("schedule, layerwise", build(Kind.LAYERWISE), f"{len(layerwise.operations)} commands"),
            ("simulate", lambda: simulate(schedule), f"{simulate(schedule).cycles:,} cycles"),
            ("analytic model", lambda: estimate(schedule.plan), f"{len(schedule.tilings)} layers"),
            ("emit C++", lambda: emit_hls(schedule, layerwise, header, {}, out / "hls", schedule.needs), "text"),
            ("pack weights", lambda: write_weights(schedule, out), f"{schedule.dram.parameter_bytes:,} bytes"),
            (
                "golden vectors, 100 images",
                lambda: write_vectors(fixed, images.first(100).integers(), out / "vectors"),
                f"{200 * graph.macs() / 1e9:.1f} GFLOP",
            ),
        ]
        print(f"{'step':28} {'CPU s':>8}   work")
        for name, step, work in steps:
            print(f"{name:28} {min(cpu_seconds(step) for _ in range(arguments.repeat)):8.3f}   {work}")


def cpu_seconds(step: Callable[[], Any]) -> float:
    """Processor time of this process for one call."""
    start = time.process_time()
    step()
    return time.process_time() - start


if __name__ == "__main__":
    main()
