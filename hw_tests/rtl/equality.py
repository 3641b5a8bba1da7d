"""The RTL against simulator and integer reference, without tolerance."""

from __future__ import annotations

import numpy as np

from cgap.backends.rtl.board import Board
from cgap.backends.rtl.trace import compare, expected_bursts, trace_hash
from cgap.backends.rtl.twin import RtlRun, run_network
from fpga_model.machine.stalls import Stalls
from fpga_model.machine.tiles import Unit
from fpga_model.models.golden import run_reference
from fpga_model.models.simulator import Simulation, simulate
from fpga_model.schedule.schedule import Schedule


def check(board: Board, schedule: Schedule, images: np.ndarray, stalls: Stalls | None = None) -> RtlRun:
    """Every stored pixel; start and completion of every command; bytes, bursts and their addresses, layer by layer."""
    run = run_network(board, schedule, images, trace=True, stalls=stalls)
    stored = run_reference(schedule.fixed, images)
    found = compare(schedule, run.trace, run.bases, stored, stalls=stalls)
    assert not found.differences, "\n".join(found.differences)
    for name, tensor in run.outputs.items():
        assert np.array_equal(tensor, stored[name]), f"output {name!r} in DRAM"
    simulation = simulate(schedule, stalls)
    assert run.cycles == simulation.cycles
    assert found.cycles == {name: cost.cycles for name, cost in simulation.layers.items()}
    hashes = burst_hashes(schedule, simulation)
    for name, cost in simulation.layers.items():
        assert found.compared[name] == schedule.graph.shape(name).size, name
        traffic = found.traffic[name]
        assert (traffic.read_bytes, traffic.write_bytes) == (cost.dram_read_bytes, cost.dram_write_bytes), name
        assert traffic.hash == hashes[name], name
    assert (run.read_bytes, run.write_bytes) == (simulation.dram_read_bytes, simulation.dram_write_bytes)
    last = run_reference(schedule.fixed, images[-1:])
    assert run.registers["saturated"] == sum(last.saturated.values())
    for unit in Unit:
        assert run.registers[f"busy_{unit.value}"] == sum(cost.busy[unit] for cost in simulation.layers.values())
    return run


def burst_hashes(schedule: Schedule, simulation: Simulation) -> dict[str, str]:
    """Of every layer: its reads and then its writes."""
    found = {}
    for layer in simulation.layers:
        mine = [event.operation for event in simulation.events if event.operation.layer == layer]
        found[layer] = trace_hash(
            burst
            for unit in (Unit.LOAD, Unit.STORE)
            for operation in mine
            if operation.unit is unit
            for burst in expected_bursts(operation.dram, schedule)
        )
    return found
