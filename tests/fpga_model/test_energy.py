"""Access counts and energy, against counting by hand and against the operations of a schedule."""

from __future__ import annotations

import pytest

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import LoadOp, StoreOp
from fpga_model.machine.platform import load_platform
from fpga_model.machine.tiles import Buffer
from fpga_model.models.energy import (
    count_accesses,
    energy,
    layer_accesses,
    load_constants,
    row_activations,
    sensitivity,
)
from fpga_model.models.simulator import simulate
from fpga_model.numerics.tensors import Shape
from fpga_model.schedule.plan import Kind
from fpga_model.schedule.schedule import build_schedule
from tests.fpga_model.networks import Network, conv, mobilenet, resnet

ZCU104 = load_platform("zcu104")


def test_one_convolution_by_hand():
    """Fails if a word is counted twice or not at all: 4 maps of 8x8 to 8 maps, kernel 3, on 8x8x4."""
    network = Network("one", Shape(4, 8, 8))
    network.add("conv", conv(4, 8), "image")
    schedule = build_schedule(network.fixed(), Accelerator(), ZCU104, Kind.RESIDENT)
    found = layer_accesses(schedule.plan)["conv"]
    groups = 2  # of 4 output maps; all 8 rows and columns are one
    assert found.macs == 4 * 8 * 9 * 64
    assert found.weight_reads == groups * 4 * 9 == found.weight_writes
    assert found.record_reads == found.record_writes == 8
    lines = groups * 4 * 3 * 2 * 8  # steps, two words of a row (columns -1 ... 8), rows
    stored = 8 * 8  # words of the output that STORE reads
    assert found.feature_reads == lines + stored
    assert found.feature_writes == 2 * (8 * 8 + 4 * 8)  # both copies: a half word a row and map, the loaded image
    assert found.dram_read_bytes == 4 * 8 * 16 + 8 * 4 + 8 * 4 * 9
    assert found.dram_write_bytes == 8 * 8 * 16


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("network", [resnet(20), mobilenet(16)], ids=["resnet", "mobilenet"])
def test_counts_are_those_of_the_operations(network, kind: Kind):
    """Fails if bytes or loaded words of the plan differ from the schedule's operations."""
    schedule = build_schedule(network, Accelerator(), ZCU104, kind)
    found, simulation = count_accesses(schedule.plan), simulate(schedule)
    assert (found.dram_read_bytes, found.dram_write_bytes) == (simulation.dram_read_bytes, simulation.dram_write_bytes)
    loads = [operation for operation in schedule.operations if isinstance(operation, LoadOp)]
    loaded = sum(load.words for load in loads if load.buffer is Buffer.WEIGHT)
    assert found.weight_writes <= loaded < found.weight_writes + 16 * len(loads), "but for whole beats"
    assert found.macs == schedule.graph.macs()
    stores = sum(operation.dram.total for operation in schedule.operations if isinstance(operation, StoreOp))
    assert stores == found.dram_write_bytes


def test_energy_is_counts_times_constants():
    """Fails if joules are anything but counts times constants, or a constant has no source."""
    schedule = build_schedule(resnet(20), Accelerator(), ZCU104, Kind.RESIDENT)
    accesses, constants = count_accesses(schedule.plan), load_constants()
    found = energy(accesses, Accelerator(), 10.0)
    assert found.dram_mj == pytest.approx(accesses.dram_bytes * 8 * 10e-9)
    assert found.mac_mj == pytest.approx(accesses.macs * constants.mac.pj * 1e-9)
    assert found.total_mj == pytest.approx(found.mac_mj + found.buffer_mj + found.dram_mj)
    assert found.to_json()["dram_bytes"] == accesses.dram_bytes
    rows = sensitivity(accesses, Accelerator(), ZCU104)
    assert len(rows) == 1 + len(constants.dram_bit)
    assert all(row.source and row.energy.dram_bytes == accesses.dram_bytes for row in rows)
    assert max(row.energy.dram_mj for row in rows) / min(row.energy.dram_mj for row in rows) == pytest.approx(70 / 3.9)


def test_row_activations_from_the_addresses():
    """Fails if rows are opened anew for every burst, or never again: at least once a row that is touched."""
    layerwise = build_schedule(resnet(20), Accelerator(), ZCU104, Kind.LAYERWISE)
    resident = build_schedule(resnet(20), Accelerator(), ZCU104, Kind.RESIDENT)
    counts = {}
    for schedule in (layerwise, resident):
        simulation = simulate(schedule)
        found = row_activations(simulation.events, schedule.dram)
        counts[schedule.kind] = sum(found.values())
        rows = schedule.dram.bytes // 8192
        bursts = sum(event.cost.read_bytes + event.cost.write_bytes for event in simulation.events) // 16
        assert rows <= counts[schedule.kind] < bursts / 8
        few = row_activations(simulation.events, schedule.dram, row_bytes=1024, banks=1)
        assert sum(few.values()) > counts[schedule.kind]
    assert counts[Kind.RESIDENT] < counts[Kind.LAYERWISE]
