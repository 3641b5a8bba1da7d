"""Writing files so that a kill at any moment leaves the old or the new, and reading them within limits.

A new file is made under a temporary name beside its target (`.NAME.XXXXXXXX.part`), which its writer holds locked, and
renamed when it is complete. What a killed process left under such a name is nobody's, which its lock shows on every
machine and in every container, and is removed by the next write of the same target.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from fpga_model.errors import UserError

MIB = 1 << 20
_LONGEST_STEM = 200


def cache_folder(kind: str) -> Path:
    """The user's cache of one kind of file: `$XDG_CACHE_HOME/cgap/KIND`, by default `~/.cache/cgap/KIND`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cgap" / kind


def keep_program(made: Path, kept: Path) -> None:
    """Copy a built program to `kept`, which is there at once and whole. Raises OSError."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    # Under a name of its own first: another process may build the same.
    copy = kept.with_name(f".{kept.name}.{os.getpid()}.part")
    shutil.copy2(made, copy)
    copy.replace(kept)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file (text as UTF-8 with \\n line ends), making its folder when needed.

    Readers see the old content or the new, also after a power cut. The file's permissions follow the umask.

    Raises:
        UserError: it cannot be written; what it held stays.
    """
    data = content.encode() if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent, f"{hidden(path).name}.")
        with _temporary(path) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system refuses in the block, such as space on a full disk, into a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        where = "" if error.filename in (None, str(path)) else f" at {error.filename}"
        raise UserError(f"{path}: cannot be written ({error.strerror or error}{where})") from error


def hidden(path: Path) -> Path:
    """A hidden name beside `path` that is made from its own and leaves room for a suffix."""
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_STEM:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return path.with_name(f".{name}")


@contextmanager
def _temporary(path: Path) -> Iterator[BinaryIO]:
    """A new locked file beside `path`, removed again if the block raises."""
    while True:
        stem = hidden(path)
        name = stem.with_name(f"{stem.name}.{secrets.token_hex(4)}.part")
        with name.open("xb") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file.fileno()).st_nlink:
                continue  # taken for a leftover between its making and its locking
            try:
                yield file
            except BaseException:
                name.unlink(missing_ok=True)
                raise
            return


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left of the files that `write_atomic` was writing into this folder."""
    _remove_stale(folder, ".")


def _remove_stale(folder: Path, prefix: str) -> None:
    for entry in os.scandir(folder) if folder.is_dir() else ():
        rest = entry.name.removeprefix(prefix)
        leftover = rest != entry.name and re.fullmatch(r"(.*\.)?[0-9a-f]{8}\.part", rest, re.DOTALL)
        if leftover and entry.is_file(follow_symlinks=False):
            with suppress(OSError), open(entry.path, "rb") as file:  # noqa: PTH123
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(entry.path).unlink()


def free_name(path: Path) -> Path:
    """A name beside `path` under which what has its name can be kept."""
    count = 1
    while os.path.lexists(kept := path.with_name(f"{path.name}.kept{count if count > 1 else ''}")):
        count += 1
    return kept


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Pipes and devices are refused without waiting for them.

    Raises:
        UserError: there is no such file, it is none, or it is larger.
        OSError: it cannot be read.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENODEV):
            raise
        raise UserError(f"{path}: is not a regular file") from error
    with open(number, "rb") as file:  # noqa: PTH123
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"{path}: is not a regular file")
        if found.st_size <= limit:
            data = file.read(found.st_size + 1)
            if len(data) > found.st_size:  # it grows, or is of those in /proc that say nothing of their size
                data += file.read(limit + 1 - len(data))
    if found.st_size > limit or len(data) > limit:
        raise UserError(f"{path}: larger than {_size(limit)}; no larger file is read")
    return data


def _size(count: int) -> str:
    return f"{count // MIB:,} MiB" if count >= MIB else f"{count:,} bytes"


def read_json(path: Path, limit: int) -> Any:
    """The JSON value in a file of at most `limit` bytes. Raises UserError if it cannot be read or is none."""
    try:
        return json.loads(read_text(path, limit))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error})") from error


def read_text(path: Path, limit: int) -> str:
    """`read_bounded` as UTF-8 text. Raises UserError, which says why, if it cannot be read or is not text."""
    try:
        return read_bounded(path, limit).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
