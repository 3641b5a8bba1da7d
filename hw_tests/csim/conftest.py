"""Emitted builds of small networks with their compiled test benches, made once for all tests that use them."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from cgap.backends.hls import Header, emit_hls, write_vectors, write_weights
from cgap.backends.hls.csim import CsimResult, compile_bench, run_bench
from fpga_model.graph import FixedGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.schedule.schedule import Kind, Schedule
from tests.backends.networks import random_images, schedules

IMAGES = 3
STRICT = ("-O1", "-Werror", "-pedantic")


@dataclasses.dataclass
class Build:
    """A build folder and what it was made from."""

    folder: Path
    fixed: FixedGraph
    schedule: Schedule

    def compile(self, bench: str = "accelerator", options: tuple[str, ...] = STRICT) -> Path:
        """The compiled test bench."""
        binary = self.folder / f"{bench}{''.join(options)}"
        if not binary.exists():
            compile_bench(self.folder / "hls", binary, bench, options=options)
        return binary

    def copy_data(self, folder: Path) -> None:
        """Copy what a test bench reads, to be spoilt."""
        shutil.copytree(self.folder / "vectors", folder / "vectors")
        (folder / "hls").mkdir()
        for name in ("program.bin", "weights.bin", "hls/network.txt", "hls/timing.txt"):
            shutil.copyfile(self.folder / name, folder / name)

    def run(self, bench: str = "accelerator", options: tuple[str, ...] = STRICT, workers: int = 1) -> CsimResult:
        """Compile and run."""
        return run_bench(self.compile(bench, options), self.folder, self.fixed.graph, workers=workers)


@pytest.fixture(scope="session")
def make_build(tmp_path_factory):
    """Emit a network for an array, with one of the schedules, into a folder of its own."""

    def make(
        fixed: FixedGraph, accelerator: Accelerator, kind: Kind = Kind.RESIDENT, capability: Capability | None = None
    ) -> Build:
        folder = tmp_path_factory.mktemp("build")
        both = schedules(fixed, accelerator)
        header = Header("test", "0" * 64, "pytest")
        emit_hls(both[kind], both[Kind.LAYERWISE], header, {}, folder / "hls", capability or both[kind].needs)
        write_weights(both[kind], folder)
        (folder / "program.bin").write_bytes(both[kind].program_bytes())
        write_vectors(fixed, random_images(fixed.graph, IMAGES), folder / "vectors")
        return Build(folder, fixed, both[kind])

    return make
