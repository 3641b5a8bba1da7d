"""Networks that another library pruned come in by way of torch's exporter, and are exact, whatever widths it left."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
torch_pruning = pytest.importorskip("torch_pruning")

from torch import nn  # noqa: E402

from cgap.lowering import quantise  # noqa: E402
from cgap.training.export import export_model  # noqa: E402
from fpga_model.operators import Convolution  # noqa: E402
from tests.lowering.test_import import assert_same  # noqa: E402
from tests.lowering.test_qdq import mismatches, random_images  # noqa: E402


class BasicBlock(nn.Module):
    """torchvision's, with a projection where width or size change."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if (before, stride) != (after, 1):
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """torchvision's ResNet-18, of a quarter of its width."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before, blocks = width, []
        for stage in range(4):
            for stride in (1 if stage == 0 else 2, 1):
                blocks.append(BasicBlock(before, width << stage, stride))
                before = width << stage
        self.layers = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(before, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class DenseBlock(nn.Module):
    """Three layers that read all before them; pruning follows the channels through the concatenations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(16 + 8 * index) for index in range(3))
        self.layers = nn.ModuleList(nn.Conv2d(16 + 8 * index, 8, 3, 1, 1) for index in range(3))
        self.fc = nn.Linear(40, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [self.stem(x)]
        for norm, layer in zip(self.norms, self.layers, strict=True):
            features.append(layer(torch.relu(norm(torch.cat(features, 1)))))
        return self.fc(torch.cat(features, 1).mean((2, 3)))


def pruned(model: nn.Module, size: int, ratio: float) -> nn.Module:
    """The model after Torch-Pruning took `ratio` of its channels, random statistics in its normalisations."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.2, 1.5)
    model.eval()
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        torch.zeros(1, 3, size, size),
        importance=torch_pruning.importance.MagnitudeImportance(p=1),
        pruning_ratio=ratio,
        global_pruning=True,
        ignored_layers=[module for module in model.modules() if isinstance(module, nn.Linear)],
    )
    pruner.step()
    return model


@pytest.mark.parametrize(("make", "size"), [(ResNet18, 64), (DenseBlock, 16)])
def test_a_network_pruned_by_torch_pruning_is_exact(make: type[nn.Module], size: int, tmp_path: Path) -> None:
    whole = sum(parameter.numel() for parameter in make().parameters())
    model = pruned(make(), size, 0.4)
    left = sum(parameter.numel() for parameter in model.parameters())
    assert left < 0.8 * whole
    export_model(model, tmp_path / "net.onnx", (3, size, size))
    imported = assert_same(tmp_path / "net.onnx")
    widths = [layer.operator.Nof for layer in imported.graph.layers if isinstance(layer.operator, Convolution)]
    assert any(width % 4 for width in widths)
    shape = imported.graph.shape("image")
    fixed = quantise(imported, random_images(shape, 4) / 128.0)
    found = mismatches(fixed, random_images(shape, 3, seed=1), tmp_path / "qdq.onnx")
    assert set(found.values()) == {0}, found
