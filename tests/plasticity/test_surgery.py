"""If these break, a width changes in some places only: shapes clash, momentum belongs to other channels, or leaks."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap.plasticity import (  # noqa: E402
    FRESH,
    ChannelState,
    IndexMap,
    Member,
    Segment,
    dead_channels,
    find_spaces,
    resize_to,
    surgery,
)
from fpga_model.errors import UserError  # noqa: E402


def stepped(model, optimizer=None):
    """An optimizer that has momentum for every parameter."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
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
    surgery(model, spaces, "stage1.1.conv1", IndexMap.keep([1, 2, 5]), optimizer=optimizer)
    surgery(model, spaces, "stage3.2.conv1", IndexMap.append(12, 4), optimizer=optimizer)
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
    surgery(model, spaces, space.name, IndexMap((6, FRESH, 1)), optimizer=optimizer, state=state)
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
    surgery(model, find_spaces(model, (3, 4, 4)), "0", IndexMap(tuple(order)))
    assert torch.allclose(model(x), before, atol=1e-5)


@given(st.lists(st.integers(-1, 5), min_size=1, max_size=9), st.integers(1, 3), st.integers(1, 2))
def test_a_map_of_channels_is_a_map_of_every_segments_entries(source, repeat, groups):
    """An axis of 4 channels of another space, then the mapped one, `repeat` entries a channel, `groups` times over."""
    member = Member("m", "consumer", (Segment("other"), Segment("space", repeat, groups)))
    widths = {"other": 4, "space": 6}
    old = torch.arange(4.0 + 6 * repeat * groups).repeat(2, 1)
    new = IndexMap(tuple(source)).on(member, "space", widths).remap(old, 1, -7.0)
    expected = [0, 1, 2, 3] + [
        -7.0 if s == FRESH else 4 + (g * 6 + s) * repeat + r
        for g in range(groups)
        for s in source
        for r in range(repeat)
    ]
    assert new.tolist() == [expected, expected]


def test_fresh_channels_start_from_those_they_are_like_but_have_learnt_nothing(resnet):
    model, spaces = resnet
    optimizer = stepped(model)
    before = copy.deepcopy(model)
    surgery(model, spaces, "stage2.0.conv1", IndexMap.append(8, 2, (5, 1)), optimizer=optimizer)
    assert torch.equal(model.stage2[0].conv1.weight[8:], before.stage2[0].conv1.weight[[5, 1]])
    assert torch.equal(model.stage2[0].bn1.running_var[8:], before.stage2[0].bn1.running_var[[5, 1]])
    assert torch.equal(model.stage2[0].conv2.weight[:, 8:], before.stage2[0].conv2.weight[:, [5, 1]])
    momentum = optimizer.state[model.stage2[0].conv1.weight]["momentum_buffer"]
    assert momentum[:8].any()
    assert not momentum[8:].any()


def test_fresh_channels_of_adamw_have_the_scale_of_those_they_are_like_and_no_direction(resnet):
    model, spaces = resnet
    optimizer = stepped(model, torch.optim.AdamW(model.parameters()))
    before = optimizer.state[model.stage2[0].conv1.weight]["exp_avg_sq"].clone()
    surgery(model, spaces, "stage2.0.conv1", IndexMap.append(8, 2, (5, 1)), optimizer=optimizer)
    state = optimizer.state[model.stage2[0].conv1.weight]
    assert torch.equal(state["exp_avg_sq"], before[[*range(8), 5, 1]])
    assert state["exp_avg"][:8].any()
    assert not state["exp_avg"][8:].any()
    assert state["step"] == 1


def test_a_channel_of_the_first_stage_is_one_of_every_stage(resnet):
    """A padding shortcut makes the narrow stage's channels the first ones of the wide stage."""
    model, spaces = resnet
    surgery(model, spaces, "stem.conv", IndexMap.keep([1, 2, 3, 5, 6, 7]))
    surgery(model, spaces, "stage3.0.conv2[1]", IndexMap.append(8, 2))
    assert model.stem.conv.out_channels == 6
    assert [model.get_submodule(f"stage{i}.0.conv2").out_channels for i in (1, 2, 3)] == [6, 6, 16]
    assert [model.get_submodule(f"stage{i}.0.shortcut").extra for i in (2, 3)] == [0, 10]
    assert model.fc.in_features == 16
    model(torch.randn(2, 3, 32, 32))


def test_pruning_dead_channels_keeps_the_logits(resnet):
    model, spaces = resnet
    with torch.no_grad():
        model.stage3[2].conv2.weight[:, [0, 3, 7]] = 0
    assert dead_channels(model, spaces, "stage3.2.conv1") == [0, 3, 7]
    x = torch.randn(4, 3, 32, 32)
    before = model(x)
    alive = [c for c in range(12) if c not in (0, 3, 7)]
    surgery(model, spaces, "stage3.2.conv1", IndexMap.keep(alive))
    assert torch.allclose(model(x), before, atol=1e-5)


def test_memory_layout_is_kept(resnet):
    model, spaces = resnet
    model.to(memory_format=torch.channels_last)
    surgery(model, spaces, "stage2.0.conv1", IndexMap.append(8, 4))
    assert model.stage2[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_fixed_spaces_and_bad_maps_are_refused(resnet):
    model, spaces = resnet
    with pytest.raises(UserError, match=r"fc cannot be resized: output"):
        surgery(model, spaces, "fc", IndexMap.keep([0]))
    with pytest.raises(UserError, match="does not name one channel for each fresh one"):
        surgery(model, spaces, "stage2.0.conv1", IndexMap.append(8, 2, (1,)))
    for source in ((), (8,), (-2,)):
        with pytest.raises(UserError, match="does not fit width 8"):
            surgery(model, spaces, "stage2.0.conv1", IndexMap(source))
    with pytest.raises(UserError, match="no channel space 'nowhere'"):
        resize_to(model, spaces, {"nowhere": 3})
