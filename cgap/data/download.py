"""Where CIFAR-10 lives on this machine and how it gets there: MD5-checked, safely unpacked, atomically placed."""

from __future__ import annotations

import filecmp
import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path, PurePosixPath

from cgap.boundary.files import free_name, writing
from cgap.boundary.locks import scratch
from cgap.boundary.terminal import note
from cgap.data.places import cache_folder, places
from fpga_model.errors import UserError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
ARCHIVE_BYTES = 170_052_171
FOLDER = "cifar-10-batches-bin"
MEMBERS = frozenset([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt"])
MEMBER_BYTES = 10_000 * 3_073
TIMEOUT_S = 30


def find_cifar10() -> Path | None:
    """Folder on this machine that holds CIFAR-10's .bin files, if there is one.

    `$CGAP_DATA`, which may be that folder or the one above it, is looked in alone where it is set, else the cache.
    """
    return next((place for place in places(FOLDER) if (place / "test_batch.bin").is_file()), None)


def locate_cifar10() -> Path:
    """`find_cifar10`, downloading into the cache folder where nothing is found.

    A set `$CGAP_DATA` without the files is a UserError, so that a mistyped path never starts a download.
    """
    if found := find_cifar10():
        return found
    if not os.environ.get("CGAP_DATA"):
        return download_cifar10(cache_folder())
    place = places(FOLDER)[-1]
    raise UserError(
        f"CIFAR-10 not found in {place}, where CGAP_DATA points: "
        f"unpack {URL} (MD5 {MD5}) so that {place / 'data_batch_1.bin'} exists"
    )


def download_cifar10(target: Path) -> Path:
    """Fetch the publisher's archive into `target` and unpack it; returns the folder of .bin files.

    The archive is unpacked beside its final place and renamed, so that a kill leaves either nothing or all of it.
    """
    final = target / FOLDER
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
    with scratch(target) as folder:
        archive = folder / "cifar-10-binary.tar.gz"
        note(f"downloading CIFAR-10, {ARCHIVE_BYTES >> 20} MiB, from {URL}")
        try:
            with urllib.request.urlopen(URL, timeout=TIMEOUT_S) as reply:
                _copy_bounded(reply, archive)
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            what = str(error) or type(error).__name__
            raise UserError(
                f"CIFAR-10 could not be downloaded from {URL} ({what}): fetch it on another machine and unpack it "
                f"so that {final / 'data_batch_1.bin'} exists, or set CGAP_DATA to the folder that holds {FOLDER}"
            ) from error
        unpack_cifar10(archive, final)
    return final


def _copy_bounded(reply: object, archive: Path) -> None:
    """Write at most the archive's known size plus one byte, so that a wrong server cannot fill the disk."""
    left = ARCHIVE_BYTES + 1
    with archive.open("wb") as file:
        while left > 0 and (block := reply.read(min(1 << 20, left))):  # type: ignore[attr-defined]
            file.write(block)
            left -= len(block)


def unpack_cifar10(archive: Path, final: Path, md5: str = MD5) -> None:
    """Check the archive's MD5 and place its known members, and only those, in `final`.

    Raises UserError if the sum differs or a member is missing, oversized or not a plain file.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with archive.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != md5:
        raise UserError(f"{archive.name}: MD5 is {digest.hexdigest()}, the publisher's is {md5}; fetch it again")
    with writing(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True)
    with scratch(final.parent) as folder:
        unpacked = folder / FOLDER
        unpacked.mkdir()
        try:
            _unpack(archive, unpacked)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise UserError(f"{archive.name}: cannot be unpacked ({error}); fetch it again") from error
        missing = sorted(MEMBERS - {p.name for p in unpacked.iterdir()} - {"batches.meta.txt"})
        if missing:
            raise UserError(f"{archive.name}: {missing[0]} is missing from the archive")
        _place(unpacked, final)


def _unpack(archive: Path, unpacked: Path) -> None:
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = PurePosixPath(member.name).name
            if name not in MEMBERS:
                continue
            source = tar.extractfile(member) if member.isfile() and member.size <= MEMBER_BYTES else None
            if source is None:
                raise UserError(f"{archive.name}: member {member.name!r} is not a plain file of CIFAR-10's size")
            with (unpacked / name).open("wb") as file:
                shutil.copyfileobj(source, file)


def _place(unpacked: Path, final: Path) -> None:
    """Move the unpacked files into their folder, beside whatever is there; a file of one's name is kept as NAME.kept.

    `test_batch.bin`, by which the folder is found, comes last.
    """
    try:
        unpacked.rename(final)
        return
    except OSError:
        if not final.is_dir():
            raise
    for path in sorted(unpacked.iterdir(), key=lambda path: path.name == "test_batch.bin"):
        place = final / path.name
        if os.path.lexists(place) and not (place.is_file() and filecmp.cmp(path, place, shallow=False)):
            place.rename(free_name(place))
        path.replace(place)
