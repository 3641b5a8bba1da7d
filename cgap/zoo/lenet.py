"""LeNet-5 for 28x28 digits: LeCun et al., 1998, with ReLU and maximum pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cgap.zoo.resnet import initialise


class LeNet5(nn.Module):
    """Two 5x5 convolutions, each with batch norm, ReLU and 2x2 pooling, then two hidden layers.

    `widths` are those of the convolutions and of the hidden layers. Input float32 [N, 1, 28, 28] =
    (pixel - 128) / 128, output logits [N, classes].
    """

    def __init__(self, widths: Sequence[int] = (6, 16, 120, 84), classes: int = 10) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.conv1 = nn.Sequential(_convolution(1, first, padding=2), nn.BatchNorm2d(first), nn.ReLU(), nn.MaxPool2d(2))
        self.conv2 = nn.Sequential(_convolution(first, second), nn.BatchNorm2d(second), nn.ReLU(), nn.MaxPool2d(2))
        self.flatten = nn.Flatten()
        self.fc1 = nn.Sequential(nn.Linear(second * 25, third), nn.ReLU())
        self.fc2 = nn.Sequential(nn.Linear(third, fourth), nn.ReLU())
        self.fc3 = nn.Linear(fourth, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 28, 28] -> [N, classes]."""
        x = self.flatten(self.conv2(self.conv1(x)))
        logits: Tensor = self.fc3(self.fc2(self.fc1(x)))
        return logits


def _convolution(width_in: int, width_out: int, padding: int = 0) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 5, padding=padding, bias=False)
