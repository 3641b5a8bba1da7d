"""If these break, what a CUDA graph records of a step is not what the next step would do.

A graph repeats operations on storage. Here they are recorded on a CPU as they come out of PyTorch's dispatcher, forward
and backward, and repeated likewise: the rest of a graph, recording kernels instead, needs a CUDA device.
"""

import json
from functools import partial

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from cgap.plasticity.saliency import SALIENCIES  # noqa: E402
from cgap.training import loop  # noqa: E402
from cgap.training.config import parse_config  # noqa: E402
from cgap.training.run import train  # noqa: E402
from cgap.training.state import build_network, new_state  # noqa: E402
from cgap.training.step import CudaGraph, learn, make_learner, train_step  # noqa: E402
from cgap.training.workers import Workers  # noqa: E402

CAPTURABLE = [name for name, measure in SALIENCIES.items() if measure.capturable]
HOST = {"_local_scalar_dense", "lift_fresh", "nonzero", "index", "masked_select", "equal", "uniform_", "rand"}
"""Operations that read a tensor on the host, bring one from there, or draw the run's random numbers."""


class Recording(TorchDispatchMode):
    """The operations inside a `with`, to be repeated."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, result))
        return result

    @property
    def names(self):
        return [function.overloadpacket.__name__ for function, *_ in self.calls]

    @torch.no_grad()
    def replay(self):
        for function, args, kwargs, result in self.calls:
            again = function(*args, **kwargs)
            for recorded, value in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(recorded, torch.Tensor) and recorded.data_ptr() != value.data_ptr():
                    recorded.detach().copy_(value)


def batches(count):
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        x = torch.randn(16, 3, 32, 32, generator=generator).contiguous(memory_format=torch.channels_last)
        yield x, torch.randint(0, 10, (16,), generator=generator)


def everything(state):
    parts = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    parts |= {f"momentum.{names[p]}": kept["momentum_buffer"] for p, kept in state.optimizer.state.items()}
    for space, channels in state.saliency.states.items():
        parts |= {f"{space}.{key}": value for key, value in vars(channels).items()}
    return parts


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("saliency", CAPTURABLE)
def test_a_recorded_step_repeats_what_the_next_steps_do(tiny, saliency, precision):
    text = tiny.replace("seed = 5", f'seed = 5\nprecision = "{precision}"')
    text = text.replace("seed_width = 0.125", f'seed_width = 0.125\nsaliency = "{saliency}"\nsparsity = 1e-3')
    config = parse_config(text + '\n[distillation]\nteacher = "x"\n', "x")
    teacher, _, _ = build_network(config)
    teacher.eval().requires_grad_(False)
    here, there = new_state(config), new_state(config)
    learner = make_learner(config, here, teacher)
    recording, inputs, measured = Recording(), None, None

    def replayed(x, labels):
        nonlocal inputs, measured
        if inputs is None:  # the step is recorded while it is taken
            inputs = x.clone(), labels.clone()
            with recording:
                measured = learn(config, there, teacher, *inputs)
        else:
            for fixed, given in zip(inputs, (x, labels), strict=True):
                fixed.copy_(given)
            recording.replay()
        return measured

    for i, (x, labels) in enumerate(batches(6)):
        for group in (*here.optimizer.param_groups, *there.optimizer.param_groups):
            group["lr"] = 0.05 / (i + 1)
        expected = train_step(config, here, x, labels, learner)
        got = train_step(config, there, x, labels, replayed if i > 1 else make_learner(config, there, teacher))
        assert got == expected
    theirs = everything(there)
    assert all(torch.equal(value, theirs[name]) for name, value in everything(here).items())
    assert not HOST & set(recording.names)
    assert len(recording.calls) > 1000


def test_saliency_drawn_on_the_host_is_not_capturable(tiny):
    config = parse_config(tiny.replace("seed_width = 0.125", 'seed_width = 0.125\nsaliency = "random"'), "x")
    state = new_state(config)
    with Recording() as recording:
        learn(config, state, None, *next(batches(1)))
    assert HOST & set(recording.names)
    assert not state.saliency.capturable


def test_steps_are_recorded_anew_in_every_epoch_and_after_every_event(tiny_path, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(loop, "make_learner", lambda *args: made.append(args[1].step) or make_learner(*args))
    folder = train(tiny_path, tmp_path / "out")
    events = [event["step"] for event in json.loads((folder / "run.json").read_text())["history"]]
    assert len(events) == 4
    assert sorted(made) == sorted([*range(0, 72, 12), *events])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_takes_the_steps_that_are_taken_without_one(tiny):
    config = parse_config(tiny, "x")
    states = new_state(config), new_state(config)
    for state in states:
        state.workers = Workers(device=torch.device("cuda"))
        state.move(state.workers.device)
    graphed, plain = make_learner(config, states[0]), partial(learn, config, states[1], None)
    assert isinstance(graphed, CudaGraph)
    for x, labels in batches(8):
        given = x.cuda(), labels.cuda()
        expected = train_step(config, states[1], *given, plain)
        assert train_step(config, states[0], *given, graphed) == pytest.approx(expected, rel=1e-4)
