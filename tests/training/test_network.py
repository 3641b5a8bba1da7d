"""If these break, a user's network that could train is refused, or fails in the middle of a run."""

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap.training import run  # noqa: E402
from cgap.training.config import parse_config  # noqa: E402
from cgap.training.network import to_layout  # noqa: E402
from cgap.training.state import load_run, new_state  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402

PLAIN = """
[run]
seed = 5
threads = 1

[model]
name = "NETWORK"

[data]
dataset = "sample"
held_out = 136

[optimiser]
epochs = 2
batch_size = 16
learning_rate = 0.05
"""
PLASTIC = """
[plasticity]
seed_width = 0.5

[plasticity.growth]
start = 0.25
interval = 0.25
events = 1
target_macs = 0.9

[plasticity.pruning]
start = 0.5
end = 1.0
interval = 0.5
target_macs = 0.5
min_width = 4
protected_age = 0
"""


class Untraceable(nn.Module):
    """Branches on its data."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 10)

    def forward(self, x):
        return self.fc(x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3)))


class Viewing(nn.Module):
    """A view that channels-last images do not have; dropout and a batch norm, whose state must not change."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, stride=4), nn.BatchNorm2d(16)
        self.drop, self.fc = nn.Dropout(0.1), nn.Linear(16 * 64, 10)

    def forward(self, x):
        return self.fc(self.drop(torch.relu(self.bn(self.conv(x))).view(x.size(0), -1)))


class Several(nn.Module):
    """Makes a dictionary in train mode and a tensor otherwise."""

    def __init__(self):
        super().__init__()
        self.conv, self.side, self.fc = nn.Conv2d(3, 16, 3, stride=2), nn.Linear(16, 10), nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.conv(x)).mean((2, 3))
        return {"side": self.side(x), "logits": self.fc(x)} if self.training else self.fc(x)


def text(network, more=""):
    return PLAIN.replace("NETWORK", f"{__name__}:{network}") + more


def written(folder, network, more=""):
    path = folder / f"{network}.toml"
    path.write_text(text(network, more))
    return path


def test_a_run_without_plasticity_needs_no_trace():
    state = new_state(parse_config(text("Untraceable"), "x"))
    assert state.cost.params == 30
    assert state.spaces.widths() == {}
    with pytest.raises(UserError, match="cannot be traced"):
        new_state(parse_config(text("Untraceable", PLASTIC), "x"))


@pytest.mark.parametrize("more", ["", PLASTIC])
def test_views_that_want_contiguous_images_get_them(tmp_path, more):
    folder = run.train(written(tmp_path, "Viewing", more), tmp_path / "run")
    model, _ = load_run(folder)
    assert model.conv.out_channels < 16 or not more


def test_looking_at_the_layout_leaves_the_network_alone():
    torch.manual_seed(1)
    model, before = Viewing(), torch.get_rng_state()
    to_layout(to_layout(model, (3, 32, 32)), (3, 32, 32))
    assert len(model._forward_pre_hooks) == 1
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.bn.running_mean, torch.zeros(16))
    assert model.bn.num_batches_tracked == 0


def test_of_several_outputs_the_named_one_trains(tmp_path):
    with pytest.raises(UserError, match=r"choose one with model.output, of \['side', 'logits'\]"):
        new_state(parse_config(text("Several"), "x"))
    chosen = written(tmp_path, "Several", PLASTIC)
    run.train(chosen, tmp_path / "run", changes={"model.output": "logits"})
    model, _ = load_run(tmp_path / "run")
    start = new_state(parse_config((tmp_path / "run" / "config.toml").read_text(), "x")).model
    assert model.network.conv.out_channels < 16
    assert not torch.equal(model.network.fc.bias, start.network.fc.bias)
    assert torch.equal(model.network.side.bias, start.network.side.bias)
    with pytest.raises(UserError, match="does not run on images"):
        new_state(parse_config(text("Several").replace("[data]", "output = 'x'\n\n[data]"), "x"))
