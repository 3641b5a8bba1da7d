"""If these fail, the emitted C++ is no longer the machine whose cycles this project states, on shipped networks."""

from __future__ import annotations

from functools import reduce

import pytest

from cgap.app.build import compile_model
from cgap.app.plan import Target
from cgap.backends.common.vectors import write_vectors
from cgap.backends.common.weights import write_weights
from cgap.backends.hls import emit_hls
from cgap.backends.hls.bench import describe, describe_timing
from cgap.backends.hls.csim import compile_bench, run_bench
from fpga_model.machine.capability import Capability
from fpga_model.models.simulator import simulate
from fpga_model.schedule.schedule import Kind, build_schedule
from hw_tests.csim.test_streams import HEADER, assert_network_timed

KINDS = (Kind.RESIDENT, Kind.LAYERWISE)
IMAGES = 2
STARVED = ["--fifo", "2", "--starvation", "97"]


@pytest.mark.slow
@pytest.mark.parametrize("array", ["8x8x4", "4x4x4", "8x7x4"])
def test_shipped_networks_take_the_simulator_s_cycles(array, tmp_path):
    """One compiled accelerator an array runs both networks in both schedules, and is exact when DRAM starves it."""
    networks = []
    for model in ("resnet20", "resnet110"):
        compiled = compile_model(model, Target.parse("zcu104", array, "resident"))
        first = compiled.schedule
        both = {kind: build_schedule(compiled.fixed, first.accelerator, first.platform, kind) for kind in KINDS}
        networks.append((model, compiled, both))
    needs = [schedule.needs for _, _, both in networks for schedule in both.values()]
    _, compiled, both = networks[0]
    capability = reduce(Capability.joined, needs, compiled.capability)
    emit_hls(both[Kind.RESIDENT], both[Kind.LAYERWISE], HEADER, {}, tmp_path / "hls", capability)
    binary = tmp_path / "tb"
    compile_bench(tmp_path / "hls", binary)
    for model, compiled, both in networks:
        write_vectors(compiled.fixed, compiled.inputs.first(IMAGES).integers(), tmp_path / "vectors")
        for kind, each in both.items():
            write_weights(each, tmp_path)
            (tmp_path / "program.bin").write_bytes(each.program_bytes())
            (tmp_path / "hls" / "network.txt").write_text(describe(each, both[Kind.LAYERWISE]))
            (tmp_path / "hls" / "timing.txt").write_text(describe_timing(each, simulate(each)))
            result = run_bench(binary, tmp_path, compiled.fixed.graph, timed=True)
            assert result.mismatches == 0, (model, kind, result.differences)
            assert_network_timed(result.timing, each)
            print(model, array, kind.value, result.timing.cycles, simulate(each).cycles)
        for options in (STARVED, ["--fifo", "512", *STARVED[2:]]):
            starved = run_bench(binary, tmp_path, compiled.fixed.graph, images=1, options=options)
            assert starved.mismatches == 0, (model, options, starved.differences)
