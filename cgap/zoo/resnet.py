"""ResNets for 32x32 images with parameter-free (option A) shortcuts: He et al., 2016, section 4.2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgap.plasticity import ChannelPad
from fpga_model.errors import UserError


class PadShortcut(ChannelPad):
    """Option-A shortcut: every second row and column, then `extra` zero channels at the end.

    Channel i of the narrow stage is channel i of the wide one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C + extra, ceil(H/2), ceil(W/2)]."""
        if x.requires_grad:  # a slice's gradient comes back channels first, and all before it would mix both layouts
            x = x.view_as(x)
            x.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.extra))


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, plus the shortcut, then ReLU. The `inner` width between the convolutions is free."""

    def __init__(self, width_in: int, inner: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, inner, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, width_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width_out)
        self.shortcut: nn.Module = nn.Identity() if stride == 1 else PadShortcut(width_out - width_in)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, width_in, H, W] -> [N, width_out, H/stride, W/stride]."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(residual + self.shortcut(x))
        return out


def initialise(model: nn.Module) -> None:
    """Draw every convolution's weights anew for the widths it has (He et al., 2015, fan-out)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNet(nn.Module):
    """CIFAR ResNet of depth 6n + 2: a stem, three stages of n blocks, average pooling and a classifier.

    `widths` are the three residual widths, `inner` the width inside each of the 3n blocks (by default its
    stage's width). Input float32 [N, 3, 32, 32] = (pixel - 128) / 128, output logits [N, classes].
    Raises UserError for an impossible depth, widths that shrink, or a wrong number of them.
    """

    def __init__(
        self,
        depth: int = 20,
        widths: Sequence[int] = (16, 32, 64),
        inner: Sequence[int] | None = None,
        classes: int = 10,
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise UserError(f"resnet: depth {depth} is not 6n + 2")
        if len(widths) != 3 or min(widths) < 1 or list(widths) != sorted(widths):
            raise UserError(f"resnet: widths {list(widths)} must be three positive numbers that do not shrink")
        inner = [w for w in widths for _ in range(blocks)] if inner is None else list(inner)
        if len(inner) != 3 * blocks or min(inner) < 1:
            raise UserError(f"resnet: {len(inner)} inner widths, expected {3 * blocks} positive numbers")
        self.stem = nn.Sequential()
        self.stem.add_module("conv", nn.Conv2d(3, widths[0], 3, padding=1, bias=False))
        self.stem.add_module("bn", nn.BatchNorm2d(widths[0]))
        self.stem.add_module("relu", nn.ReLU())
        width = widths[0]
        for stage, out in enumerate(widths):
            layers = []
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(BasicBlock(width, inner[stage * blocks + block], out, stride))
                width = out
            self.add_module(f"stage{stage + 1}", nn.Sequential(*layers))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(width, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 32, 32] -> [N, classes]."""
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        logits: Tensor = self.fc(self.flatten(self.pool(x)))
        return logits
