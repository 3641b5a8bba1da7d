"""If these fail, looking at somebody else's run folder runs whatever code its author likes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from cgap.app.export import export_run  # noqa: E402
from cgap.training import run  # noqa: E402
from cgap.training.config import load_config  # noqa: E402
from cgap.training.teacher import check_teacher  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402

EVIL = """
import pathlib
pathlib.Path(__file__).with_name("was_here").touch()
from cgap.zoo.resnet import ResNet
from cgap.plasticity.saliency import *
class Net(ResNet): pass
"""


@pytest.fixture
def foreign(finished, tmp_path, monkeypatch):
    """A finished run whose configuration names code that leaves a trace, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    (tmp_path / "evil.py").write_text(EVIL)
    folder = tmp_path / "foreign"
    folder.mkdir()
    for path in finished.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = folder / "config.toml"
    config.write_text(config.read_text().replace('name = "resnet20"', 'name = "evil:Net"'))
    return folder


def cgap(*arguments):
    command = [sys.executable, "-m", "cgap", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_export_runs_no_code_of_the_folders_unless_told_so(foreign, tmp_path):
    with pytest.raises(UserError, match=r"config\.toml names code that would be run, 'evil:Net'.*--trust"):
        export_run(foreign, tmp_path / "x.onnx")
    assert not (tmp_path / "was_here").exists()
    export_run(foreign, tmp_path / "x.onnx", trust=True)
    assert (tmp_path / "was_here").exists()
    assert (tmp_path / "x.onnx").exists()


def test_plots_and_comparisons_run_no_code(foreign, tmp_path):
    assert cgap("plot", foreign).returncode == 0
    assert cgap("compare-runs", foreign).returncode == 0
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("field", ["model", "saliency"])
def test_resuming_a_run_by_its_own_configuration_needs_trust(foreign, tmp_path, field):
    """With a configuration of the user's own, the names are the user's word."""
    (foreign / "run.json").write_text((foreign / "run.json").read_text().replace('"complete"', '"running"'))
    config = foreign / "config.toml"
    if field == "saliency":
        text = config.read_text().replace('name = "evil:Net"', 'name = "resnet20"')
        config.write_text(text.replace("[plasticity]", '[plasticity]\nsaliency = "evil:Taylor"'))
    before = {path.name: path.read_bytes() for path in foreign.iterdir()}
    result = cgap("train", config, "--out", foreign, "--resume")
    assert (result.returncode, "--trust" in result.stderr) == (2, True)
    assert not (tmp_path / "was_here").exists()
    assert {path.name: path.read_bytes() for path in foreign.iterdir()} == before
    assert "--trust" not in cgap("train", config, "--out", foreign, "--resume", "--trust").stderr
    assert (tmp_path / "was_here").exists()


def test_a_run_of_ones_own_network_begins_and_resumes(foreign, tiny_path, tmp_path, interrupt):
    tiny_path.write_text(tiny_path.read_text().replace('name = "resnet20"', 'name = "evil:Net"'))
    interrupt(20)
    with pytest.raises(KeyboardInterrupt):
        run.train(tiny_path, tmp_path / "out")
    run.train(tiny_path, tmp_path / "out", resume=True)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "complete"


# Teachers


def taught_by(folder, tiny_path):
    tiny_path.write_text(f'{tiny_path.read_text()}\n[distillation]\nteacher = "{folder}"\n')
    return load_config(tiny_path)


def test_a_teacher_must_be_fit_to_teach(finished, foreign, tiny_path, tmp_path):
    config = taught_by(finished, tiny_path)
    check_teacher(config, {}, trust=False)
    other = config.model_copy(update={"data": config.data.model_copy(update={"held_out": 20})})
    with pytest.raises(
        UserError, match=r"held out 8 images, so it has learnt from some of the 20 .* set data.held_out"
    ):
        check_teacher(other, {}, trust=False)
    other = config.model_copy(update={"data": config.data.model_copy(update={"dataset": "cifar10"})})
    with pytest.raises(UserError, match=r"learnt from other images \(sample\) than the run would \(cifar10\)"):
        check_teacher(other, {"test_batch.bin": "0"}, trust=False)
    scale = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    other = config.model_copy(update={"data": config.data.model_copy(update=scale)})
    with pytest.raises(UserError, match="reads images in another scale"):
        check_teacher(other, {}, trust=False)
    config = config.model_copy(
        update={"distillation": config.distillation.model_copy(update={"teacher": str(foreign)})}
    )
    with pytest.raises(UserError, match=r"evil:Net.*--trust"):
        check_teacher(config, {}, trust=False)
    check_teacher(config, {}, trust=True)
    (foreign / "run.json").write_text((foreign / "run.json").read_text().replace('"complete"', '"running"'))
    with pytest.raises(UserError, match="holds no finished run"):
        check_teacher(config, {}, trust=True)


def test_a_run_with_an_unfit_teacher_does_not_begin(finished, tiny_path, tmp_path):
    (finished.parent / "unfinished").mkdir(exist_ok=True)
    for path in finished.iterdir():
        (finished.parent / "unfinished" / path.name).write_bytes(path.read_bytes())
    record = finished.parent / "unfinished" / "run.json"
    record.write_text(record.read_text().replace('"complete"', '"running"'))
    taught_by(record.parent, tiny_path)
    with pytest.raises(UserError, match="holds no finished run"):
        run.train(tiny_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
