"""If these break, a run on several processes or threads is another run than on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from cgap.training import run, workers  # noqa: E402
from cgap.training.config import RunSection  # noqa: E402
from cgap.training.state import read_checkpoint  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402
from tests.training.conftest import SHORT  # noqa: E402
from tests.training.test_run import log_of  # noqa: E402

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


IN_FLOAT64 = """
import sys
from pathlib import Path
import torch
torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double
from cgap.training import run
run.train(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_two_processes_train_what_one_trains(tmp_path):
    """In float64: in float32 both walk apart within a few steps, because a rounding turns a ReLU on or off.

    Roundings grow there, too: 1e-12 of the gradients in the first steps, 3e-8 of the weights after 24.
    """
    script, config = tmp_path / "train.py", tmp_path / "short.toml"
    script.write_text(IN_FLOAT64)
    config.write_text(
        SHORT.replace("epochs = 3", "epochs = 2").replace("held_out = 8", "held_out = 104")
        .replace("start = 0.5", "start = 0.25").replace("protected_age = 5", "protected_age = 2")
        .replace("start = 1.5\nend = 2.0\ninterval = 0.5", "start = 0.75\nend = 1.0\ninterval = 0.25")
    )  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for start, out in (([sys.executable], one), (torchrun, two)):
        command = [*start, str(script), str(config), str(out)]
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    logs = [log_of(folder) for folder in (one, two)]
    assert [line["event"] for line in logs[0] if "event" in line] == ["grow", "prune"]
    assert len(logs[0]) == 4
    assert all(line["changed"] for line in logs[0] if "event" in line)
    for line, expected in zip(logs[1], logs[0], strict=True):
        numbers = {key for key, value in expected.items() if isinstance(value, float)}
        assert {key: line[key] for key in numbers} == pytest.approx({key: expected[key] for key in numbers}, rel=1e-8)
        assert {**line, **{key: expected[key] for key in numbers}} == expected
    first, second = (read_checkpoint(folder / "checkpoint.pt") for folder in (one, two))
    for part in ("model", "momentum"):
        for name, value in first[part].items():
            assert (second[part][name] - value).abs().max() <= 1e-7 * value.abs().max(), name
    assert torch.equal(first["random"]["run"], second["random"]["run"])
    record = json.loads((two / "run.json").read_text())
    assert record["status"] == "complete"
    assert record["sessions"][0]["machine"]["processes"] == 2
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Call it to begin or resume a run that is stopped before its first step: the threads that it has, of idle cores
    that are counted as `begin.idle` says, one by one."""
    before = torch.get_num_threads()
    config = tmp_path / "short.toml"

    def stop(*_):
        raise KeyboardInterrupt

    def start(text, **changes):
        config.write_text(text)
        with pytest.raises(KeyboardInterrupt):
            run.train(config, tmp_path / "out", resume=True, **changes)
        return torch.get_num_threads()

    start.idle = []
    monkeypatch.setattr(run, "idle_threads", lambda: start.idle.pop(0))
    monkeypatch.setattr(run, "train_epochs", stop)
    yield start
    torch.set_num_threads(before)


def sessions_in(folder):
    return json.loads((folder / "run.json").read_text())["sessions"]


ANY = SHORT.replace("threads = 1", "threads = 0")


def test_threads_are_idle_cores_and_kept_when_a_run_is_resumed(tmp_path, begin):
    begin.idle = [1, 7]
    assert [begin(ANY) for _ in range(2)] == [1, 1]
    assert [session["machine"]["threads"] for session in sessions_in(tmp_path / "out")] == [1, 1]


def test_a_resumed_run_keeps_the_threads_that_it_was_last_given(tmp_path, begin):
    """Also where its copy of the configuration says another number than the file, both overruled."""
    begin.idle = [3, 2]
    given = [{"run.threads": "0"}, {"run.threads": "4"}, {}, {"run.threads": "0"}, {"run.threads": "0"}]
    texts = [SHORT, SHORT, ANY, ANY, ANY]
    seen = [begin(text, changes=each) for text, each in zip(texts, given, strict=True)]
    assert seen == [3, 4, 4, 2, 2]
    sessions = sessions_in(tmp_path / "out")
    assert [session["changes"] for session in sessions] == [{}, given[1], {}, given[3], {}]
    assert [session["machine"]["threads"] for session in sessions] == seen


@pytest.mark.parametrize(
    ("cores", "load", "local", "threads"),
    [(8, 0.1, 1, 8), (8, 3.2, 1, 5), (8, 20.0, 1, 1), (8, 0.0, 2, 4), (16, 0.0, 1, 8), (2, 0.0, 4, 1)],
)
def test_idle_cores_are_shared_by_the_processes_of_a_machine(cores, load, local, threads, monkeypatch):
    monkeypatch.setattr(workers, "_MOST_THREADS", 8)
    monkeypatch.setattr(workers.sys, "platform", "linux")
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(workers.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    assert workers.idle_threads() == threads


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_trains_what_the_cpu_trains(tmp_path):
    """Only the first loss is compared closely: rounding differs, and both walk apart (see above)."""
    first = []
    for device in ("cpu", "cuda"):
        config = tmp_path / f"{device}.toml"
        config.write_text(SHORT.replace("threads = 1", f'threads = 1\ndevice = "{device}"'))
        folder = run.train(config, tmp_path / device)
        log = log_of(folder)
        assert [line["event"] for line in log if "event" in line] == ["grow", "prune"]
        assert json.loads((folder / "run.json").read_text())["status"] == "complete"
        first.append(next(line["train_loss"] for line in log if "epoch" in line))
        assert run.train(config, folder, resume=True) == folder
    assert first[1] == pytest.approx(first[0], rel=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"run\.device: PyTorch finds no CUDA device"):
        workers.join(RunSection(device="cuda"))
    assert workers.join(RunSection(device="auto")).device.type == "cpu"


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, monkeypatch):
    config = tmp_path / "short.toml"
    config.write_text(SHORT)
    monkeypatch.setattr(run, "join", lambda _: workers.Workers(0, 3))
    monkeypatch.setattr(workers.Workers, "wait", lambda _: None)
    monkeypatch.setattr(run, "leave", lambda _: None)
    with pytest.raises(UserError, match="16 is no multiple of 3 workers"):
        run.train(config, tmp_path / "out")
