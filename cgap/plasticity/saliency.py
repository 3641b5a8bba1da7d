"""What a channel is worth: five measures, each a class, summed over the batches since the last change of structure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cgap.boundary.imports import import_own
from fpga_model.errors import UserError

if TYPE_CHECKING:
    from cgap.plasticity.spaces import Member, Spaces
    from cgap.plasticity.surgery import IndexMap

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


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


class Saliency(ABC):
    """A measure by which channels are ranked, and what it has measured for every plastic space (`states`).

    A new one overrides `measure`, or derives from `MemberSaliency` and overrides `entries`.

    Attributes:
        sums: whether measurements are summed over batches; otherwise only the last batch counts, as for measures that
            read the weights.
        capturable: whether `measure` is always the same operations, all on the network's device, so that a CUDA graph
            can hold it.
    """

    sums = True
    capturable = False

    def __init__(self, model: nn.Module, spaces: Spaces, generator: torch.Generator | None = None) -> None:
        self.model = model
        self.spaces = spaces
        self.generator = generator
        self.states = {space.name: ChannelState.of(space.width) for space in spaces.plastic()}

    @abstractmethod
    def measure(self) -> Iterator[tuple[str, Tensor]]:
        """(plastic space, worth of each of its channels, float [width]) of the batch whose gradients are there now.

        A space may come several times: its values add up.
        """

    @torch.no_grad()
    def update(self) -> None:
        """Measure once, after a backward pass, and make every channel one batch older."""
        if not self.sums:
            self.forget()
        for space, worth in self.measure():
            total = self.states[space].saliency
            total += worth.to(total.device)
        for state in self.states.values():
            state.batches += 1
            state.age += 1

    def forget(self) -> None:
        """Start measuring anew, after a change of structure."""
        for state in self.states.values():
            state.forget()

    def check(self) -> None:
        """Raise UserError if a channel's worth is not a number: there is no order to grow or prune in."""
        for name, state in self.states.items():
            if not state.score().isfinite().all():
                raise UserError(
                    f"channel space {name}: its saliency is not finite; "
                    f"lower optimiser.learning_rate, lengthen its warm-up, or choose another plasticity.saliency"
                )


class MemberSaliency(Saliency):
    """One that is measured member by member: |sum over the channel's entries| of each, added up."""

    def __init__(self, model: nn.Module, spaces: Spaces, generator: torch.Generator | None = None) -> None:
        super().__init__(model, spaces, generator)
        self._members = [
            member for member in spaces.members() if any(segment.space in self.states for segment in member.segments)
        ]

    @abstractmethod
    def entries(self, member: Member, module: nn.Module) -> Tensor | None:
        """A value for every entry of the member's axis, [entries]; None if this member does not count."""

    def measure(self) -> Iterator[tuple[str, Tensor]]:
        """See `Saliency.measure`."""
        widths = self.spaces.all_widths()
        for member in self._members:
            values = self.entries(member, self.model.get_submodule(member.module))
            if values is not None:
                yield from self._channels(member, values, widths)

    def _channels(self, member: Member, values: Tensor, widths: Mapping[str, int]) -> Iterator[tuple[str, Tensor]]:
        """The channels of every plastic space on a member's axis."""
        gathered: dict[str, Tensor] = {}
        for segment, run in member.entries(widths):
            if segment.space in self.states:
                part = values[run.start : run.stop].reshape(-1, segment.repeat).sum(1)
                gathered[segment.space] = gathered.get(segment.space, torch.zeros_like(part)) + part
        for space, channels in gathered.items():
            yield space, channels.abs()


class TaylorSaliency(MemberSaliency):
    """The change of the loss, to first order, if a channel went: |sum w * dL/dw| over each member, added up.

    The sum runs over a member's weight and bias together, and batch norms are members like any other: a
    convolution under batch norm scores zero by itself, because its scale does not matter, so its channels are
    ranked by their batch norm and their consumers (Molchanov et al., 2019).
    """

    capturable = True

    def entries(self, member: Member, module: nn.Module) -> Tensor | None:
        """Sums of w * dL/dw."""
        total: Tensor | None = None
        for _, value, axis in member.tensors(module):
            if isinstance(value, nn.Parameter) and value.grad is not None:
                product = value * value.grad
                part = product.movedim(axis, 0).reshape(product.shape[axis], -1).sum(1)
                total = part if total is None else total + part
        return total


class MagnitudeSaliency(MemberSaliency):
    """The L1 norm of the filters that make a channel (Li et al., 2017)."""

    sums = False
    capturable = True
    order = 1

    def entries(self, member: Member, module: nn.Module) -> Tensor | None:
        """Norms of a producer's filters."""
        if member.role != "producer":
            return None
        weight = module.weight
        assert isinstance(weight, Tensor)
        return weight.flatten(1).norm(p=self.order, dim=1)


class EuclideanSaliency(MagnitudeSaliency):
    """The L2 norm of the filters that make a channel, as soft filter pruning ranks them (He et al., 2018)."""

    order = 2


class BatchNormSaliency(MemberSaliency):
    """The absolute scales of a channel's batch norms (Network Slimming: Liu et al., 2017).

    Raises UserError for a plastic space without a batch norm.
    """

    sums = False
    capturable = True

    def __init__(self, model: nn.Module, spaces: Spaces, generator: torch.Generator | None = None) -> None:
        super().__init__(model, spaces, generator)
        for space in spaces.plastic():
            norms = [model.get_submodule(member.module) for member in space.of("follower")]
            if not any(isinstance(norm, _NORMS) and norm.affine for norm in norms):
                raise UserError(
                    f"channel space {space.name} has no batch norm whose scales could rank its channels: "
                    f"name it in plasticity.frozen, or choose another plasticity.saliency"
                )

    def entries(self, member: Member, module: nn.Module) -> Tensor | None:
        """|gamma| of a batch norm."""
        return module.weight.abs() if isinstance(module, _NORMS) and module.affine else None


class ActivationSaliency(MemberSaliency):
    """The mean absolute activation of a channel behind its batch norms, or its producers where there are none.

    Hooks on the modules see the outputs of training steps only (those that keep gradients).
    """

    capturable = True

    def __init__(self, model: nn.Module, spaces: Spaces, generator: torch.Generator | None = None) -> None:
        super().__init__(model, spaces, generator)
        self._seen: dict[str, Tensor] = {}
        for member in self._members:
            module = model.get_submodule(member.module)
            followed = all(
                any(isinstance(model.get_submodule(m.module), _NORMS) for m in spaces[segment.space].of("follower"))
                for segment in member.segments
                if segment.space in self.states
            )
            if isinstance(module, _NORMS) or (member.role == "producer" and not followed):
                module.register_forward_hook(self._hook(member.module))

    def _hook(self, path: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(module: nn.Module, _inputs: object, output: Tensor) -> None:
            if module.training and output.requires_grad:
                self._seen[path] = output.detach().float().abs().transpose(0, 1).flatten(1).mean(1)

        return hook

    def entries(self, member: Member, module: nn.Module) -> Tensor | None:
        """What the last training step's forward pass put out there."""
        return self._seen.pop(member.module, None) if member.role != "consumer" else None


class RandomSaliency(Saliency):
    """Chance, drawn from the run's generator: what a measure has to beat."""

    sums = False

    def measure(self) -> Iterator[tuple[str, Tensor]]:
        """See `Saliency.measure`."""
        for name, state in self.states.items():
            yield name, torch.rand(len(state.saliency), generator=self.generator)


SALIENCIES: dict[str, type[Saliency]] = {
    "taylor": TaylorSaliency,
    "magnitude": MagnitudeSaliency,
    "euclidean": EuclideanSaliency,
    "batch_norm": BatchNormSaliency,
    "activation": ActivationSaliency,
    "random": RandomSaliency,
}


def saliency_class(name: str) -> type[Saliency]:
    """The measure of that name, or the user's own as MODULE:CLASS, imported from the working folder or the path.

    Raises UserError if there is none.
    """
    if name in SALIENCIES:
        return SALIENCIES[name]
    found = import_own("saliency", name)
    if not isinstance(found, type) or not issubclass(found, Saliency):
        raise UserError(f"saliency {name!r}: is not a class derived from cgap.plasticity.Saliency")
    return found
