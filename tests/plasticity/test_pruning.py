"""If these break, pruning misses its targets, takes the wrong channels, or takes newborns before they can learn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from cgap import zoo  # noqa: E402
from cgap.plasticity import (  # noqa: E402
    ChannelState,
    Cost,
    CostModel,
    TaylorSaliency,
    find_spaces,
    plan_pruning,
    prune,
)

MODEL = zoo.build("resnet20")
SPACES = find_spaces(MODEL)
COST = CostModel(MODEL, SPACES)


def states(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        s.name: ChannelState(torch.rand(s.width, generator=generator), torch.ones(s.width), torch.full((s.width,), 99))
        for s in SPACES.plastic()
    }


@given(st.floats(0.3, 1.0), st.floats(0.3, 1.0), st.integers(0, 99))
def test_plan_meets_both_targets_in_whole_granules(macs, params, seed):
    dense = COST(SPACES.widths())
    target = Cost(int(macs * dense.macs), int(params * dense.params))
    plan = plan_pruning(SPACES, states(seed), COST, target, granule=4, min_width=4, protected_age=0)
    widths = {**SPACES.widths(), **{name: len(index.source) for name, index in plan.items()}}
    after = COST(widths)
    assert after.macs <= target.macs
    assert after.params <= target.params
    assert all(width % 4 == 0 and width >= 4 for width in widths.values())


def test_least_salient_channels_go_and_newborns_stay():
    worth = states(0)
    space = worth["stage1.0.conv1"]
    space.saliency[:] = torch.arange(16.0) * 1e-6
    space.age[:2] = 0
    dense = COST(SPACES.widths())
    target = Cost(dense.macs - 1, dense.params)
    plan = plan_pruning(SPACES, worth, COST, target, granule=4, min_width=8, protected_age=50)
    assert {name: index.source for name, index in plan.items()} == {"stage1.0.conv1": (0, 1, *range(6, 16))}


def test_no_space_falls_below_the_least_width():
    plan = plan_pruning(SPACES, states(1), COST, Cost(0, 0), granule=4, min_width=8, protected_age=0)
    assert {len(index.source) for index in plan.values()} == {8}


def test_nothing_is_pruned_that_is_within_the_target():
    dense = COST(SPACES.widths())
    assert plan_pruning(SPACES, states(2), COST, dense, granule=4, min_width=8, protected_age=0) == {}


def test_cost_model_follows_the_network_it_was_built_for():
    model = zoo.build("resnet20")
    spaces = find_spaces(model)
    cost = CostModel(model, spaces)
    worth = TaylorSaliency(model, spaces)
    dense = cost(spaces.widths())
    target = Cost(dense.macs // 2, dense.params // 2)
    plan = plan_pruning(spaces, worth.states, cost, target, granule=4, min_width=8, protected_age=0)
    prune(model, spaces, plan, states=worth.states)
    rebuilt = find_spaces(model)
    assert rebuilt.widths() == spaces.widths()
    assert CostModel(model, rebuilt)({}) == cost(spaces.widths())
    assert all(len(worth.states[name].age) == width for name, width in spaces.widths().items())
