"""A terminal that obeys a model's names, or a traceback where a sentence belongs, would follow if these failed."""

import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cgap
from cgap.boundary.terminal import console
from tests.lowering.models import Builder

NAMES = ("[/]", "[bold red]x", "\x1b[2J\x1b]0;owned\x07", "\u202egnp.sh", ":smile:", "\u00fcber \u6f22", "a\nb")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose layers have names that terminals and Rich would obey."""
    net = Builder((1, 3, 32, 32))
    data = "image"
    for name in NAMES:
        data = net.conv(data, 3, 3, kernel=1)
        net.nodes[-1].name = name
    return net.save(data, tmp_path_factory.mktemp("hostile") / "[b]\x1b[1m.onnx")


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(Path(cgap.__file__).parents[1])}
    environment |= options.pop("environment", {})  # type: ignore[arg-type]
    command = [sys.executable, "-m", "cgap", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output="stdout" not in options, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize(("command", "encoding"), [("sim", "utf-8"), ("lower", "ascii"), ("hls", "ascii")])
def test_names_are_shown_and_not_obeyed(command: str, encoding: str, hostile: Path, tmp_path: Path) -> None:
    options = {
        "sim": (),
        "lower": ("--out", tmp_path / "o"),
        "hls": ("--no-csim", "--images", 1, "--out", tmp_path / "o"),
    }
    result = run(command, hostile, *options[command], environment={"PYTHONIOENCODING": encoding})
    assert result.returncode == 0, result.stderr.decode()
    printed = (result.stdout + result.stderr).decode(encoding)
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", printed) is None
    for shown in ("[/]", "[bold red]x", "\\x1b[2J\\x1b]0;owned\\x07", "\\u202egnp.sh", ":smile:"):
        assert shown in printed


def test_tables_and_lines_take_text_as_text() -> None:
    from rich.table import Table

    file = io.StringIO()
    table = Table("[/]", title="[/a]\x1b")
    table.add_row("[/b]\x9b1m")
    console(file).print(table, "[/c]\x1b[1m")
    assert "\x1b" not in file.getvalue()
    assert "\x9b" not in file.getvalue()
    assert all(f"[/{letter}]" in file.getvalue() for letter in "abc")


def test_nothing_is_printed_past_the_boundary() -> None:
    """A console or a print elsewhere in the package would show names as they are."""
    package = Path(cgap.__file__).parent
    own = {"boundary/terminal.py", "boundary/guard.py"}
    for path in package.rglob("*.py"):
        if path.relative_to(package).as_posix() not in own:
            found = re.search(r"(?<![\w.])print\(|(?<!\w)Console\(|sys\.std(out|err)", path.read_text())
            assert found is None, f"{path}: {found[0]}"


def test_a_full_output_is_one_sentence(hostile: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        for command in (["models"], ["models", "--json"], ["--version"]):
            result = run(*command, stdout=full, stderr=subprocess.PIPE)
            last = result.stderr.decode().splitlines()[-1]
            assert result.returncode == 2
            assert re.fullmatch("error: (standard output: )?No space left on device", last)
        assert run("models", "nothing", stdout=full, stderr=full).returncode == 2


@pytest.mark.parametrize(
    ("place", "command"),
    [("/proc/x", ["lower"]), ("/sys/x", ["hls", "--no-csim", "--images", 1]), ("/dev/null/x", ["sim", "--trace"])],
)
def test_a_place_that_cannot_be_written_is_one_sentence(place: str, command: list[str], hostile: Path) -> None:
    options = [place] if command[0] == "sim" else ["--out", place]
    result = run(command[0], hostile, *command[1:], *options)
    assert result.returncode == 2
    assert re.fullmatch(f"error: {place}[: ].*", result.stderr.decode().splitlines()[-1])
    assert b"Traceback" not in result.stderr
    assert b"another process" not in result.stderr


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (f"OSError({errno.ENOSPC}, 'No space left on device')", "No space left on device"),
        ("RecursionError()", "the input is nested too deeply"),
        ("UserError('bad name \\x1b[2J')", "bad name \\x1b[2J"),
    ],
)
def test_what_is_nobodys_defect_is_one_sentence(fault: str, sentence: str) -> None:
    code = (
        "from cgap.boundary.terminal import run_command\nfrom fpga_model.errors import UserError\n"
        f"def command(): raise {fault}\nrun_command(command)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (2, f"error: {sentence}\n")


@pytest.mark.parametrize("compiler", ["/bin/true", "/no/such"])
def test_a_compiler_that_is_none_is_one_error(compiler: str, hostile: Path, tmp_path: Path) -> None:
    options = ("--images", 1, "--out", tmp_path / "o")
    result = run("hls", hostile, *options, environment={"CXX": compiler})
    assert result.returncode == 2
    assert compiler.encode() in result.stderr
    assert b"Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
