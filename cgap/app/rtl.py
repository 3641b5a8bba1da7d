"""`cgap rtl`: the RTL of a network's accelerator with its program, and its simulation held against everything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cgap.app.build import Compiled, Say, compile_model, origin
from cgap.app.plan import Target
from cgap.app.report import RTL, Report, Run, write_report
from cgap.app.reporting import Costs, Executed, make_report
from cgap.backends.common.templates import Header
from cgap.backends.common.vectors import write_vectors
from cgap.backends.common.weights import write_weights
from cgap.backends.rtl.emit import emit_rtl
from cgap.backends.rtl.trace import compare
from cgap.backends.rtl.twin import build, place
from cgap.boundary.files import write_atomic
from cgap.boundary.folders import replace_folder
from cgap.lowering import ImportOptions
from fpga_model.models.golden import run_reference


@dataclass(frozen=True)
class RtlRequest:
    """What `cgap rtl` is asked for; `out` is build/NAME_rtl when None."""

    model: str
    target: Target
    images: int = 1
    simulate: bool = True
    images_file: Path | None = None
    out: Path | None = None
    reading: ImportOptions = field(default_factory=ImportOptions)


def build_rtl(request: RtlRequest, say: Say) -> tuple[Path, Report]:
    """Make the folder: RTL project, program, weights, vectors, report. A failure leaves an earlier one as it was.

    Raises:
        UserError: the input is at fault, or what simulation needs is missing.
        RuntimeError: the RTL differs from simulator or integer reference, which is a defect of this program.
    """
    say("importing, quantising and scheduling")
    compiled = compile_model(request.model, request.target, request.images_file, request.reading)
    schedule = compiled.schedule
    header = Header(compiled.name, compiled.imported.sha256, compiled.command("rtl"))
    folder = request.out or Path("build") / f"{compiled.name}_rtl"
    with replace_folder(folder, origin(compiled.onnx, compiled.imported), say) as new:
        say("emitting SystemVerilog, program, weights and golden vectors")
        emit_rtl(schedule, compiled.capability, header, new / "rtl")
        write_weights(schedule, new)
        write_atomic(new / "program.bin", schedule.program_bytes())
        write_atomic(new / "schedule.json", schedule.to_json())
        write_vectors(compiled.fixed, compiled.inputs.first(request.images).integers(), new / "vectors")
        costs = Costs.of(schedule)
        runs = {RTL: run_rtl(compiled, request.images, say)} if request.simulate else {}
        dataset = compiled.inputs.dataset
        report = make_report(compiled, costs, command=header.command, dataset=dataset, runs=runs)
        write_report(report, new / "report.json")
    return folder, report


def run_rtl(compiled: Compiled, images: int, say: Say) -> Executed:
    """Run the RTL and hold it against simulator and integer reference.

    Raises:
        UserError: Verilator or a compiler is missing.
        RuntimeError: they differ.
    """
    schedule = compiled.schedule
    say("building the RTL's simulation (once for each accelerator)")
    hw = build(schedule)
    integers = compiled.inputs.first(images).integers()
    say(f"running {len(integers)} images in the RTL")
    run = hw.run(integers, trace=True)
    assert run.trace is not None, "a trace was asked for"
    stored = run_reference(compiled.fixed, integers)
    bases = place(schedule, len(schedule.program_bytes()), len(integers)).bases
    found = compare(schedule, run.trace, bases, stored)
    if found.differences:
        raise RuntimeError("the RTL is not what the simulator says:\n" + "\n".join(found.differences))
    mismatches = sum(int((tensor != stored[name]).sum()) for name, tensor in run.outputs.items())
    layers = {
        name: (cycles, found.traffic[name].read_bytes, found.traffic[name].write_bytes)
        for name, cycles in found.cycles.items()
    }
    mismatches += sum(found.mismatches.values())
    return Executed(Run(images=len(integers), mismatches=mismatches, seconds=round(run.seconds, 3)), layers)
