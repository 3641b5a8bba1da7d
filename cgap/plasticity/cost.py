"""Multiply-accumulates and weights of a network as a function of its channel spaces' widths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cgap.plasticity.spaces import Member, Segment, Spaces


@dataclass(frozen=True)
class Cost:
    """MACs for one image (FLOPs are twice that), and weights of convolutions and linear layers without biases."""

    macs: int
    params: int


@dataclass(frozen=True)
class _Layer:
    """A layer with kernels of `taps` weights at `positions` pixels, for all inputs of a group and all outputs."""

    positions: int
    taps: int
    inputs: tuple[Segment, ...]
    outputs: tuple[Segment, ...]
    groups: int

    def weights(self, widths: Mapping[str, int]) -> int:
        inputs = _entries(self.inputs, widths) // self.groups if self.inputs else 1
        return self.taps * inputs * _entries(self.outputs, widths)


def _entries(segments: tuple[Segment, ...], widths: Mapping[str, int]) -> int:
    return sum(segment.groups * widths[segment.space] * segment.repeat for segment in segments)


class CostModel:
    """Costs of one network at any widths; built once, because surgery moves no pixel and no kernel."""

    def __init__(self, model: nn.Module, spaces: Spaces, input_shape: tuple[int, ...] = (3, 32, 32)) -> None:
        self._fixed = spaces.all_widths()
        self._layers = list(_layers(model, spaces.members(), _positions(model, input_shape)))

    def __call__(self, widths: Mapping[str, int]) -> Cost:
        """Cost when these spaces have these widths, the others the widths they had when this was built."""
        width = {**self._fixed, **widths}
        weights = [(layer, layer.weights(width)) for layer in self._layers]
        return Cost(sum(layer.positions * count for layer, count in weights), sum(count for _, count in weights))


def _layers(model: nn.Module, members: list[Member], positions: Mapping[str, int]) -> Iterator[_Layer]:
    inputs = {member.module: member.segments for member in members if member.role == "consumer"}
    for member in members:
        module = model.get_submodule(member.module)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and member.role != "consumer":
            taps = math.prod(module.weight.shape[2:])
            groups = module.groups if isinstance(module, nn.Conv2d) and member.module in inputs else 1
            yield _Layer(positions[member.module], taps, inputs.get(member.module, ()), member.segments, groups)


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
            like = next(model.parameters())
            model(torch.zeros(1, *input_shape, device=like.device, dtype=like.dtype))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found
