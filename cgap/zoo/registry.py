"""The table of networks that can be built by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from cgap.zoo.resnet import ResNet
from fpga_model.errors import UserError

DEPTHS = (20, 32, 44, 56, 110)
_BUILDERS: dict[str, Callable[..., nn.Module]] = {f"resnet{depth}": partial(ResNet, depth) for depth in DEPTHS}


def names() -> list[str]:
    """Names that `build` knows."""
    return list(_BUILDERS)


def build(name: str, **options: object) -> nn.Module:
    """Build a freshly initialised network; `options` go to its constructor.

    Raises UserError if there is no such network.
    """
    if name not in _BUILDERS:
        raise UserError(f"unknown model '{name}': choose one of {', '.join(_BUILDERS)}")
    return _BUILDERS[name](**options)
