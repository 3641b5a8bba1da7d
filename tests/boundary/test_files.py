"""Half-written output, lost folders or colliding names would follow if these failed."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgap.boundary import files
from cgap.boundary.files import replace_folder, safe_name, write_atomic
from fpga_model.errors import UserError


def tree(folder: Path) -> dict[str, bytes]:
    """Content of all files under a folder, without the marker."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != files.MARKER
    }


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


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
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert left_over(tmp_path) == []


def test_long_names_can_be_written(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomic(path, "x")
    assert path.read_text() == "x"


# replace_folder


@pytest.fixture(params=["exchange", "two renames"])
def swap(request, monkeypatch):
    """Both ways of swapping: one system call, and the fallback where there is none."""
    if request.param == "two renames":
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    return request.param


def test_folder_is_replaced_whole(tmp_path, swap):
    target = tmp_path / "build" / "net"
    with replace_folder(target) as new:
        (new / "old.txt").write_text("1")
    with replace_folder(target) as new:
        (new / "sub").mkdir()
        (new / "sub" / "new.txt").write_text("2")
        assert tree(target) == {"old.txt": b"1"}, "the old folder is there until the new one is complete"
    assert tree(target) == {"sub/new.txt": b"2"}
    assert left_over(target.parent) == []


@pytest.mark.parametrize("failure", [RuntimeError, UserError, KeyboardInterrupt])
def test_failure_keeps_the_old_folder(tmp_path, failure):
    target = tmp_path / "net"
    with replace_folder(target) as new:
        (new / "old.txt").write_text("1")

    def build_half() -> None:
        with replace_folder(target) as new:
            (new / "half").write_text("2")
            raise failure

    with pytest.raises(failure):
        build_half()
    assert tree(target) == {"old.txt": b"1"}
    assert left_over(tmp_path) == []


def test_failed_swap_keeps_the_old_folder(tmp_path, monkeypatch):
    target = tmp_path / "net"
    with replace_folder(target) as new:
        (new / "old.txt").write_text("1")

    def fail(*_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "_exchange", fail)
    with pytest.raises(PermissionError), replace_folder(target):
        pass
    assert tree(target) == {"old.txt": b"1"}
    assert left_over(tmp_path) == []


def test_a_failed_second_rename_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "net"
    with replace_folder(target) as new:
        (new / "old.txt").write_text("1")
    rename = Path.rename

    def fail_for_the_new_one(source: Path, destination: Path) -> Path:
        if source.name.endswith(".part"):
            raise OSError(5, "Input/output error")
        return rename(source, destination)

    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(OSError, match="Input/output"), replace_folder(target):
        pass
    assert tree(target) == {"old.txt": b"1"}
    assert left_over(tmp_path) == []


def test_a_stranger_s_folder_is_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="did not make"), replace_folder(tmp_path):
        pytest.fail("must refuse before the work is done")
    assert tree(tmp_path) == {"thesis.tex": b"years of work"}


def test_an_empty_folder_may_be_replaced(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    with replace_folder(target) as new:
        (new / "x").write_text("1")
    assert tree(target) == {"x": b"1"}


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "net").write_text("a file")
    with pytest.raises(UserError, match="net is a file"), replace_folder(tmp_path / "net"):
        pytest.fail("must refuse before the work is done")


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    real, link = tmp_path / "disk" / "real", tmp_path / "link"
    real.mkdir(parents=True)
    link.symlink_to(real)
    with replace_folder(link) as new:
        (new / "x").write_text("1")
    assert link.is_symlink()
    assert tree(real) == {"x": b"1"}


def test_a_killed_build_leaves_the_old_folder_and_the_next_one_clears_up(tmp_path):
    target = tmp_path / "net"
    with replace_folder(target) as new:
        (new / "old.txt").write_text("1")
    script = """
        import sys, time
        from pathlib import Path
        from cgap.boundary.files import replace_folder
        with replace_folder(Path(sys.argv[1])) as new:
            (new / "half").write_text("2")
            print("building", flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert tree(target) == {"old.txt": b"1"}
    assert len(left_over(tmp_path)) == 1

    with replace_folder(target) as new:
        (new / "new.txt").write_text("3")
    assert tree(target) == {"new.txt": b"3"}
    assert left_over(tmp_path) == []


def test_a_kill_between_the_two_renames_is_repaired(tmp_path):
    lost = tmp_path / f".net.{dead_pid()}.old"
    lost.mkdir()
    (lost / files.MARKER).touch()
    (lost / "old.txt").write_text("1")
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "net"):
        raise RuntimeError
    assert tree(tmp_path / "net") == {"old.txt": b"1"}


def test_what_a_running_process_builds_is_left_alone(tmp_path):
    other = tmp_path / f".net.{os.getppid()}.part"
    other.mkdir()
    with replace_folder(tmp_path / "net"):
        pass
    assert other.exists()


# safe_name

identifier = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@given(st.lists(st.text(max_size=80)), st.sets(st.from_regex(r"[a-z]{1,3}", fullmatch=True)))
def test_safe_names_are_unique_identifiers(originals, taken):
    before = set(taken)
    names = [safe_name(original, taken) for original in originals]
    for name in names:
        assert identifier.fullmatch(name)
        assert "__" not in name
        assert not name.endswith("_")
        assert len(name) <= 64
        assert name.lower() not in files._RESERVED
    lower = [name.lower() for name in names]
    assert len(set(lower)) == len(lower)
    assert not before & set(lower)
    assert taken == before | set(lower)


@given(st.lists(st.text(max_size=30)))
def test_safe_names_are_the_same_each_time(originals):
    first: set[str] = set()
    second: set[str] = set()
    assert [safe_name(text, first) for text in originals] == [safe_name(text, second) for text in originals]


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ("layer1.0.conv1", "layer1_0_conv1"),
        ("/stage1/block0/Conv_12", "stage1_block0_Conv_12"),
        ("../../etc/passwd", "etc_passwd"),
        ("C:\\windows\\nul", "C_windows_nul"),
        ("a\"; system('rm -rf /'); //", "a_system_rm_rf"),
        ("line1\nline2\r\0", "line1_line2"),
        ("*/ #include <x>", "include_x"),
        ("Übergrößenträger", "Ubergroentrager"),
        ("卷积", "unnamed"),
        ("", "unnamed"),
        ("...", "unnamed"),
        ("3x3", "n3x3"),
        ("int", "int_x"),
        ("INT", "INT_x"),
        ("logic", "logic_x"),
        ("CON", "CON_x"),
        ("__init__", "init"),
        ("a__b", "a_b"),
        ("conv²", "conv2"),
    ],
)
def test_readable_names(original, expected):
    assert safe_name(original, set()) == expected


def test_ten_thousand_characters():
    taken: set[str] = set()
    names = [safe_name("x" * 10_000, taken) for _ in range(12)]
    assert names[0] == "x" * 64
    assert names[-1] == "x" * 61 + "_12"
    assert len(set(names)) == 12


def test_names_differing_in_case_only_are_told_apart():
    taken: set[str] = set()
    assert [safe_name(text, taken) for text in ("Conv", "conv", "CONV", "conv_2")] == [
        "Conv",
        "conv_2",
        "CONV_3",
        "conv_2_2",
    ]
