"""Two-level pruning: single weights first, and then the filters most of whose weights are gone.

Masks, by parameter, are True where a weight is kept. They cover the filters that make plastic channels, and surgery
re-indexes them with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cgap.plasticity.spaces import Spaces

Masks = dict[str, Tensor]


def new_masks(model: nn.Module, spaces: Spaces) -> Masks:
    """Masks that keep everything."""
    paths = dict.fromkeys(member.module for space in spaces.plastic() for member in space.of("producer"))
    return {f"{p}.weight": torch.ones_like(model.get_parameter(f"{p}.weight"), dtype=torch.bool) for p in paths}


@torch.no_grad()
def prune_weights(model: nn.Module, masks: Masks, share: float) -> None:
    """Mask the smallest weights of all filters together, until `share` of those under masks are gone."""
    sizes = torch.cat([(model.get_parameter(path).abs() * mask).flatten() for path, mask in masks.items()])
    kept = torch.ones_like(sizes, dtype=torch.bool)
    kept[sizes.argsort(stable=True)[: int(share * len(sizes))]] = False
    for (path, mask), part in zip(masks.items(), kept.split([mask.numel() for mask in masks.values()]), strict=True):
        masks[path] = mask & part.reshape(mask.shape)
    apply_masks(model, masks)


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Make the masked weights zero, as after every optimiser step."""
    for path, mask in masks.items():
        model.get_parameter(path).mul_(mask)


def emptied(spaces: Spaces, masks: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Channels, bool [width] by plastic space, of whose filters at least `share` of the weights are gone."""
    found = {}
    for space in spaces.plastic():
        gone, all_ = torch.zeros(space.width), torch.zeros(space.width)
        for member in space.of("producer"):
            mask = masks[f"{member.module}.weight"].flatten(1)
            for run, _ in spaces.runs(member, space.name):
                rows = mask[run.start : run.stop].reshape(space.width, -1)
                gone += (~rows).sum(1)
                all_ += rows.shape[1]
        found[space.name] = (all_ > 0) & (gone >= share * all_)
    return found
