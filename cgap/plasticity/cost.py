"""What a network costs as a function of its channel spaces' widths: MACs, weights, predicted cycles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cgap.plasticity.spaces import Member, Segment, Spaces


@dataclass(frozen=True)
class Cost:
    """MACs for one image (FLOPs are twice that), weights without biases, and cycles predicted for an image.

    Cycles are 0 where no accelerator is named.
    """

    macs: int
    params: int
    cycles: int = 0

    def over(self, budget: Budget) -> tuple[float, float, float]:
        """How far MACs, weights and cycles each are above what they may be, as a share of themselves."""
        pairs = ((self.macs, budget.macs), (self.params, budget.params), (self.cycles, budget.cycles))
        macs, params, cycles = (max(0, now - most) / now if now else 0.0 for now, most in pairs)
        return macs, params, cycles


@dataclass(frozen=True)
class Budget:
    """The most that a network may cost."""

    macs: float = math.inf
    params: float = math.inf
    cycles: float = math.inf


@dataclass(frozen=True)
class _Layer:
    """A layer with kernels of `taps` weights at `positions` pixels, for all inputs of a group and all outputs.

    `fixed` is the number of its weights where that is the same at all widths.
    """

    positions: int
    taps: int
    inputs: tuple[Segment, ...]
    outputs: tuple[Segment, ...]
    groups: int
    fixed: int = 0

    def weights(self, widths: Mapping[str, int]) -> int:
        if self.fixed:
            return self.fixed
        inputs = _entries(self.inputs, widths) // self.groups if self.inputs else 1
        return self.taps * inputs * _entries(self.outputs, widths)


def _entries(segments: tuple[Segment, ...], widths: Mapping[str, int]) -> int:
    return sum(segment.groups * widths[segment.space] * segment.repeat for segment in segments)


class CostModel:
    """Costs of one network at any widths; built once, because surgery moves no pixel and no kernel.

    Counted are all convolutions, transposed ones and linear layers that are modules; those that are in no space have
    one cost at all widths. `cycles` predicts cycles from the widths of all spaces.
    """

    def __init__(
        self,
        model: nn.Module,
        spaces: Spaces,
        input_shape: tuple[int, ...] = (3, 32, 32),
        cycles: Callable[[Mapping[str, int]], int] | None = None,
    ) -> None:
        self._fixed = spaces.all_widths()
        self._layers = list(_layers(model, spaces.members(), _positions(model, input_shape)))
        self._cycles = cycles

    def __call__(self, widths: Mapping[str, int]) -> Cost:
        """Cost when these spaces have these widths, the others the widths they had when this was built."""
        width = {**self._fixed, **widths}
        weights = [(layer, layer.weights(width)) for layer in self._layers]
        macs, params = sum(layer.positions * count for layer, count in weights), sum(count for _, count in weights)
        return Cost(macs, params, self._cycles(width) if self._cycles else 0)


def _layers(model: nn.Module, members: list[Member], positions: Mapping[str, int]) -> Iterator[_Layer]:
    inputs = {member.module: member.segments for member in members if member.role == "consumer"}
    outputs = {member.module: member.segments for member in members if member.role != "consumer"}
    for path, module in model.named_modules():
        if not isinstance(module, _COUNTED):
            continue
        at = positions.get(path, 0)
        if path in outputs:
            groups = module.groups if isinstance(module, nn.Conv2d) and path in inputs else 1
            taps = math.prod(module.weight.shape[2:])
            yield _Layer(at, taps, inputs.get(path, ()), outputs[path], groups)
        else:
            yield _Layer(at, 0, (), (), 1, fixed=module.weight.numel())


_COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def _positions(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """How often each weight of a convolution or linear layer is used for an image in eval mode, by the layer's path."""
    found: dict[str, int] = {}
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, _COUNTED):

            def hook(layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor, path: str = path) -> None:
                if isinstance(layer, nn.Linear):
                    pixels = out[0].numel() // out.shape[-1]
                else:
                    pixels = (inputs[0] if isinstance(layer, nn.ConvTranspose2d) else out)[0, 0].numel()
                found[path] = found.get(path, 0) + pixels

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
