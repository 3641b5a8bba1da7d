"""Building a whole folder and swapping it in, without losing anything in it that cgap did not write.

A folder made here carries a marker, `.cgap`: what it was made from, and the SHA-256 of every file that was written.
When it is made again, files that the marker does not list, or whose content has changed since, are the user's: they
are linked into the new folder before it is swapped in, at the same place, or under another name where a new file has
taken theirs. A kill at any moment leaves the old folder or the new one, each with all of the user's files.
"""

from __future__ import annotations

import ctypes
import filecmp
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cgap.boundary.files import MIB, hidden, read_bounded, write_atomic, writing
from cgap.boundary.locks import locked
from fpga_model.errors import UserError

MARKER = ".cgap"
_MARKER_LIMIT = 64 * MIB
_FORMAT = 1
_NAMED = 5
"""Of the user's files that are kept, those that are named; the others are counted."""


@dataclass(frozen=True)
class Origin:
    """What a folder is made from: the model's file as an absolute path, or a shipped model's name; and its SHA-256."""

    model: str
    sha256: str


@contextmanager
def replace_folder(
    target: Path, origin: Origin | None = None, say: Callable[[str], None] = lambda _: None
) -> Iterator[Path]:
    """Build a whole folder: `with replace_folder(Path("build/x")) as new: ...` writes into `new`.

    When the block ends, `new` takes the place of `target` in one step, with all that was in `target` and that cgap did
    not write, which `say` is told. When it raises, `target` stays as it was and `new` is removed.

    Raises:
        UserError: `target` is a file, the working folder, made from another model than `origin`, or holds files and
            no marker (a mistyped `--out` must not mix two folders); another process is writing it; or the system
            refuses to write there.
    """
    with writing(target):
        target = target.resolve()
        _check_replaceable(target, origin)
        target.parent.mkdir(parents=True, exist_ok=True)
    stem = hidden(target).name
    taken = f"{target}: another process is writing it; wait for its end, or choose another place"
    with locked(target.with_name(f"{stem}.lock"), taken, target):
        new = target.with_name(f"{stem}.{secrets.token_hex(4)}.part")
        with writing(target):
            _recover(target)
            new.mkdir()
            built = new.stat().st_ino
        try:
            yield new
            with writing(target):
                _check_replaceable(target, origin)
                _write_marker(new, origin)
                kept = _keep(target, new) if target.exists() else []
                _swap_in(new, target)
        finally:
            with writing(target):
                _remove(new, target, half_built=new.exists() and new.stat().st_ino == built)
    if kept:
        more = f" and {len(kept) - _NAMED} more" if len(kept) > _NAMED else ""
        say(f"kept in {target.name}, as cgap did not write it: {', '.join(kept[:_NAMED])}{more}")


def _check_replaceable(target: Path, origin: Origin | None) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"{target} is a file, and a folder is to be written there: move it, or choose another place")
    if _working_folder().is_relative_to(target):
        raise UserError(
            f"{target} is the folder that the command was started in, and would be replaced: choose a folder inside "
            f"it, such as --out {target.name or 'new'}_build, or start from outside"
        )
    if not (target / MARKER).is_file():
        if any(target.iterdir()):
            raise UserError(f"{target} holds files that cgap did not make: choose another place, or empty it")
        return
    made_from = _read_marker(target).origin
    if origin and made_from and origin.model != made_from.model and origin.sha256 != made_from.sha256:
        raise UserError(
            f"{target} was made from another model, {made_from.model}: choose another place with --out, or remove the "
            f"folder"
        )


def _working_folder() -> Path:
    try:
        return Path.cwd().resolve()
    except FileNotFoundError:  # it was removed
        return Path("/nowhere")


@dataclass(frozen=True)
class _Marker:
    origin: Origin | None
    files: Mapping[str, str]
    """SHA-256 by path in the folder."""


def _read_marker(folder: Path) -> _Marker:
    """A folder's marker; one that is none vouches for nothing."""
    try:
        content = json.loads(read_bounded(folder / MARKER, _MARKER_LIMIT))
        if content["format"] != _FORMAT:
            raise ValueError
        origin = content["origin"]
        return _Marker(None if origin is None else Origin(**origin), dict(content["files"]))
    except (OSError, UserError, ValueError, KeyError, TypeError, RecursionError):
        return _Marker(None, {})


def _write_marker(folder: Path, origin: Origin | None) -> None:
    files = {path.relative_to(folder).as_posix(): _sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    content = {"format": _FORMAT, "origin": None if origin is None else asdict(origin), "files": files}
    write_atomic(folder / MARKER, json.dumps(content, indent=1) + "\n")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(MIB):
            digest.update(block)
    return digest.hexdigest()


def _keep(old: Path, new: Path) -> list[str]:
    """Link into `new` what is in `old` and is not cgap's, as far as it is not there yet; returns the paths kept."""
    known = _read_marker(old).files
    made = {parent.as_posix() for name in known for parent in Path(name).parents}
    device = old.stat().st_dev
    kept = []

    def refuse(error: OSError) -> None:
        raise error

    for folder, names, files in os.walk(old, onerror=refuse):
        here = Path(folder)
        for name in [*names, *files]:
            path = here / name
            relative, found = path.relative_to(old), path.lstat()
            if stat.S_ISDIR(found.st_mode):
                if found.st_dev != device:
                    raise UserError(f"{path}: is another file system, which cannot be kept: unmount it first")
                if relative.as_posix() not in made:
                    _free_place(old, new, relative).mkdir(parents=True, exist_ok=True)
                continue
            regular = stat.S_ISREG(found.st_mode)
            if relative == Path(MARKER) or (regular and _is_known(path, known.get(relative.as_posix()))):
                continue
            place = _free_place(old, new, relative)
            if not os.path.lexists(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                _link(path, place)
                kept.append(place.relative_to(new).as_posix())
    return sorted(kept)


def _is_known(path: Path, sha256: str | None) -> bool:
    return sha256 is not None and _sha256(path) == sha256


def _free_place(old: Path, new: Path, relative: Path) -> Path:
    """Where in `new` the user's `old / relative` goes: where it was, or beside it where something else is now."""
    place, source = new, old
    for index, part in enumerate(relative.parts):
        last = index == len(relative.parts) - 1
        candidate, count = place / part, 1
        while not _is_free(candidate, source / part, last, renamed=count > 1):
            candidate = place / f"{part}.kept{count if count > 1 else ''}"
            count += 1
        place, source = candidate, source / part
    return place


def _is_free(candidate: Path, path: Path, last: bool, *, renamed: bool) -> bool:
    if not os.path.lexists(candidate):
        return not renamed or not os.path.lexists(path.with_name(candidate.name))
    return _is_same(path, candidate) if last else candidate.is_dir() and not candidate.is_symlink()


def _is_same(path: Path, other: Path) -> bool:
    """Whether nothing is lost of `path` where `other` is."""
    one, two = path.lstat(), other.lstat()
    if stat.S_IFMT(one.st_mode) != stat.S_IFMT(two.st_mode):
        return False
    if stat.S_ISDIR(one.st_mode) or os.path.samestat(one, two):
        return True
    if stat.S_ISLNK(one.st_mode):
        return path.readlink() == other.readlink()
    return stat.S_ISREG(one.st_mode) and filecmp.cmp(path, other, shallow=False)


def _link(path: Path, place: Path) -> None:
    """The same file under a second name, or a copy where the file system has no such thing."""
    try:
        os.link(path, place, follow_symlinks=False)
    except OSError:
        if not (path.is_symlink() or path.is_file()):
            raise
        shutil.copy2(path, place, follow_symlinks=False)


def _swap_in(new: Path, target: Path) -> None:
    """Give the complete folder `new` the name `target`; what `target` was ends under the name `new`, or nowhere."""
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        # Two steps where the system cannot exchange names: a kill between them leaves only `old`, for _recover.
        old = new.with_suffix(".old")
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        _remove(old, target, half_built=False)


def _exchange(a: Path, b: Path) -> bool:
    """Swap the names of two folders in one step. False where the system cannot (not Linux, or an old file system)."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    at_fdcwd, rename_exchange = -100, 2
    return bool(renameat2(at_fdcwd, os.fsencode(a), at_fdcwd, os.fsencode(b), rename_exchange) == 0)


def _remove(folder: Path, target: Path, *, half_built: bool) -> None:
    """Remove a half-built folder, or one that `target` has replaced, of which all is kept that was added meanwhile."""
    if not folder.exists():
        return
    if not half_built and target.exists():
        _keep(folder, target)
    shutil.rmtree(folder, ignore_errors=True)


def _recover(target: Path) -> None:
    """Clear up after killed processes, with the lock held: put back a folder that lost its name, remove the others."""
    pattern = re.compile(re.escape(hidden(target).name) + r"\.[0-9a-f]+\.(part|old)")
    for entry in sorted(target.parent.iterdir()):
        if pattern.fullmatch(entry.name) is None or not entry.is_dir() or entry.is_symlink():
            continue
        complete = (entry / MARKER).is_file()
        if complete and not target.exists():
            entry.rename(target)
        else:
            _remove(entry, target, half_built=not complete)
