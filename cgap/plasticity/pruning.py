"""Pruning: whole channels, in granules of the accelerator's width, the least salient for what they cost first."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cgap.plasticity.cost import Cost, CostModel
from cgap.plasticity.saliency import ChannelState
from cgap.plasticity.spaces import Spaces
from cgap.plasticity.surgery import IndexMap, surgery


def plan_pruning(
    spaces: Spaces,
    states: Mapping[str, ChannelState],
    cost: CostModel,
    target: Cost,
    *,
    granule: int,
    min_width: int,
    protected_age: int,
) -> dict[str, IndexMap]:
    """Which channels to keep so that the cost is at most `target` in both MACs and weights, as far as possible.

    Granules go, one at a time, where the least saliency is lost for the relief bought; relief counts MACs and
    weights in proportion to how far each still is above its target. Channels younger than `protected_age` batches
    are not ranked, and no space falls below `min_width`. Only spaces that change are in the result.
    """
    kept = {name: _ascending(states[name], protected_age) for name in spaces.widths()}
    widths = spaces.widths()
    changed: set[str] = set()
    while True:
        now = cost(widths)
        excess = max(0, now.macs - target.macs) / now.macs, max(0, now.params - target.params) / now.params
        best: tuple[float, str] | None = None
        for name, width in widths.items():
            rankable, space = kept[name][0], spaces[name]
            step = space.granule(granule)
            if not any(excess) or (width - step) * space.groups < max(min_width, 1) or len(rankable) < step:
                continue
            after = cost({**widths, name: width - step})
            relief = excess[0] * (1 - after.macs / now.macs) + excess[1] * (1 - after.params / now.params)
            loss = states[name].score()[rankable[:step]].sum().item()
            best = min(best or (float("inf"), name), (loss / relief, name))
        if best is None:
            return {name: IndexMap.keep([*kept[name][0].tolist(), *kept[name][1].tolist()]) for name in sorted(changed)}
        name = best[1]
        step = spaces[name].granule(granule)
        kept[name] = (kept[name][0][step:], kept[name][1])
        widths[name] -= step
        changed.add(name)


def prune(
    model: nn.Module,
    spaces: Spaces,
    plan: Mapping[str, IndexMap],
    *,
    states: Mapping[str, ChannelState] | None = None,
    optimizer: Optimizer | None = None,
) -> None:
    """Carry out a plan: every space in it keeps the channels its index map names."""
    for name, index in plan.items():
        surgery(model, spaces, name, index, optimizer=optimizer, state=states[name] if states else None)


def dead_channels(model: nn.Module, spaces: Spaces, name: str) -> list[int]:
    """Channels of a space whose removal leaves the network's function as it is: all outgoing weights are zero."""
    space = spaces[name]
    alive = torch.zeros(space.width, dtype=torch.bool)
    for member in space.of("consumer"):
        weight = model.get_submodule(member.module).weight
        assert isinstance(weight, Tensor)
        used = (weight.detach() != 0).movedim(1, 0).flatten(1).any(1)
        for segment, run in member.entries(spaces.all_widths()):
            if segment.space == name:
                alive |= used[run.start : run.stop].reshape(-1, segment.repeat).any(1)
    return [] if not space.of("consumer") else (~alive).nonzero().flatten().tolist()


def _ascending(state: ChannelState, protected_age: int) -> tuple[Tensor, Tensor]:
    """(channels that may be ranked, least salient first; protected channels)."""
    order = state.score().argsort(stable=True)
    young = state.age[order] < protected_age
    return order[~young], order[young]
