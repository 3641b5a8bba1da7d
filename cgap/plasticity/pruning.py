"""Pruning: whole channels, in granules of the accelerator's width, the least salient for what they cost first."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cgap.plasticity.cost import Budget, CostModel
from cgap.plasticity.saliency import ChannelState
from cgap.plasticity.spaces import Spaces
from cgap.plasticity.surgery import IndexMap, surgery
from cgap.plasticity.weights import Masks


def plan_pruning(
    spaces: Spaces,
    states: Mapping[str, ChannelState],
    cost: CostModel,
    target: Budget,
    *,
    granule: int,
    min_width: int,
    protected_age: int,
) -> dict[str, IndexMap]:
    """Which channels to keep so that the cost is at most `target` in all it limits, as far as possible.

    Granules go, one at a time, where the least saliency is lost for the relief bought; relief counts MACs, weights
    and cycles in proportion to how far each still is above its target. Channels younger than `protected_age` batches
    are not ranked, and no space falls below `min_width`. Only spaces that change are in the result.
    """
    kept = {name: _ascending(states[name], protected_age) for name in spaces.widths()}
    widths = spaces.widths()
    while True:
        now = cost(widths)
        excess = now.over(target)
        best: tuple[float, str] | None = None
        for name, width in widths.items():
            rankable, space = kept[name][0], spaces[name]
            step = space.granule(granule)
            if not any(excess) or (width - step) * space.groups < max(min_width, 1) or len(rankable) < step:
                continue
            after = cost({**widths, name: width - step})
            relief = excess[0] * (1 - after.macs / now.macs) + excess[1] * (1 - after.params / now.params)
            relief += excess[2] * (1 - after.cycles / now.cycles) if excess[2] else 0
            loss = states[name].score()[rankable[:step]].sum().item()
            best = min(best or (math.inf, name), (loss / relief if relief > 0 else math.inf, name))
        if best is None:
            return _kept(spaces, kept)
        name = best[1]
        step = spaces[name].granule(granule)
        kept[name] = (kept[name][0][step:], kept[name][1])
        widths[name] -= step


def plan_layer_pruning(
    spaces: Spaces,
    states: Mapping[str, ChannelState],
    cost: CostModel,
    target: Budget,
    *,
    granule: int,
    min_width: int,
    protected_age: int,
    dense: Mapping[str, int],
) -> dict[str, IndexMap]:
    """`plan_pruning`, but every space keeps the same share of its `dense` width, to the nearest granule.

    The share is the largest that is within the target; the least salient channels of each space go.
    """
    kept = {name: _ascending(states[name], protected_age) for name in spaces.widths()}
    steps = {name: spaces[name].granule(granule) for name in kept}
    falls: dict[str, list[float]] = {}  # the shares below which a space loses its 1st, 2nd, ... granule
    for name, width in spaces.widths().items():
        spare = min(width - -(-max(min_width, 1) // spaces[name].groups), len(kept[name][0]))
        falls[name] = [(width - (n + 0.5) * steps[name]) / dense[name] for n in range(spare // steps[name])]
    lost: dict[str, int] = {}
    for share in (math.inf, *sorted({fall for each in falls.values() for fall in each}, reverse=True)):
        lost = {name: steps[name] * sum(fall >= share for fall in each) for name, each in falls.items()}
        if not any(cost({name: width - lost[name] for name, width in spaces.widths().items()}).over(target)):
            break
    return _kept(spaces, {name: (ranked[lost[name] :], young) for name, (ranked, young) in kept.items()})


def _kept(spaces: Spaces, kept: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, IndexMap]:
    """Index maps of the spaces that lose channels."""
    left = {name: [*ranked.tolist(), *young.tolist()] for name, (ranked, young) in sorted(kept.items())}
    return {name: IndexMap.keep(channels) for name, channels in left.items() if len(channels) < spaces[name].width}


def least_widths(spaces: Spaces, granule: int, min_width: int) -> dict[str, int]:
    """The widths at which nothing more can be pruned."""
    least = {}
    for space in spaces.plastic():
        step = space.granule(granule)
        least[space.name] = (
            space.width - max(0, space.width * space.groups - max(min_width, 1)) // (step * space.groups) * step
        )
    return least


def prune(
    model: nn.Module,
    spaces: Spaces,
    plan: Mapping[str, IndexMap],
    *,
    states: Mapping[str, ChannelState] | None = None,
    optimizer: Optimizer | None = None,
    masks: Masks | None = None,
) -> None:
    """Carry out a plan: every space in it keeps the channels its index map names."""
    for name, index in plan.items():
        surgery(model, spaces, name, index, optimizer=optimizer, state=states[name] if states else None, masks=masks)


@torch.no_grad()
def zero_filters(model: nn.Module, spaces: Spaces, plan: Mapping[str, IndexMap]) -> None:
    """Carry out a plan softly (He et al., 2018): the filters of channels it drops become zero, and go on learning."""
    for name, index in plan.items():
        gone = sorted(set(range(spaces[name].width)) - set(index.source))
        for member in spaces[name].of("producer"):
            for tensor, value, _ in member.tensors(model.get_submodule(member.module)):
                if tensor in ("weight", "bias"):
                    for run, repeat in spaces.runs(member, name):
                        value[run.start : run.stop].unflatten(0, (-1, repeat))[gone] = 0


def penalise_scales(model: nn.Module, spaces: Spaces, strength: float) -> None:
    """Add the subgradient of an L1 penalty on plastic channels' batch-norm scales to their gradients.

    The training side of Network Slimming (Liu et al., 2017).
    """
    for member in dict.fromkeys(member for space in spaces.plastic() for member in space.of("follower")):
        norm = model.get_submodule(member.module)
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) and norm.affine and norm.weight.grad is not None:
            for segment, run in member.entries(spaces.all_widths()):
                if spaces[segment.space].fixed is None:
                    part = slice(run.start, run.stop)
                    norm.weight.grad[part] += strength * norm.weight.detach()[part].sign()


def dead_channels(model: nn.Module, spaces: Spaces, name: str) -> list[int]:
    """Channels of a space whose removal leaves the network's function as it is: all outgoing weights are zero."""
    space = spaces[name]
    alive = torch.zeros(space.width, dtype=torch.bool)
    for member in space.of("consumer"):
        weight = model.get_submodule(member.module).weight
        assert isinstance(weight, Tensor)
        used = (weight.detach() != 0).movedim(1, 0).flatten(1).any(1)
        for run, repeat in spaces.runs(member, name):
            alive |= used[run.start : run.stop].reshape(-1, repeat).any(1)
    return [] if not space.of("consumer") else (~alive).nonzero().flatten().tolist()


def _ascending(state: ChannelState, protected_age: int) -> tuple[Tensor, Tensor]:
    """(channels that may be ranked, least salient first; protected channels)."""
    order = state.score().argsort(stable=True)
    young = state.age[order] < protected_age
    return order[~young], order[young]
