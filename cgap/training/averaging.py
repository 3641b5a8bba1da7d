"""Averages of a run's weights, which generalise better than the last ones.

Stochastic weight averaging (Izmailov et al., 2018) is the plain mean over a walk at the end, when the structure stays.
The exponential moving average goes along from the first step, so it must follow every surgery. It is part of the
optimizer's state, which surgery re-indexes: for each entry of a parameter a decayed sum and the weight of what is in
it, both zero for a newborn, so that an entry's average is over its own life. A batch norm's running statistics are
averaged alike; they have the shape of its scale and are kept there.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cgap.data import Images
from cgap.plasticity import apply_masks
from cgap.training.batches import evaluation_batches
from cgap.training.config import Config
from cgap.training.state import EMA_WEIGHT, RunState

STATISTICS_IMAGES = 10_000
"""Training images that batch norms are re-estimated on."""


def network_of(config: Config, state: RunState, images: Images) -> nn.Module:
    """The network that a run would end with now; batch norms may be re-estimated on training `images`."""
    if config.optimiser.ema:
        model = moving_average(state)
    elif state.averaged:
        model = averaged_network(state, images)
    else:
        return state.model
    apply_masks(model, state.masks)  # an average remembers weights from before they were masked
    return model


@torch.no_grad()
def follow(state: RunState, decay: float) -> None:
    """Count the present weights and batch-norm statistics into their exponential moving averages."""
    sums: list[Tensor] = []
    values: list[Tensor] = []
    for module in state.model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            kept = state.optimizer.state[parameter]
            counted = {"ema": parameter, **(_statistics(module) if name == "weight" else {})}
            for key, value in counted.items():
                sums.append(kept.setdefault(key, torch.zeros_like(value)))
                values.append(value)
            weight = kept.setdefault(EMA_WEIGHT, torch.zeros_like(parameter))
            sums.append(weight)
            values.append(torch.ones_like(weight))
    torch._foreach_mul_(sums, decay)
    torch._foreach_add_(sums, values, alpha=1 - decay)


@torch.no_grad()
def moving_average(state: RunState) -> nn.Module:
    """The network at the exponential moving averages of its weights and batch-norm statistics, in eval mode."""
    model = copy.deepcopy(state.model)
    for path, module in state.model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            kept, average = state.optimizer.state[parameter], model.get_submodule(path)
            getattr(average, name).copy_(kept["ema"] / kept[EMA_WEIGHT])
            if name == "weight":
                for key, value in _statistics(average).items():
                    value.copy_(kept[key] / kept[EMA_WEIGHT])
    return model.eval()


def _statistics(module: nn.Module) -> Mapping[str, Tensor]:
    """A batch norm's running statistics, [width], under the names of their averages."""
    if not isinstance(module, _BatchNorm) or module.running_mean is None:
        return {}
    return {"ema_mean": module.running_mean, "ema_var": module.running_var}


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
    for x, _ in evaluation_batches(images[:STATISTICS_IMAGES], state.workers.device):
        model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
