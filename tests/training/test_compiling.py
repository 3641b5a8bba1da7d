"""If these break, `run.compile` trains another network, leaves traces in a checkpoint, or fails in mid-run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap.training import compiling, run  # noqa: E402
from cgap.training.config import parse_config  # noqa: E402
from cgap.training.state import new_state, read_checkpoint  # noqa: E402
from cgap.training.workers import Workers  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402
from tests.training.test_network import PLAIN, PLASTIC  # noqa: E402
from tests.training.test_run import log_of, same  # noqa: E402

ROOT = Path(__file__).parents[2]
STEPS = 4
"""In an epoch."""


class Small(nn.Module):
    """Little code to generate; a batch norm, and dropout if asked for, whose states a trial must not change."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, stride=4), nn.BatchNorm2d(16)
        self.drop, self.fc = nn.Dropout(dropout), nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(self.drop(self.bn(self.conv(x)).relu()).mean((2, 3)))


PLAIN = PLAIN.replace("NETWORK", f"{__name__}:Small").replace("epochs = 2", "epochs = 3")
PLASTIC = PLAIN + PLASTIC


def compiled(text):
    return text.replace("threads = 1", "threads = 1\ncompile = true")


@pytest.fixture
def trained(tmp_path):
    """Call it with a configuration: the folder of its run."""

    def start(name, text, **given):
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return run.train(path, tmp_path / name, **given)

    return start


@pytest.fixture
def steps(monkeypatch):
    """The epochs of all steps that ran compiled code."""
    epochs, compile_network = [], run.compile_network

    def counting(config, state):
        compile_network(config, state)
        network = state.compiled

        def counted(x):
            epochs.append(state.epoch)
            return network(x)

        state.compiled = counted

    monkeypatch.setattr(run, "compile_network", counting)
    return epochs


@pytest.fixture(params=["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def backend(request, monkeypatch):
    """All of torch.compile, or without the C++ code that its last part generates."""
    monkeypatch.setattr(compiling, "BACKEND", request.param)


def test_a_run_compiles_its_final_widths_and_stays_the_same_run(backend, steps, trained, interrupt):
    eager, fast = trained("eager", PLASTIC), trained("fast", compiled(PLASTIC))
    assert steps == [1] * STEPS + [2] * STEPS
    logs = log_of(eager), log_of(fast)
    events = max(i for i, line in enumerate(logs[0]) if "event" in line)
    assert logs[0][events]["changed"]
    assert logs[0][: events + 1] == logs[1][: events + 1]  # bit for bit: trying to compile left no trace
    for line, expected in zip(*logs, strict=True):
        for key, value in expected.items():
            if key.endswith("accuracy"):
                assert abs(line[key] - value) <= 100 * 2 / 64, key  # two of 64 images in training
            else:
                assert line[key] == (pytest.approx(value, rel=1e-4) if key.endswith("loss") else value), key
    first, second = (read_checkpoint(folder / "checkpoint.pt") for folder in (eager, fast))
    assert list(first["model"]) == list(second["model"])
    for name, value in first["model"].items():
        torch.testing.assert_close(second["model"][name], value, rtol=1e-3, atol=1e-4)

    interrupt(2 * STEPS + 2)  # in the last epoch
    with pytest.raises(KeyboardInterrupt):
        trained("again", compiled(PLASTIC))
    assert same(log_of(fast)[:-1], log_of(fast.parent / "again"))


def test_a_run_of_fixed_structure_compiles_from_its_first_step(backend, steps, trained, interrupt):
    plain = PLAIN.replace("[data]", "options = { dropout = 0.1 }\n\n[data]")
    whole = trained("whole", compiled(plain))
    assert steps == [0] * STEPS + [1] * STEPS + [2] * STEPS
    interrupt(STEPS + 2)
    with pytest.raises(KeyboardInterrupt):
        trained("stopped", compiled(plain))
    stopped = trained("stopped", compiled(plain), resume=True)
    assert same(*(read_checkpoint(folder / "checkpoint.pt") for folder in (stopped, whole)))


def test_compiling_begins_and_ends_when_a_run_is_resumed(steps, trained, interrupt, monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    interrupt(STEPS + 1, STEPS + 2 + STEPS)
    for changes in ({}, {"run.compile": "true"}):
        with pytest.raises(KeyboardInterrupt):
            trained("run", PLAIN, resume=True, changes=changes)
    assert steps == [1] * STEPS  # and one that was interrupted before it
    folder = trained("run", PLAIN, resume=True, changes={"run.compile": "false"})
    assert steps == [1] * STEPS
    record = json.loads((folder / "run.json").read_text())
    assert [session["changes"] for session in record["sessions"]] == [
        {}, {"run.compile": "true"}, {"run.compile": "false"},
    ]  # fmt: skip
    assert record["status"] == "complete"


def test_without_a_compiler_a_run_does_not_begin(tmp_path):
    config = tmp_path / "small.toml"
    config.write_text(compiled(PLAIN))
    environment = {
        **os.environ, "CXX": str(tmp_path / "g++"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, "-m", "cgap", "train", str(config), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "run.compile: torch.compile does not work here (" in done.stderr
    assert "No working C++ compiler found" in done.stderr
    assert "install a C++ compiler such as g++ if there is none, or set run.compile=false" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("workers", "message"),
    [(Workers(device=torch.device("cuda")), "for the CPU"), (Workers(0, 2), "a run of one process")],
)
def test_where_it_cannot_be_compiling_is_refused_by_name(workers, message):
    config = parse_config(compiled(PLAIN), "x")
    state = new_state(config)
    state.workers = workers
    with pytest.raises(UserError, match=rf"run\.compile: .*{message}.*set run\.compile=false"):
        compiling.compile_network(config, state)
