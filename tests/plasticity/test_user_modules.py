"""If these break, a user's network is changed into one that crashes or computes something else."""

import copy
import re

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap.plasticity import ChannelState, CostModel, IndexMap, find_spaces, grow, surgery  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402
from tests.plasticity.user_modules import CASES, SHAPE  # noqa: E402

FOLLOWED = [name for name, case in CASES.items() if case.refused is None]
BY_CHANCE = {"drop path", "functional dropout"}
"""Whose train mode, and in the second case eval mode as well, is another every time."""


def found(name):
    torch.manual_seed(0)
    model = CASES[name].make()
    return model, find_spaces(model, SHAPE)


def tensors(made):
    if isinstance(made, dict):
        made = list(made.values())
    return list(made) if isinstance(made, (tuple, list)) else [made]


def run(model, x, training):
    """A copy's outputs without dropout."""
    model = copy.deepcopy(model).train(training)
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        return tensors(model(x))


def grown(model, spaces, optimizer=None):
    generator = torch.Generator().manual_seed(1)
    for space in spaces.plastic():
        state = ChannelState(torch.rand(space.width), torch.ones(space.width), torch.ones(space.width))
        grow(model, spaces, space.name, 4, state=state, generator=generator, optimizer=optimizer)


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_change_is_fixed_and_says_why(name):
    case = CASES[name]
    if case.refused:
        with pytest.raises(UserError, match=case.refused):
            found(name)
        return
    _, spaces = found(name)
    for path, reason in (("first", case.first), ("last", case.last)):
        fixed = spaces[path].fixed
        assert (fixed is None) == (reason is None), fixed
        assert reason is None or re.search(reason, fixed)


@pytest.mark.parametrize("name", [name for name in FOLLOWED if name not in BY_CHANCE])
@pytest.mark.parametrize("training", [False, True])
def test_growth_keeps_what_it_computes(name, training):
    model, spaces = found(name)
    x = torch.randn(4, *SHAPE)
    before = run(model, x, training)
    grown(model, spaces)
    for now, then in zip(run(model, x, training), before, strict=True):
        if now.shape == then.shape and now.dim() == 2:
            assert torch.allclose(now, then, atol=2e-5 * (1 + float(then.abs().max())))


@pytest.mark.parametrize("name", FOLLOWED)
def test_it_trains_and_counts_at_other_widths(name):
    model, spaces = found(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        sum(made.square().mean() for made in tensors(model.train()(torch.randn(4, *SHAPE)))).backward()
        optimizer.step()
        grown(model, spaces, optimizer)
        for space in spaces.plastic():
            surgery(model, spaces, space.name, IndexMap.keep(list(range(1, space.width))), optimizer=optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    assert held >= {id(p) for p in optimizer.state}
    model.eval()(torch.randn(2, *SHAPE))
    assert CostModel(model, spaces, SHAPE)({}).params == sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.ConvTranspose2d))
    )


def test_tied_weights_stay_one_parameter():
    model, spaces = found("tied weights")
    grown(model, spaces)
    assert model.inner.a.weight is model.inner.b.weight


def test_looking_leaves_the_network_and_chance_alone():
    torch.manual_seed(5)
    model = CASES["batch norm"].make()
    before, chance = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    find_spaces(model, SHAPE)
    assert model.training
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
