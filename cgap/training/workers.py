"""Where a run computes: on which device, with how many threads, and together with which processes of torchrun."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cgap.training.config import RunSection
from fpga_model.errors import UserError

_MOST_THREADS = torch.get_num_threads()
"""What PyTorch would take: a thread for each core that this process may use, or what OMP_NUM_THREADS says."""


@dataclass(frozen=True)
class Workers:
    """The `count` processes that train one network together, of which this is number `rank`, on `device`.

    All hold the same state and draw the same random numbers; each learns from its share of every batch, and what they
    learn is summed before it is used, so that all take the same steps and decisions. Only the first writes.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come as far."""
        if self.count > 1:
            dist.barrier()

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch, [N / count, ...]."""
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Add up tensors of one type over all processes, in place."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view(tensor.shape))

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type by their means over all processes, in place."""
        if self.count > 1:
            self.sum(tensors)
            for tensor in tensors:
                tensor /= self.count

    def synchronise(self, model: nn.Module) -> None:
        """Make batch norms use the statistics of the whole batch instead of this process's share."""
        if self.count > 1:
            for module in model.modules():
                if isinstance(module, _BatchNorm):
                    module.forward = MethodType(_normalise_whole_batch, module)


def join(run: RunSection) -> Workers:
    """The processes that torchrun started, or this one alone. Raises UserError if there is no such device."""
    cuda = run.device == "cuda" or (run.device == "auto" and torch.cuda.is_available())
    if cuda and not torch.cuda.is_available():
        raise UserError('run.device: PyTorch finds no CUDA device here; choose "cpu" or "auto"')
    device = torch.device("cpu")
    if cuda:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return Workers(device=device)
    dist.init_process_group("nccl" if cuda else "gloo")
    return Workers(dist.get_rank(), dist.get_world_size(), device)


def leave(workers: Workers) -> None:
    """Undo `join`."""
    if workers.count > 1:
        dist.destroy_process_group()


def idle_threads() -> int:
    """The cores that nothing ran on in the last minute, by the load average, shared by the processes on this machine.

    At least 1, at most what PyTorch would take.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    idle = round(cores - os.getloadavg()[0])
    return max(1, min(_MOST_THREADS, idle // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def _normalise_whole_batch(self: Any, x: Tensor) -> Tensor:
    """A batch norm's forward, x [N, C, ...]: torch.nn.SyncBatchNorm computes the same, but not on a CPU."""
    if not self.training:
        return type(self).forward(self, x)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    per_channel = [1, -1, *[1] * (x.dim() - 2)]
    values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    count = dist.get_world_size() * values.numel() / values.shape[1]
    mean = _Sum.apply(values.sum(axes)) / count
    centred = values - mean.view(per_channel)
    var = _Sum.apply(centred.square().sum(axes)) / count
    if self.running_mean is not None:
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.detach(), share)
        self.running_var.lerp_(var.detach() * (count / (count - 1)), share)
    scale = (var + self.eps).rsqrt() if self.weight is None else (var + self.eps).rsqrt() * self.weight
    normalised = centred * scale.view(per_channel)
    return (normalised if self.bias is None else normalised + self.bias.view(per_channel)).to(x.dtype)
