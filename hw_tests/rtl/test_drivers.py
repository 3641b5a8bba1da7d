"""If these fail, a host cannot drive the accelerator by the drivers that `cgap rtl` emits.

Both drivers run as they are emitted, against the RTL: the one in Python from the emitted folder, in a process that
knows nothing of cgap but the board; the one in C compiled with warnings as errors.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cgap.backends.common.drivers import PYTHON_FOLDER, emit_drivers, tensors_of
from cgap.backends.common.weights import pack
from cgap.backends.host import Driver, Layout
from cgap.backends.rtl.twin import build
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.golden import run_reference
from fpga_model.models.simulator import simulate
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from tests.backends.networks import branch_network, grouped_network, random_images, residual_network

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="a simulation is compiled with g++")
C_FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wno-sign-conversion", "-Werror", "-O1")
IMAGES = 2


@pytest.fixture(scope="module")
def networks() -> list[tuple[Schedule, np.ndarray]]:
    """Two that fit one accelerator; one has several outputs of many pixels."""
    found = []
    for network, kind in ((residual_network, Kind.LAYERWISE), (grouped_network, Kind.RESIDENT)):
        fixed = network()
        schedule = build_schedule(fixed, Accelerator(), load_platform("zcu104"), kind)
        found.append((schedule, random_images(fixed.graph, IMAGES)))
    return found


def test_networks_follow_one_another_in_one_simulation(networks):
    """The program is data: the same elaborated accelerator, never reset, and the first network again at the end."""
    (first, images), (second, other) = networks
    hw = build(first)
    assert build(second).binary == hw.binary
    with hw.board() as board:
        board.set_platform(first.platform)
        driver = Driver(board, board.allocate, pause=board.clock, wait=board.wait, timeout_s=None)
        for schedule, batch in ((first, images), (second, other), (first, images[:1])):
            driver.load_program(schedule.program_bytes(), tensors_of(schedule))
            driver.load_weights(pack(schedule))
            for _ in range(2):
                run = driver.run(batch)
                stored = run_reference(schedule.fixed, batch)
                for name, tensor in run.outputs.items():
                    assert np.array_equal(tensor, stored[name]), name
                assert run.cycles == simulate(schedule).cycles
        driver.close()


def write_network(folder: Path, schedule: Schedule, images: np.ndarray) -> None:
    folder.mkdir()
    (folder / "program.bin").write_bytes(schedule.program_bytes())
    (folder / "weights.bin").write_bytes(pack(schedule))
    (folder / "tensors.txt").write_text(tensors_of(schedule).to_text())
    (folder / "input.bin").write_bytes(images.tobytes())


def expected(schedule: Schedule, images: np.ndarray) -> bytes:
    stored = run_reference(schedule.fixed, images)
    return b"".join(stored[layer.name].astype(np.int8).tobytes() for layer in schedule.graph.outputs)


def test_the_driver_in_c(networks, tmp_path):
    """Two networks one after the other, and a damaged program, whose error it tells."""
    emit_drivers(tmp_path / "driver")
    program = tmp_path / "cgap_run"
    sources = sorted((tmp_path / "driver").glob("*.c"))
    subprocess.run(["gcc", *C_FLAGS, *map(str, sources), "-o", str(program)], check=True)
    hw = build(networks[0][0])
    folders = []
    for index, (schedule, images) in enumerate(networks):
        folders.append(tmp_path / f"network{index}")
        write_network(folders[-1], schedule, images)
    done = run_c(program, hw, tmp_path, folders)
    assert done.returncode == 0, done.stderr
    for folder, (schedule, images) in zip(folders, networks, strict=True):
        assert (folder / "output.bin").read_bytes() == expected(schedule, images)
        assert f"{folder}: {IMAGES} images, {simulate(schedule).cycles} cycles each" in done.stdout
    damaged = bytearray((folders[0] / "program.bin").read_bytes())
    damaged[200] ^= 1
    (folders[0] / "program.bin").write_bytes(damaged)
    done = run_c(program, hw, tmp_path, folders)
    assert (done.returncode, done.stderr) == (1, "error: checksum of the program\n")


def run_c(program: Path, hw, folder: Path, folders: list[Path]) -> subprocess.CompletedProcess:
    """The program in C with a simulation of its own."""
    pipes = [folder / "requests", folder / "replies"]
    for pipe in pipes:
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    simulation = subprocess.Popen([str(hw.binary), f"+requests={pipes[0]}", f"+replies={pipes[1]}"])
    try:
        arguments = [str(program), *map(str, pipes), str(hw.memory_bytes), *map(str, folders)]
        return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
    finally:
        simulation.wait(timeout=60)


STANDALONE = """
import sys
from pathlib import Path
import numpy as np
from cgap.backends.rtl.board import Board
from fpga_model.machine.platform import load_platform

sys.path.insert(0, sys.argv[1])
import cgap_host
assert cgap_host.__file__.startswith(sys.argv[1])
with Board(Path(sys.argv[2]), int(sys.argv[3])) as board:
    board.set_platform(load_platform("zcu104"))
    driver = cgap_host.Driver(board, board.allocate, pause=board.clock, wait=board.wait)
    for folder in map(Path, sys.argv[4:]):
        layout = cgap_host.Layout.read(folder / "tensors.txt")
        driver.load_program((folder / "program.bin").read_bytes(), layout)
        driver.load_weights((folder / "weights.bin").read_bytes())
        images = np.frombuffer((folder / "input.bin").read_bytes(), np.int8).reshape(-1, *layout.input.shape)
        outputs = driver.run(images).outputs
        (folder / "output.bin").write_bytes(b"".join(outputs[tensor.name].tobytes() for tensor in layout.outputs))
"""


def test_the_emitted_driver_in_python(networks, tmp_path):
    emit_drivers(tmp_path / "driver")
    assert sorted(path.name for path in (tmp_path / "driver" / PYTHON_FOLDER).iterdir()) == [
        "__init__.py",
        "driver.py",
        "registers.py",
    ]
    hw = build(networks[0][0])
    folders = []
    for index, (schedule, images) in enumerate(networks):
        folders.append(tmp_path / f"network{index}")
        write_network(folders[-1], schedule, images)
    arguments = [str(tmp_path / "driver"), str(hw.binary), str(hw.memory_bytes), *map(str, folders)]
    subprocess.run([sys.executable, "-c", STANDALONE, *arguments], check=True)
    for folder, (schedule, images) in zip(folders, networks, strict=True):
        assert (folder / "output.bin").read_bytes() == expected(schedule, images)


def test_tensors_are_written_and_read(tmp_path):
    """Names that hold anything, outputs of both forms."""
    fixed = branch_network()
    layout = tensors_of(build_schedule(fixed, Accelerator(), load_platform("zcu104"), Kind.LAYERWISE))
    (tmp_path / "tensors.txt").write_text(layout.to_text(), "utf-8")
    assert Layout.read(tmp_path / "tensors.txt") == layout
    for tensor in layout.outputs:
        assert tensor.frac == fixed.format(tensor.name).frac
