"""Half-written output, or a command that never comes back from reading, would follow if these failed."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from cgap.boundary.files import read_bounded, read_text, remove_leftovers, write_atomic
from fpga_model.errors import UserError


def left_over(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# write_atomic


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_atomic(path, "first")
    write_atomic(path, b"second\n")
    assert path.read_bytes() == b"second\n"
    assert left_over(path.parent) == []


def test_text_is_utf8_with_unix_line_ends(tmp_path):
    write_atomic(tmp_path / "x", "é\n")
    assert (tmp_path / "x").read_bytes() == b"\xc3\xa9\n"


def test_written_files_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "x", "")
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"x: cannot be written \(No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert left_over(tmp_path) == []


def test_long_names_can_be_written(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomic(path, "x")
    assert path.read_text() == "x"


def test_long_names_of_many_bytes_can_be_written(tmp_path):
    path = tmp_path / ("\u6f22" * 85)
    write_atomic(path, "x")
    assert path.read_text() == "x"


@pytest.mark.parametrize("place", ["/proc/x", "/proc/x/y", "/dev/null/x", "/sys/x"])
def test_what_the_system_refuses_is_one_sentence(place):
    from pathlib import Path

    with pytest.raises(UserError, match=f"^{place}: cannot be written"):
        write_atomic(Path(place), "x")


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from cgap.boundary import files
    def wait(_):
        print("writing", flush=True)
        signal.pause()
    files.os.fsync = wait
    files.write_atomic(Path(sys.argv[1]), "half")
"""


def test_the_next_write_clears_up_after_a_killed_one_and_leaves_a_running_one_alone(tmp_path):
    """Locks tell, not process numbers, which mean nothing in another container."""
    path = tmp_path / "x"
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        write_atomic(path, "mine")
        remove_leftovers(tmp_path)
        assert len(left_over(tmp_path)) == 1
        process.send_signal(signal.SIGKILL)
    assert len(left_over(tmp_path)) == 1
    write_atomic(tmp_path / "other", "")
    assert len(left_over(tmp_path)) == 1
    write_atomic(path, "mine again")
    assert left_over(tmp_path) == []


# read_bounded


def test_only_regular_files_within_the_limit_are_read(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(UserError, match="larger than 4 bytes"):
        read_bounded(path, 4)
    os.mkfifo(tmp_path / "fifo")
    for other in (tmp_path / "fifo", "/dev/zero", "/dev/null", tmp_path):
        with pytest.raises((UserError, IsADirectoryError)):
            read_text(type(path)(other), 10)
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 40)
    with pytest.raises(UserError, match="larger than"):
        read_bounded(tmp_path / "sparse", 1 << 20)


def test_text_says_what_is_wrong_with_it(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"x: cannot be read .*utf-8"):
        read_text(tmp_path / "x", 10)
    with pytest.raises(UserError, match=r"nothing: cannot be read .No such file"):
        read_text(tmp_path / "nothing", 10)
