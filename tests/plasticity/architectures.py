"""Random networks of everything that channel spaces can be followed through."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgap.plasticity import ChannelPad

SIZE = 8
CLASSES = 5


class Shortcut(ChannelPad):
    """Option A at the stride of its block."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__(extra)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def convolution(rng: random.Random, inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution, perhaps with a bias, a batch norm and an activation behind it."""
    kernel = rng.choice([1, 3, 3, 5])
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=rng.random() < 0.5)
    ]
    if rng.random() < 0.8:
        layers.append(nn.BatchNorm2d(outputs))
    layers += rng.choice([[], [nn.ReLU()], [nn.ReLU6()], [nn.PReLU(outputs)], [nn.SiLU()]])
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """Two convolutions and a shortcut: the identity, option A, option A with zeros on both sides, or option B."""

    def __init__(self, rng: random.Random, inputs: int) -> None:
        super().__init__()
        self.kind = rng.choice(["identity", "A", "A both sides", "B"])
        self.stride = 1 if self.kind == "identity" else rng.choice([1, 2])
        self.extra = {"identity": 0, "A": rng.randint(1, 5), "A both sides": 2 * rng.randint(1, 2), "B": 3}[self.kind]
        self.width, inner = inputs + self.extra, rng.randint(2, 7)
        self.body = nn.Sequential(
            convolution(rng, inputs, inner, self.stride), nn.Conv2d(inner, self.width, 3, padding=1)
        )
        self.shortcut: nn.Module = nn.Identity()
        if self.kind == "A":
            self.shortcut = Shortcut(self.extra, self.stride)
        elif self.kind == "B":
            self.shortcut = nn.Conv2d(inputs, self.width, 1, self.stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "A both sides":
            half = self.extra // 2
            padded = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
            return F.relu(self.body(x) + padded)
        return F.relu(self.shortcut(x) + self.body(x))


class Branches(nn.Module):
    """A concatenation of branches, one of which may be the input itself."""

    def __init__(self, rng: random.Random, inputs: int) -> None:
        super().__init__()
        widths = [rng.randint(1, 5) for _ in range(rng.choice([1, 2, 3]))]
        self.branches = nn.ModuleList(convolution(rng, inputs, width) for width in widths)
        self.keep = len(widths) == 1 or rng.random() < 0.5
        self.width = sum(widths) + (inputs if self.keep else 0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches] + ([x] if self.keep else []), 1)


class Grouped(nn.Module):
    """A convolution between two of `groups`, as in ResNeXt."""

    def __init__(self, rng: random.Random, inputs: int) -> None:
        super().__init__()
        groups = rng.choice([2, 3])
        inner, self.width = groups * rng.randint(1, 3), rng.randint(2, 6)
        outer = groups * rng.randint(1, 3)
        self.body = nn.Sequential(
            convolution(rng, inputs, inner),
            convolution(rng, inner, outer, groups=groups),
            convolution(rng, outer, self.width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Depthwise(nn.Module):
    """A depthwise convolution of one or two filters a channel."""

    def __init__(self, rng: random.Random, inputs: int) -> None:
        super().__init__()
        self.width = inputs * rng.choice([1, 1, 2])
        self.body = convolution(rng, inputs, self.width, groups=inputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, rng: random.Random, inputs: int) -> None:
        super().__init__()
        self.width, inner = inputs, rng.randint(2, 4)
        self.down, self.up = nn.Linear(inputs, inner), nn.Linear(inner, inputs)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return x * scale.unsqueeze(-1).unsqueeze(-1)


class Plain(nn.Module):
    """A convolution and perhaps a pooling."""

    def __init__(self, rng: random.Random, inputs: int) -> None:
        super().__init__()
        self.width = rng.randint(2, 9)
        self.body = convolution(rng, inputs, self.width)
        self.pool = rng.choice([nn.Identity(), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)])

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.body(x))


BLOCKS = (Plain, Residual, Residual, Branches, Grouped, Depthwise, Gate)


class Network(nn.Module):
    """A stem, one to four blocks, and one of three heads."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = random.Random(seed)
        torch.manual_seed(seed)
        width = rng.randint(2, 6)
        blocks: list[nn.Module] = [convolution(rng, 3, width)]
        for _ in range(rng.randint(1, 4)):
            blocks.append(rng.choice(BLOCKS)(rng, width))
            width = blocks[-1].width
        self.blocks = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(2))
        self.head = rng.choice(["pool", "flatten", "hidden"])
        inputs = width if self.head == "pool" else width * 4
        hidden = [nn.Linear(inputs, 6), nn.BatchNorm1d(6), nn.ReLU()] if self.head == "hidden" else []
        self.classifier = nn.Sequential(*hidden, nn.Linear(6 if hidden else inputs, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        x = x.mean((2, 3)) if self.head == "pool" else x.view(x.size(0), -1)
        return self.classifier(x)


def settled(seed: int) -> Network:
    """Network number `seed` in float64, its batch norms with statistics, scales and shifts of their own."""
    model = Network(seed).double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
        for _ in range(3):
            model.train()(images(8))
    return model.eval()


def images(count: int) -> Tensor:
    """Random images [count, 3, SIZE, SIZE] in float64."""
    return torch.randn(count, 3, SIZE, SIZE, dtype=torch.double)
