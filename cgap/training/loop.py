"""The training loop: seed, grow, prune, recover."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.progress import Progress, TaskID
from torch import nn

from cgap.data import Images
from cgap.plasticity import (
    IndexMap,
    Spaces,
    emptied,
    grow,
    plan_growth,
    plan_layer_pruning,
    plan_pruning,
    prune,
    prune_weights,
    zero_filters,
)
from cgap.training.averaging import accumulate, follow, network_of
from cgap.training.batches import Split, evaluation_batches, training_batches
from cgap.training.config import Config, PlasticitySection
from cgap.training.log import MetricsLog
from cgap.training.network import to_layout
from cgap.training.schedule import Event, Schedule
from cgap.training.state import RunState, load_run, save_checkpoint
from cgap.training.step import make_learner, require_finite, train_step


@dataclass(frozen=True)
class Accuracy:
    """Mean cross-entropy, and percent of images classified rightly."""

    loss: float
    percent: float


def train_epochs(
    config: Config, state: RunState, schedule: Schedule, split: Split, log: MetricsLog, folder: Path, progress: Progress
) -> None:
    """Run from `state` to the last epoch, with a metrics line and a checkpoint after each.

    Every worker does all of it; only the first writes.
    """
    epochs = config.optimiser.epochs
    steps = epochs * schedule.steps_per_epoch
    if state.epoch == 0 and state.workers.is_main:
        _say_what_is_fixed(state.spaces, progress)
    bar = progress.add_task("start", total=steps, completed=state.step, loss="", accuracy="", widths="")
    while state.epoch < epochs:
        wall, cpu = time.perf_counter(), time.process_time()
        trained = _train_epoch(config, state, schedule, split.train, log, (progress, bar))
        state.epoch += 1
        seconds = time.perf_counter() - wall
        network = network_of(config, state, split.train)
        held_out = evaluate(network, split.held_out)
        require_finite(held_out.loss, state)
        if state.epoch == epochs:
            state.model.load_state_dict(network.state_dict())
        state.wall_seconds += time.perf_counter() - wall
        state.cpu_seconds += time.process_time() - cpu
        images = schedule.steps_per_epoch * config.optimiser.batch_size
        log.append(
            {
                "epoch": state.epoch,
                "phase": schedule.phase(state.step - 1),
                "learning_rate": schedule.learning_rate(state.step - 1),
                "train_loss": trained.loss,
                "train_accuracy": trained.percent,
                "held_out_loss": held_out.loss,
                "held_out_accuracy": held_out.percent,
                "macs": state.cost.macs,
                "params": state.cost.params,
                "images_per_second": images / seconds,
                "seconds": seconds,
            }
        )
        if state.workers.is_main:
            save_checkpoint(folder / "checkpoint.pt", state, log.lines)


def _say_what_is_fixed(spaces: Spaces, progress: Progress) -> None:
    """Name the channel spaces that nobody asked to keep as they are, and why they must."""
    reasons: dict[str, list[str]] = {}
    for space in spaces:
        if space.fixed not in (None, "input", "output", "frozen"):
            reasons.setdefault(space.fixed, []).append(space.name)
    for reason, names in reasons.items():
        line = f"fixed in width: {', '.join(names)}: {reason}"
        progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def load_teacher(config: Config, epoch: int, device: torch.device | str = "cpu") -> nn.Module | None:
    """The network to learn from in this epoch, if any, of a run that `check_teacher` has let pass.

    Raises UserError if its run is not to be had.
    """
    if config.distillation is None or epoch < config.distillation.epoch:
        return None
    teacher, shape = load_run(config.run_folder(config.distillation.teacher), trust=True)
    return to_layout(teacher, shape).to(device).requires_grad_(False)


def _train_epoch(
    config: Config,
    state: RunState,
    schedule: Schedule,
    images: Images,
    log: MetricsLog,
    progress: tuple[Progress, TaskID],
) -> Accuracy:
    loss_sum, right, seen = 0.0, 0, 0
    workers, batch_size = state.workers, config.optimiser.batch_size
    teacher = load_teacher(config, state.epoch, workers.device)
    learner = make_learner(config, state, teacher)
    for x, labels in training_batches(images, config, state.epoch, state.generator, workers):
        if state.step in schedule.events:
            workers.average([channels.saliency for channels in state.saliency.states.values()])
            state.move(torch.device("cpu"))  # where newborns' random numbers come from
            happened = restructure(config, state, schedule.events[state.step])
            state.move(workers.device)
            log.append(happened)
            state.history.append(happened)
            learner = make_learner(config, state, teacher)
        for group in state.optimizer.param_groups:
            group["lr"] = schedule.learning_rate(state.step)
        loss, hits = train_step(config, state, x, labels, learner)
        state.step += 1
        if config.optimiser.ema:
            follow(state, config.optimiser.ema.decay)
        if schedule.averages(state.step):
            accumulate(state)
        loss_sum, right, seen = loss_sum + loss * batch_size, right + hits, seen + batch_size
        progress[0].update(
            progress[1],
            completed=state.step,
            description=f"epoch {state.epoch + 1}/{config.optimiser.epochs} {schedule.phase(state.step - 1)}",
            loss=f"{loss_sum / seen:.3f}",
            accuracy=f"{100 * right / seen:.1f} %",
            widths=short_widths(state.spaces.widths()) if config.plasticity else "",
        )
    return Accuracy(loss_sum / seen, 100 * right / seen)


def short_widths(widths: Mapping[str, int]) -> str:
    """All of up to twelve widths in the network's order; of more, the extremes and the sum."""
    values = list(widths.values())
    if len(values) <= 12:
        return "/".join(map(str, values))
    return f"{min(values)}..{max(values)}, {sum(values)} in all"


def restructure(config: Config, state: RunState, event: Event) -> dict[str, Any]:
    """Carry out one growth or pruning event; returns what happened, for the record."""
    assert config.plasticity is not None
    plastic, spaces, states = config.plasticity, state.spaces, state.saliency.states
    state.saliency.check()
    before = spaces.widths()
    zeroed: dict[str, int] = {}
    if event.kind == "grow":
        assert plastic.growth is not None
        grown = plan_growth(
            spaces,
            states,
            state.cost_model,
            macs=event.macs,
            rate=plastic.growth.rate,
            granule=plastic.granule,
            capacity=state.capacity,
            floor=plastic.pruning.min_width,
        )
        for name, channels in grown.items():
            grow(
                state.model,
                spaces,
                name,
                channels,
                state=states[name],
                generator=state.generator,
                optimizer=state.optimizer,
                masks=state.masks,
                noise=plastic.growth.noise,
                policy=plastic.growth.policy,
            )
    else:
        if plastic.pruning.weights:
            prune_weights(state.model, state.masks, event.weights)
            for name, empty in emptied(spaces, state.masks, plastic.pruning.weights.filter_share).items():
                states[name].saliency[empty] = 0
        plan = _plan(plastic, state, event)
        if event.kind == "zero":
            zero_filters(state.model, spaces, plan)
            zeroed = {name: before[name] - len(index.source) for name, index in plan.items()}
        else:
            prune(state.model, spaces, plan, states=states, optimizer=state.optimizer, masks=state.masks)
    state.saliency.forget()
    after, cost = spaces.widths(), state.cost
    changed = {name: [before[name], after[name]] for name in after if after[name] != before[name]}
    record = {
        "event": event.kind, "step": state.step, "changed": changed, "widths": after,
        "macs": cost.macs, "params": cost.params,
    }  # fmt: skip
    if cost.cycles:
        record["cycles"] = cost.cycles
    if event.kind == "zero":
        record["zeroed"] = zeroed
    if state.masks:
        record["masked"] = sum(int((~mask).sum()) for mask in state.masks.values())
    return record


def _plan(plastic: PlasticitySection, state: RunState, event: Event) -> dict[str, IndexMap]:
    """Which channels an event keeps."""
    limits = {
        "granule": plastic.granule,
        "min_width": plastic.pruning.min_width,
        "protected_age": plastic.pruning.protected_age,
    }
    spaces, states = state.spaces, state.saliency.states
    if plastic.pruning.ranking == "layer":
        return plan_layer_pruning(spaces, states, state.cost_model, event.budget, dense=state.dense_widths, **limits)
    return plan_pruning(spaces, states, state.cost_model, event.budget, **limits)


@torch.no_grad()
def evaluate(model: nn.Module, images: Images) -> Accuracy:
    """Float32 accuracy of `model` in eval mode."""
    model.eval()
    loss, right = 0.0, 0
    for x, labels in evaluation_batches(images, next(model.parameters()).device):
        logits = model(x)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
    return Accuracy(loss / len(images), 100 * right / len(images))
