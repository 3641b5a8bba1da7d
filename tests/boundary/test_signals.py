"""Whatever ends a command, at whatever moment: its target stays whole, nothing runs on, and the next run clears up.

A few moments of each in the test suite; `make test-signals` takes CGAP_SIGNAL_MOMENTS=100 of each.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lowering.models import residual_net
from tests.training.conftest import SHORT

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

MOMENTS = int(os.environ.get("CGAP_SIGNAL_MOMENTS", "1"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TOKEN = "CGAP_TEST_TOKEN"
ENDED = {signal.SIGKILL: {-signal.SIGKILL}, signal.SIGTERM: {143, -signal.SIGTERM}, signal.SIGINT: {130}}
"""Exit codes; SIGTERM's own in the moment before the command answers to it."""


class Commands:
    """The command, started by a process that has everything imported."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self, folder: Path, arguments: list[str], end: tuple[float, signal.Signals] | None = None) -> int:
        """The exit code of `cgap` in `folder`, sent a signal after some seconds."""
        assert self._process.stdin is not None
        token = uuid.uuid4().hex
        variables = {TOKEN: token, "TMPDIR": str(folder / "tmp")}
        request = {"arguments": arguments, "cwd": str(folder), "variables": variables, "log": str(folder / "log")}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        pid = int(self._answer())
        if end is not None:
            time.sleep(end[0])
            with suppress(ProcessLookupError):  # it was quicker
                os.kill(pid, end[1])
        code = int(self._answer())
        limit = time.monotonic() + 20
        while running := with_token(token):
            assert time.monotonic() < limit, f"still running: {running}"
            time.sleep(0.05)
        return code

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(120)


def with_token(token: str) -> list[str]:
    """Command lines of the processes that were started with this token in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if f"{TOKEN}={token}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text())
            except OSError:
                continue
    return found


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    started = Commands()
    yield started
    started.close()


SECONDS = {
    "report.json": r'"seconds": [0-9.]+',
    "report.html": r"reference, [0-9.]+ s<",
    ".cgap": r'"report.(json|html)": "[0-9a-f]+"',
}
"""Where a build says how long C simulation took: the texts by file."""


def tree(folder: Path) -> dict[str, str]:
    """All files, without the seconds that the C simulation took."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    texts = {name: content.decode("latin-1") for name, content in files.items()}
    for name, seconds in SECONDS.items():
        if name in texts:
            texts[name] = re.sub(seconds, "", texts[name])
    return texts


def network(folder: Path) -> dict[str, object]:
    """What a run has learnt, without times."""
    from cgap.training.state import read_checkpoint

    path = folder / "checkpoint.pt"
    if not path.exists():
        return {}
    content = read_checkpoint(path)
    numbers = {name: value.numpy().tobytes() for name, value in content["model"].items()}
    return {**numbers, "progress": (content["progress"]["epoch"], content["progress"]["step"])}


def trace(folder: Path) -> dict[str, bytes]:
    return {"trace": path.read_bytes()} if (path := folder / "trace.json").exists() else {}


@dataclass(frozen=True)
class Case:
    """One command: what there was before, what is run, and what its target then holds."""

    before: list[str] | None
    arguments: list[str]
    target: Callable[[Path], dict]
    whole: bool = True
    """Whether the target is the old or the new one; else it grows in steps, each of them whole."""


CASES = {
    "hls": Case(
        ["hls", "net.onnx", "--no-csim", "--images", "2", "--out", "out"],
        ["hls", "net.onnx", "--images", "1", "--out", "out"],
        lambda folder: tree(folder / "out"),
    ),
    "lower": Case(
        ["lower", "net.onnx", "--bits", "16", "--out", "out"],
        ["lower", "net.onnx", "--out", "out"],
        lambda folder: tree(folder / "out"),
    ),
    "sim": Case(
        ["sim", "net.onnx", "--schedule", "layerwise", "--trace", "trace.json"],
        ["sim", "net.onnx", "--trace", "trace.json"],
        trace,
    ),
    "train": Case(None, ["train", "run.toml", "--out", "out", "--resume"], lambda f: network(f / "out"), whole=False),
}


@pytest.fixture(scope="module")
def prepared(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple]:
    """For a command: what its target holds before and after a whole run, its seconds, and the files there then."""
    made: dict[str, tuple] = {}
    place = tmp_path_factory.mktemp("signals") / "work"  # one place for all, because folders say where they came from

    def prepare(name: str) -> tuple:
        if name not in made:
            case, folder = CASES[name], new_folder(place)
            if case.before:
                assert commands.run(folder, case.before) == 0, (folder / "log").read_text()
            before = case.target(folder)
            shutil.copytree(folder, start_of(place, name), symlinks=True)
            start = time.monotonic()
            assert commands.run(folder, case.arguments) == 0, (folder / "log").read_text()
            seconds = time.monotonic() - start
            after = case.target(folder)
            assert before != after
            made[name] = before, after, seconds, entries(folder), place
        return made[name]

    return prepare


def start_of(place: Path, name: str) -> Path:
    """Where a command's folder is kept as it was before the command."""
    return place.with_name(f"{name}_before")


def new_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "tmp").mkdir()
    (folder / "run.toml").write_text(SHORT)
    residual_net(folder / "net.onnx", (4, 5), size=32)
    return folder


def entries(folder: Path) -> list[str]:
    """What lies there and in its temporary folder; of a run's folder, too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "tensorboard" not in path.parts)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_ended_at_any_moment(name: str, number: signal.Signals, commands, prepared) -> None:
    case = CASES[name]
    before, after, seconds, whole, place = prepared(name)
    chance = random.Random(f"{name} {number.name}")
    ended = 0
    for _ in range(MOMENTS):
        shutil.rmtree(place)
        folder = shutil.copytree(start_of(place, name), place, symlinks=True)
        delay = chance.uniform(0, seconds)
        code = commands.run(folder, case.arguments, (delay, number))
        where = f"{name}, {number.name} after {delay:.3f} s of {seconds:.1f}"
        log = (folder / "log").read_text() if (folder / "log").exists() else ""
        assert code in ENDED[number] | {0}, f"{where}: exit code {code}\n{log}"
        assert "Traceback" not in log, f"{where}: {log}"
        ended += code != 0
        found = case.target(folder)
        assert not case.whole or found in (before, after), f"{where}: the target is a mixture"
        start = time.monotonic()
        assert commands.run(folder, case.arguments) == 0, f"{where}: {(folder / 'log').read_text()}"
        seconds = time.monotonic() - start  # as busy as the machine is now
        assert case.target(folder) == after, f"{where}: the next run made something else"
        assert entries(folder) == whole, f"{where}: something is left over"
    assert ended >= MOMENTS // 2, f"only {ended} of {MOMENTS} were in time"
