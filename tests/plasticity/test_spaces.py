"""If these break, surgery changes some tensors of a channel and forgets others."""

import re

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap import zoo  # noqa: E402
from cgap.plasticity import Member, Segment, find_spaces  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402


def test_resnet20_has_nine_spaces_inside_its_blocks_and_three_along_them():
    widths = find_spaces(zoo.build("resnet20")).widths()
    inside = {name: width for name, width in widths.items() if name.endswith("conv1")}
    assert list(inside) == [f"stage{s}.{b}.conv1" for s in (1, 2, 3) for b in range(3)]
    assert list(inside.values()) == [16] * 3 + [32] * 3 + [64] * 3
    along = {name: width for name, width in widths.items() if name not in inside}
    assert along == {"stem.conv": 16, "stage2.0.conv2[1]": 16, "stage3.0.conv2[2]": 32}


def test_members_of_a_space():
    spaces = find_spaces(zoo.build("resnet20"))
    segments = (Segment("stage2.1.conv1"),)
    assert spaces["stage2.1.conv1"].members == [
        Member("stage2.1.conv1", "producer", segments),
        Member("stage2.1.bn1", "follower", segments),
        Member("stage2.1.conv2", "consumer", segments),
    ]


def test_padding_shortcuts_make_narrow_channels_the_first_of_the_wide_stage():
    spaces = find_spaces(zoo.build("resnet20"))
    wide = next(m for m in spaces.members() if m.module == "stage3.1.conv2" and m.role == "producer")
    names = ["stem.conv", "stage2.0.conv2[1]", "stage3.0.conv2[2]"]
    assert [segment.space for segment in wide.segments] == names
    assert [m.module for m in spaces[names[1]].of("padding")] == ["stage2.0.shortcut"]
    assert spaces["input"].fixed == "input"
    assert spaces["fc"].fixed == "output"


def test_rows_name_every_space():
    spaces = find_spaces(zoo.build("resnet20"))
    rows = {row[0]: row for row in spaces.rows()}
    assert set(rows) == {space.name for space in spaces}
    assert rows["fc"] == ("fc", "10", "fc", "", "", "output")
    assert "stage3.2.bn2[0]" in rows["stem.conv"][3]


def test_channels_behind_a_flatten_repeat():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5 * 9, 7))
    assert find_spaces(model, (3, 8, 8))["0"].of("consumer") == [Member("4", "consumer", (Segment("0", repeat=9),))]


def test_groups_keep_one_size():
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 9, 3, groups=3), nn.Conv2d(9, 9, 3, groups=9))
    spaces = find_spaces(nn.Sequential(model, nn.Flatten(), nn.Linear(9 * 16, 2)), (3, 8, 8))
    assert (spaces["0.0"].width, spaces["0.0"].groups) == (2, 3)
    assert (spaces["0.1"].width, spaces["0.1"].groups) == (3, 3)
    assert [m.module for m in spaces["0.1"].of("follower")] == ["0.2"]


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


class Scaling(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x):
        return x * self.scale


class Averaging(nn.Module):
    def forward(self, x):
        return x.mean(1, keepdim=True)


class Halving(nn.Module):
    def forward(self, x):
        return torch.chunk(x, 2, 1)[0]


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (nn.PixelShuffle(2), r"inner \(.*test_spaces.py:\d+\): .*PixelShuffle"),
        (nn.Sequential(Folding()), r"inner\.0 \(.*test_spaces.py:\d+\): .*permute"),
        (Scaling(), r"inner \(.*test_spaces.py:\d+\): a parameter that no module owns"),
        (Averaging(), "'mean' over axes 1"),
        (Halving(), "makes several tensors"),
        (nn.GroupNorm(2, 4), "GroupNorm"),
        (Branching(), r"inner \(.*test_spaces.py:\d+\): .*Branching"),
    ],
)
def test_what_cannot_be_followed_is_fixed_by_module_and_line(inner, reason):
    assert re.search(reason, find_spaces(Around(inner))["conv"].fixed)


def test_what_does_not_run_is_refused():
    with pytest.raises(UserError, match="does not run on an input of shape"):
        find_spaces(Around(nn.Conv2d(5, 4, 3)))


def test_a_module_called_twice_keeps_its_widths():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    spaces = find_spaces(nn.Sequential(conv, nn.ReLU(), conv, nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)))
    assert list(spaces.widths()) == ["3"]
