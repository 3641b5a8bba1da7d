"""Networks by name, as plain `nn.Module`s."""

from cgap.zoo.registry import build, names
from cgap.zoo.resnet import BasicBlock, PadShortcut, ResNet, initialise

__all__ = ["BasicBlock", "PadShortcut", "ResNet", "build", "initialise", "names"]
