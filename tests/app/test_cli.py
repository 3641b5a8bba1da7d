"""The command's manners: exit codes, one-line errors, and a quick start that needs no PyTorch."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import cgap
from cgap import cli, options
from cgap.app import models
from tests.terminal import as_in_a_terminal


def run(
    *arguments: str, code: str = "from cgap.cli import main; main()", **settings
) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, **settings)


def test_version():
    result = run("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"cgap {cgap.__version__}\n", "")


def test_the_module_runs_like_the_command(tmp_path):
    result = subprocess.run([sys.executable, "-m", "cgap", "--version"], capture_output=True, text=True)
    assert result.stdout == f"cgap {cgap.__version__}\n"


def test_without_arguments_the_commands_are_listed():
    result = run()
    assert "models" in result.stdout + result.stderr
    assert "train" in result.stdout + result.stderr


@pytest.mark.parametrize("arguments", [["nosuch"], ["train"], ["models", "--nosuch"]])
def test_wrong_usage_is_exit_code_2(arguments):
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def fail_with(raising: str) -> str:
    """Code of a `cgap` whose `models` command runs the statement `raising`."""
    return (
        "from cgap import cli\nfrom cgap.app import models\n"
        "from fpga_model.errors import UserError\n"
        f"def broken(): {raising}\n"
        "models.pretrained = broken\n"
        "cli.main()"
    )


def test_bad_input_is_one_line_and_exit_code_2():
    result = run("models", code=fail_with("raise UserError('layer conv1: 3-D kernels are not supported')"))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: layer conv1: 3-D kernels are not supported\n"


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("PermissionError(13, 'Permission denied', '/root/x')", "error: /root/x: Permission denied\n"),
        ("OSError(28, 'No space left on device', 'build/x')", "error: build/x: No space left on device\n"),
        ("MemoryError()", "error: this needs more memory than there is: use a smaller network or fewer images\n"),
    ],
)
def test_what_the_machine_refuses_is_one_line(fault, line):
    result = run("models", code=fail_with(f"raise {fault}"))
    assert (result.returncode, result.stderr) == (2, line)


def test_a_missing_file_of_the_package_is_a_defect():
    result = run("models", code=fail_with("raise FileNotFoundError(2, 'No such file', 'template.j2')"))
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_a_defect_keeps_its_traceback():
    result = run("models", code=fail_with("raise KeyError('a bug')"))
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "KeyError: 'a bug'" in result.stderr


def test_an_interrupt_is_exit_code_130():
    process = subprocess.Popen(
        [sys.executable, "-c", fail_with("import time; print('ready', flush=True); time.sleep(60)"), "models"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_in_a_terminal,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in stderr


def test_a_reader_that_closes_early_is_no_defect():
    command = f"{sys.executable} -m cgap models --json | head -c 0"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in result.stderr


def test_models_as_json_is_one_object():
    listed = json.loads(run("models", "--json").stdout)
    assert list(listed) == [entry.name for entry in models.pretrained()]
    assert all(Path(entry["onnx"]).is_file() for entry in listed.values())


def test_models_as_a_table(tmp_path, monkeypatch, capsys):
    (tmp_path / "net.onnx").write_bytes(b"")
    (tmp_path / "bare.onnx").write_bytes(b"")
    record = {
        "dataset": "cifar10",
        "network": {"macs": 20_275_000, "params": 135_040},
        "accuracy": {"test": 90.12},
    }
    (tmp_path / "net.json").write_text(json.dumps(record))
    monkeypatch.setattr(models, "pretrained_folder", lambda: tmp_path)
    cli.building.list_models()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["bare", "-", "-", "-", "-"]
    assert lines[2] == ["net", "cifar10", "20.27", "M", "135.0", "k", "90.12", "%"]


@pytest.fixture
def without_torch(tmp_path):
    """An environment in which importing torch fails loudly, as where it is not installed."""
    code = (
        "import sys, importlib.abc\n"
        "class Blocked(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch': raise ModuleNotFoundError('torch is blocked', name='torch')\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import importlib.util\n"
        "find_spec = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name.split('.')[0] == 'torch' else find_spec(name, *a)\n"
    )
    return code + "from cgap.cli import main; main()"


def test_models_needs_no_torch(without_torch):
    assert run("models", code=without_torch).returncode == 0


@pytest.mark.parametrize("arguments", [["train", "config.toml"], ["export", "run", "-o", "x.onnx"]])
def test_missing_torch_is_named_with_its_remedy(without_torch, arguments):
    result = run(*arguments, code=without_torch)
    assert result.returncode == 2
    assert result.stderr == f"error: `cgap {arguments[0]}` needs PyTorch: pip install 'cgap[train]'\n"


def test_models_starts_quickly():
    """The best of three, in processor seconds, so that a busy machine does not decide."""
    seconds = []
    for _ in range(3):
        before = os.times()
        run("models")
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 1


def test_every_command_says_what_it_does():
    commands = typer.main.get_command(cli.app).commands
    assert {"models", "train", "export"} <= set(commands)
    for name, command in commands.items():
        assert command.help, f"cgap {name} has no help text"


def test_a_group_of_options_is_its_fields_for_the_command_line_and_for_callers():
    """Fails if a command loses a default, an option, or what was given for one."""
    seen = []

    @options.grouped
    def command(
        model: options.ModelArgument, target: options.TargetOptions, reading: options.ReadingOptions, images: int = 3
    ) -> None:
        seen.append((model, target, reading, images))

    command("net")
    assert seen[-1] == ("net", options.TargetOptions(), options.ReadingOptions(), 3)
    command("net", array="4x4x4", image_range="0,255", images=7)
    changed = options.TargetOptions(array="4x4x4"), options.ReadingOptions(image_range="0,255")
    assert seen[-1] == ("net", *changed, 7)
    with pytest.raises(TypeError, match="arrays"):
        command("net", arrays="4x4x4")
    app = typer.Typer()
    app.command()(command)
    assert CliRunner().invoke(app, ["net", "--capability", "leaky=0", "--capability", "grouped=0"]).exit_code == 0
    assert seen[-1][1].capability == ["leaky=0", "grouped=0"]


def test_reading_options_become_the_words_that_they_were_parsed_from():
    given = options.ReadingOptions(shape="1,3,8,8", inputs="a b", outputs="x,y/z", image_range="0,0.1").parse()
    words = ["--shape", "1,3,8,8", "--inputs", "a b", "--outputs", "x,y/z", "--image-range", "0,0.1"]
    assert given.words() == words
    assert options.ReadingOptions().parse().words() == []
