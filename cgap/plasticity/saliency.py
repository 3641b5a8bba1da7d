"""What a channel is worth: first-order Taylor saliency, accumulated over many batches."""

from __future__ import annotations

from collections.abc import Mapping
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
        self._members = spaces.members()
        self.states = {space.name: ChannelState.of(space.width) for space in spaces.plastic()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the batch whose gradients are on the parameters now, and make every channel one batch older."""
        widths = self.spaces.all_widths()
        for member in self._members:
            self._add(member, widths)
        for state in self.states.values():
            state.batches += 1
            state.age += 1

    def forget(self) -> None:
        """Start measuring anew, after a change of structure."""
        for state in self.states.values():
            state.forget()

    def _add(self, member: Member, widths: Mapping[str, int]) -> None:
        """Add a member's saliency to the channels of every plastic space on its axis."""
        runs = [(segment, run) for segment, run in member.entries(widths) if segment.space in self.states]
        if not runs:
            return
        total: Tensor | None = None
        for _, value, axis in member.tensors(self.model.get_submodule(member.module)):
            if isinstance(value, nn.Parameter) and value.grad is not None:
                product = value * value.grad
                part = product.movedim(axis, 0).reshape(product.shape[axis], -1).sum(1)
                total = part if total is None else total + part
        if total is None:
            return
        gathered: dict[str, Tensor] = {}
        for segment, run in runs:
            part = total[run.start : run.stop].reshape(-1, segment.repeat).sum(1)
            gathered[segment.space] = gathered.get(segment.space, torch.zeros_like(part)) + part
        for space, channels in gathered.items():
            self.states[space].saliency += channels.abs()
