"""If these break, runs cannot be trusted: not resumable, not reproducible, or their records say something else."""

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cgap.training import loop, run  # noqa: E402
from cgap.training.state import read_checkpoint  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402

TIMES = {"seconds", "images_per_second"}


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a if "_seconds" not in str(key))
    return a == b


def test_a_run_passes_through_its_phases_and_records_them(finished):
    record, log = json.loads((finished / "run.json").read_text()), log_of(finished)
    assert [line["phase"] for line in log if "epoch" in line] == ["seed", "grow", "grow", "prune", "recover", "recover"]
    assert [line["event"] for line in log if "event" in line] == ["grow"] * 2 + ["prune"] * 2
    assert record["status"] == "complete"
    assert record["accuracy"]["test_images"] == 100
    assert record["history"] == [line for line in log if "event" in line]
    network = record["network"]
    assert network["macs"] <= 0.18 * network["dense_macs"] == 0.18 * 40_551_040
    assert network["params"] <= 0.2 * network["dense_params"] == 0.2 * 268_336
    assert {"code", "machine", "from_epoch"} <= record["sessions"][0].keys()
    assert (finished / "config.toml").read_text() == (finished.parent / "tiny.toml").read_text()


def test_a_run_killed_at_any_moment_resumes_bit_for_bit(finished, tiny_path, tmp_path, interrupt):
    interrupt(20, 45, 70)
    out, kills = tmp_path / "out", 0
    while True:
        try:
            run.train(tiny_path, out, resume=True)
            break
        except KeyboardInterrupt:
            kills += 1
            torch.manual_seed(kills)
    assert kills == 3
    assert log_of(out) == log_of(finished)
    assert same(read_checkpoint(out / "checkpoint.pt"), read_checkpoint(finished / "checkpoint.pt"))
    sessions = json.loads((out / "run.json").read_text())["sessions"]
    assert [session["from_epoch"] for session in sessions] == [0, 1, 3, 5]


def test_the_network_of_a_run_is_the_mean_of_the_weights_it_walked_over(finished):
    content = read_checkpoint(finished / "checkpoint.pt")
    assert content["mean"]["count"] == 3
    assert all(torch.equal(content["model"][name], mean) for name, mean in content["mean"]["parameters"].items())
    assert len(content["mean"]["parameters"]) == 59


def test_resuming_a_finished_run_changes_nothing(finished):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert run.train(finished / "config.toml", finished, resume=True) == finished
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_an_occupied_folder_is_refused(finished, tiny_path, tmp_path):
    with pytest.raises(UserError, match="holds a run already"):
        run.train(tiny_path, finished)
    tiny_path.write_text(tiny_path.read_text().replace("seed = 5", "seed = 6"))
    with pytest.raises(UserError, match="differs from"):
        run.train(tiny_path, finished, resume=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").touch()
    with pytest.raises(UserError, match="not empty"):
        run.train(tiny_path, tmp_path / "home")


def test_two_processes_do_not_train_in_one_folder(tiny_path, tmp_path, monkeypatch):
    second = [sys.executable, "-m", "cgap", "train", str(tiny_path), "--out", str(tmp_path / "out"), "--resume"]
    refused = []

    def step(*_):
        refused.append(subprocess.run(second, check=False, capture_output=True, text=True))
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(KeyboardInterrupt):
        run.train(tiny_path, tmp_path / "out")
    assert [process.returncode for process in refused] == [2]
    assert "another process is training in it" in " ".join(refused[0].stderr.split())
    with pytest.raises(KeyboardInterrupt):  # gone on with: the folder is free again
        run.train(tiny_path, tmp_path / "out", resume=True)


def test_a_loss_that_is_not_finite_stops_the_run(tiny_path, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.F, "cross_entropy", lambda *_a, **_k: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(UserError, match="the loss became nan at step 0"):
        run.train(tiny_path, tmp_path / "out")


def test_the_test_set_is_read_once(tiny_path, tmp_path, monkeypatch):
    reads = []
    load = run.load_test
    monkeypatch.setattr(run, "load_test", lambda data: reads.append(data) or load(data))
    short = tiny_path.read_text().split("averaging")[0].replace("epochs = 6", "epochs = 1")
    tiny_path.write_text(short)
    run.train(tiny_path, tmp_path / "out")
    assert len(reads) == 1


def test_a_checkpoint_that_holds_a_program_is_not_executed(tmp_path):
    class Program:
        def __reduce__(self):
            return (pytest.fail, ("executed",))

    torch.save(Program(), tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "checkpoint.pt")


def test_accuracy_is_of_all_images(finished):
    from cgap.training.batches import load_test
    from cgap.training.config import load_config
    from cgap.training.state import load_run

    test = load_test(load_config(finished / "config.toml").data)
    model, _ = load_run(finished)
    with torch.no_grad():
        logits = model(torch.from_numpy((test.images.astype(np.float32) - 128) / 128))
    right = (logits.argmax(1).numpy() == test.labels).mean() * 100
    assert json.loads((finished / "run.json").read_text())["accuracy"]["test"] == pytest.approx(right)
