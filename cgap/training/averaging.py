"""Stochastic weight averaging (Izmailov et al., 2018): a flatter, better optimum for a few epochs more."""

from __future__ import annotations

import copy

import torch
from torch import nn

from cgap.data import Images
from cgap.training.batches import evaluation_batches
from cgap.training.state import RunState

STATISTICS_IMAGES = 10_000
"""Training images that batch norms are re-estimated on."""


@torch.no_grad()
def accumulate(state: RunState) -> None:
    """Count the present weights into the running mean."""
    state.averaged += 1
    for name, parameter in state.model.named_parameters():
        if name in state.mean:
            state.mean[name] += (parameter - state.mean[name]) / state.averaged
        else:
            state.mean[name] = parameter.detach().clone()


@torch.no_grad()
def averaged_network(state: RunState, images: Images) -> nn.Module:
    """The network at its mean weights, its batch-norm statistics re-estimated on the first of `images`."""
    model = copy.deepcopy(state.model)
    for name, parameter in model.named_parameters():
        parameter.copy_(state.mean[name])
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    model.train()
    for x, _ in evaluation_batches(images[:STATISTICS_IMAGES]):
        model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
