"""Running other people's programs, compilers and simulators, so that none outlives the command that started it.

Each runs in a process group of its own under a guard (`guard.py`), which ends the group when this process ends it, is
interrupted, or dies of anything, SIGKILL included.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from cgap.boundary.guard import GRACE_SECONDS, SIGNALLED
from fpga_model.errors import UserError

TAIL_LINES = 15
_TAIL_BYTES = 1 << 20
"""What is kept of a program's output: its end."""
_ENDED = (signal.SIGTERM, signal.SIGHUP)


class ToolError(UserError):
    """A program that failed: one sentence, and the last lines that it printed.

    Attributes:
        code: its exit code; 128 and the signal's number if a signal ended it.
        output: the end of what it printed.
    """

    def __init__(self, sentence: str, code: int, output: str) -> None:
        lines = "\n".join(output.splitlines()[-TAIL_LINES:])
        super().__init__(f"{sentence}:\n{lines}" if lines else sentence)
        self.code, self.output = code, output


def run_tool(
    command: Sequence[str],
    failed: str,
    *,
    accept: Sequence[int] = (0,),
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run one program to its end; see `run_tools`."""
    return run_tools([command], failed, accept=accept, cwd=cwd, environment=environment)[0]


def run_tools(
    commands: Sequence[Sequence[str]],
    failed: str,
    *,
    accept: Sequence[int] = (0,),
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Run programs side by side to their ends.

    Args:
        commands: programs with their arguments; no shell reads them.
        failed: begins the message about one that fails, such as "g++ cannot compile the emitted C++".
        accept: exit codes that are no failure.
        cwd: the folder that they run in.
        environment: variables that differ from this process's.

    Returns:
        What each printed on standard output and error, or the last MiB of it.

    Raises:
        ToolError: one cannot be started, or its exit code is not among `accept`; the others are ended.
    """
    running: list[tuple[Tool, IO[bytes]]] = []
    try:
        for command in commands:
            output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - a file: no program waits for a full pipe
            running.append((Tool(command, output, cwd, environment), output))
        results = []
        for tool, printed in running:
            code, text = tool.wait(), end_of(printed)
            if code not in accept:
                raise ToolError(f"{failed} ({_reason(code)})", code, text)
            results.append(text)
        return results
    finally:
        for tool, _ in running:
            tool.ask_to_end()
        for tool, printed in running:
            tool.stop()
            printed.close()


def end_of(file: IO[bytes]) -> str:
    """The last MiB that a program wrote into a file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    return file.read().decode("utf-8", "replace")


def _reason(code: int) -> str:
    if code > SIGNALLED:
        try:
            return f"ended by {signal.Signals(code - SIGNALLED).name}"
        except ValueError:
            pass
    return f"exit code {code}"


class Tool:
    """A running program: `wait` for it, or `stop` it with all that it started."""

    def __init__(
        self,
        command: Sequence[str],
        output: IO[bytes],
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; what it prints goes to `output`."""
        reading, self._held = os.pipe()
        guard = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), str(reading)]
        try:
            self._guard = subprocess.Popen(
                [*guard, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **environment} if environment else None,
                pass_fds=(reading,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._held)
            raise
        finally:
            os.close(reading)

    def poll(self) -> int | None:
        """The exit code, 128 and more for a signal's; None while it runs."""
        code = self._guard.poll()
        return SIGNALLED - code if code is not None and code < 0 else code

    def wait(self) -> int:
        """The exit code, once it has ended."""
        self._guard.wait()
        code = self.poll()
        assert code is not None
        return code

    def ask_to_end(self) -> None:
        """Have it and all that it started ended, if it still runs, without waiting."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def stop(self) -> None:
        """End it and all that it started, if it still runs."""
        self.ask_to_end()
        try:
            self._guard.wait(2 * GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def ended_like_interrupted() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP end this process as Ctrl-C does: cleaning up, with code 128 + number."""
    before = {number: signal.signal(number, _end) for number in _ENDED if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
