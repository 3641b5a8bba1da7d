"""Compilers that run on after their command is gone, or fail unnoticed, would follow if these failed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from cgap.boundary.locks import scratch
from cgap.boundary.processes import ToolError, run_tool, run_tools
from fpga_model.errors import UserError
from tests.terminal import as_in_a_terminal

PYTHON = [sys.executable, "-c"]


def test_a_program_is_run_with_its_folder_and_variables(tmp_path):
    code = "import os, sys; print(os.getcwd(), os.environ['A'], os.environ['PATH'] != ''); print('e', file=sys.stderr)"
    printed = run_tool([*PYTHON, code], "fails", cwd=tmp_path, environment={"A": "b c"})
    assert sorted(printed.splitlines()) == sorted([f"{tmp_path} b c True", "e"])


def test_programs_run_side_by_side_and_answer_in_order(tmp_path):
    """Each waits for the other's file."""
    code = textwrap.dedent("""
        import sys, time, pathlib
        mine, other = map(pathlib.Path, sys.argv[1:])
        mine.touch()
        while not other.exists():
            time.sleep(0.01)
        print(mine)
    """)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert run_tools([[*PYTHON, code, a, b], [*PYTHON, code, b, a]], "fails") == [f"{a}\n", f"{b}\n"]


def test_a_failure_shows_the_last_lines_and_ends_the_others():
    begin = time.monotonic()
    with pytest.raises(ToolError) as caught:
        run_tools([[*PYTHON, "print(*range(99), sep='\\n'); raise SystemExit(3)"], ["sleep", "60"]], "sim fails")
    assert time.monotonic() - begin < 30
    assert str(caught.value) == "sim fails (exit code 3):\n" + "\n".join(map(str, range(84, 99)))
    assert (caught.value.code, len(caught.value.output.splitlines())) == (3, 99)
    assert run_tool([*PYTHON, "raise SystemExit(3)"], "fails", accept=(0, 3)) == ""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/no/such/program"], r"fails \(exit code 127\):\n/no/such/program: No such file"),
        (["/etc/passwd"], r"fails \(exit code 127\):\n/etc/passwd: Permission denied"),
        ([*PYTHON, "import os; os.kill(os.getpid(), 11)"], r"fails \(ended by SIGSEGV\)"),
    ],
)
def test_what_cannot_run_is_told(command, message):
    with pytest.raises(UserError, match=message):
        run_tool(command, "fails")


def test_a_long_output_is_kept_in_its_last_part():
    printed = run_tool([*PYTHON, "print('x' * 5_000_000); print('end')"], "fails")
    assert len(printed) == 1 << 20
    assert printed.endswith("x\nend\n")


# A program that starts another one, both of which ignore requests to end; their numbers go to a file.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
with open(sys.argv[1], "w") as file:
    file.write(f"{os.getpid()} {child.pid}\\n")
time.sleep(300)
"""
COMMAND = """
import sys
from pathlib import Path
from cgap.boundary.locks import scratch
from cgap.boundary.processes import ended_like_interrupted, run_tool
with ended_like_interrupted(), scratch() as folder:
    (folder / "half").touch()
    run_tool([sys.executable, "-c", Path(sys.argv[1]).read_text(), sys.argv[2]], "fails")
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_program_outlives_the_command(number, tmp_path):
    """Whatever ends the command, and however stubborn the program: nothing runs on, nothing is left after the next."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "tmp").mkdir()
    pids = tmp_path / "pids"
    arguments = [str(tmp_path / "stubborn.py"), str(pids)]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    command_line = [*PYTHON, textwrap.dedent(COMMAND), *arguments]
    with subprocess.Popen(command_line, env=environment, preexec_fn=as_in_a_terminal) as command:
        while not (pids.exists() and pids.read_text().endswith("\n")):
            assert command.poll() is None
            time.sleep(0.01)
        command.send_signal(number)
        command.wait(20)
    expected = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: -signal.SIGINT}
    assert command.returncode == expected[number]
    limit = time.monotonic() + 20
    while any(is_running(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    left = list((tmp_path / "tmp").iterdir())
    assert len(left) == (2 if number == signal.SIGKILL else 0)
    subprocess.run(
        [*PYTHON, "from cgap.boundary.locks import scratch\nwith scratch(): pass"], env=environment, check=True
    )
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_scratch_folder_is_another_where_a_sweep_has_its_lock(tmp_path, monkeypatch):
    """A process that looks for leftovers tries every lock, also one that has just been made and is not held yet."""
    names = []

    @contextmanager
    def taken_at_first(path, taken, target=None):
        names.append(path)
        if len(names) == 1:
            raise UserError(taken)
        yield

    monkeypatch.setattr("cgap.boundary.locks.locked", taken_at_first)
    with scratch(tmp_path) as folder:
        assert folder.is_dir()
        assert names[0] != names[1] == folder.with_suffix(".lock")
    monkeypatch.setattr("cgap.boundary.locks._ATTEMPTS", 1)
    names.clear()
    with pytest.raises(UserError, match="is in use"), scratch(tmp_path):
        pass


def test_a_running_commands_scratch_folder_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch() as mine:
        code = "from cgap.boundary.locks import scratch\nwith scratch(): pass"
        subprocess.run([*PYTHON, code], env={**os.environ, "TMPDIR": str(tmp_path)}, check=True)
        assert mine.is_dir()
    assert list(tmp_path.iterdir()) == []
