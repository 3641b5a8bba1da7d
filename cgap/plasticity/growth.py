"""Growth: channels are added where they matter most, without changing what the network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cgap.plasticity.cost import CostModel
from cgap.plasticity.saliency import ChannelState
from cgap.plasticity.spaces import Member, Spaces
from cgap.plasticity.surgery import AVERAGE, IndexMap, surgery
from cgap.plasticity.weights import Masks
from fpga_model.errors import UserError


def plan_growth(
    spaces: Spaces,
    states: Mapping[str, ChannelState],
    cost: CostModel,
    *,
    macs: float,
    rate: float,
    granule: int,
    capacity: Mapping[str, int],
    floor: int = 0,
) -> dict[str, int]:
    """Fresh channels for each space, whole granules, such that the network's MACs end up below `macs`.

    Granules (of actual channels) go, one at a time, where the best channels' saliency is highest for the relative
    MACs and weights that a granule costs; spaces narrower than `floor` go before all others. No space grows by more
    than `rate` of its width (but at least one granule) in one event, nor beyond its capacity.
    """
    before = spaces.widths()
    widths = dict(before)
    whole = cost(before)
    steps = {name: 2 * -(-spaces[name].granule(granule) // 2) for name in before}
    while True:
        best: tuple[bool, float, str] | None = None
        for name, width in widths.items():
            step = steps[name]
            limit = max(step, int(rate * before[name]) // step * step)
            grown = {**widths, name: width + step}
            after = cost(grown)
            if width + step > min(before[name] + limit, capacity[name]) or after.macs > macs:
                continue
            now = cost(widths)
            price = (after.macs - now.macs) / whole.macs + (after.params - now.params) / whole.params
            top = states[name].score().topk(min(step, before[name])).values.mean().item()
            worth = (width * spaces[name].groups < floor, top / price, name)
            best = worth if best is None else max(best, worth)
        if best is None:
            return {name: width - before[name] for name, width in widths.items() if width > before[name]}
        widths[best[2]] += steps[best[2]]


def grow(
    model: nn.Module,
    spaces: Spaces,
    name: str,
    channels: int,
    *,
    state: ChannelState,
    generator: torch.Generator,
    optimizer: Optimizer | None = None,
    masks: Masks | None = None,
    noise: float | None = None,
    policy: str = "pairs",
) -> None:
    """Add `channels` newborns to space `name`, children of its most salient channels, as one of `POLICIES`.

    They begin as copies of their parents, batch norms with their statistics included, and the policy makes them
    differ, by `noise` or as much as is usual for it. Raises UserError for a number of channels that the policy cannot
    make.
    """
    chosen = POLICIES[policy]
    if channels < chosen.litter or channels % chosen.litter:
        raise UserError(f"channel space {name}: newborns come in pairs, {channels} is not a number of pairs")
    ranked = state.score().argsort(descending=True, stable=True)
    width = spaces[name].width
    parents = ranked[torch.arange(channels // chosen.litter) % width].repeat_interleave(chosen.litter).tolist()
    index = IndexMap.append(width, channels, tuple(parents))
    inherits = chosen.inherits
    surgery(model, spaces, name, index, optimizer=optimizer, state=state, masks=masks, averages=inherits)
    sums = _moving_sums(optimizer) if inherits and optimizer is not None else {}
    chosen.differ(model, spaces, name, parents, chosen.noise if noise is None else noise, generator, sums)


def _pairs(
    model: nn.Module,
    spaces: Spaces,
    name: str,
    parents: list[int],
    noise: float,
    generator: torch.Generator,
    sums: Mapping[nn.Parameter, Tensor],
) -> None:
    """Twins that cancel: (V, V) in, (Z, -Z) out.

    V is the parent's filter plus noise of `noise` times its spread, at its scale; Z is random at the scale of the
    consumer's weights. Twins have equal activations in train and eval mode, so the logits stay what they were,
    while Z and -Z give them opposite gradients that part them at once.
    """
    width = spaces[name].width - len(parents)
    # A module whose outputs are in the space may read it, too: its new filters are made once its inputs are.
    for role in ("consumer", "producer"):
        for member in spaces[name].of(role):
            weight = model.get_submodule(member.module).weight
            assert isinstance(weight, nn.Parameter)
            for _, newborn, repeat in _newborn(member, name, width, spaces):
                if role == "consumer":
                    _oppose(weight.data.movedim(1, 0), newborn, repeat, generator)
                else:
                    _vary(weight.data, newborn, noise, generator)


def _split(
    model: nn.Module,
    spaces: Spaces,
    name: str,
    parents: list[int],
    noise: float,
    generator: torch.Generator,
    sums: Mapping[nn.Parameter, Tensor],
) -> None:
    """A parent and its copy share what the consumers read from it, each weight in a ratio of its own.

    Both have the parent's activation in train and eval mode, so the logits stay what they were. The ratios are
    even up to `noise`; without noise the two would stay one for good. Filters are not rescaled: behind a batch norm
    their scale does not matter, and elsewhere activations need not be linear in it. Moving averages are divided
    alike, so that the network at its averages stays what it was, too.
    """
    _divide(model, spaces, name, parents, noise, generator, sums)


NAIVE_SCALE = 0.5
"""Of a naive newborn's filter, to its parent's."""


def _naive(
    model: nn.Module,
    spaces: Spaces,
    name: str,
    parents: list[int],
    noise: float,
    generator: torch.Generator,
    sums: Mapping[nn.Parameter, Tensor],
) -> None:
    """The split that forgets the statistics: a scaled copy plus noise behind a batch norm that was not rescaled.

    In train mode batch norm hides the scale; in eval mode the logits change. Kept to show that.
    """
    _divide(model, spaces, name, parents, 0.0, generator, sums)
    width = spaces[name].width - len(parents)
    for member in spaces[name].of("producer"):
        for tensor, value, _ in member.tensors(model.get_submodule(member.module)):
            for _, newborn, _ in _newborn(member, name, width, spaces):
                filters = value.data[newborn.start : newborn.stop]
                if tensor == "weight":
                    filters += noise * _spread(filters) * torch.randn(filters.shape, generator=generator)
                filters *= NAIVE_SCALE


@dataclass(frozen=True)
class Policy:
    """How many children a parent has at once, what makes them differ from it and from each other, and how much.

    `inherits` says whether they start from their parent's moving averages, or with none.
    """

    litter: int
    differ: Callable[[nn.Module, Spaces, str, list[int], float, torch.Generator, Mapping[nn.Parameter, Tensor]], None]
    noise: float
    inherits: bool = False


POLICIES = {
    "pairs": Policy(2, _pairs, 2.0),
    "split": Policy(1, _split, 0.5, inherits=True),
    "naive": Policy(1, _naive, 0.5),
}


def _moving_sums(optimizer: Optimizer) -> dict[nn.Parameter, Tensor]:
    """The decayed sum of every parameter that has a moving average."""
    return {parameter: values[AVERAGE] for parameter, values in optimizer.state.items() if AVERAGE in values}


def _divide(
    model: nn.Module,
    spaces: Spaces,
    name: str,
    parents: list[int],
    noise: float,
    generator: torch.Generator,
    sums: Mapping[nn.Parameter, Tensor],
) -> None:
    """Divide every consumer's weights for a parent between it and its child, and their moving sums in `sums` alike."""
    width = spaces[name].width - len(parents)
    for member in spaces[name].of("consumer"):
        weight = model.get_submodule(member.module).weight
        assert isinstance(weight, nn.Parameter)
        divided = [tensor.movedim(1, 0) for tensor in (weight.data, sums.get(weight)) if tensor is not None]
        for start, newborn, repeat in _newborn(member, name, width, spaces):
            for child, parent in zip(range(newborn.start, newborn.stop, repeat), parents, strict=True):
                shape = divided[0][child : child + repeat].shape
                ratio = (1 + noise * (2 * torch.rand(shape, generator=generator) - 1)) / 2
                for inputs in divided:
                    old = inputs[start + parent * repeat : start + (parent + 1) * repeat]
                    inputs[child : child + repeat] = ratio * old
                    old -= inputs[child : child + repeat]


def _newborn(member: Member, name: str, width: int, spaces: Spaces) -> Iterator[tuple[int, range, int]]:
    """Each run of a space on a member's axis: its start, the entries of channels `width` and up, entries a channel."""
    for run, repeat in spaces.runs(member, name):
        yield run.start, range(run.start + width * repeat, run.stop), repeat


def _spread(filters: Tensor) -> Tensor:
    """Standard deviation of each filter's weights, [filters, 1, ...]."""
    return filters.flatten(1).std(dim=1, unbiased=False).reshape(-1, *[1] * (filters.dim() - 1))


def _vary(filters: Tensor, newborn: range, noise: float, generator: torch.Generator) -> None:
    """Twins [newborn, ...] get noise relative to their filter's spread and are brought back to its scale, in place."""
    twins = filters[newborn.start : newborn.stop]
    parents = twins[::2]
    fresh = torch.randn(parents.shape, generator=generator)
    twins[:] = ((parents + noise * _spread(parents) * fresh) / (1 + noise**2) ** 0.5).repeat_interleave(2, dim=0)


def _oppose(inputs: Tensor, newborn: range, repeat: int, generator: torch.Generator) -> None:
    """Inputs [newborn, ...], `repeat` a channel, become Z, -Z, Z', -Z', ... for channels in pairs, in place."""
    entries = inputs[newborn.start : newborn.stop]
    pairs = entries.unflatten(0, (-1, 2, repeat))
    fresh = torch.randn(pairs[:, 0].shape, generator=generator) * inputs.std(unbiased=False)
    entries[:] = torch.stack([fresh, -fresh], dim=1).flatten(0, 2)
