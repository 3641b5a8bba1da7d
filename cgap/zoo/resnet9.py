"""ResNet-9: few, wide layers that learn CIFAR-10 in minutes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cgap.zoo.resnet import initialise
from fpga_model.errors import UserError


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(width_in, width_out, 3, padding=1, bias=False))
        self.add_module("bn", nn.BatchNorm2d(width_out))
        self.add_module("relu", nn.ReLU())


class ResidualPair(nn.Module):
    """Two convolutions beside an identity shortcut, then ReLU. The width between the two is free."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvBlock(width, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, width, H, W] -> the same."""
        out: Tensor = self.relu2(x + self.bn2(self.conv2(self.first(x))))
        return out


class ResNet9(nn.Module):
    """A stem, three convolutions with 2x2 maximum pooling, a residual pair after the first and the last, a classifier.

    `widths` are those of the stem and of the three stages. Input float32 [N, 3, 32, 32] = (pixel - 128) / 128, output
    logits [N, classes]. Raises UserError for another number of widths.
    """

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 192), classes: int = 10) -> None:
        super().__init__()
        if len(widths) != 4 or min(widths) < 1:
            raise UserError(f"resnet9: widths {list(widths)} must be four positive numbers")
        stem, first, second, third = widths
        self.stem = ConvBlock(3, stem)
        self.stage1 = nn.Sequential(ConvBlock(stem, first), nn.MaxPool2d(2), ResidualPair(first))
        self.stage2 = nn.Sequential(ConvBlock(first, second), nn.MaxPool2d(2))
        self.stage3 = nn.Sequential(ConvBlock(second, third), nn.MaxPool2d(2), ResidualPair(third))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(third, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 32, 32] -> [N, classes]."""
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        logits: Tensor = self.fc(self.flatten(self.pool(x)))
        return logits
