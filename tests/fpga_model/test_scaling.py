"""If these fail, planning and simulating a large network takes longer than its size explains."""

import gc

import pytest

from benchmarks.scheduling import cifar_resnet
from fpga_model.collection import collection_paused
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.analytic import estimate
from fpga_model.models.simulator import simulate
from fpga_model.schedule.plan import Kind, make_plan
from fpga_model.schedule.schedule import schedule_plan
from tests.work import lines


@pytest.mark.parametrize("kind", list(Kind))
def test_steps_grow_with_the_work(kind: Kind):
    """A network of 122 layers has no more lines to execute for an operation than one of 32."""
    platform, found = load_platform("zcu104"), []
    for depth in (32, 122):
        graph = cifar_resnet(depth)
        plan = make_plan(graph, Accelerator(), platform, kind)
        schedule = schedule_plan(plan)
        steps = {
            "plan": lambda g=graph: make_plan(g, Accelerator(), platform, kind),
            "analytic": lambda p=plan: estimate(p),
            "operations": lambda p=plan: schedule_plan(p),
            "simulation": lambda s=schedule: simulate(s),
        }
        found.append((len(schedule.operations), {name: lines(step) for name, step in steps.items()}))
    (small, before), (large, after) = found
    for name in before:
        assert after[name] <= 1.05 * large / small * before[name], name


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
