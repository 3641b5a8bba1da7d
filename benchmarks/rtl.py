"""Speed of the RTL's simulation, and what it is made of; CPU seconds of Verilator and of the C++ compiler for a build.

    python -m benchmarks.rtl [MODEL] [--images 4] [--array 8x8x4] [--build]

Cycles a CPU second of the simulation's process alone, from the start of the first image to the end of the last. Beside
the whole accelerator stand the same without COMPUTE (a dummy that counts cycles), which is control, LOAD, STORE, memory
and bench, and with the trace of all events that comparisons need.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

from cgap.app.build import compile_model
from cgap.app.plan import Target
from cgap.backends.rtl.board import Board
from cgap.backends.rtl.twin import Twin, build, load_network
from fpga_model.machine.tiles import Unit
from fpga_model.models.simulator import simulate

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="resnet20")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--array", default="8x8x4")
    parser.add_argument("--build", action="store_true", help="measure a build instead of using one that is kept")
    arguments = parser.parse_args()
    compiled = compile_model(arguments.model, Target.parse("zcu104", arguments.array, "resident"))
    schedule, images = compiled.schedule, compiled.inputs.integers()[: arguments.images]
    dummy = {"compute.sv": (ROOT / "hw_tests" / "rtl" / "dummy_compute.sv").read_text("utf-8")}
    with tempfile.TemporaryDirectory() as folder:
        durations = Path(folder) / "durations.hex"
        events = simulate(schedule).events
        cycles = [event.cycles for event in events if event.operation.unit is Unit.COMPUTE]
        durations.write_text("".join(f"{n:x}\n" for n in cycles))
        if arguments.build:
            used = cpu_of_children()
            build(schedule, cache=Path(folder))
            print(f"build of {arguments.array}: {cpu_of_children() - used:.1f} CPU-seconds")
        print(f"{arguments.model}, {arguments.array}, {len(images)} images of {simulate(schedule).cycles:,} cycles")
        whole, parts = build(schedule), build(schedule, replaced=dummy)
        for name, hw, options, traced in (
            ("whole", whole, (), False),
            ("whole, with the trace", whole, (), True),
            ("without COMPUTE", parts, (f"+durations={durations}",), False),
        ):
            elapsed, seconds = run(hw, images, options, traced)
            print(f"{name:24} {elapsed:12,} cycles {seconds:8.2f} CPU-s {elapsed / seconds:12,.0f} cycles a CPU-second")


def run(hw: Twin, images, options, traced: bool) -> tuple[int, float]:  # noqa: ANN001 - an array, words
    """Cycles and CPU seconds of the simulation from its start to its end, less those of one that runs no image."""
    used = cpu_of_children()
    with hw.board(options) as board:
        load_network(board, hw.schedule).close()
    idle = cpu_of_children() - used
    used = cpu_of_children()
    with hw.board(options) as board:
        elapsed = _run(board, hw, images, traced)
    return elapsed, cpu_of_children() - used - idle


def _run(board: Board, hw: Twin, images, traced: bool) -> int:  # noqa: ANN001
    driver = load_network(board, hw.schedule)
    if traced:
        board.begin_trace()
    driver.run(images)
    driver.close()
    return board.elapsed()


def cpu_of_children() -> float:
    """CPU seconds of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
