"""If these fail, a backend is not used as `Backend` says, or two of them disagree about one network."""

import shutil

import numpy as np
import pytest

from cgap.backends.common.backend import Backend, Build, Design
from cgap.backends.common.templates import Header
from cgap.backends.hls.backend import HlsBackend
from cgap.backends.rtl.backend import RtlBackend
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.analytic import estimate
from fpga_model.models.golden import run_reference
from fpga_model.models.simulator import simulate
from fpga_model.schedule.schedule import Kind, build_schedule
from hw_tests.csim.test_streams import LOOP_CYCLES
from tests.backends.networks import random_images, residual_network

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="backends compile with g++")
BACKENDS: list[Backend] = [HlsBackend(), RtlBackend()]
CYCLES_MORE = {"rtl": 0, "c_simulation": LOOP_CYCLES + 2}
"""More or less than the simulator says: docs/hls.md, "Time"."""


@pytest.fixture(scope="module")
def design() -> Design:
    schedule = build_schedule(residual_network(), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)
    header = Header("residual", "0" * 64, "python -m pytest hw_tests/test_backends.py")
    return Design(schedule, schedule.needs, header, estimate(schedule.plan), simulate(schedule))


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda backend: backend.name)
def built(request, design, tmp_path_factory) -> tuple[Backend, Build]:
    backend: Backend = request.param
    backend.require()
    return backend, backend.emit(design, tmp_path_factory.mktemp("build") / backend.folder)


def test_a_backend_runs_what_it_emitted(built, design):
    """Outputs are those of the integer reference, and what is counted is what the simulator says."""
    backend, build = built
    fixed = design.schedule.fixed
    images = random_images(fixed.graph, 3)
    result = backend.run(build, images)
    stored = run_reference(fixed, images)
    assert set(result.outputs) == {layer.name for layer in fixed.graph.outputs}
    for name, tensor in result.outputs.items():
        assert tensor.dtype == np.int8
        assert np.array_equal(tensor, stored[name])
    assert (result.images, result.mismatches, result.differences) == (3, 0, ())
    for name, figures in result.layers.items():
        cost = design.simulation.layers[name]
        assert (figures.read_bytes, figures.write_bytes) == (cost.dram_read_bytes, cost.dram_write_bytes)
        assert abs(figures.cycles - cost.cycles) <= CYCLES_MORE[backend.name]
    assert abs(result.cycles - design.simulation.cycles) <= CYCLES_MORE[backend.name]


def test_what_is_emitted_repeats_and_holds_the_program(built, design, tmp_path):
    backend, build = built
    again = backend.emit(design, tmp_path)
    files = sorted(path.relative_to(build.folder) for path in build.folder.rglob("*") if path.is_file())
    emitted = [path for path in files if path.parts[0] in (backend.folder, "program.bin", "weights.bin")]
    assert len(emitted) > 5
    for path in emitted:
        assert (again.folder / path).read_bytes() == (build.folder / path).read_bytes()
    assert (build.folder / "program.bin").read_bytes() == design.schedule.program_bytes()
