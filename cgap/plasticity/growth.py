"""Growth: channels are added where they matter most, without changing what the network computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cgap.plasticity.cost import CostModel
from cgap.plasticity.saliency import ChannelState
from cgap.plasticity.spaces import Member, Spaces
from cgap.plasticity.surgery import IndexMap, surgery
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
    noise: float = 0.5,
) -> None:
    """Add `channels` (even) newborns to space `name` in pairs that cancel: (V, V) in, (Z, -Z) out.

    Each pair has a parent among the most salient channels: V is its filter plus noise of `noise` times the
    filter's spread, at the parent's scale, and the pair shares a copy of the parent's batch norm, statistics
    included. Z is random at the scale of the consumer's weights. Twins have equal activations in train and eval
    mode, so the logits stay what they were, while Z and -Z give them opposite gradients that part them at once.
    Raises UserError if `channels` is odd or below two.
    """
    if channels < 2 or channels % 2:
        raise UserError(f"channel space {name}: newborns come in pairs, {channels} is not a number of pairs")
    ranked = state.score().argsort(descending=True, stable=True)
    width = spaces[name].width
    parents = ranked[torch.arange(channels // 2) % width].repeat_interleave(2).tolist()
    index = IndexMap.append(width, channels, tuple(parents))
    surgery(model, spaces, name, index, optimizer=optimizer, state=state)
    # A module whose outputs are in the space may read it, too: its new filters are made once its inputs are.
    for role in ("consumer", "producer"):
        for member in spaces[name].of(role):
            weight = model.get_submodule(member.module).weight
            assert isinstance(weight, nn.Parameter)
            for newborn, repeat in _newborn(member, name, width, spaces):
                if role == "consumer":
                    _oppose(weight.data.movedim(1, 0), newborn, repeat, generator)
                else:
                    _vary(weight.data, newborn, noise, generator)


def _newborn(member: Member, name: str, width: int, spaces: Spaces) -> Iterator[tuple[range, int]]:
    """The entries of channels `width` and up in every run of theirs on a member's axis, and how many each has."""
    for segment, run in member.entries(spaces.all_widths()):
        if segment.space == name:
            yield range(run.start + width * segment.repeat, run.stop), segment.repeat


def _vary(filters: Tensor, newborn: range, noise: float, generator: torch.Generator) -> None:
    """Twins [newborn, ...] get noise relative to their filter's spread and are brought back to its scale, in place."""
    twins = filters[newborn.start : newborn.stop]
    parents = twins[::2]
    spread = parents.flatten(1).std(dim=1, unbiased=False).reshape(-1, *[1] * (filters.dim() - 1))
    fresh = torch.randn(parents.shape, generator=generator)
    twins[:] = ((parents + noise * spread * fresh) / (1 + noise**2) ** 0.5).repeat_interleave(2, dim=0)


def _oppose(inputs: Tensor, newborn: range, repeat: int, generator: torch.Generator) -> None:
    """Inputs [newborn, ...], `repeat` a channel, become Z, -Z, Z', -Z', ... for channels in pairs, in place."""
    entries = inputs[newborn.start : newborn.stop]
    pairs = entries.unflatten(0, (-1, 2, repeat))
    fresh = torch.randn(pairs[:, 0].shape, generator=generator) * inputs.std(unbiased=False)
    entries[:] = torch.stack([fresh, -fresh], dim=1).flatten(0, 2)
