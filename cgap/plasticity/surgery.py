"""The one operation that changes a width: an index map applied to everything a channel space indexes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cgap.plasticity.saliency import ChannelState
from cgap.plasticity.spaces import Role, Space, Spaces
from fpga_model.errors import UserError

FRESH = -1
"""Source of a channel that did not exist before."""


@dataclass(frozen=True)
class IndexMap:
    """`source[new]` is the old channel that becomes channel `new`, or FRESH."""

    source: tuple[int, ...]

    @staticmethod
    def keep(channels: list[int]) -> IndexMap:
        """Keep these channels, in ascending order, and drop the others."""
        return IndexMap(tuple(sorted(channels)))

    @staticmethod
    def append(width: int, fresh: int) -> IndexMap:
        """Keep all `width` channels and add `fresh` new ones behind them."""
        return IndexMap((*range(width), *[FRESH] * fresh))

    def remap(self, old: Tensor, axis: int, fill: Tensor | float = 0.0, repeat: int = 1) -> Tensor:
        """`old` with `axis` re-indexed; fresh entries take `fill` (a number, or a tensor of just those entries)."""
        source = torch.tensor(self.source, device=old.device)
        if repeat > 1:
            entries = source[:, None] * repeat + torch.arange(repeat, device=old.device)
            source = torch.where(source[:, None] == FRESH, FRESH, entries).flatten()
        new = old.index_select(axis, source.clamp(min=0))
        fresh = (source == FRESH).nonzero().flatten()
        if len(fresh):
            if isinstance(fill, Tensor):
                new.index_copy_(axis, fresh, fill.to(new.dtype))
            else:
                new.index_fill_(axis, fresh, fill)
        if old.dim() == 4 and old.is_contiguous(memory_format=torch.channels_last):
            new = new.contiguous(memory_format=torch.channels_last)
        return new


FreshValues = Mapping[tuple[str, str], Tensor]
"""(module, tensor name) -> the fresh channels' entries, shaped as the tensor with only those on the channels' axis."""


@torch.no_grad()
def surgery(
    model: nn.Module,
    space: Space,
    index: IndexMap,
    *,
    optimizer: Optimizer | None = None,
    state: ChannelState | None = None,
    fresh: FreshValues | None = None,
) -> None:
    """Re-index the channels of `space` in parameters, buffers, the optimizer's state, saliency and ages at once.

    Fresh channels get the values in `fresh`, or zero (one for running variances); their momentum, saliency and
    age start at zero. The optimizer ends up holding the new parameters and none of the old ones.
    Raises UserError for a fixed space, an empty map or a source out of range.
    """
    if space.fixed:
        raise UserError(f"channel space {space.name} cannot be resized: {space.fixed}")
    if not index.source or not all(FRESH <= i < space.width for i in index.source):
        raise UserError(f"channel space {space.name}: index map {index.source} does not fit width {space.width}")
    fresh = fresh or {}
    for member in space.members:
        module = model.get_submodule(member.module)
        for name, axis in member.tensors(module):
            old = getattr(module, name)
            if old is None:
                continue
            repeat = member.repeat if member.role == "consumer" else 1
            fill = fresh.get((member.module, name), 1.0 if name == "running_var" else 0.0)
            new = index.remap(old, axis, fill, repeat)
            if isinstance(old, nn.Parameter):
                parameter = nn.Parameter(new, requires_grad=old.requires_grad)
                setattr(module, name, parameter)
                if optimizer is not None:
                    _replace(optimizer, old, parameter, index, axis, repeat)
            else:
                setattr(module, name, new)
        _update_width(module, member.role, len(index.source) * member.repeat)
    if state is not None:
        state.remap(index)
    space.width = len(index.source)


def resize_to(model: nn.Module, spaces: Spaces, widths: Mapping[str, int]) -> None:
    """Give spaces these widths, keeping first channels or adding zero ones: the shape into which a checkpoint loads.

    Raises UserError for an unknown or fixed space or a width below one.
    """
    for name, width in widths.items():
        if name not in spaces.spaces or width < 1:
            raise UserError(f"no channel space '{name}' that could have width {width} in this network")
        space = spaces[name]
        if width != space.width:
            kept = min(width, space.width)
            surgery(model, space, IndexMap.append(kept, width - kept))


def _replace(
    optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, index: IndexMap, axis: int, repeat: int
) -> None:
    for group in optimizer.param_groups:
        for position, parameter in enumerate(group["params"]):
            if parameter is old:
                group["params"][position] = new
    if old in optimizer.state:
        values = optimizer.state.pop(old)
        optimizer.state[new] = {
            key: index.remap(value, axis, repeat=repeat)
            if isinstance(value, Tensor) and value.shape == old.shape
            else value
            for key, value in values.items()
        }


def _update_width(module: nn.Module, role: Role, width: int) -> None:
    """Make the module's own idea of its width agree with its tensors."""
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        module.num_features = width
    elif isinstance(module, nn.Conv2d):
        setattr(module, "in_channels" if role == "consumer" else "out_channels", width)
    elif isinstance(module, nn.Linear):
        setattr(module, "in_features" if role == "consumer" else "out_features", width)
