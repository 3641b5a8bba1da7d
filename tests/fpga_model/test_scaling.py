"""If these fail, planning and simulating a large network takes longer than its size explains."""

import gc
import time

import pytest

from benchmarks.scheduling import cifar_resnet
from fpga_model.collection import collection_paused
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.analytic import estimate
from fpga_model.models.simulator import simulate
from fpga_model.schedule.plan import Kind, make_plan
from fpga_model.schedule.schedule import schedule_plan

ALLOWED = 2.0
"""Times the growth of the work: what a busy machine may add to a step of milliseconds."""


def seconds(step) -> float:
    gc.collect()
    start = time.process_time()
    step()
    return time.process_time() - start


def test_steps_grow_with_the_work():
    """ResNet-1202 has eleven times the operations of ResNet-110."""
    platform, kind, took = load_platform("zcu104"), Kind.RESIDENT, []
    for depth, repeats in ((110, 5), (1202, 2)):
        graph = cifar_resnet(depth)
        plan = make_plan(graph, Accelerator(), platform, kind)
        schedule = schedule_plan(plan)
        steps = {
            "plan": lambda g=graph: make_plan(g, Accelerator(), platform, kind),
            "analytic": lambda p=plan: estimate(p),
            "operations": lambda p=plan: schedule_plan(p),
            "simulation": lambda s=schedule: simulate(s),
        }
        times = {name: min(seconds(step) for _ in range(repeats)) for name, step in steps.items()}
        took.append((len(schedule.operations), times))
    (small, before), (large, after) = took
    for name, time_before in before.items():
        assert after[name] <= ALLOWED * large / small * time_before + 0.01, name


def test_collection_goes_on_afterwards():
    seen = []

    @collection_paused()
    def fails() -> None:
        seen.append(gc.isenabled())
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        fails()
    assert seen == [False]
    assert gc.isenabled()
