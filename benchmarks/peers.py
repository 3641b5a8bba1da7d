"""SCALE-Sim, ZigZag and hls4ml beside this project, on the same network, in one go.

    python benchmarks/peers.py [MODEL] [--tools scale-sim,zigzag,hls4ml] [--folder build/peers]

Each tool runs in an environment of its own, made on first use below the folder; the first two on the workload that
`cgap workload` writes, hls4ml on the network in PyTorch with its integers (hls4ml_peer.py). SCALE-Sim simulates a
16x16 output-stationary array, ZigZag costs its TPU-like accelerator of 32x32 units; here it is arrays of as many units.
They are different machines: what is compared is what the tools cover and what they cost. CPU seconds, of the tool's own
process and its children.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hls4ml_peer

from cgap.app.plan import Planned, Target, plan_model
from cgap.app.workload import scale_sim, zigzag
from fpga_model.models.analytic import estimate
from fpga_model.models.simulator import simulate
from fpga_model.schedule.schedule import schedule_plan

PACKAGES = {
    "scale-sim": ["scalesim==3.0.0", "numpy<2.4"],
    "zigzag": ["zigzag-dse==3.9.1", "six"],
    "hls4ml": ["hls4ml==1.3.0", "torch==2.13.0"],
}
ARRAYS = {"scale-sim": "8x8x4", "zigzag": "8x8x16"}
"""Arrays here with as many units as the tool's has."""
EMULATED = 20
"""Images that the emitted C++ of hls4ml and of this project runs."""
SECTIONS = {
    "general": {"run_name": "cgap"},
    "architecture_presets": {
        "ArrayHeight": 16,
        "ArrayWidth": 16,
        "IfmapSramSzkB": 128,
        "FilterSramSzkB": 128,
        "OfmapSramSzkB": 128,
        "IfmapOffset": 0,
        "FilterOffset": 10_000_000,
        "OfmapOffset": 20_000_000,
        "Bandwidth": 16,
        "Dataflow": "os",
        "ReadRequestBuffer": 32,
        "WriteRequestBuffer": 32,
    },
    "layout": {
        f"{name}{what}": value
        for name in ("Ifmap", "Filter")
        for what, value in (
            ("CustomLayout", False),
            ("SRAMBankBandwidth", 16),
            ("SRAMBankNum", 16),
            ("SRAMBankPort", 2),
        )
    },
    "sparsity": {
        "SparsitySupport": "false",
        "SparseRep": "ellpack_block",
        "OptimizedMapping": "false",
        "BlockSize": 8,
        "RandomNumberGeneratorSeed": 40,
    },
    "run_presets": {"InterfaceBandwidth": "CALC", "UseRamulatorTrace": False},
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    tool: str
    machine: str
    cycles: int
    macs_per_unit_cycle: float
    seconds: float
    covers: str


def python_of(tool: str, folder: Path) -> Path:
    """The Python of the tool's own environment, made on first use."""
    place = folder / f"{tool}-env"
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        print(f"installing {' '.join(PACKAGES[tool])} in {place}", file=sys.stderr)
        venv.create(place, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *PACKAGES[tool]], check=True)
        (place / "ready").touch()
    return python


def timed(command: list[str | Path], folder: Path) -> float:
    """Run a command whose output goes to a file; its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (folder / "output.txt").open("w") as output:
        subprocess.run(command, cwd=folder, check=True, stdout=output, stderr=subprocess.STDOUT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_scale_sim(planned: Planned, folder: Path) -> Row:
    """SCALE-Sim on the topology."""
    python = python_of("scale-sim", folder)
    place = folder / "scale-sim"
    place.mkdir(parents=True, exist_ok=True)
    (place / "topology.csv").write_text(scale_sim(planned))
    # A file of layouts is read though none is used: a line a layer, of ones.
    layers = (place / "topology.csv").read_text().splitlines()[1:]
    (place / "layout.csv").write_text(
        "\n".join(["name"] + [line.split(",")[0] + ", 1" * 20 + "," for line in layers]) + "\n"
    )
    lines = []
    for section, entries in SECTIONS.items():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in entries.items()), ""]
    (place / "scale.cfg").write_text("\n".join(lines))
    command = [
        "-m",
        "scalesim.scale",
        "-t",
        "topology.csv",
        "-l",
        "layout.csv",
        "-c",
        "scale.cfg",
        "-p",
        "results",
        "-s",
        "N",
    ]
    seconds = timed([python, *command], place)
    report = next((place / "results").glob("**/COMPUTE_REPORT.csv"))
    with report.open() as file:
        rows = list(csv.reader(file))
    column = next(i for i, title in enumerate(rows[0]) if title.strip() == "Total Cycles")
    cycles = sum(int(float(row[column])) for row in rows[1:] if row)
    return Row(
        "SCALE-Sim 3.0.0", "16x16, output stationary", cycles, share(planned, cycles, 256), seconds, "convolutions"
    )


ZIGZAG = """
import sys
from zigzag.api import get_hardware_performance_zigzag
import zigzag.inputs
base = list(zigzag.inputs.__path__)[0]
energy, latency, _ = get_hardware_performance_zigzag(
    "workload.yaml", f"{base}/hardware/tpu_like.yaml", f"{base}/mapping/tpu_like.yaml",
    opt="latency", dump_folder="results", lpf_limit=6, loma_show_progress_bar=False,
)
print("latency", latency)
"""


def run_zigzag(planned: Planned, folder: Path) -> Row:
    """ZigZag on the workload."""
    python = python_of("zigzag", folder)
    place = folder / "zigzag"
    place.mkdir(parents=True, exist_ok=True)
    (place / "workload.yaml").write_text(zigzag(planned))
    seconds = timed([python, "-c", ZIGZAG], place)
    line = next(line for line in (place / "output.txt").read_text().splitlines() if line.startswith("latency "))
    cycles = int(float(line.split()[1]))
    return Row("ZigZag 3.9.1", "32x32, TPU-like", cycles, share(planned, cycles, 1024), seconds, "convolutions")


def share(planned: Planned, cycles: int, units: int) -> float:
    """Share of the units' cycles in which they multiply for the network."""
    return planned.schedule.graph.macs() / units / cycles


def ours(model: str, array: str) -> list[Row]:
    """This project's simulator and analytic model; the import is not counted, as it is not for the others."""
    planned = plan_model(model, Target.parse("zcu104", array, "resident"))
    schedule, rows = planned.schedule, []
    steps: dict[str, Callable[[], int]] = {
        "cgap, analytic": lambda: sum(layer.cycles for layer in estimate(schedule.plan).values()),
        "cgap, simulated": lambda: simulate(schedule_plan(schedule.plan)).cycles,
    }
    for name, step in steps.items():
        start = time.process_time()
        cycles = step()
        seconds = time.process_time() - start
        units = schedule.accelerator.macs
        rows.append(Row(name, f"{array}, resident", cycles, share(planned, cycles, units), seconds, "all layers"))
    return rows


def cycle_table(model: str, tools: list[str], folder: Path) -> Iterator[str]:
    """Rows of the tools that have a model of cycles, each with this project's on as many units."""
    planned = plan_model(model, Target.parse("zcu104", "8x8x4", "resident"))
    run = {"scale-sim": run_scale_sim, "zigzag": run_zigzag}
    yield from ("| tool | machine | cycles | units at work | covers | CPU s |", "|---|---|---|---|---|---|")
    for tool in tools:
        for row in [run[tool](planned, folder), *ours(model, ARRAYS[tool])]:
            yield (
                f"| {row.tool} | {row.machine} | {row.cycles:,} | {row.macs_per_unit_cycle:.1%} | {row.covers} "
                f"| {row.seconds:.2f} |"
            )


def emission_table(model: str, folder: Path) -> Iterator[str]:
    """Rows of hls4ml and of `cgap hls`: what is emitted, and what a host compiler makes of it."""
    schedule = plan_model(model, Target.parse("zcu104", "8x8x4", "resident")).schedule
    title = f"{PACKAGES['hls4ml'][0].replace('==', ' ')}, a pipeline of layers"
    yield from (hls4ml_peer.row(*hls4ml_peer.HEADINGS), "|" + "---|" * len(hls4ml_peer.HEADINGS))
    yield hls4ml_peer.run_hls4ml(model, EMULATED, folder, python_of, title)
    yield hls4ml_peer.run_cgap(model, EMULATED, folder, schedule, simulate(schedule).cycles, "cgap, 8x8x4, resident")


def main() -> None:
    """Run the tools and print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="resnet20")
    parser.add_argument("--tools", default=",".join(PACKAGES))
    parser.add_argument("--folder", type=Path, default=Path("build/peers"))
    arguments = parser.parse_args()
    folder, tools = arguments.folder.resolve(), arguments.tools.split(",")
    unknown = [tool for tool in tools if tool not in PACKAGES]
    if unknown:
        parser.error(f"no tool {unknown[0]!r}: choose of {', '.join(PACKAGES)}")
    folder.mkdir(parents=True, exist_ok=True)
    if measured := [tool for tool in tools if tool in ARRAYS]:
        for line in cycle_table(arguments.model, measured, folder):
            print(line, flush=True)
    if "hls4ml" in tools:
        print()
        for line in emission_table(arguments.model, folder):
            print(line, flush=True)


if __name__ == "__main__":
    main()
