"""If these break, the shipped networks are no longer the ones of the paper, or their layers change their names."""

import pytest

torch = pytest.importorskip("torch")

from cgap import zoo  # noqa: E402
from cgap.plasticity import CostModel, find_spaces  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402


@pytest.mark.parametrize(
    ("name", "macs", "params"), [("resnet20", 40_551_040, 268_336), ("resnet110", 252_887_680, 1_719_856)]
)
def test_dense_cost_is_that_of_the_paper(name, macs, params):
    model = zoo.build(name)
    spaces = find_spaces(model)
    cost = CostModel(model, spaces)(spaces.widths())
    assert (cost.macs, cost.params) == (macs, params)


def test_layers_have_names_that_read_well():
    names = dict(zoo.build("resnet20").named_modules())
    assert {"stem.conv", "stage1.0.conv1", "stage2.0.shortcut", "stage3.2.bn2", "fc"} <= set(names)


def test_padding_shortcut_keeps_channels_and_appends_zeros():
    x = torch.randn(2, 3, 8, 8)
    out = zoo.PadShortcut(2)(x)
    assert out.shape == (2, 5, 4, 4)
    assert torch.equal(out[:, :3], x[:, :, ::2, ::2])
    assert not out[:, 3:].any()


def test_any_widths():
    model = zoo.build("resnet20", widths=(5, 9, 9), inner=range(1, 10)).eval()
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 21}, "depth 21"),
        ({"widths": (16, 8, 64)}, "do not shrink"),
        ({"widths": (16, 32)}, "three"),
        ({"inner": (8, 8)}, "expected 9"),
    ],
)
def test_impossible_shapes_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        zoo.ResNet(**options)


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"unknown network 'resnet21'.*resnet20"):
        zoo.build("resnet21")


def test_a_network_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("import torch\ndef net(): return torch.nn.Linear(3, 2)\ndef number(): return 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert zoo.build("mine:net").out_features == 2
    for name, message in [
        ("mine:nothing", "cannot be imported"),
        ("no_such_module:net", "cannot be imported"),
        (":net", "cannot be imported"),
        ("mine:number", "makes a int"),
    ]:
        with pytest.raises(UserError, match=message):
            zoo.build(name)
