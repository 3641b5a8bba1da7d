"""What a run needs of a user's network: one tensor of logits, and a memory layout that its forward can stand."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from fpga_model.errors import UserError


class Selected(nn.Module):
    """A network of several outputs as one of a single output: that of a place in a tuple, or of a name.

    A network may make several in train mode only.
    """

    def __init__(self, network: nn.Module, output: int | str) -> None:
        super().__init__()
        self.network = network
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the chosen output."""
        made: Any = self.network(x)
        several = isinstance(made, (tuple, list, Mapping))
        return made[self.output] if several else made


def require_logits(model: nn.Module, name: str, shape: tuple[int, ...], classes: int) -> None:
    """Raise UserError unless `model` makes logits [N, classes] of images [N, *shape] in train and in eval mode.

    Leaves the model as it is, batch-norm statistics included.
    """
    for training in (True, False):
        try:
            made = _tried(model, torch.zeros(2, *shape), training)
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            raise UserError(f"model {name}: does not run on images {list(shape)} ({error})") from error
        if not isinstance(made, Tensor):
            places = list(made) if isinstance(made, Mapping) else list(range(len(made)))
            raise UserError(f"model {name}: makes several outputs; choose one with model.output, of {places}")
        if tuple(made.shape) != (2, classes):
            raise UserError(
                f"model {name}: makes {list(made.shape[1:])} numbers an image, and the data has {classes} classes; see "
                f"model.options"
            )


def to_layout(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Lay a network out channels last, which is faster, unless its forward runs on contiguous images only."""
    model.to(memory_format=torch.channels_last)
    x = torch.zeros(2, *shape, device=next(model.parameters()).device)
    if _contiguous not in model._forward_pre_hooks.values():
        with suppress(RuntimeError):
            for training in (True, False):
                _tried(model, x.contiguous(memory_format=torch.channels_last), training)
            return model
        model.register_forward_pre_hook(_contiguous)
    return model.to(memory_format=torch.contiguous_format)


def _contiguous(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.contiguous() for x in inputs)


@torch.no_grad()
def _tried(model: nn.Module, x: Tensor, training: bool) -> Any:
    """What a network makes; its mode, its buffers and the random numbers to come stay as they are."""
    was, kept = model.training, {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]):
            return model.train(training)(x)
    finally:
        model.train(was)
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])
