"""If these break, a width changes in some places only: shapes clash, momentum belongs to other channels, or leaks."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap.plasticity import FRESH, ChannelState, IndexMap, dead_channels, find_spaces, resize_to, surgery  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402


def stepped(model):
    """An optimizer that has momentum for every parameter."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model.train()
    model(torch.randn(4, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    model.eval()
    return optimizer


def held(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def test_optimizer_holds_exactly_the_live_parameters(resnet):
    model, spaces = resnet
    optimizer = stepped(model)
    surgery(model, spaces["stage1.1.conv1"], IndexMap.keep([1, 2, 5]), optimizer=optimizer)
    surgery(model, spaces["stage3.2.conv1"], IndexMap.append(12, 4), optimizer=optimizer)
    live = list(model.parameters())
    assert {id(p) for p in held(optimizer)} == {id(p) for p in live}
    assert len(held(optimizer)) == len(live)
    assert set(optimizer.state) == set(live)
    assert all(optimizer.state[p]["momentum_buffer"].shape == p.shape for p in live)


def test_momentum_buffers_saliency_and_ages_go_with_their_channels(resnet):
    model, spaces = resnet
    optimizer = stepped(model)
    space, before = spaces["stage2.0.conv1"], copy.deepcopy(model)
    old = optimizer.state[model.stage2[0].conv2.weight]["momentum_buffer"].clone()
    state = ChannelState(torch.arange(8.0), torch.ones(8), torch.arange(8.0) * 2)
    surgery(model, space, IndexMap((6, FRESH, 1)), optimizer=optimizer, state=state)
    now = model.stage2[0]
    new = optimizer.state[now.conv2.weight]["momentum_buffer"]
    assert torch.equal(new[:, [0, 2]], old[:, [6, 1]])
    assert not new[:, 1].any()
    variance = before.stage2[0].bn1.running_var
    assert now.bn1.running_var.tolist() == [variance[6].item(), 1.0, variance[1].item()]
    assert torch.equal(now.conv1.weight[[0, 2]], before.stage2[0].conv1.weight[[6, 1]])
    assert state.saliency.tolist() == [6, 0, 1]
    assert state.age.tolist() == [12, 0, 2]
    assert (now.conv1.out_channels, now.bn1.num_features, now.conv2.in_channels, space.width) == (3, 3, 3, 3)


@given(st.permutations(range(8)))
def test_a_permutation_of_channels_changes_no_logit_beyond_rounding(order):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4, 5)).eval()
    x = torch.randn(2, 3, 4, 4)
    before = model(x)
    surgery(model, find_spaces(model, (3, 4, 4))["0"], IndexMap(tuple(order)))
    assert torch.allclose(model(x), before, atol=1e-5)


@given(st.lists(st.integers(-1, 5), min_size=1, max_size=9), st.integers(1, 3))
def test_remap_is_the_index_map_on_any_axis_and_repeat(source, repeat):
    old = torch.arange(6.0 * repeat).repeat(2, 1)
    new = IndexMap(tuple(source)).remap(old, 1, -7.0, repeat)
    expected = [-7.0 if s == FRESH else s * repeat + r for s in source for r in range(repeat)]
    assert new.tolist() == [expected, expected]


def test_pruning_dead_channels_keeps_the_logits(resnet):
    model, spaces = resnet
    with torch.no_grad():
        model.stage3[2].conv2.weight[:, [0, 3, 7]] = 0
    assert dead_channels(model, spaces, "stage3.2.conv1") == [0, 3, 7]
    x = torch.randn(4, 3, 32, 32)
    before = model(x)
    alive = [c for c in range(12) if c not in (0, 3, 7)]
    surgery(model, spaces["stage3.2.conv1"], IndexMap.keep(alive))
    assert torch.allclose(model(x), before, atol=1e-5)


def test_memory_layout_is_kept(resnet):
    model, spaces = resnet
    model.to(memory_format=torch.channels_last)
    surgery(model, spaces["stage2.0.conv1"], IndexMap.append(8, 4))
    assert model.stage2[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_fixed_spaces_and_bad_maps_are_refused(resnet):
    model, spaces = resnet
    with pytest.raises(UserError, match=r"stem\.conv cannot be resized: channel padding"):
        surgery(model, spaces["stem.conv"], IndexMap.keep([0]))
    for source in ((), (8,), (-2,)):
        with pytest.raises(UserError, match="does not fit width 8"):
            surgery(model, spaces["stage2.0.conv1"], IndexMap(source))
    with pytest.raises(UserError, match="no channel space 'nowhere'"):
        resize_to(model, spaces, {"nowhere": 3})
