"""If these break, growing disturbs what the network has learnt, or its newborns never learn anything."""

import copy

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap.plasticity import (  # noqa: E402
    ChannelState,
    CostModel,
    IndexMap,
    TaylorSaliency,
    find_spaces,
    grow,
    plan_growth,
    prune,
)
from fpga_model.errors import UserError  # noqa: E402


def grow_all(model, spaces, channels=4, **options):
    generator = torch.Generator().manual_seed(0)
    for space in spaces.plastic():
        state = ChannelState(torch.rand(space.width), torch.ones(space.width), torch.ones(space.width))
        grow(model, spaces, space.name, channels, state=state, generator=generator, **options)


@pytest.mark.parametrize("policy", ["pairs", "split"])
@pytest.mark.parametrize("training", [False, True])
def test_growth_keeps_the_logits(resnet, training, policy):
    model, spaces = resnet
    grown = copy.deepcopy(model)
    grow_all(grown, spaces, policy=policy)
    x = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        before, after = model.train(training)(x), grown.train(training)(x)
    assert grown.stage1[0].conv1.out_channels == 8
    assert (after - before).abs().max() < 1e-5 * (1 + before.abs().max())


def test_a_split_without_the_statistics_changes_the_logits_in_eval_mode_only(resnet):
    """Why the naive policy is no more than an ablation: training does not show what evaluation then does."""
    model, spaces = resnet
    grown, x = copy.deepcopy(model), torch.randn(32, 3, 32, 32)
    grow_all(grown, spaces, policy="naive", noise=0.0)
    with torch.no_grad():
        change = {
            mode: (grown.train(mode)(x) - model.train(mode)(x)).norm() / model(x).norm() for mode in (True, False)
        }
    assert change[True] < 0.01
    assert change[False] > 0.1


def test_a_split_shares_the_consumers_weights_between_parent_and_child(resnet):
    model, spaces = resnet
    before = model.stage2[0].conv2.weight.detach().clone()
    saliency = torch.zeros(8)
    saliency[5] = 1.0
    state = ChannelState(saliency, torch.ones(8), torch.ones(8))
    grow(model, spaces, "stage2.0.conv1", 1, state=state, generator=torch.Generator(), policy="split")
    after = model.stage2[0].conv2.weight
    ratio = after[:, 8] / before[:, 5]
    assert torch.allclose(after[:, 8] + after[:, 5], before[:, 5], atol=1e-7)
    assert 0.25 <= ratio.min() < 0.3
    assert 0.7 < ratio.max() <= 0.75
    assert torch.equal(model.stage2[0].conv1.weight[8], model.stage2[0].conv1.weight[5])


def stepped(model):
    """A convolution whose first 8 channels were there before, after a step in which the newborns learn, too."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model.train()
    torch.nn.functional.cross_entropy(model(torch.randn(16, 3, 32, 32)), torch.arange(16) % 10).backward()
    conv = model.stage2[0].conv1
    norms = conv.weight.grad.flatten(1).norm(dim=1)
    assert norms[8:].min() > 0.05 * norms[:8].mean()
    optimizer.step()
    return conv


def test_split_siblings_part_with_the_first_step(resnet):
    model, spaces = resnet
    grow_all(model, spaces, policy="split")
    conv = stepped(model)
    assert torch.pdist(conv.weight.detach().flatten(1)).min() > 1e-5


def test_newborns_learn_from_the_first_step_and_twins_part(resnet):
    model, spaces = resnet
    grow_all(model, spaces)
    conv = stepped(model)
    assert not torch.allclose(conv.weight[8], conv.weight[9])


def test_growing_then_pruning_the_newborns_is_the_identity_bit_for_bit(resnet):
    model, spaces = resnet
    before, widths = copy.deepcopy(model.state_dict()), spaces.widths()
    grow_all(model, spaces, channels=6)
    assert all(spaces.widths()[name] == width + 6 for name, width in widths.items())
    prune(model, spaces, {name: IndexMap.keep(list(range(width))) for name, width in widths.items()})
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_parents_are_the_most_salient_channels(resnet):
    model, spaces = resnet
    space = spaces["stage2.0.conv1"]
    saliency = torch.zeros(8)
    saliency[[5, 2]] = torch.tensor([2.0, 1.0])
    state = ChannelState(saliency, torch.ones(8), torch.ones(8))
    grow(model, spaces, space.name, 4, state=state, generator=torch.Generator(), noise=0.0)
    weight = model.stage2[0].conv1.weight
    assert torch.equal(weight[8:], weight[[5, 5, 2, 2]])
    assert state.age.tolist() == [1.0] * 8 + [0.0] * 4


def test_newborns_come_in_pairs(resnet):
    model, spaces = resnet
    with pytest.raises(UserError, match="pairs"):
        grow(model, spaces, "stage2.0.conv1", 3, state=ChannelState.of(8), generator=torch.Generator())


def test_plan_respects_budget_rate_capacity_and_floor(resnet):
    model, spaces = resnet
    cost = CostModel(model, spaces)
    states = TaylorSaliency(model, spaces).states
    for state in states.values():
        state.saliency += 1
        state.batches += 1
    before = spaces.widths()
    capacity = {**dict.fromkeys(before, 64), "stage1.0.conv1": 4}
    macs = cost(before).macs * 1.5
    plan = plan_growth(spaces, states, cost, macs=macs, rate=0.5, granule=4, capacity=capacity, floor=8)
    after = {name: width + plan.get(name, 0) for name, width in before.items()}
    assert cost(after).macs <= macs
    assert "stage1.0.conv1" not in plan
    assert all(plan[name] == 4 for name, width in before.items() if width == 4 and name != "stage1.0.conv1")
    assert all(grown in (4, 8) for grown in plan.values())


def test_behind_dropout_twins_cancel_in_eval_mode_only():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 36, 5)).double()
    spaces, x = find_spaces(model, (3, 8, 8)), torch.randn(4, 3, 8, 8).double()
    before = model.eval()(x)
    state = ChannelState(torch.rand(8), torch.ones(8), torch.ones(8))
    grow(model, spaces, "0", 4, state=state, generator=torch.Generator().manual_seed(1))
    assert (model.eval()(x) - before).abs().max() < 1e-9

    def dropped():
        torch.manual_seed(3)
        return model.train()(x)

    with_newborns = dropped()
    model[4].weight.data[:, 8 * 36 :] = 0
    assert (dropped() - with_newborns).abs().max() > 1e-3
