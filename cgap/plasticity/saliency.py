"""What a channel is worth: first-order Taylor saliency, accumulated over many batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from cgap.plasticity.spaces import Member, Spaces
    from cgap.plasticity.surgery import IndexMap


@dataclass
class ChannelState:
    """Per channel of one space, each [width]: summed saliency, the batches it was summed over, and age in batches."""

    saliency: Tensor
    batches: Tensor
    age: Tensor

    @staticmethod
    def of(width: int) -> ChannelState:
        """A space of brand-new channels."""
        return ChannelState(torch.zeros(width), torch.zeros(width), torch.zeros(width))

    def score(self) -> Tensor:
        """Mean saliency a batch, [width]; zero where nothing has been measured."""
        return self.saliency / self.batches.clamp(min=1)

    def forget(self) -> None:
        """Start measuring anew; ages stay."""
        self.saliency.zero_()
        self.batches.zero_()

    def remap(self, index: IndexMap) -> None:
        """Follow a surgery: fresh channels have no saliency and no age."""
        self.saliency = index.remap(self.saliency, 0)
        self.batches = index.remap(self.batches, 0)
        self.age = index.remap(self.age, 0)


class TaylorSaliency:
    """The change of the loss, to first order, if a channel went: |sum w * dL/dw| over each member, added up.

    The sum runs over a member's weight and bias together, and batch norms are members like any other: a
    convolution under batch norm scores zero by itself, because its scale does not matter, so its channels are
    ranked by their batch norm and their consumers.
    """

    def __init__(self, model: nn.Module, spaces: Spaces) -> None:
        self.model = model
        self.spaces = spaces
        self.states = {space.name: ChannelState.of(space.width) for space in spaces.plastic()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the batch whose gradients are on the parameters now, and make every channel one batch older."""
        for space in self.spaces.plastic():
            state = self.states[space.name]
            for member in space.members:
                state.saliency += self._of(member)
            state.batches += 1
            state.age += 1

    def forget(self) -> None:
        """Start measuring anew, after a change of structure."""
        for state in self.states.values():
            state.forget()

    def _of(self, member: Member) -> Tensor:
        module = self.model.get_submodule(member.module)
        total: Tensor | None = None
        for name, axis in member.tensors(module):
            value = getattr(module, name)
            if not isinstance(value, nn.Parameter) or value.grad is None:
                continue
            product = value * value.grad
            channels = product.shape[axis] // member.repeat if member.role == "consumer" else product.shape[axis]
            part = product.movedim(axis, 0).reshape(channels, -1).sum(1)
            total = part if total is None else total + part
        return torch.zeros(1) if total is None else total.abs()
