"""Files for other tools hold the network's sizes and the schedule's accesses."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest

from cgap.app.plan import Planned, Target, plan_model
from cgap.app.workload import workload
from fpga_model.errors import UserError
from fpga_model.models.simulator import simulate
from tests.fpga_model.networks import ROOMY, mobilenet


@pytest.fixture(scope="module", params=["resident", "layerwise"])
def planned(request: pytest.FixtureRequest) -> Planned:
    return plan_model("resnet20", Target.parse("zcu104", "8x8x4", request.param))


def test_scale_sim_has_the_sizes_of_every_convolution(planned: Planned):
    """Fails if an output that SCALE-Sim derives has another size, or MACs are missing."""
    text, ending = workload(planned, "scale-sim")
    assert ending == ".csv"
    graph, total = planned.schedule.graph, 0
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()[1:]]
    layers = [layer for layer in graph.layers if layer.operator.weights()]
    assert [row[0] for row in rows] == [layer.name for layer in layers]
    for row, layer in zip(rows, layers, strict=True):
        height, width, Nky, Nkx, channels, filters, stride = map(int, row[1:8])
        made = [math.ceil((size - kernel + stride) / stride) for size, kernel in ((height, Nky), (width, Nkx))]
        shape = graph.shape(layer.name)
        assert (filters, *made) == (shape.channels, shape.height, shape.width)
        total += filters * channels * Nky * Nkx * made[0] * made[1]
    assert total == graph.macs()


def test_zigzag_has_the_loops_of_every_convolution(planned: Planned):
    """Fails if loop sizes do not multiply to the MACs, sizes and padding do not fit, or a source comes later."""
    entries = json.loads(workload(planned, "zigzag")[0])
    graph = planned.schedule.graph
    assert sum(math.prod(entry["loop_sizes"]) for entry in entries) == graph.macs()
    for number, entry in enumerate(entries):
        sizes = dict(zip(entry["loop_dims"], entry["loop_sizes"], strict=True))
        assert entry["id"] == number
        assert entry["operand_source"]["I"] <= number
        for axis, name, (before, after) in zip("XY", entry["dimension_relations"], entry["padding"], strict=True):
            stride = int(name.split("=")[1].split("*")[0])
            there = dict(zip(entry["pr_loop_dims"], entry["pr_loop_sizes"], strict=True))[f"I{axis}"]
            assert (sizes[f"O{axis}"] - 1) * stride + sizes[f"F{axis}"] <= there + before + after
    by_name = {entry["name"]: entry for entry in entries}
    assert by_name["fc"]["operand_source"]["I"] == by_name["stage3.2.conv2"]["id"], "through the pooling"


@pytest.mark.parametrize("form", ["ramulator", "dramsim3"])
def test_traces_hold_every_access(planned: Planned, form: str):
    """Fails if a request is missing, goes elsewhere or the wrong way, or time runs backwards."""
    schedule = planned.schedule
    simulation = simulate(schedule)
    lines = [line.split() for line in workload(planned, form)[0].splitlines()]
    ways = Counter(line[1][0] for line in lines)
    for way, total in (("R", simulation.dram_read_bytes), ("W", simulation.dram_write_bytes)):
        assert total / 64 <= ways[way] <= total / 64 * 1.25 + 2 * len(schedule.operations)
    addresses = [int(line[0], 16) for line in lines]
    assert all(address % 64 == 0 and 0 <= address < schedule.dram.bytes for address in addresses)
    if form == "dramsim3":
        cycles = [int(line[2]) for line in lines]
        assert cycles == sorted(cycles)
        assert cycles[-1] <= simulation.cycles * 6, "1200 MHz of DRAM for 200 of the accelerator"


def test_grouped_convolutions_are_groups_to_scale_sim():
    """Fails if a depthwise convolution is exported as a full one."""
    from fpga_model.machine.accelerator import Accelerator
    from fpga_model.schedule.plan import Kind
    from fpga_model.schedule.schedule import build_schedule

    class Bare:
        schedule = build_schedule(mobilenet(16), Accelerator(), ROOMY, Kind.RESIDENT)

    total = 0
    for line in workload(Bare, "scale-sim")[0].splitlines()[1:]:  # type: ignore[arg-type]
        height, width, Nky, Nkx, channels, filters, stride = (int(cell) for cell in line.split(",")[1:8])
        total += filters * channels * Nky * Nkx * ((height - Nky) // stride + 1) * ((width - Nkx) // stride + 1)
    assert total == Bare.schedule.graph.macs()
    grouped = [entry for entry in json.loads(workload(Bare, "zigzag")[0]) if "G" in entry["loop_dims"]]  # type: ignore[arg-type]
    assert grouped


def test_unknown_format_is_refused(planned: Planned):
    """Fails if a misspelt format is guessed at."""
    with pytest.raises(UserError, match="no format 'gem5': choose scale-sim, zigzag"):
        workload(planned, "gem5")
