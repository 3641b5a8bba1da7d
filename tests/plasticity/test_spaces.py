"""If these break, surgery changes some tensors of a channel and forgets others."""

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap import zoo  # noqa: E402
from cgap.plasticity import Member, find_spaces  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402


def test_resnet20_has_nine_plastic_spaces_inside_its_blocks():
    spaces = find_spaces(zoo.build("resnet20"))
    assert list(spaces.widths()) == [f"stage{s}.{b}.conv1" for s in (1, 2, 3) for b in range(3)]
    assert list(spaces.widths().values()) == [16] * 3 + [32] * 3 + [64] * 3
    assert spaces["stage2.1.conv1"].members == [
        Member("stage2.1.conv1", "producer"),
        Member("stage2.1.bn1", "follower"),
        Member("stage2.1.conv2", "consumer"),
    ]


def test_residual_additions_unite_and_paddings_embed():
    spaces = find_spaces(zoo.build("resnet20"))
    stage1 = spaces["stem.conv"]
    assert [m.module for m in stage1.of("producer")] == ["stem.conv", *(f"stage1.{b}.conv2" for b in range(3))]
    assert "stage2.0.conv1" in [m.module for m in stage1.of("consumer")]
    assert spaces.embeddings == [("stem.conv", "stage2.0.conv2"), ("stage2.0.conv2", "stage3.0.conv2")]
    assert stage1.fixed == "channel padding"
    assert spaces["input"].fixed == "input"
    assert spaces["fc"].fixed == "output"


def test_every_parameter_axis_belongs_to_exactly_one_space():
    model = zoo.build("resnet20")
    axes = [
        (f"{member.module}.{name}", axis)
        for space in find_spaces(model)
        for member in space.members
        for name, axis in member.tensors(model.get_submodule(member.module))
    ]
    expected = {(name, axis) for name, p in model.named_parameters() for axis in range(min(p.dim(), 2))}
    assert len(axes) == len(set(axes))
    assert expected <= set(axes)


def test_table_names_every_space():
    spaces = find_spaces(zoo.build("resnet20"))
    table = spaces.table()
    assert all(space.name in table for space in spaces)
    assert "stem.conv is embedded in stage2.0.conv2" in table


def test_channels_behind_a_flatten_repeat():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5 * 9, 7))
    assert find_spaces(model, (3, 8, 8))["0"].of("consumer") == [Member("4", "consumer", repeat=9)]


class Around(nn.Module):
    """A convolution, then whatever `inner` does."""

    def __init__(self, inner):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.inner = inner

    def forward(self, x):
        return self.inner(self.conv(x))


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Folding(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "inner: .*groups=2"),
        (nn.PixelShuffle(2), "inner: .*PixelShuffle"),
        (nn.Sequential(Folding()), r"inner\.0: .*permute"),
        (nn.Conv2d(5, 4, 3), "does not run on an input of shape"),
        (Branching(), "cannot be traced"),
    ],
)
def test_what_cannot_be_followed_is_named(inner, message):
    with pytest.raises(UserError, match=message):
        find_spaces(Around(inner))


def test_a_module_called_twice_is_refused():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    with pytest.raises(UserError, match="more than once"):
        find_spaces(nn.Sequential(conv, nn.ReLU(), conv))
