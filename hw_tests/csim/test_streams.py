"""If these fail, results depend on when DRAM answers, or the emitted C++ is not the machine that the simulator counts.

C simulation runs the three processes of the emitted C++ in steps of a cycle: a FIFO may be of any depth, and a look
at it may find nothing although there is something.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings

from cgap.backends.hls import Header, emit_hls, write_vectors, write_weights
from cgap.backends.hls.bench import describe, describe_timing
from cgap.backends.hls.csim import Timing, compile_bench, run_bench
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.isa import Convolve, Pool
from fpga_model.machine.platform import load_platform
from fpga_model.machine.tiles import Unit
from fpga_model.models.simulator import simulate
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from hw_tests.csim.conftest import Build
from tests.backends.networks import branch_network, mixed_network, number, random_images, residual_network, schedules
from tests.fpga_model.networks import networks

HEADER = Header("streams", "0" * 64, "pytest")
LOOP_CYCLES = 16
"""Cycles beside a loop's iterations, in which no beat is moved."""
LEAST = {Unit.LOAD: -1, Unit.COMPUTE: 0, Unit.STORE: -2}
"""What a command takes more in C simulation than in the simulator (docs/hls.md)."""


def assert_timed(timing: Timing | None, schedule: Schedule) -> None:
    """Every command takes the simulator's cycles and its documented constant, transfers more by the ends of loops.

    A transfer that is under way while a loop fills or empties its pipeline waits for it, once for each command of
    COMPUTE that ends or begins meanwhile. A LOAD begins while beats of the one before may still wait in the FIFO. Its
    own queue behind them: they are as late as those at most, and by what it waits for itself.
    """
    assert timing is not None
    ends = [done for _, _, done in timing.commands[1]]
    for unit, commands in zip(Unit, timing.commands, strict=True):
        events = [event for event in simulate(schedule).events if event.operation.unit is unit]
        assert len(events) == len(commands)
        late, before = 0, -1
        for (_, start, done), event in zip(commands, events, strict=True):
            behind = late if start <= before else 0
            more = done - start + 1 - event.cycles - LEAST[unit]
            pauses = sum(start <= end + 1 and end - LOOP_CYCLES <= done for end in ends)
            most = 0 if unit is Unit.COMPUTE else behind + pauses * (LOOP_CYCLES + 2)
            assert 0 <= more <= most, (unit, event)
            late, before = more, done


def assert_network_timed(timing: Timing | None, schedule: Schedule) -> None:
    """The network's cycles are within 1 % of the simulator's, whatever its commands are."""
    assert_timed(timing, schedule)
    assert timing is not None
    assert timing.cycles == pytest.approx(simulate(schedule).cycles, rel=0.01)


BUILDS = {
    "resident": (residual_network, Accelerator(), Kind.RESIDENT),
    "tiles of all kinds": (mixed_network, Accelerator(Pox=4, Poy=4, Pof=2, page_depth=100), Kind.LAYERWISE),
    "spilled tensors": (branch_network, Accelerator(Pox=4, Poy=3, Pof=2, page_depth=128), Kind.RESIDENT),
}


@pytest.fixture(scope="module", params=BUILDS)
def build(request, make_build) -> Build:
    """A build whose ports are checked while it runs."""
    network, accelerator, kind = BUILDS[request.param]
    return make_build(network(), accelerator, kind)


CHECKED = ("-O1", "-Werror", "-DCHECK_PORTS")


@pytest.mark.parametrize(("fifo", "starvation"), [(2, 0), (2, 97), (512, 97), (1, 50)])
def test_results_do_not_depend_on_arrival(build, fifo, starvation):
    """Nor does anything want a port twice, or read what the same loop wrote."""
    options = ["--fifo", str(fifo), "--starvation", str(starvation), "--seed", str(fifo + starvation)]
    result = run_bench(build.compile(options=CHECKED), build.folder, build.fixed.graph, options=options)
    assert result.mismatches == 0, result.differences
    assert result.compared > 0


def test_commands_take_the_simulator_s_cycles(build):
    result = run_bench(build.compile(options=CHECKED), build.folder, build.fixed.graph, timed=True)
    assert_network_timed(result.timing, build.schedule)
    reads = sum(event.cost.read_bytes for event in simulate(build.schedule).events)
    assert sum(layer.read_bytes for layer in result.timing.layers) == reads


def test_trip_counts_are_true(build):
    """What LOOP_TRIPCOUNT tells a report of the two computations is what their loops take at most."""
    result = run_bench(build.compile(options=CHECKED), build.folder, build.fixed.graph, timed=True)
    assert result.timing is not None
    config = (build.folder / "hls" / "trips.h").read_text()
    kinds = {kind.__name__: 0 for kind in (Convolve, Pool)}
    for (_, start, done), command in zip(
        result.timing.commands[1], build.schedule.program.commands["compute"], strict=True
    ):
        name = type(command).__name__
        kinds[name] = max(kinds[name], done - start + 1 - LOOP_CYCLES)
    for name, most in kinds.items():
        assert f"TRIP_{name.upper()} = {max(1, most)};" in config


def test_units_that_take_turns_compute_the_same(build):
    """What Vivado HLS gets: one process, with pointers for ports."""
    binary = build.compile(options=("-O1", "-Werror", "-DSEQUENTIAL", "-DCHECK_PORTS"))
    result = run_bench(binary, build.folder, build.fixed.graph)
    assert result.mismatches == 0, result.differences


def test_a_program_that_waits_for_itself_ends_with_an_error(make_build, tmp_path):
    """Of the three units, none can go on."""
    from fpga_model.machine.isa import encode
    from fpga_model.machine.program import read_program, sealed

    build = make_build(residual_network(), Accelerator())
    build.copy_data(tmp_path)
    content = (tmp_path / "program.bin").read_bytes()
    first = read_program(content).commands["load"][0]
    stuck = encode(replace(first, wait_compute=1), "")
    (tmp_path / "program.bin").write_bytes(sealed(content.replace(encode(first, ""), stuck, 1)))
    with pytest.raises(UserError, match="error 8"):
        run_bench(build.compile(), tmp_path, build.fixed.graph)


@dataclass
class Engine:
    """One compiled accelerator, and a folder for the programs that it runs."""

    accelerator: Accelerator
    capability: Capability
    binary: Path
    folder: Path


@pytest.fixture(scope="module", params=["8x8x4", "4x7x2"])
def engine(request, tmp_path_factory) -> Engine:
    """An accelerator with room for most of what the strategy draws."""
    Pox, Poy, Pof = map(int, request.param.split("x"))
    accelerator = Accelerator(Pox=Pox, Poy=Poy, Pof=Pof, page_depth=2048)
    capability = Capability(
        kernel_columns=34, stride_columns=3, shortcut_stride=6, pool_columns=34, pool_stride=3, pool_dilation=3
    )
    folder = tmp_path_factory.mktemp("engine")
    both = schedules(residual_network(), accelerator)
    emit_hls(both[Kind.RESIDENT], both[Kind.LAYERWISE], HEADER, {}, folder / "hls", capability)
    binary = folder / "tb"
    compile_bench(folder / "hls", binary, options=("-O2", "-DCHECK_PORTS"))
    return Engine(accelerator, capability, binary, folder)


def try_network(engine: Engine, fixed: FixedGraph, kind: Kind, options: list[str]) -> tuple[Schedule, Timing]:
    platform = load_platform("zcu104")
    try:
        both = {each: build_schedule(fixed, engine.accelerator, platform, each) for each in Kind}
    except UserError:
        assume(False)
    schedule = both[kind]
    assume(not engine.capability.missing(schedule.needs))
    write_weights(schedule, engine.folder)
    (engine.folder / "program.bin").write_bytes(schedule.program_bytes())
    (engine.folder / "hls" / "network.txt").write_text(describe(schedule, both[Kind.LAYERWISE]))
    (engine.folder / "hls" / "timing.txt").write_text(describe_timing(schedule, simulate(schedule)))
    write_vectors(fixed, random_images(fixed.graph, 1), engine.folder / "vectors")
    result = run_bench(engine.binary, engine.folder, fixed.graph, options=options, timed=True)
    assert result.mismatches == 0, result.differences
    assert result.timing is not None
    return schedule, result.timing


STARVED = [["--fifo", fifo, "--starvation", "97"] for fifo in ("1", "2", "512")]


def check_network(engine: Engine, fixed: FixedGraph) -> None:
    fixed = number(fixed.graph, seed=len(fixed.graph.layers))
    for kind in Kind:
        schedule, timing = try_network(engine, fixed, kind, [])
        assert_timed(timing, schedule)
    for options in STARVED:
        try_network(engine, fixed, Kind.LAYERWISE, options)


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=10, suppress_health_check=QUIET)
@given(fixed=networks())
def test_random_networks(engine, fixed):
    """On one compiled accelerator: exact in both schedules, timed as the simulator says, exact under starvation."""
    check_network(engine, fixed)


@pytest.mark.long
@settings(max_examples=50, suppress_health_check=QUIET)
@given(fixed=networks())
def test_a_hundred_random_networks(engine, fixed):
    """Fifty on each of two arrays."""
    check_network(engine, fixed)
