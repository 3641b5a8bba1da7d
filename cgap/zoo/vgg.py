"""VGG for 32x32 images: Simonyan and Zisserman, 2015, with batch norm and one linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from cgap.zoo.resnet import initialise
from fpga_model.errors import UserError

STAGES: dict[int, tuple[tuple[int, ...], ...]] = {
    16: ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}
"""Widths of the convolutions of each stage; 2x2 pooling stands between stages."""


class VGG(nn.Module):
    """VGG of `depth` 16 or 19. Input float32 [N, 3, 32, 32] = (pixel - 128) / 128, output logits [N, classes].

    Raises UserError for another depth.
    """

    def __init__(self, depth: int = 16, classes: int = 10) -> None:
        super().__init__()
        if depth not in STAGES:
            raise UserError(f"vgg: depth {depth} is not one of {', '.join(map(str, STAGES))}")
        width = 3
        for number, widths in enumerate(STAGES[depth], start=1):
            stage = nn.Sequential() if number == 1 else nn.Sequential(nn.MaxPool2d(2))
            for out in widths:
                layers = nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
                stage.append(nn.Sequential(*layers))
                width = out
            self.add_module(f"stage{number}", stage)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(width, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 32, 32] -> [N, classes]."""
        x = self.stage5(self.stage4(self.stage3(self.stage2(self.stage1(x)))))
        logits: Tensor = self.fc(self.flatten(self.pool(x)))
        return logits
