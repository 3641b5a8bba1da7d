"""Networks as users write them: norms, heads, skips and views, each with what channel spaces should make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

SHAPE = (3, 12, 12)
CLASSES = 5


class Body(nn.Module):
    """Convolution `first` (8 channels), `inner`, convolution `last` (8 channels), pooling, classifier."""

    def __init__(self, inner: nn.Module | Callable[[Tensor], Tensor], middle: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = inner if isinstance(inner, nn.Module) else Function(inner)
        self.last = nn.Conv2d(middle, 8, 3, padding=1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(F.relu(self.first(x)))
        return self.fc(F.relu(self.last(x)).mean((2, 3)))


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Head(nn.Module):
    """Convolution `first` to 8 channels of 3x3 pixels, convolution `last`, and whatever head."""

    def __init__(self, head: Callable[[Tensor], Tensor], features: int = 72) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 8, 3, padding=1, stride=4)
        self.head = head
        self.fc = nn.Linear(features, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.head(F.relu(self.last(F.relu(self.first(x))))))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x)))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.conv(x)))


class SharedNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(self.bn(x)))


class Borrowed(nn.Module):
    """A convolution that is called, and its weight used by a function besides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + F.conv2d(x, self.conv.weight, padding=1)


class Standardised(nn.Conv2d):
    """Weight standardisation."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class EvalOnly(nn.Module):
    """Reached only when not training."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else self.smooth(x)


class TrainOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.noise = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.noise(x) if self.training else x


class Auxiliary(nn.Module):
    """Two outputs while training, one otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.side, self.fc = nn.Linear(8, CLASSES), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = F.relu(self.first(x))
        logits = self.fc(self.last(x).mean((2, 3)))
        return (logits, self.side(x.mean((2, 3)))) if self.training else logits


class Named(nn.Module):
    """A dictionary of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.last(F.relu(self.first(x)))
        return {"logits": self.fc(features.mean((2, 3))), "features": features}


class Normalising(nn.Module):
    """Mean and standard deviation of the pixels as buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.rand(3, 1, 1))
        self.register_buffer("std", torch.rand(1, 3, 1, 1) + 0.5)
        self.first, self.last, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(F.relu(self.first((x - self.mean) / self.std))).mean((2, 3)))


class Scale(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Squeeze(nn.Module):
    """Squeeze and excitation, its gate expanded."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1).flatten(1)))))
        return x * gate.view(x.size(0), -1, 1, 1).expand_as(x)


class Spatial(nn.Module):
    """One map that gates all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.map(x))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens)
        return mixed.transpose(1, 2).reshape(x.shape)


class Mixer(nn.Module):
    """A Linear over channels last, behind a LayerNorm: ConvNeXt's block."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)


class Shuffle(nn.Module):
    """ShuffleNet's: half of the channels goes through, the other is convolved, then both are interleaved."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        y = torch.cat((a, self.conv(b)), 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Branching(nn.Module):
    """A branch on data: cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.sum() > 0 else -x


class DropPath(nn.Module):
    """Chance of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return x + (y * (torch.rand(x.size(0), 1, 1, 1, dtype=x.dtype) > 0.5) if self.training else y)


class Dense(nn.Module):
    """DenseNet's concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(12, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.a, self.b):
            x = torch.cat([x, F.relu(conv(x))], 1)
        return x


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ConvTranspose2d(12, 8, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.up(F.relu(self.down(x)))], dim=1)


class Pyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.side = nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.side(x) + F.interpolate(self.down(x), size=x.shape[2:], mode="nearest")


class Bilinear(nn.Module):
    """Channels against channels."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        gram = torch.einsum("nchw,ndhw->ncd", x, self.mix(x)).softmax(-1)
        return torch.einsum("ncd,ndhw->nchw", gram, x)


class FloatOnly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(1, 1, x.shape[2], x.shape[3], dtype=torch.float32).to(torch.float32)


def pruned(conv: nn.Conv2d) -> nn.Module:
    prune.random_unstructured(conv, "weight", 0.3)
    return conv


def pooled(x: Tensor) -> Tensor:
    return x * x.view(x.shape[0], 8, -1).mean(2).view(x.shape[0], 8, 1, 1)


def conv() -> nn.Conv2d:
    return nn.Conv2d(8, 8, 3, padding=1)


@dataclass(frozen=True)
class Case:
    """What `first` and `last` are: plastic (None), or fixed for a reason that matches; `refused` matches an error."""

    make: Callable[[], nn.Module]
    first: str | None = None
    last: str | None = None
    refused: str | None = None


CASES: dict[str, Case] = {
    "batch norm": Case(lambda: Body(nn.BatchNorm2d(8))),
    "instance norm": Case(lambda: Body(nn.InstanceNorm2d(8, affine=True))),
    "group norm": Case(lambda: Body(nn.GroupNorm(2, 8)), first="inner .*GroupNorm"),
    "layer norm": Case(lambda: Body(nn.LayerNorm([8, 12, 12])), first="inner .*LayerNorm"),
    "local response norm": Case(lambda: Body(nn.LocalResponseNorm(3)), first="LocalResponseNorm"),
    "weight norm": Case(lambda: Body(parametrizations.weight_norm(conv())), first="inner: computes its weight from"),
    "spectral norm": Case(lambda: Body(parametrizations.spectral_norm(conv())), first="computes its weight from"),
    "old spectral norm": Case(lambda: Body(nn.utils.spectral_norm(conv())), first="computes its weight from"),
    "masks of torch's own": Case(lambda: Body(pruned(conv())), first="weight_mask, weight_orig"),
    "weight standardisation": Case(lambda: Body(Standardised(8, 8, 3, padding=1)), first="inner .*:"),
    "tied weights": Case(lambda: Body(Tied()), first="inner.a.weight and inner.b.weight are one parameter"),
    "module called twice": Case(lambda: Body(Twice()), first="inner.conv: is called more than once"),
    "norm called twice": Case(lambda: Body(SharedNorm()), first="inner.bn: is called more than once"),
    "weight used besides": Case(lambda: Body(Borrowed()), first="conv2d"),
    "eval only": Case(lambda: Body(EvalOnly()), first="at another width the network fails"),
    "train only": Case(lambda: Body(TrainOnly())),
    "auxiliary head": Case(Auxiliary),
    "dictionary": Case(Named, last="output"),
    "normalisation buffers": Case(Normalising),
    "scalar parameter": Case(lambda: Body(Scale())),
    "scalar parameter with axes": Case(lambda: Body(Scale(1, 1, 1, 1))),
    "parameter a channel": Case(lambda: Body(Scale(8, 1, 1)), first="a parameter that no module owns"),
    "parameter a pixel": Case(lambda: Body(Scale(1, 12, 12))),
    "squeeze and excitation": Case(lambda: Body(Squeeze())),
    "spatial gate": Case(lambda: Body(Spatial())),
    "attention": Case(lambda: Body(Attention()), first="transpose"),
    "convnext": Case(lambda: Body(Mixer()), first="permute"),
    "shuffle": Case(lambda: Body(Shuffle()), first="several tensors"),
    "pixel shuffle": Case(lambda: Body(nn.PixelShuffle(2), middle=2), first="PixelShuffle"),
    "channel shuffle": Case(lambda: Body(nn.ChannelShuffle(2)), first="ChannelShuffle"),
    "branch on data": Case(lambda: Body(Branching()), first="Branching"),
    "drop path": Case(lambda: Body(DropPath()), first="inner .*DropPath"),
    "dropout": Case(lambda: Body(nn.Dropout2d(0.5))),
    "functional dropout": Case(lambda: Body(lambda x: F.dropout(x, 0.5))),
    "concatenation": Case(lambda: Body(Dense(), middle=16)),
    "transposed convolution": Case(lambda: Body(UNet(), middle=16)),
    "interpolation": Case(lambda: Body(Pyramid())),
    "einsum": Case(lambda: Body(Bilinear()), first="einsum"),
    "channel mean": Case(lambda: Body(lambda x: x - x.mean(1, keepdim=True)), first="'mean' over axes 1"),
    "half of the channels": Case(lambda: Body(lambda x: x[:, :4], middle=4), first="getitem"),
    "rolled channels": Case(lambda: Body(lambda x: x.roll(1, 1)), first="roll"),
    "over its width": Case(lambda: Body(lambda x: x / x.shape[1] ** 0.5), first="computes something else"),
    "width in a view": Case(lambda: Body(pooled), first="at another width the network fails"),
    "only float32": Case(lambda: Body(FloatOnly())),
    "flatten": Case(lambda: Head(lambda x: x.flatten(1))),
    "view by batch": Case(lambda: Head(lambda x: x.view(x.size(0), -1))),
    "view by features": Case(lambda: Head(lambda x: x.reshape(-1, 72)), last="at another width the network fails"),
    "global pooling": Case(lambda: Head(lambda x: F.adaptive_max_pool2d(x, 1).squeeze(3).squeeze(2), 8)),
    "top values": Case(lambda: Head(lambda x: x.flatten(2).topk(2, 2)[0].flatten(1), 16), last="several tensors"),
    "wrong shape": Case(lambda: Head(lambda x: x.flatten(1), 71), refused="does not run on an input of shape"),
    "branch at the top": Case(lambda: Head(lambda x: x.flatten(1) if x.sum() > 0 else x), refused="cannot be traced"),
}  # fmt: skip
