"""Multiply-accumulates and weights of a network as a function of its channel spaces' widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cgap.plasticity.spaces import Spaces


@dataclass(frozen=True)
class Cost:
    """MACs for one image (FLOPs are twice that), and weights of convolutions and linear layers without biases."""

    macs: int
    params: int


@dataclass(frozen=True)
class _Layer:
    positions: int
    per_pair: int
    source: str
    target: str
    repeat: int


class CostModel:
    """Costs of one network at any widths; built once, because surgery moves no pixel and no kernel."""

    def __init__(self, model: nn.Module, spaces: Spaces, input_shape: tuple[int, ...] = (3, 32, 32)) -> None:
        self._fixed = {space.name: space.width for space in spaces}
        produced = {m.module: space.name for space in spaces for m in space.of("producer")}
        positions = _positions(model, input_shape)
        self._layers: list[_Layer] = []
        for space in spaces:
            for member in space.of("consumer"):
                weight = model.get_submodule(member.module).weight
                assert isinstance(weight, Tensor)
                per_pair = weight[0, 0].numel() * member.repeat
                target = produced[member.module]
                self._layers.append(_Layer(positions[member.module], per_pair, space.name, target, member.repeat))

    def __call__(self, widths: Mapping[str, int]) -> Cost:
        """Cost when these spaces have these widths, the others the widths they had when this was built."""
        width = {**self._fixed, **widths}
        pairs = [(layer, layer.per_pair * width[layer.source] * width[layer.target]) for layer in self._layers]
        return Cost(sum(layer.positions * p for layer, p in pairs), sum(p for _, p in pairs))


def _positions(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Output pixels of every convolution and linear layer, by path."""
    found: dict[str, int] = {}
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):

            def hook(_m: nn.Module, _i: object, out: Tensor, path: str = path) -> None:
                found[path] = out[0, 0].numel() if out.dim() == 4 else 1

            handles.append(module.register_forward_hook(hook))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, *input_shape, device=next(model.parameters()).device))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found
