"""Saliency and pruning beside Torch-Pruning: the same trained ResNet, the same batches, the same MACs; time and result.

    python -m benchmarks.pruning runs/resnet20_dense [--batches 50] [--macs 0.5]

RUN is a finished dense run of a CIFAR ResNet. Both sides rank by first-order Taylor saliency over the same batches of
training images and prune inner widths in granules of 4: the residual widths stay, because Torch-Pruning
breaks padding shortcuts. Nothing is trained afterwards; accuracy is of the held-out images at once, and after the batch
norms' statistics have been measured anew on the same batches. Needs the extras `train` and `peers`.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
import torch_pruning
from torch import Tensor, nn

from benchmarks.flow import cpu_seconds
from cgap.plasticity import Budget, Cost, CostModel, TaylorSaliency, find_spaces, plan_pruning, prune
from cgap.training.batches import load_split, training_batches
from cgap.training.config import load_config
from cgap.training.loop import evaluate
from cgap.training.state import load_run

GRANULE, MIN_WIDTH = 4, 8
Batches = Sequence[tuple[Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--macs", type=float, default=0.5, help="of the dense network's, at most")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(arguments.run / "config.toml")
    split = load_split(config.data)
    batches = list(
        islice(training_batches(split.train, config, 0, torch.Generator().manual_seed(0)), arguments.batches)
    )
    dense, _ = load_run(arguments.run)
    cost = _cost(dense)
    print(
        f"dense: {cost.macs:,} MACs, {evaluate(dense, split.held_out).percent:.2f} % of {len(split.held_out):,} images"
    )
    for name, cut in {"cgap": cut_by_cgap, "Torch-Pruning": cut_by_torch_pruning}.items():
        model = copy.deepcopy(dense)
        seconds = cut(model, batches, arguments.macs * cost.macs)
        after, at_once = _cost(model), evaluate(model, split.held_out).percent
        measure_statistics(model, batches)
        print(
            f"{name:14} {after.macs:,} MACs, {after.params:,} weights; held out {at_once:.2f} % at once, "
            f"{evaluate(model, split.held_out).percent:.2f} % with statistics measured anew; CPU s: "
            + ", ".join(f"{part} {value:.2f}" for part, value in seconds.items())
        )


def cut_by_cgap(model: nn.Module, batches: Batches, macs: float) -> dict[str, float]:
    """Prune `model` in place with cgap; CPU seconds of each part."""
    spaces = find_spaces(model, tuple(batches[0][0].shape[1:]))
    tracing = cpu_seconds(lambda: find_spaces(model, tuple(batches[0][0].shape[1:])))
    spaces.freeze(("stem.conv", "*.conv2*"), "residual")
    cost_model, saliency = CostModel(model, spaces), TaylorSaliency(model, spaces)
    seconds = {"tracing": tracing, "saliency": 0.0}

    def rank() -> None:
        seconds["saliency"] += cpu_seconds(saliency.update)

    seconds["gradients"] = cpu_seconds(lambda: backward(model, batches, rank)) - seconds["saliency"]

    def cut() -> None:
        target = Budget(macs=int(macs))
        plan = plan_pruning(
            spaces, saliency.states, cost_model, target, granule=GRANULE, min_width=MIN_WIDTH, protected_age=0
        )
        prune(model, spaces, plan)

    seconds["pruning"] = cpu_seconds(cut)
    return seconds


def cut_by_torch_pruning(model: nn.Module, batches: Batches, macs: float) -> dict[str, float]:
    """Prune `model` in place with Torch-Pruning; CPU seconds of each part."""
    inner = {id(m) for name, m in model.named_modules() if name.endswith("conv1")}
    ignored = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and id(m) not in inner]
    model.train()
    model.zero_grad()
    plain = cpu_seconds(lambda: backward(model, batches, lambda: None, keep=True))
    pruner: torch_pruning.pruner.MetaPruner

    def trace() -> None:
        nonlocal pruner
        pruner = torch_pruning.pruner.MetaPruner(
            model,
            batches[0][0][:1],
            importance=torch_pruning.importance.TaylorImportance(),
            global_pruning=True,
            pruning_ratio=0.9,
            max_pruning_ratio=0.5,  # 8 of 16 channels; wider layers may keep as few
            iterative_steps=100,
            round_to=GRANULE,
            ignored_layers=ignored,
        )

    def cut() -> None:
        while _cost(model).macs > macs and pruner.current_step < pruner.iterative_steps:
            pruner.step()

    tracing = cpu_seconds(trace)
    return {"gradients": plain, "tracing": tracing, "saliency and pruning": cpu_seconds(cut)}


def backward(model: nn.Module, batches: Batches, after: Callable[[], None], keep: bool = False) -> None:
    """Gradients of every batch, `after` each; summed over the batches where they are kept."""
    model.train()
    for x, labels in batches:
        if not keep:
            model.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        after()


@torch.no_grad()
def measure_statistics(model: nn.Module, batches: Batches) -> None:
    """Set batch-norm statistics to their means over the batches."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    model.train()
    for x, _ in batches:
        model(x)


def _cost(model: nn.Module) -> Cost:
    return CostModel(model, find_spaces(model))({})


if __name__ == "__main__":
    main()
