"""The one operation that changes a width: an index map applied to everything a channel space indexes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cgap.plasticity.saliency import ChannelState
from cgap.plasticity.spaces import ChannelPad, Member, Space, Spaces
from cgap.plasticity.weights import Masks
from fpga_model.errors import UserError

FRESH = -1
"""Source of a channel that did not exist before."""

AVERAGE = "ema"
"""Key in the optimizer's state of a parameter's decayed sum; those of what goes with it begin with it."""

SQUARES = "exp_avg_sq"
"""Key in AdamW's state of a parameter's mean square gradient, by which a step is divided."""


@dataclass(frozen=True)
class IndexMap:
    """`source[new]` is the old channel that becomes channel `new`, or FRESH.

    `like` are the old channels from whose values the fresh ones start, in order; without it they start from
    zero. What has been learnt about a channel (momentum, saliency, age) is never copied to a fresh one.
    """

    source: tuple[int, ...]
    like: tuple[int, ...] | None = None

    @staticmethod
    def keep(channels: list[int]) -> IndexMap:
        """Keep these channels, in ascending order, and drop the others."""
        return IndexMap(tuple(sorted(channels)))

    @staticmethod
    def append(width: int, fresh: int, like: tuple[int, ...] | None = None) -> IndexMap:
        """Keep all `width` channels and add `fresh` new ones behind them."""
        return IndexMap((*range(width), *[FRESH] * fresh), like)

    def filled(self) -> IndexMap:
        """The map with the channels of `like` in place of fresh ones."""
        like = iter(self.like or ())
        return IndexMap(tuple(next(like, FRESH) if i == FRESH else i for i in self.source))

    def on(self, member: Member, space: str, widths: Mapping[str, int]) -> IndexMap:
        """This map of the channels of `space` as a map of the entries of a member's whole axis."""
        source: list[int] = []
        for segment, run in member.entries(widths):
            if segment.space != space:
                source += run
                continue
            for channel in self.source:
                first = run.start + channel * segment.repeat
                source += [FRESH] * segment.repeat if channel == FRESH else range(first, first + segment.repeat)
        return IndexMap(tuple(source))

    def remap(self, old: Tensor, axis: int, fill: float = 0.0) -> Tensor:
        """`old` with `axis` re-indexed; fresh entries are `fill`."""
        source = torch.tensor(self.source, dtype=torch.long, device=old.device)
        new = old.index_select(axis, source.clamp(min=0))
        new.index_fill_(axis, (source == FRESH).nonzero().flatten(), fill)
        if old.dim() == 4 and old.is_contiguous(memory_format=torch.channels_last):
            new = new.contiguous(memory_format=torch.channels_last)
        return new


@torch.no_grad()
def surgery(
    model: nn.Module,
    spaces: Spaces,
    name: str,
    index: IndexMap,
    *,
    optimizer: Optimizer | None = None,
    state: ChannelState | None = None,
    masks: Masks | None = None,
    averages: bool = False,
) -> None:
    """Re-index the channels of space `name` in parameters, buffers, optimizer state, saliency, ages and masks at once.

    Fresh channels start from those that `index.like` names, or from zero (one for running variances); their
    momentum, saliency and age start at zero, and none of their weights is masked. With `averages` the moving averages
    in the optimizer's state (see AVERAGE) are those of the channels that they start from, else they start at zero.
    The squares that AdamW divides by are always those: from zero a channel's first steps would be three times too long.
    The optimizer ends up holding the new parameters and none of the old ones.

    Raises UserError for a fixed space, an empty map or a source out of range.
    """
    space = spaces[name]
    _check(space, index)
    widths = spaces.all_widths()
    learnt, values = index, index.filled()
    for member in space.members:
        module = model.get_submodule(member.module)
        entries, moments = values.on(member, name, widths), learnt.on(member, name, widths)
        for tensor, old, axis in member.tensors(module):
            path = f"{member.module}.{tensor}"
            if masks and path in masks:
                masks[path] = moments.remap(masks[path], axis, True)
            new = entries.remap(old, axis, 1.0 if tensor == "running_var" else 0.0)
            if isinstance(old, nn.Parameter):
                parameter = nn.Parameter(new, requires_grad=old.requires_grad)
                setattr(module, tensor, parameter)
                if optimizer is not None:
                    _replace(optimizer, old, parameter, axis, moments, entries, averages)
            else:
                setattr(module, tensor, new)
        _update_width(module, member, len(entries.source))
    if state is not None:
        state.remap(index)
    space.width = len(index.source)


def _check(space: Space, index: IndexMap) -> None:
    if space.fixed:
        raise UserError(f"channel space {space.name} cannot be resized: {space.fixed}")
    if not index.source or not all(FRESH <= i < space.width for i in index.source):
        raise UserError(f"channel space {space.name}: index map {index.source} does not fit width {space.width}")
    if index.like is not None and (
        len(index.like) != index.source.count(FRESH) or not all(0 <= i < space.width for i in index.like)
    ):
        raise UserError(f"channel space {space.name}: {index.like} does not name one channel for each fresh one")


def resize_to(model: nn.Module, spaces: Spaces, widths: Mapping[str, int]) -> None:
    """Give spaces these widths, keeping first channels or adding copies of them: the shape that a checkpoint has.

    Raises UserError for an unknown or fixed space or a width below one.
    """
    for name, width in widths.items():
        if name not in spaces.spaces or width < 1:
            raise UserError(f"no channel space '{name}' that could have width {width} in this network")
        now = spaces[name].width
        if width != now:
            kept = min(width, now)
            copied = tuple(channel % now for channel in range(width - kept))
            surgery(model, spaces, name, IndexMap.append(kept, width - kept, copied))


def _replace(
    optimizer: Optimizer,
    old: nn.Parameter,
    new: nn.Parameter,
    axis: int,
    moments: IndexMap,
    entries: IndexMap,
    averages: bool,
) -> None:
    def like_values(key: str) -> bool:
        return key == SQUARES or (averages and key.startswith(AVERAGE))

    for group in optimizer.param_groups:
        for position, parameter in enumerate(group["params"]):
            if parameter is old:
                group["params"][position] = new
    if old in optimizer.state:
        values = optimizer.state.pop(old)
        optimizer.state[new] = {
            key: (entries if like_values(key) else moments).remap(value, axis)
            if isinstance(value, Tensor) and value.shape == old.shape
            else value
            for key, value in values.items()
        }


def _update_width(module: nn.Module, member: Member, entries: int) -> None:
    """Make the module's own idea of its width agree with its tensors."""
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d)):
        module.num_features = entries
    elif isinstance(module, nn.PReLU):
        module.num_parameters = entries
    elif isinstance(module, ChannelPad):
        module.extra = entries
    elif isinstance(module, nn.Linear):
        setattr(module, "in_features" if member.role == "consumer" else "out_features", entries)
    elif isinstance(module, nn.Conv2d) and member.role == "follower":
        module.in_channels = module.groups = entries // (module.out_channels // module.in_channels)
        module.out_channels = entries
    elif isinstance(module, nn.Conv2d):
        setattr(module, "in_channels" if member.role == "consumer" else "out_channels", entries * member.groups)
