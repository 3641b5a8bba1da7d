"""Growth: channels are added where they matter most, without changing what the network computes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cgap.plasticity.cost import CostModel
from cgap.plasticity.saliency import ChannelState
from cgap.plasticity.spaces import Space, Spaces
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

    Granules go, one at a time, where the best channels' saliency is highest for the relative MACs and weights
    that a granule costs; spaces narrower than `floor` go before all others. No space grows by more than `rate`
    of its width (but at least one granule) in one event, nor beyond its capacity.
    """
    before = spaces.widths()
    widths = dict(before)
    whole = cost(before)
    while True:
        best: tuple[bool, float, str] | None = None
        for name, width in widths.items():
            limit = max(granule, int(rate * before[name]) // granule * granule)
            grown = {**widths, name: width + granule}
            after = cost(grown)
            if width + granule > min(before[name] + limit, capacity[name]) or after.macs > macs:
                continue
            now = cost(widths)
            price = (after.macs - now.macs) / whole.macs + (after.params - now.params) / whole.params
            top = states[name].score().topk(min(granule, before[name])).values.mean().item()
            worth = (width < floor, top / price, name)
            best = worth if best is None else max(best, worth)
        if best is None:
            return {name: width - before[name] for name, width in widths.items() if width > before[name]}
        widths[best[2]] += granule


def grow(
    model: nn.Module,
    space: Space,
    channels: int,
    *,
    state: ChannelState,
    generator: torch.Generator,
    optimizer: Optimizer | None = None,
    noise: float = 0.5,
) -> None:
    """Add `channels` (even) newborns to `space` in pairs that cancel: (V, V) in, (Z, -Z) out.

    Each pair has a parent among the most salient channels: V is its filter plus noise of `noise` times the
    filter's spread, at the parent's scale, and the pair shares a copy of the parent's batch norm, statistics
    included. Z is random at the scale of the consumer's weights. Twins have equal activations in train and eval
    mode, so the logits stay what they were, while Z and -Z give them opposite gradients that part them at once.
    Raises UserError if `channels` is odd or below two.
    """
    if channels < 2 or channels % 2:
        raise UserError(f"channel space {space.name}: newborns come in pairs, {channels} is not a number of pairs")
    ranked = state.score().argsort(descending=True, stable=True)
    parents = ranked[torch.arange(channels // 2) % space.width]
    fresh: dict[tuple[str, str], Tensor] = {}
    for member in space.members:
        module = model.get_submodule(member.module)
        for name, axis in member.tensors(module):
            value = getattr(module, name)
            if value is None:
                continue
            old = value.detach()
            if member.role == "consumer":
                fresh[member.module, name] = _opposite(old, axis, len(parents), member.repeat, generator)
            else:
                filters = old.index_select(0, parents)
                if member.role == "producer" and name == "weight":
                    filters = _vary(filters, noise, generator)
                fresh[member.module, name] = filters.repeat_interleave(2, dim=0)
    index = IndexMap.append(space.width, channels)
    surgery(model, space, index, optimizer=optimizer, state=state, fresh=fresh)


def _vary(filters: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Filters [n, ...] plus noise relative to each one's spread, brought back to the parents' scale."""
    spread = filters.flatten(1).std(dim=1, unbiased=False).reshape(-1, *[1] * (filters.dim() - 1))
    return (filters + noise * spread * torch.randn(filters.shape, generator=generator)) / (1 + noise**2) ** 0.5


def _opposite(weight: Tensor, axis: int, pairs: int, repeat: int, generator: torch.Generator) -> Tensor:
    """Consumer entries for `pairs` pairs along `axis`: Z, -Z, Z', -Z', ..., each `repeat` entries long."""
    shape = list(weight.movedim(axis, 0).shape[1:])
    z = torch.randn((pairs, 1, repeat, *shape), generator=generator) * weight.std(unbiased=False)
    return torch.cat([z, -z], dim=1).reshape(2 * pairs * repeat, *shape).movedim(0, axis)
