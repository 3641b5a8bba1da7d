"""Locks between processes, which hold in every container and end with the process that holds them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cgap.boundary.files import writing
from fpga_model.errors import UserError


@contextmanager
def locked(path: Path, taken: str, target: Path | None = None) -> Iterator[None]:
    """Hold the lock file at `path`, which is there only as long as it is held or until a killed holder's successor.

    Raises UserError(`taken`) if another process holds it, and one that names `target` if it cannot be made.
    """
    from filelock import FileLock, Timeout  # imports asyncio, which commands that write no folder do without

    lock = FileLock(path, timeout=0)
    with writing(target or path):
        try:
            lock.acquire()
        except Timeout as error:
            if not Path(path).exists():  # its holder has left just now, or there can be no file: only then this fails
                tempfile.TemporaryFile(dir=Path(path).parent).close()  # not `path`, which would stay without a holder
            raise UserError(taken) from error
    try:
        yield
    finally:
        # Before it is released: who opened it meanwhile finds that it has no name any more, and makes another.
        Path(path).unlink(missing_ok=True)
        lock.release()


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, having waited for whoever holds it; the file stays."""
    from filelock import FileLock

    lock = FileLock(path)
    with writing(path):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


_PREFIX = "cgap-"
_ATTEMPTS = 10


@contextmanager
def scratch(root: Path | None = None) -> Iterator[Path]:
    """A temporary folder in `root`, by default the system's. What killed processes left of theirs is removed before."""
    root = root or Path(tempfile.gettempdir())
    _sweep(root)
    with ExitStack() as stack:
        for attempt in range(_ATTEMPTS):
            name = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
            name.rmdir()  # for its name alone: the lock is to be there first
            try:
                stack.enter_context(locked(name.with_suffix(".lock"), f"{name}: is in use"))
                break
            except UserError:  # another process, which looks for leftovers, has it for a moment
                if attempt == _ATTEMPTS - 1:
                    raise
        name.mkdir(mode=0o700)
        try:
            yield name
        finally:
            shutil.rmtree(name, ignore_errors=True)


def _sweep(root: Path) -> None:
    for lock in root.glob(f"{_PREFIX}*.lock"):
        with suppress(OSError, UserError):
            if lock.lstat().st_uid == os.getuid():
                with locked(lock, "in use"):
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
