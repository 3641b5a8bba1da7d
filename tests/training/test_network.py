"""If these break, a user's network that could train is refused, or fails in the middle of a run."""

import hashlib
import json
import re

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap.app.export import export_run  # noqa: E402
from cgap.lowering.onnx.runtime import start_session  # noqa: E402
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


class Basic(nn.Module):
    """The two-convolution block of torchvision's ResNet-18, under its names."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """ResNet-18 as torchvision writes it, at a quarter of its widths."""

    def __init__(self, classes=10, base=16):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, base, 7, 2, 3, bias=False), nn.BatchNorm2d(base)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        for number in range(4):
            width = base << number
            before, stride = (width, 1) if number == 0 else (width // 2, 2)
            layer = nn.Sequential(Basic(before, width, stride), Basic(width, width, 1))
            self.add_module(f"layer{number + 1}", layer)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(base * 8, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Several(nn.Module):
    """Makes a dictionary in train mode and a tensor otherwise."""

    def __init__(self):
        super().__init__()
        self.conv, self.side, self.fc = nn.Conv2d(3, 16, 3, stride=2), nn.Linear(16, 10), nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.conv(x)).mean((2, 3))
        return {"side": self.side(x), "logits": self.fc(x)} if self.training else self.fc(x)


class Grouped(nn.Module):
    """A group norm between two convolutions, and a plain one behind them."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, stride=4), nn.GroupNorm(2, 8)
        self.last, self.fc = nn.Conv2d(8, 32, 3), nn.Linear(32, 10)

    def forward(self, x):
        return self.fc(torch.relu(self.last(torch.relu(self.norm(self.first(x))))).mean((2, 3)))


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
    model, _ = load_run(folder, trust=True)
    assert model.conv.out_channels < 16 or not more


def test_a_run_says_which_spaces_it_cannot_resize(tmp_path, capfd):
    run.train(written(tmp_path, "Grouped", PLASTIC), tmp_path / "run")
    said = capfd.readouterr().err
    assert re.search(r"fixed in width: first, norm: norm \(.*test_network\.py:\d+\): .*GroupNorm", said)
    assert said.count("fixed in width") == 1
    assert load_run(tmp_path / "run", trust=True)[0].last.out_channels < 32


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
    model, _ = load_run(tmp_path / "run", trust=True)
    start = new_state(parse_config((tmp_path / "run" / "config.toml").read_text(), "x")).model
    assert model.network.conv.out_channels < 16
    assert not torch.equal(model.network.fc.bias, start.network.fc.bias)
    assert torch.equal(model.network.side.bias, start.network.side.bias)
    with pytest.raises(UserError, match="does not run on images"):
        new_state(parse_config(text("Several").replace("[data]", "output = 'x'\n\n[data]"), "x"))


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pruning_of(weights, more=""):
    scaled = f"mean = {list(MEAN)}\nstd = {list(STD)}\n"
    plain = text("ResNet18").replace("[data]\n", f"weights = '{weights}'\n\n[data]\n{scaled}{more}")
    return plain + PLASTIC[PLASTIC.index("[plasticity.pruning]") :]


@pytest.fixture
def saved(tmp_path):
    """A file of weights as they are published, and the network that they are of."""
    torch.manual_seed(9)
    network = ResNet18()
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "w.pt")
    return tmp_path / "w.pt", network.eval()


def test_a_published_resnet18_is_pruned_from_its_weights_and_reads_its_own_scale(saved, tmp_path):
    weights, network = saved
    state = new_state(parse_config(pruning_of(weights), "x"))
    pixels = torch.randint(0, 256, (4, 3, 32, 32))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    expected = network((pixels / 255 - mean) / std)
    torch.testing.assert_close(state.model.eval()((pixels - 128) / 128), expected, rtol=1e-3, atol=1e-4)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    path = tmp_path / "prune.toml"
    path.write_text(pruning_of(weights))
    folder = run.train(path, tmp_path / "run")
    weights.unlink()  # a finished run needs it no more
    record = json.loads((folder / "run.json").read_text())
    assert record["weights_sha256"] == digest
    assert record["network"]["macs"] <= 0.5 * record["network"]["dense_macs"]
    export_run(folder, tmp_path / "pruned.onnx", trust=True)
    images = ((pixels - 128) / 128).numpy()
    (logits,) = start_session((tmp_path / "pruned.onnx").read_bytes()).run(None, {"image": images})
    model, _ = load_run(folder, trust=True)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), model(torch.from_numpy(images)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda w: w.update({"fc.weight": torch.zeros(1000, 128)}),
            r"has in other shapes fc\.weight; .*model\.options",
        ),
        (lambda w: w.pop("fc.bias"), r"does not have fc\.bias"),
        (lambda w: w.update({"head.bias": torch.zeros(3)}), r"has besides the network's head\.bias"),
        (lambda w: w.update({"fc.bias": "text"}), "is not a state_dict"),
    ],
)
def test_weights_of_another_network_are_named(saved, spoil, message):
    path, network = saved
    weights = network.state_dict()
    spoil(weights)
    torch.save(weights, path)
    with pytest.raises(UserError, match=message):
        new_state(parse_config(pruning_of(path), "x"))


def test_files_that_are_no_weights_are_refused_unread(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match=r"w\.pt: cannot be read"):
        new_state(parse_config(pruning_of(tmp_path / "w.pt"), "x"))
    config = tmp_path / "gone.toml"
    config.write_text(pruning_of(tmp_path / "gone.pt"))
    with pytest.raises(UserError, match=r"gone\.pt: cannot be read"):
        run.train(config, tmp_path / "run")
    with pytest.raises(UserError, match="mean and std belong together"):
        parse_config(pruning_of("w").replace("std = ", "std = [0.2, 0.2]\n#"), "x")
    one = pruning_of("w").replace(str(list(MEAN)), "[0.5]").replace(str(list(STD)), "[0.5]")
    with pytest.raises(UserError, match="has 1 values, the images have 3 channels"):
        new_state(parse_config(one, "x"))
