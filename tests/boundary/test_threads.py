"""If these fail, threads that wait for one another take several times the processor time of the work itself."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from cgap.app.build import build_accelerator, compile_model
from cgap.app.lower import lower_model
from cgap.app.sim import run_model
from cgap.boundary.threads import one_thread, wait_passively
from cgap.cli import app
from cgap.lowering import quantise


def threads() -> int:
    np.ones((2, 2)) @ np.ones((2, 2))
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


def test_products_take_one_thread_and_the_caller_s_setting_comes_back() -> None:
    with threadpool_limits(2, user_api="blas"):
        assert one_thread(threads)() == 1
        assert threads() == 2


def test_whatever_runs_whole_networks_takes_one_thread() -> None:
    """Each is decorated: `functools.wraps` leaves the function itself in `__wrapped__`."""
    for function in (build_accelerator, compile_model, lower_model, run_model, quantise):
        assert hasattr(function, "__wrapped__"), function


WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nobody has said how threads wait."""
    for name in WAITING:
        monkeypatch.setenv(name, "")  # so that it is as before when the test ends, whatever the test sets
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's OpenMP, which PyTorch has on Linux, prints settings")
def test_torch_s_threads_wait_passively_in_training(undecided: pytest.MonkeyPatch) -> None:
    """OpenMP itself says what it has read: the setting comes before the library is loaded.

    Without one it also prints the policy 'PASSIVE', but spins 300,000 times first.
    """
    pytest.importorskip("torch")
    undecided.setenv("OMP_DISPLAY_ENV", "verbose")
    undecided.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    command = [sys.executable, "-m", "cgap", "train", "none.toml"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "none.toml: cannot be read" in said
    assert "GOMP_SPINCOUNT = '0'" in said


@pytest.mark.parametrize("name", WAITING)
def test_a_user_s_own_way_of_waiting_stays(name: str, undecided: pytest.MonkeyPatch) -> None:
    undecided.setenv(name, "100" if name != WAITING[0] else "active")
    before = dict(os.environ)
    wait_passively()
    assert os.environ == before


def test_commands_that_do_not_train_leave_threads_alone(undecided: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    with pytest.raises(SystemExit) as ended:
        app(["fields", "run"])
    assert not ended.value.code
    assert not any(name in os.environ for name in WAITING)
