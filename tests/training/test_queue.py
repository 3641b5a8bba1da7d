"""If these break, a table of runs is not what it says: runs are missing, mixed up, or started too early."""

import json
import signal
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")

from filelock import FileLock, Timeout  # noqa: E402

from cgap.training import queue  # noqa: E402
from cgap.training.queue import is_complete, plan_jobs, run_queue  # noqa: E402
from cgap.training.run import LOCK  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402

DENSE = """
[run]
threads = 1

[model]
name = "resnet20"

[data]
dataset = "sample"
held_out = 8

[optimiser]
epochs = 1
batch_size = 64
"""


@pytest.fixture
def configs(tmp_path):
    dense, taught = tmp_path / "dense.toml", tmp_path / "taught.toml"
    dense.write_text(DENSE)
    taught.write_text(DENSE + f'\n[distillation]\nteacher = "{tmp_path}/runs/dense-{{seed}}"\n')
    return [taught, dense]


def test_a_queue_runs_what_others_need_first_and_everything_once(configs, tmp_path):
    said: list[str] = []
    jobs = plan_jobs(configs, [3, 5], tmp_path / "runs")
    assert [job.folder.name for job in jobs] == ["taught-3", "dense-3", "taught-5", "dense-5"]
    assert run_queue(jobs, 2, said.append) == []
    assert all(is_complete(job.folder) for job in jobs)
    starts = [line.split(":")[0] for line in said if "starts" in line]
    assert starts.index("dense-3") < starts.index("taught-3")
    assert starts.index("dense-5") < starts.index("taught-5")
    record = json.loads((tmp_path / "runs" / "taught-5" / "run.json").read_text())
    assert record["seed"] == record["config"]["run"]["seed"] == 5
    again: list[str] = []
    assert run_queue(jobs, 2, again.append) == []
    assert again == ["4 of 4 runs are finished"]


def test_a_run_that_fails_holds_up_only_those_that_need_it(configs, tmp_path):
    configs[1].write_text(configs[1].read_text().replace("held_out = 8", "held_out = 500"))
    alone = tmp_path / "alone.toml"
    alone.write_text(DENSE)
    jobs = plan_jobs([*configs, alone], [1], tmp_path / "runs")
    said: list[str] = []
    assert [job.folder.name for job in run_queue(jobs, 1, said.append)] == ["dense-1", "taught-1"]
    assert is_complete(tmp_path / "runs" / "alone-1")
    assert "leaves none to train on" in (tmp_path / "runs" / "dense-1.log").read_text()
    assert any("taught-1: cannot start" in line for line in said)


def test_an_interrupted_queue_stops_its_processes(configs, tmp_path, monkeypatch):
    stopped = []

    class Endless:
        def poll(self):
            raise KeyboardInterrupt

        def ask_to_end(self):
            stopped.append("asked")

        def stop(self):
            stopped.append("gone")

    monkeypatch.setattr(queue, "_start", lambda job: Endless())
    with pytest.raises(KeyboardInterrupt):
        run_queue(plan_jobs(configs[1:], [1, 2], tmp_path / "runs"), 2, lambda text: None)
    assert stopped == ["asked", "asked", "gone", "gone"]


def test_a_terminated_queue_stops_its_processes(tmp_path):
    config, folders = tmp_path / "long.toml", [tmp_path / "long-1", tmp_path / "long-2"]
    config.write_text(DENSE.replace("epochs = 1", "epochs = 10000"))
    command = [sys.executable, "-m", "cgap", "queue", str(config), "--out", str(tmp_path), "--jobs", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as stopped:
        while not all((folder / "checkpoint.pt").exists() for folder in folders):
            assert stopped.poll() is None
            time.sleep(0.1)
        assert all(map(in_use, folders))
        stopped.send_signal(signal.SIGTERM)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert not any(map(in_use, folders))
    assert not (tmp_path / "long-3").exists()


def in_use(folder):
    """Whether a process trains in a run folder."""
    try:
        with FileLock(folder / LOCK, blocking=False):
            return False
    except Timeout:
        return True


def test_what_cannot_be_queued_is_named(configs, tmp_path):
    with pytest.raises(UserError, match=r"needs the run .*dense-1, which is neither finished nor in the queue"):
        plan_jobs(configs[:1], [1], tmp_path / "runs")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dense.toml").write_text(DENSE)
    with pytest.raises(UserError, match="two configurations are called dense"):
        plan_jobs([configs[1], tmp_path / "other" / "dense.toml"], [1], tmp_path / "runs")
    (tmp_path / "runs" / "dense-1").mkdir(parents=True)
    (tmp_path / "runs" / "dense-1" / "run.json").write_text("[")
    with pytest.raises(UserError, match=r"run\.json: is not JSON"):
        plan_jobs(configs[:1], [1], tmp_path / "runs")
