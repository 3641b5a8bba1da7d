"""`run.compile`: the network's forward and backward as code that torch.compile generates for its final widths."""

from __future__ import annotations

import torch

from cgap.boundary.terminal import doing
from cgap.data import dataset
from cgap.training.batches import as_input
from cgap.training.config import Config
from cgap.training.state import RunState
from cgap.training.step import autocast
from fpga_model.errors import UserError

BACKEND = "inductor"
"""What generates the code: C++ for the processor."""


def compile_network(config: Config, state: RunState) -> None:
    """Let steps run `state.compiled` from the last event on; it shares the parameters and buffers of `state.model`.

    One batch goes forward and backward at the present widths, so that what cannot be compiled is found before the run
    begins and not at its last event. It leaves no trace in the state. Code is generated again when widths have changed.

    Raises UserError where torch.compile fails, on CUDA (where a step is a CUDA graph already, see `CudaGraph`), and
    where several processes train (whose batch norms communicate in the middle of the network).
    """
    if state.workers.device.type == "cuda":
        raise UserError("run.compile: is for the CPU; on CUDA a step is one CUDA graph: set run.compile=false")
    if state.workers.count > 1:
        raise UserError("run.compile: is for a run of one process; with torchrun, set run.compile=false")
    model = state.model
    state.compiled = torch.compile(model, dynamic=False, backend=BACKEND, isolate_recompiles=True)
    model.train()
    shape = dataset(config.data.dataset, config.data.size).shape
    x = as_input(torch.zeros(config.optimiser.batch_size, *shape, dtype=torch.uint8))
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with doing("compiling the network"), torch.random.fork_rng(devices=[]):
            with autocast(config, state.workers.device):
                logits = state.compiled(x)
            logits.float().sum().backward()
    except Exception as error:  # it may fail anywhere between tracing and the C++ compiler
        reason = str(error).strip().split("\n\n")[0].replace("\n", " ")[:300]
        raise UserError(
            f"run.compile: torch.compile does not work here ({type(error).__name__}: {reason}): install a C++ compiler "
            f"such as g++ if there is none, or set run.compile=false"
        ) from error
    for name, buffer in model.named_buffers():
        buffer.copy_(kept[name])
    state.optimizer.zero_grad(set_to_none=True)
