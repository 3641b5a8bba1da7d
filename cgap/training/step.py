"""One optimiser step: loss, gradients, what channels are worth, new weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgap.plasticity import apply_masks, penalise_scales
from cgap.training.config import Config, DistillationSection
from cgap.training.state import RunState
from fpga_model.errors import UserError

Learner = Callable[[Tensor, Tensor], Tensor]
"""What a batch (x [N, C, H, W], labels int64 [N]) does up to the gradients; float64 [2], see `learn`."""


def train_step(
    config: Config, state: RunState, x: Tensor, labels: Tensor, learner: Learner | None = None
) -> tuple[float, int]:
    """One optimiser step on a worker's share of a batch; (loss, images classified rightly) of the whole batch.

    Raises UserError if the loss is not finite; the weights are then still those of the step before.
    """
    loss, hits = (learner or partial(learn, config, state, None))(x, labels).tolist()
    require_finite(loss, state)
    state.optimizer.step()
    apply_masks(state.model, state.masks)
    return loss, int(hits)


def make_learner(config: Config, state: RunState, teacher: nn.Module | None = None) -> Learner:
    """`learn` for as long as neither structure nor teacher changes; on one CUDA device it becomes a graph.

    Several processes, and saliencies that do not say they are `capturable`, go without.
    """
    learner = partial(learn, config, state, teacher)
    graphed = state.workers.device.type == "cuda" and state.workers.count == 1 and state.saliency.capturable
    return CudaGraph(learner) if graphed else learner


def learn(config: Config, state: RunState, teacher: nn.Module | None, x: Tensor, labels: Tensor) -> Tensor:
    """Gradients and saliency of a batch; (loss, images classified rightly) of the whole batch, float64 [2].

    Always the same operations on the same storage, and nothing that waits for the device, so that a CUDA graph can
    hold it. That is what the learning rate would break, which is why the optimiser's few launches come after it.
    """
    workers, plastic = state.workers, config.plasticity
    measuring = plastic is not None and state.epoch < plastic.pruning.end  # later nobody asks what channels are worth
    state.optimizer.zero_grad(set_to_none=True)
    state.model.train()
    network = state.model if measuring or state.compiled is None else state.compiled
    with autocast(config, workers.device):
        logits = network(x)
        taught = teacher(x) if teacher is not None else None  # whose parameters require no gradients
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=config.optimiser.label_smoothing)
    if taught is not None and config.distillation:
        loss = distil(loss, logits.float(), taught.float(), config.distillation)
    if workers.count > 1:
        loss = loss / workers.count
    loss.backward()
    measured = torch.stack([loss.detach().double(), (logits.argmax(1) == labels).sum().double()])
    workers.sum([p.grad for p in state.model.parameters() if p.grad is not None])
    workers.sum([measured])
    if plastic and measuring:
        state.saliency.update()
        if plastic.sparsity:
            penalise_scales(state.model, state.spaces, plastic.sparsity)
    return measured


def autocast(config: Config, device: torch.device) -> torch.autocast:
    """The precision that networks run in while training."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.run.precision == "bfloat16")


def distil(loss: Tensor, logits: Tensor, taught: Tensor, distillation: DistillationSection) -> Tensor:
    """The loss on the labels mixed with the divergence from the teacher's softened outputs."""
    t, weight = distillation.temperature, distillation.weight
    divergence = F.kl_div(
        F.log_softmax(logits / t, 1), F.log_softmax(taught.detach() / t, 1), reduction="batchmean", log_target=True
    )
    return (1 - weight) * loss + weight * t * t * divergence


def require_finite(loss: float, state: RunState) -> None:
    """Raise UserError if a loss is not a number to go on from."""
    if not math.isfinite(loss):
        raise UserError(
            f"the loss became {loss} at step {state.step}; what the epochs before it learnt is kept: go on from there "
            "at a lower rate with --resume --set optimiser.learning_rate=..."
        )


class CudaGraph:
    """A learner that is recorded in its fourth call and replayed from then on: one launch in place of thousands.

    The calls before it run as they are, on a stream of their own: that is when PyTorch and its libraries choose
    algorithms and set themselves up, which a recording must not contain.
    """

    WARM_UP = 3

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._calls = 0
        self._stream = torch.cuda.Stream()
        self._graph = torch.cuda.CUDAGraph()
        self._inputs: tuple[Tensor, Tensor]
        self._output: Tensor

    def __call__(self, x: Tensor, labels: Tensor) -> Tensor:
        """See `Learner`; every batch has the shape of the first."""
        self._calls += 1
        if self._calls <= self.WARM_UP:
            return self._beside(x, labels)
        if self._calls == self.WARM_UP + 1:
            self._inputs = x.clone(), labels.clone()
            with torch.cuda.graph(self._graph):
                self._output = self._learner(*self._inputs)
        for recorded, given in zip(self._inputs, (x, labels), strict=True):
            recorded.copy_(given)
        self._graph.replay()
        return self._output

    def _beside(self, x: Tensor, labels: Tensor) -> Tensor:
        present = torch.cuda.current_stream()
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            output = self._learner(x, labels)
        present.wait_stream(self._stream)
        return output
