"""If these break, a network of the zoo is not the one its name says, or cannot be grown and pruned."""

import pytest

torch = pytest.importorskip("torch")

from cgap import zoo  # noqa: E402
from cgap.plasticity import Budget, ChannelState, Cost, CostModel, find_spaces, grow, plan_pruning, prune  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402


@pytest.mark.parametrize(
    ("name", "shape", "macs", "params"),
    [
        # MACs: 784 * 150 + 100 * 2,400 + 48,000 + 10,080 + 840
        ("lenet5", (1, 28, 28), 416_520, 61_470),
        ("vgg16", (3, 32, 32), 313_201_664, 14_715_584),
        ("vgg19", (3, 32, 32), 398_136_320, 20_024_000),
        # 24 filters on 3 maps at 32x32, then five layers of the same MACs, two of them at 16x16 and two at 4x4
        ("resnet9", (3, 32, 32), 663_552 + 5 * 10_616_832 + 1_920, 925_320),
        ("resnet110", (3, 32, 32), 252_887_680, 1_719_856),
    ],
)
def test_costs(name, shape, macs, params):
    model = zoo.build(name)
    assert CostModel(model, find_spaces(model, shape), shape)({}) == Cost(macs, params)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("lenet5", (1, 28, 28)), ("resnet9", (3, 32, 32)), ("vgg19", (3, 32, 32)), ("resnet110", (3, 32, 32))],
)
def test_it_grows_without_changing_and_is_pruned_to_half(name, shape):
    torch.manual_seed(0)
    model = zoo.build(name)
    x = torch.randn(2, *shape)
    model.train()(x)
    spaces = find_spaces(model.eval(), shape)
    cost = CostModel(model, spaces, shape)
    dense = cost({})
    states = {
        s.name: ChannelState(torch.rand(s.width), torch.ones(s.width), torch.full((s.width,), 9.0)) for s in spaces
    }
    with torch.no_grad():
        before = model(x)
        for space in spaces.plastic()[::7]:
            grow(model, spaces, space.name, 4, state=states[space.name], generator=torch.Generator().manual_seed(1))
        assert (model(x) - before).abs().max() < 1e-5 * (1 + before.abs().max())
    assert cost(spaces.widths()).macs > dense.macs
    target = Budget(dense.macs // 2, dense.params // 2)
    plan = plan_pruning(spaces, states, cost, target, granule=2, min_width=2, protected_age=5)
    prune(model, spaces, plan, states=states)
    after = cost(spaces.widths())
    assert after.macs <= target.macs
    assert after.params <= target.params
    assert CostModel(model, find_spaces(model, shape), shape)({}) == after
    assert model(x).shape == (2, 10)


def test_resnet9_says_which_widths_it_takes():
    with pytest.raises(UserError, match=r"resnet9: widths \[24, 48\] must be four"):
        zoo.build("resnet9", widths=[24, 48])


def test_other_numbers_of_classes_and_unknown_options():
    assert zoo.build("vgg16", classes=100).fc.out_features == 100
    with pytest.raises(UserError, match=r"'vgg16': .*clases"):
        zoo.build("vgg16", clases=100)
    with pytest.raises(UserError, match="depth 13"):
        zoo.VGG(13)
