"""The analytic model beside the simulator: exact where docs/analytic.md says so, within its stated bounds elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.machine.tiles import Unit
from fpga_model.models.analytic import estimate
from fpga_model.models.simulator import simulate
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import Pooling
from fpga_model.schedule.plan import make_plan
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule, schedule_plan
from tests.fpga_model.networks import ARRAYS, ROOMY, Network, conv, mobilenet, resnet, schedules

# The bounds that docs/analytic.md states; measured there.
RESNET_TOTAL = 0.02
RESNET_LAYER = 0.02
EARLY_LAYER = 0.10
MOBILENET_TOTAL = 0.02
RANDOM_TOTAL = 0.30


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(schedules)
def test_compute_cycles_and_bytes_are_exact_and_time_is_bounded(schedule: Schedule):
    """Fails if a closed form miscounts a wave or a byte, or its time leaves the stated bound or the physical limits."""
    simulation, closed = simulate(schedule), estimate(schedule.plan)
    assert list(closed) == list(simulation.layers)
    for name, cost in simulation.layers.items():
        assert closed[name].compute_cycles == cost.busy[Unit.COMPUTE], name
        assert closed[name].dram_read_bytes == cost.dram_read_bytes, name
        assert closed[name].dram_write_bytes == cost.dram_write_bytes, name
    total = sum(layer.cycles for layer in closed.values())
    compute = sum(layer.compute_cycles for layer in closed.values())
    moved = max(simulation.dram_read_bytes, simulation.dram_write_bytes)
    for cycles in (total, simulation.cycles):
        assert cycles >= compute
        assert cycles >= moved / schedule.platform.bytes_per_cycle
    assert abs(total - simulation.cycles) <= RANDOM_TOTAL * simulation.cycles + 200


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("kind", list(Kind))
def test_total_of_resnet20_is_within_two_percent(kind: Kind, array: str):
    """Fails if overlap within or between layers is mispredicted on a network of the usual kind."""
    schedule = build_schedule(resnet(inner=(8, 13, 40)), Accelerator.parse(array), ROOMY, kind)
    total = sum(layer.cycles for layer in estimate(schedule.plan).values())
    assert total == pytest.approx(simulate(schedule).cycles, rel=RESNET_TOTAL)


@pytest.mark.parametrize("kind", list(Kind))
def test_mobilenet_is_within_its_bounds(kind: Kind):
    """Fails if depthwise layers, whose groups drain about as long as they sum, are mispredicted."""
    schedule = build_schedule(mobilenet(16), Accelerator(), load_platform("zcu104"), kind)
    simulation, closed = simulate(schedule), estimate(schedule.plan)
    for name, cost in simulation.layers.items():
        assert closed[name].compute_cycles == cost.busy[Unit.COMPUTE], name
        # Through DRAM, a layer's first tiles load before the layer before has stored all of its own: how far before is
        # where the pages of the two meet, which the model sees from tile to tile only.
        early = EARLY_LAYER if kind is Kind.LAYERWISE else RESNET_LAYER
        assert -early <= closed[name].cycles / cost.cycles - 1 <= RESNET_LAYER, name
    total = sum(layer.cycles for layer in closed.values())
    assert total == pytest.approx(simulation.cycles, rel=MOBILENET_TOTAL)


@pytest.mark.parametrize("kind", list(Kind))
def test_layers_of_resnet20_are_within_two_percent_each(kind: Kind):
    """Fails if errors of single layers cancel in the total."""
    schedule = build_schedule(resnet(), Accelerator(), load_platform("zcu104"), kind)
    simulation, closed = simulate(schedule), estimate(schedule.plan)
    for name in simulation.layers:
        assert closed[name].cycles == pytest.approx(simulation.layers[name].cycles, rel=RESNET_LAYER), name


@pytest.mark.parametrize("maps", [16, 64])
@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_pooling_through_dram_is_within_two_percent(size: int, maps: int):
    """Fails if a layer's first loads are taken to begin before the layer before has left their place."""
    net = Network("pooling", Shape(3, size, size))
    stem = net.add("stem", conv(3, maps), "image")
    net.add("last", conv(maps, maps), net.add("pool", Pooling("max", (2, 2), (2, 2)), stem))
    plan = make_plan(net.graph, Accelerator(), load_platform("zcu104"), Kind.LAYERWISE)
    simulation, closed = simulate(schedule_plan(plan)), estimate(plan)
    assert closed["pool"].cycles == pytest.approx(simulation.layers["pool"].cycles, rel=RESNET_LAYER)
