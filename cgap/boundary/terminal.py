"""What commands show: everything they print passes through here, so that no name from outside commands a terminal."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

from cgap.boundary.names import printable
from cgap.boundary.processes import ended_like_interrupted
from fpga_model.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

_LONGEST_ERROR = 4000
PATIENCE_SECONDS = 2.0
USER_FAULT = 2
"""Exit code where the input, or the machine, is at fault and not the program."""

# A folder that may not be written, a full disk: the user's to mend. A missing file is not among them, because what
# the user names is checked before, and a missing file of the package is a defect.
_MACHINE_FAULTS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENXIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EBUSY, errno.EXDEV, errno.ETXTBSY),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOLCK, errno.ESTALE, errno.ETIMEDOUT),
}


def say(text: str, indent: int = 0) -> None:
    """Print text on standard output."""
    print(" " * indent + printable(text))
    _flush(sys.stdout)


def note(text: str) -> None:
    """Print on standard error what a command is doing, where its standard output is for its result alone."""
    print(f"  {printable(text)}", file=sys.stderr, flush=True)


def step(text: str) -> None:
    """Say what a command is doing now."""
    say(text, indent=2)


@contextmanager
def doing(text: str) -> Iterator[None]:
    """Note what the block is doing if it takes longer than `PATIENCE_SECONDS`."""
    timer = threading.Timer(PATIENCE_SECONDS, note, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def progress_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where that is a terminal; the block tells it how much is done, and of how much."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console(stderr=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as progress:
        bar = progress.add_task(printable(text), total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def say_json(value: object) -> None:
    """Print a value as JSON, in ASCII."""
    print(json.dumps(value, indent=2))


def fail(text: str) -> None:
    """Print an error."""
    print(f"error: {printable(text, _LONGEST_ERROR)}", file=sys.stderr, flush=True)


@cache
def _console_class() -> type[Console]:
    from rich.console import Console  # here, because it takes longer to import than `cgap models` to run
    from rich.text import Text

    class SafeConsole(Console):
        """A console to which text is text: no markup, no control characters."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})

    return SafeConsole


def console(file: TextIO | None = None, *, stderr: bool = False) -> Console:
    """Where tables are printed."""
    return _console_class()(file=file, stderr=stderr)


def run_command(command: Callable[[], object]) -> None:
    """Run a command and end the process: bad input becomes one sentence and exit code 2, a defect its traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # what the terminal has no letter for
    try:
        try:
            with ended_like_interrupted():
                command()
        finally:
            _flush(sys.stdout)
    except UserError as error:
        _end(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # who reads the output has read enough
        sys.exit(1)
    except OSError as error:
        if error.errno not in _MACHINE_FAULTS:
            raise
        _end(f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror))
    except MemoryError:
        _end("this needs more memory than there is: use a smaller network or fewer images")
    except RecursionError:
        _end("the input is nested too deeply")


def _flush(stream: TextIO) -> None:
    """Flush now, while an error can still be told; where it fails nothing more is written, also at the end."""
    try:
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not error.filename:
            error.filename = "standard output"
        raise


def _end(sentence: str) -> None:
    try:
        fail(sentence)
    except OSError:  # nobody reads it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    sys.exit(USER_FAULT)
