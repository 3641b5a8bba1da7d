"""A user's files lost, folders half built, or two processes in each other's way would follow if these failed."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from cgap.boundary import folders
from cgap.boundary.folders import MARKER, Origin, replace_folder
from fpga_model.errors import UserError


def tree(folder: Path) -> dict[str, bytes]:
    """Content of all files under a folder, without the marker."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARKER
    }


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.fixture(params=["exchange", "two renames"])
def swap(request, monkeypatch):
    """Both ways of swapping: one system call, and the fallback where there is none."""
    if request.param == "two renames":
        monkeypatch.setattr(folders, "_exchange", lambda *_: False)
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

    monkeypatch.setattr(folders, "_exchange", fail)
    with pytest.raises(UserError, match="Permission denied"), replace_folder(target):
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

    monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(UserError, match="Input/output"), replace_folder(target):
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


BUILDING = """
    import sys, time
    from pathlib import Path
    from cgap.boundary.folders import replace_folder
    with replace_folder(Path(sys.argv[1])) as new:
        (new / "half").write_text("2")
        print("building", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def building(tmp_path):
    """Another process that is half done with `net`, which was made before."""
    with replace_folder(tmp_path / "net") as new:
        (new / "old.txt").write_text("1")
    command = [sys.executable, "-c", textwrap.dedent(BUILDING), str(tmp_path / "net")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        yield process
        process.kill()


def test_a_killed_build_leaves_the_old_folder_and_the_next_one_clears_up(building, tmp_path):
    target = tmp_path / "net"
    building.send_signal(signal.SIGKILL)
    building.wait()
    assert tree(target) == {"old.txt": b"1"}
    assert len(left_over(tmp_path)) == 2, "half of a folder, and the lock"

    with replace_folder(target) as new:
        (new / "new.txt").write_text("3")
    assert tree(target) == {"new.txt": b"3"}
    assert left_over(tmp_path) == []


def test_a_folder_is_built_by_one_process_at_a_time(building, tmp_path):
    """Whatever its number: in another container that number is somebody else's."""
    with pytest.raises(UserError, match="another process is writing it"), replace_folder(tmp_path / "net"):
        pytest.fail("must refuse before the work is done")
    assert building.poll() is None
    assert len(left_over(tmp_path)) == 2
    with replace_folder(tmp_path / "beside"):
        pass


FIRST_TIME = """
    import sys
    from pathlib import Path
    from cgap.boundary.folders import replace_folder
    from fpga_model.errors import UserError
    for k in range(100):
        try:
            with replace_folder(Path(sys.argv[1]) / f"net{k}") as new:
                (new / "x").write_text(sys.argv[2])
        except UserError as error:
            assert "another process" in str(error), error
"""


def test_first_builds_into_one_new_folder_do_not_collide(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(FIRST_TIME), str(tmp_path)]
    racing = [subprocess.Popen([*command, str(k)], stderr=subprocess.PIPE, text=True) for k in range(3)]
    assert [process.communicate()[1] for process in racing] == [""] * 3
    assert [process.returncode for process in racing] == [0] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"net{k}" for k in range(100))
    assert all(tree(folder)["x"] in (b"0", b"1", b"2") for folder in tmp_path.iterdir())


def test_a_kill_between_the_two_renames_is_repaired(tmp_path):
    with replace_folder(tmp_path / "net") as new:
        (new / "old.txt").write_text("1")
    (tmp_path / "net").rename(tmp_path / ".net.0123abcd.old")
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "net"):
        raise RuntimeError
    assert tree(tmp_path / "net") == {"old.txt": b"1"}


# What cgap did not write


def build(target: Path, number: int = 0, **options) -> None:
    """A folder of ten files, whose content depends on `number`."""
    with replace_folder(target, **options) as new:
        for k in range(10):
            path = new / "hls" / f"part{k % 3}" / f"file{k}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{k} {number}")


def foreign(target: Path) -> dict[Path, Callable[[], object]]:
    """Add a user's own things in ten places, each with what is to be the same for ever."""
    project = target / "hls" / "project_accelerator" / "solution" / "syn" / "report"
    project.mkdir(parents=True)
    files = {
        target / "notes.txt": b"notes",
        target / "-rf": b"",
        target / "hls" / "tb": b"\x7fELF",
        target / "hls" / "part1" / "n\nl.log": b"log",
        target / "hls" / "\u00fc\u6f22": b"unicode",
        project / "csynth.rpt": b"hours",
        project.parent / ".hidden": b"x" * 100_000,
    }
    for path, content in files.items():
        path.write_bytes(content)
    (target / "link").symlink_to("notes.txt")
    (target / "hls" / "part0" / "dangling").symlink_to("/nowhere")
    (target / "empty" / "folder").mkdir(parents=True)
    (project / "csynth.rpt").chmod(0o400)
    links = [target / "link", target / "hls" / "part0" / "dangling"]
    return {
        **{path: lambda path=path: (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) for path in files},
        **{path: path.readlink for path in links},
        target / "empty" / "folder": (target / "empty" / "folder").is_dir,
    }


def test_ten_rebuilds_keep_every_foreign_byte_in_its_place(tmp_path, swap):
    target, said = tmp_path / "net", []
    build(target)
    things = foreign(target)
    assert len(things) == 10
    before = {path: look() for path, look in things.items()}
    for number in range(1, 11):
        build(target, number, say=said.append)
        assert {path: look() for path, look in things.items()} == before
        assert (target / "hls" / "part0" / "file0.txt").read_text() == f"0 {number}"
        assert left_over(tmp_path) == []
    assert len(said) == 10
    assert "-rf" in said[0]
    assert "and 4 more" in said[0]


def test_a_changed_file_is_kept_beside_the_new_one(tmp_path, swap):
    target = tmp_path / "net"
    build(target)
    config = target / "hls" / "part0" / "file0.txt"
    config.write_text("tuned by hand")
    config.with_name("file0.txt.kept").write_text("the user's own")
    for number in range(1, 4):
        build(target, number)
    assert config.read_text() == "0 3"
    assert config.with_name("file0.txt.kept").read_text() == "the user's own"
    assert config.with_name("file0.txt.kept2").read_text() == "tuned by hand"
    assert len(tree(target)) == 12


def test_what_stands_where_a_new_file_or_folder_comes_is_kept_beside_it(tmp_path, swap):
    target = tmp_path / "net"
    with replace_folder(target) as new:
        (new / "x").write_text("1")
    (target / "a").mkdir()
    (target / "a" / "mine").write_text("2")
    (target / "b").write_text("3")
    with replace_folder(target) as new:
        (new / "a").write_text("new")
        (new / "b").mkdir()
        (new / "b" / "c").write_text("new")
    assert tree(target) == {"a": b"new", "b/c": b"new", "a.kept/mine": b"2", "b.kept": b"3"}


def test_cgaps_own_files_go(tmp_path, swap):
    """What the marker lists and nobody changed is not piled up."""
    target = tmp_path / "net"
    build(target)
    with replace_folder(target) as new:
        (new / "other").write_text("1")
    assert tree(target) == {"other": b"1"}
    assert sorted(path.name for path in target.iterdir()) == [MARKER, "other"]


@pytest.mark.parametrize("marker", [b"", b"[" * 100_000, b"{}", b'{"format": 1, "origin": 3, "files": 7}', b"\xff"])
def test_a_marker_that_says_nothing_vouches_for_nothing(tmp_path, marker):
    target = tmp_path / "net"
    build(target)
    (target / MARKER).write_bytes(marker)
    with replace_folder(target) as new:
        (new / "other").write_text("1")
    assert len(tree(target)) == 11


def test_what_is_added_while_a_build_runs_is_kept(tmp_path, swap):
    target = tmp_path / "net"
    build(target)
    with replace_folder(target) as new:
        (new / "x").write_text("1")
        (target / "late.txt").write_text("2")
    assert tree(target) == {"x": b"1", "late.txt": b"2"}


@pytest.mark.parametrize("moment", ["_swap_in", "_remove"])
def test_a_kill_around_the_swap_loses_nothing(tmp_path, moment, swap):
    """`_remove` is called with the old folder swapped out; the next build finds it."""
    target = tmp_path / "net"
    build(target)
    things = foreign(target)
    before = {path: look() for path, look in things.items()}
    if os.fork() == 0:  # a process of its own, which is gone in the middle
        setattr(folders, moment, lambda *_, **__: os._exit(9))
        build(target, 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 9
    assert {path: look() for path, look in things.items()} == before
    build(target, 2)
    assert {path: look() for path, look in things.items()} == before
    assert (target / "hls" / "part0" / "file0.txt").read_text() == "0 2"
    assert left_over(tmp_path) == []


def test_another_model_is_refused_with_the_way_out(tmp_path):
    target = tmp_path / "net"
    first = Origin("/a/net.onnx", "1" * 64)
    build(target, origin=first)
    before = tree(target)
    with pytest.raises(UserError, match=r"made from another model, /a/net\.onnx: .*--out"):
        build(target, 1, origin=Origin("/b/net.onnx", "2" * 64))
    assert tree(target) == before
    build(target, 2, origin=Origin("/a/net.onnx", "3" * 64))  # trained further
    build(target, 3, origin=Origin("/c/net.onnx", "3" * 64))  # moved


def test_the_working_folder_is_not_replaced(tmp_path, monkeypatch):
    build(tmp_path / "net")
    for place in ("net", "net/hls/part0"):
        monkeypatch.chdir(tmp_path / place)
        with pytest.raises(UserError, match=r"net is the folder that the command was started in.*--out net_build"):
            build(tmp_path / "net", 1)
    assert Path.cwd().exists()


@pytest.mark.parametrize("place", ["/proc/x", "/dev/null/x", "/"])
def test_a_place_that_cannot_be_written_is_one_sentence(place):
    with pytest.raises(UserError, match=f"^{place}[: ]") as refused, replace_folder(Path(place)):
        pytest.fail("must refuse before the work is done")
    assert "another process" not in str(refused.value)
