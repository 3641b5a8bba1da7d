"""Structural plasticity: which channels belong together, what they are worth, and how to add and remove them."""

from cgap.plasticity.cost import Cost, CostModel
from cgap.plasticity.growth import grow, plan_growth
from cgap.plasticity.pruning import dead_channels, plan_pruning, prune
from cgap.plasticity.saliency import SALIENCIES, ChannelState, MemberSaliency, Saliency, TaylorSaliency, saliency_class
from cgap.plasticity.spaces import ChannelPad, Member, Segment, Space, Spaces
from cgap.plasticity.surgery import FRESH, IndexMap, resize_to, surgery
from cgap.plasticity.tracing import find_spaces

__all__ = [
    "FRESH",
    "SALIENCIES",
    "ChannelPad",
    "ChannelState",
    "Cost",
    "CostModel",
    "IndexMap",
    "Member",
    "MemberSaliency",
    "Saliency",
    "Segment",
    "Space",
    "Spaces",
    "TaylorSaliency",
    "dead_channels",
    "find_spaces",
    "grow",
    "plan_growth",
    "plan_pruning",
    "prune",
    "resize_to",
    "saliency_class",
    "surgery",
]
