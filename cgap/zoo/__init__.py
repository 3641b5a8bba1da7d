"""Networks by name, as plain `nn.Module`s."""

from cgap.zoo.lenet import LeNet5
from cgap.zoo.registry import build, names
from cgap.zoo.resnet import BasicBlock, PadShortcut, ResNet, initialise
from cgap.zoo.resnet9 import ResNet9
from cgap.zoo.vgg import VGG

__all__ = ["VGG", "BasicBlock", "LeNet5", "PadShortcut", "ResNet", "ResNet9", "build", "initialise", "names"]
