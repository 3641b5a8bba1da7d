"""If these break, a kill, a diverging loss or a bad file costs a run, or a resumed one is not the same run."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import zipfile

import pytest

torch = pytest.importorskip("torch")

from cgap.training import loop, run  # noqa: E402
from cgap.training.config import load_config  # noqa: E402
from cgap.training.state import load_run, new_state, read_checkpoint, restore  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402
from tests.training.test_run import log_of, same  # noqa: E402

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from cgap.boundary import files
from cgap.training import run

written, sync = 0, os.fsync

def fsync(file):
    global written
    name = os.readlink(f"/proc/self/fd/{file}")
    sync(file)
    if Path(name).name.startswith(".checkpoint.pt."):
        written += 1
        if written == 4:
            os.truncate(name, os.stat(name).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

files.os.fsync = fsync
run.train(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds the file that is being written in /proc")
def test_a_run_killed_in_the_middle_of_a_checkpoint_resumes_bit_for_bit(finished, tiny_path, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(tiny_path), str(out)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert len(list(out.glob(".checkpoint.pt.*.part"))) == 1
    assert read_checkpoint(out / "checkpoint.pt")["progress"]["epoch"] == 3
    run.train(tiny_path, out, resume=True)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in finished.iterdir())
    assert same(read_checkpoint(out / "checkpoint.pt"), read_checkpoint(finished / "checkpoint.pt"))
    assert log_of(out) == log_of(finished)


def test_a_run_killed_before_its_configuration_is_whole_starts_anew(tiny_path, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".config.toml.0123abcd.part").write_text("[run")
    alive = out / ".config.toml.4567abcd.part"
    with alive.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="not empty"):
            run.train(tiny_path, out, resume=True)
        assert list(out.iterdir()) == [alive]
    monkeypatch.setattr(loop, "train_step", lambda *_: pytest.fail("started"))
    with pytest.raises(pytest.fail.Exception, match="started"):
        run.train(tiny_path, out, resume=True)


@pytest.fixture
def diverged(tiny_path, tmp_path, monkeypatch):
    """A run whose loss became infinite in its third epoch."""
    step = loop.train_step

    def diverging(config, state, *args):
        if state.step == 30:
            state.model.fc.weight.data.mul_(float("inf"))
        return step(config, state, *args)

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_step", diverging)
        with pytest.raises(UserError, match=r"became (inf|nan) at step 30.*--resume --set"):
            run.train(tiny_path, out)
    return out


def test_a_diverged_run_goes_on_at_a_lower_rate(diverged, tiny_path, monkeypatch):
    assert read_checkpoint(diverged / "checkpoint.pt")["progress"]["epoch"] == 2
    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run.train(tiny_path, diverged, resume=True, changes={"optimiser.learning_rate": "0.02"})
    run.train(tiny_path, diverged, resume=True)  # the change holds
    rates = [line["learning_rate"] for line in log_of(diverged) if "epoch" in line]
    assert rates[0] == pytest.approx(0.05)
    assert rates[2] < 0.02
    record = json.loads((diverged / "run.json").read_text())
    assert [(s["from_epoch"], s["changes"]) for s in record["sessions"]] == [
        (0, {}), (2, {"optimiser.learning_rate": "0.02"}), (2, {}),
    ]  # fmt: skip
    assert record["status"] == "complete"
    assert record["config"]["optimiser"]["learning_rate"] == 0.05


def test_a_network_that_diverged_in_an_epochs_last_step_is_not_kept(tiny_path, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "evaluate", lambda *_: loop.Accuracy(float("nan"), 10.0))
    with pytest.raises(UserError, match="became nan at step 12"):
        run.train(tiny_path, tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_a_new_run_has_its_changes_from_the_beginning(tiny_path, tmp_path, monkeypatch):
    changes, out = {"run.seed": "9", "optimiser.learning_rate": "0.02"}, tmp_path / "out"
    monkeypatch.setattr(loop, "train_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    for _ in range(2):  # the same command begins a run and goes on with it
        with pytest.raises(KeyboardInterrupt):
            run.train(tiny_path, out, resume=True, changes=changes)
    record = json.loads((out / "run.json").read_text())
    assert (record["seed"], record["config"]["optimiser"]["learning_rate"]) == (9, 0.02)
    assert [session["changes"] for session in record["sessions"]] == [{}, {}]
    with pytest.raises(UserError, match=r"differs from .*; a resumed run can change optimiser\.learning_rate"):
        run.train(tiny_path, out, resume=True)
    with pytest.raises(UserError, match="differs from"):
        run.train(tiny_path, out, resume=True, changes={**changes, "run.seed": "10"})


def test_a_finished_run_is_not_changed(finished):
    with pytest.raises(UserError, match="is a finished run"):
        run.train(finished / "config.toml", finished, resume=True, changes={"optimiser.learning_rate": "0.02"})


def copy_of(finished, folder):
    """A copy of a finished run that says that it is not finished."""
    folder.mkdir()
    for path in finished.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "run.json").write_text((folder / "run.json").read_text().replace('"complete"', '"running"'))
    return folder


def edited(finished, tmp_path, edit):
    folder = copy_of(finished, tmp_path / "copy")
    content = read_checkpoint(folder / "checkpoint.pt")
    edit(content)
    torch.save(content, folder / "checkpoint.pt")
    return folder


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(format=0), "is not a checkpoint of format 2"),
        (lambda c: c.pop("momentum"), "does not fit a run .*momentum"),
        (lambda c: c["momentum"].update({"fc.weight": torch.zeros(2, 2)}), r"does not fit a run .*shape \[2, 2\]"),
        (lambda c: c["channels"]["stage1.0.conv1"].update(age=torch.zeros(99)), r"shape \[99\]"),
        (lambda c: c["progress"].pop("step"), "does not fit a run"),
        (lambda c: c.update(random={"default": torch.zeros(3), "run": 0}), "does not fit a run"),
        (lambda c: c.update(widths=7), "does not fit the network"),
        (lambda c: c["widths"].update({"stage1.0.conv1": 10**9}), "widths are not those of its values"),
        (lambda c: c["widths"].update({"stage1.0.conv1": -1}), "could have width -1"),
        (lambda c: c["model"].pop("fc.bias"), "does not fit the network"),
        (lambda c: c.update(model={}), "does not fit the network"),
        (lambda c: c.update(identity="0" * 64), "belongs to another run, of another configuration, seed or data"),
        (lambda c: c.pop("identity"), "was written by an older version"),
        (lambda c: c["model"]["fc.bias"].fill_(float("nan")), "fc.bias holds NaN"),
        (lambda c: c["model"]["stem.bn.running_var"].fill_(-1), "running_var holds NaN, infinity or an impossible"),
        (lambda c: c["momentum"]["fc.weight"].fill_(float("inf")), "does not fit a run .*NaN or infinity"),
        (lambda c: c["channels"]["stage1.0.conv1"]["saliency"].fill_(float("nan")), "NaN or infinity"),
        (lambda c: c["momentum"].update({"fc.bias": torch.zeros(10, dtype=torch.int64)}), "tensor of torch.int64"),
        (lambda c: c["progress"].update(epoch=-5), "-5 where a whole number from 0 to 6"),
        (lambda c: c["progress"].update(epoch=10**9), "1000000000 where a whole number from 0 to 6"),
        (lambda c: c["progress"].update(epoch=True), "True where a whole number"),
        (lambda c: c["progress"].update(epoch=1), "72 steps after 1 epochs of 12 steps"),
        (lambda c: c["progress"].update(log_lines=99), "has 10 lines, and there were 99"),
        (lambda c: c["progress"].update(wall_seconds=float("nan")), "nan where seconds belong"),
        (lambda c: c["mean"].update(count=-1), "-1 where a whole number"),
        (lambda c: c["history"][0].update(step=10**6), "1000000 where a whole number from 0 to 72"),
        (lambda c: c["history"].reverse(), "where a whole number from"),
        (lambda c: c["history"][0].update(macs=float("nan")), "nan where a whole number"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_refused(finished, tmp_path, edit, message):
    folder = edited(finished, tmp_path, edit)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=message):
        run.train(folder / "config.toml", folder, resume=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_values_that_only_pretend_to_be_many_are_not_allocated(finished, tmp_path):
    def pretend(content):
        wide = torch.zeros(1).expand(10**6, 16, 3, 3)
        content["model"]["stage1.0.conv1.weight"] = wide
        content["widths"]["stage1.0.conv1"] = 10**6

    with pytest.raises(UserError, match="does not fit the network"):
        load_run(edited(finished, tmp_path, pretend))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named(finished, tmp_path, share):
    data = (finished / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"checkpoint\.pt: is not a readable checkpoint"):
        read_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("seed", range(20))
def test_a_corrupt_checkpoint_never_breaks_the_program(finished, tmp_path, seed):
    """Bits of its pickle, or anywhere, are changed: it is refused or it is another one, and nothing else happens."""
    data = bytearray((finished / "checkpoint.pt").read_bytes())
    random = torch.Generator().manual_seed(seed)
    begin = data.index(b"data.pkl")
    end = begin + 20_000 if seed % 2 else len(data)
    for place in torch.randint(begin, end, (5,), generator=random):
        data[place] ^= 1 << (seed % 8)
    (tmp_path / "checkpoint.pt").write_bytes(data)
    refused = f"{tmp_path / 'checkpoint.pt'}: "
    config = load_config(finished / "config.toml")
    try:
        state = new_state(config)
        state.identity = read_checkpoint(finished / "checkpoint.pt")["identity"]
        restore(state, config, tmp_path / "checkpoint.pt")
    except UserError as error:
        refused = str(error)
    assert refused.startswith(f"{tmp_path / 'checkpoint.pt'}: ")


SESSION = '{"status": "running", "sessions": [{"machine": {"threads": %s}, "changes": %s}]}'


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"status": "running", "sessions": 3}', '{"status": "running", "sessions": [{}]}']
    + [SESSION % (threads, "{}") for threads in ('"many"', "0", "-1", "true", "1e3", "null")]
    + [SESSION % (1, "[3]")],
)  # fmt: skip
def test_a_record_that_is_none_is_named(finished, tmp_path, content):
    folder = copy_of(finished, tmp_path / "copy")
    (folder / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json: is not the record of a run"):
        run.train(folder / "config.toml", folder, resume=True)


def test_a_checkpoint_of_another_seed_is_not_this_runs(finished, tiny_path, tmp_path):
    """Their shapes are the same; the run would say one seed and be another."""
    folder = copy_of(finished, tmp_path / "copy")
    other = tiny_path.read_text().replace("seed = 5", "seed = 6")
    tiny_path.write_text(other)
    (folder / "config.toml").write_text(other)
    with pytest.raises(UserError, match="belongs to another run"):
        run.train(tiny_path, folder, resume=True)


def test_data_that_changed_since_the_run_began_are_noticed(finished, tmp_path):
    folder = copy_of(finished, tmp_path / "copy")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "data_sha256": {"data_batch_1.bin": "0" * 64}}))
    with pytest.raises(UserError, match="the files of sample have changed since the run began"):
        run.train(folder / "config.toml", folder, resume=True)


@pytest.mark.parametrize("line", [b"garbage\n", b"[1]\n", b"{}\n", b"\xff\n", b"[" * 100_000 + b"\n"])
def test_a_log_that_is_none_is_named(finished, tmp_path, line):
    folder = copy_of(finished, tmp_path / "copy")
    lines = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_bytes(b"".join([*lines[:3], line, *lines[4:]]))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=r"metrics\.jsonl: a line of it"):
        run.train(folder / "config.toml", folder, resume=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_archive_that_unpacks_to_more_than_it_holds_is_not_read(finished, tmp_path):
    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("checkpoint/data.pkl", b"\0" * (32 << 20))
    with pytest.raises(UserError, match="unpacks to more than it holds"):
        read_checkpoint(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="is not a file"):
        read_checkpoint(path)


# A run that never began


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('name = "resnet20"', 'name = "resnet20"\noptions = { classes = -1 }', "resnet20"),
        ('name = "resnet20"', 'name = "resnet20"\noptions = { classes = 7 }', r"makes \[7\] numbers an image"),
        ("held_out = 8", "held_out = 8000", "leaves none to train on"),
        ("target_macs = 0.18", "target_macs = 0.00001", "cannot be reached"),
        ('dataset = "sample"', 'dataset = "folder:/nowhere"', "/nowhere"),
        ("[optimiser]", '[distillation]\nteacher = "/nowhere"\n[optimiser]', "/nowhere: is not a run folder"),
    ],
)
def test_a_run_that_cannot_start_leaves_nothing(tiny_path, tmp_path, before, after, message):
    whole = tiny_path.read_text()
    out = tmp_path / "runs" / "out"
    for resume in (False, True):
        tiny_path.write_text(whole.replace(before, after))
        with pytest.raises(UserError, match=message):
            run.train(tiny_path, out, resume)
        assert not (tmp_path / "runs").exists()


def test_a_folder_that_was_there_is_still_there(tiny_path, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(run, "load_split", lambda *_: (_ for _ in ()).throw(UserError("no data")))
    with pytest.raises(UserError, match="no data"):
        run.train(tiny_path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
