"""The table of networks that can be built by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from cgap.boundary.imports import import_own
from cgap.zoo.lenet import LeNet5
from cgap.zoo.resnet import ResNet
from cgap.zoo.resnet9 import ResNet9
from cgap.zoo.vgg import VGG
from fpga_model.errors import UserError

MOST_WEIGHTS = 1 << 28
DEPTHS = (20, 32, 44, 56, 110)
_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "lenet5": LeNet5,
    **{f"vgg{depth}": partial(VGG, depth) for depth in (16, 19)},
    "resnet9": ResNet9,
    **{f"resnet{depth}": partial(ResNet, depth) for depth in DEPTHS},
}


def names() -> list[str]:
    """Names that `build` knows."""
    return list(_BUILDERS)


def build(name: str, **options: object) -> nn.Module:
    """Build a freshly initialised network; `options` go to its constructor.

    `name` is one of `names()`, or the user's own as MODULE:CALLABLE, imported from the working folder or the path.
    Raises UserError if there is no such network.
    """
    builder = _imported(name) if ":" in name else _BUILDERS.get(name)
    if builder is None:
        raise UserError(f"unknown network '{name}': choose one of {', '.join(_BUILDERS)}, or MODULE:CALLABLE")
    if ":" not in name:
        _try_out(name, builder, options)
    try:
        model = builder(**options)
    except TypeError as error:
        raise UserError(f"network '{name}': {error}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"network '{name}': makes a {type(model).__name__}, not a torch.nn.Module")
    return model


def _try_out(name: str, builder: Callable[..., nn.Module], options: dict[str, object]) -> None:
    """Raise UserError for options that make no network, or too large a one, before any memory is taken for it."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            weights = sum(parameter.numel() for parameter in builder(**options).parameters())
    except UserError:
        raise
    except Exception as error:  # whatever a layer says to numbers that are none of its own
        raise UserError(f"network '{name}': {error}") from error
    if weights > MOST_WEIGHTS:
        raise UserError(f"network '{name}': {weights:,} weights; at most {MOST_WEIGHTS:,} are made")


def _imported(name: str) -> Callable[..., nn.Module]:
    found = import_own("network", name)
    if not callable(found):
        raise UserError(f"network '{name}': {name.partition(':')[2]} is not callable")
    builder: Callable[..., nn.Module] = found
    return builder
