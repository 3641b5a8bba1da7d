"""If these break, pruning misses its targets, takes the wrong channels, or takes newborns before they can learn."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from cgap import zoo  # noqa: E402
from cgap.plasticity import (  # noqa: E402
    Budget,
    ChannelState,
    CostModel,
    IndexMap,
    TaylorSaliency,
    find_spaces,
    least_widths,
    penalise_scales,
    plan_layer_pruning,
    plan_pruning,
    prune,
    zero_filters,
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
    target = Budget(int(macs * dense.macs), int(params * dense.params))
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
    target = Budget(dense.macs - 1)
    plan = plan_pruning(SPACES, worth, COST, target, granule=4, min_width=8, protected_age=50)
    assert {name: index.source for name, index in plan.items()} == {"stage1.0.conv1": (0, 1, *range(6, 16))}


def test_no_space_falls_below_the_least_width():
    plan = plan_pruning(SPACES, states(1), COST, Budget(0, 0), granule=4, min_width=8, protected_age=0)
    assert {len(index.source) for index in plan.values()} == {8}


def test_nothing_is_pruned_that_is_within_the_target():
    dense = COST(SPACES.widths())
    within = Budget(dense.macs, dense.params)
    assert plan_pruning(SPACES, states(2), COST, within, granule=4, min_width=8, protected_age=0) == {}
    limits = {"granule": 4, "min_width": 8, "protected_age": 0, "dense": SPACES.widths()}
    assert plan_layer_pruning(SPACES, states(2), COST, within, **limits) == {}


@settings(max_examples=25)
@given(st.floats(0.3, 1.0), st.floats(0.5, 1.0), st.integers(0, 99))
def test_layer_ranking_takes_the_same_share_of_every_space_and_no_more_than_it_must(macs, before, seed):
    """Whatever share an earlier event has left."""
    model, spaces = zoo.build("resnet20"), find_spaces(MODEL)
    dense, worth = SPACES.widths(), states(seed)
    limits = {"granule": 4, "min_width": 4, "protected_age": 0, "dense": dense}
    earlier = plan_layer_pruning(spaces, worth, COST, Budget(before * COST(dense).macs), **limits)
    prune(model, spaces, earlier, states=worth)
    target = Budget(macs * COST(dense).macs)
    plan = plan_layer_pruning(spaces, worth, COST, target, **limits)
    widths = {**spaces.widths(), **{name: len(index.source) for name, index in plan.items()}}
    assert COST(widths).macs <= target.macs
    low = max((width - 2) / dense[name] for name, width in widths.items())
    high = min((width + 2) / dense[name] for name, width in widths.items())
    assert low <= high
    if plan:
        share = min((widths[name] + 2) / dense[name] for name in plan)
        wider = {name: width + 4 * ((width + 2) / dense[name] <= share) for name, width in widths.items()}
        assert COST(wider).macs > target.macs


def test_the_least_salient_channels_of_every_space_go():
    worth = states(3)
    half = Budget(COST(SPACES.widths()).macs / 3)
    limits = {"granule": 4, "min_width": 4, "protected_age": 0, "dense": SPACES.widths()}
    plan = plan_layer_pruning(SPACES, worth, COST, half, **limits)
    assert plan.keys() == SPACES.widths().keys()
    for name, index in plan.items():
        best = worth[name].score().topk(len(index.source)).indices
        assert sorted(best.tolist()) == list(index.source)


def test_nothing_is_narrower_than_the_least_widths():
    least = least_widths(SPACES, 4, 6)
    assert set(least.values()) == {8}
    plan = plan_pruning(SPACES, states(1), COST, Budget(0), granule=4, min_width=6, protected_age=0)
    assert {name: len(index.source) for name, index in plan.items()} == least


def test_soft_pruning_zeroes_the_filters_of_dropped_channels_and_nothing_else(resnet):
    model, spaces = resnet
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kept = IndexMap.keep([0, 2, 3, 5, 6, 7])
    zero_filters(model, spaces, {"stage2.0.conv1": kept, "stage3.0.conv2[1]": IndexMap.keep(list(range(7)))})
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"stage2.0.conv1.weight", *(f"stage3.{block}.conv2.weight" for block in range(3))}
    filters = model.stage2[0].conv1.weight
    assert not filters[[1, 4]].any()
    assert torch.equal(filters[list(kept.source)], before["stage2.0.conv1.weight"][list(kept.source)])
    assert not model.stage3[1].conv2.weight[15].any()
    assert model.stage3[1].conv2.weight[:15].flatten(1).any(1).all()


def test_the_penalty_pulls_plastic_scales_towards_zero(resnet):
    model, spaces = resnet
    spaces.freeze(["stem.conv", "*.conv2*"], "frozen")
    with torch.no_grad():
        model.stage2[0].bn1.weight[0] *= -1
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    penalise_scales(model, spaces, 0.01)
    assert torch.equal(model.stage2[0].bn1.weight.grad, 0.01 * model.stage2[0].bn1.weight.sign())
    touched = {name for name, p in model.named_parameters() if p.grad.any()}
    assert touched == {f"stage{s}.{b}.bn1.weight" for s in (1, 2, 3) for b in range(3)}


def test_cycles_count_like_macs_and_weights():
    """A space whose granules cost the most cycles goes first, though its channels are worth as much as others'."""

    def cycles(widths):
        return 1000 + 100 * widths["stage2.0.conv1"] + sum(widths.values())

    cost = CostModel(MODEL, SPACES, cycles=cycles)
    worth = {name: ChannelState.of(width) for name, width in SPACES.widths().items()}
    for state in worth.values():
        state.saliency += 1
        state.age += 1
    dense = cost(SPACES.widths())
    assert dense.cycles == cycles(SPACES.all_widths())
    target = Budget(cycles=dense.cycles - 1000)
    plan = plan_pruning(SPACES, worth, cost, target, granule=4, min_width=4, protected_age=0)
    assert {name: len(index.source) for name, index in plan.items()} == {"stage2.0.conv1": 20}


def test_cost_model_follows_the_network_it_was_built_for():
    model = zoo.build("resnet20")
    spaces = find_spaces(model)
    cost = CostModel(model, spaces)
    worth = TaylorSaliency(model, spaces)
    dense = cost(spaces.widths())
    target = Budget(dense.macs // 2, dense.params // 2)
    plan = plan_pruning(spaces, worth.states, cost, target, granule=4, min_width=8, protected_age=0)
    prune(model, spaces, plan, states=worth.states)
    rebuilt = find_spaces(model)
    assert rebuilt.widths() == spaces.widths()
    assert CostModel(model, rebuilt)({}) == cost(spaces.widths())
    assert all(len(worth.states[name].age) == width for name, width in spaces.widths().items())
