"""Structural plasticity: which channels belong together, what they are worth, and how to add and remove them."""

from cgap.plasticity.cost import Budget, Cost, CostModel
from cgap.plasticity.growth import grow, plan_growth
from cgap.plasticity.pruning import (
    dead_channels,
    least_widths,
    penalise_scales,
    plan_layer_pruning,
    plan_pruning,
    prune,
    zero_filters,
)
from cgap.plasticity.saliency import SALIENCIES, ChannelState, MemberSaliency, Saliency, TaylorSaliency, saliency_class
from cgap.plasticity.spaces import ChannelPad, Member, Segment, Space, Spaces
from cgap.plasticity.surgery import FRESH, IndexMap, resize_to, surgery
from cgap.plasticity.tracing import find_spaces
from cgap.plasticity.weights import Masks, apply_masks, emptied, new_masks, prune_weights

__all__ = [
    "FRESH",
    "SALIENCIES",
    "Budget",
    "ChannelPad",
    "ChannelState",
    "Cost",
    "CostModel",
    "IndexMap",
    "Masks",
    "Member",
    "MemberSaliency",
    "Saliency",
    "Segment",
    "Space",
    "Spaces",
    "TaylorSaliency",
    "apply_masks",
    "dead_channels",
    "emptied",
    "find_spaces",
    "grow",
    "least_widths",
    "new_masks",
    "penalise_scales",
    "plan_growth",
    "plan_layer_pruning",
    "plan_pruning",
    "prune",
    "prune_weights",
    "resize_to",
    "saliency_class",
    "surgery",
    "zero_filters",
]
