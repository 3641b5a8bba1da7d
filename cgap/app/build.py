"""One build: from a model to everything under build/NAME."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.app import models
from cgap.app.inputs import Inputs, load_inputs, load_test_set
from cgap.app.page import write_page
from cgap.app.plan import Planned, Target, build_name, plan_on
from cgap.app.report import Accuracy, Report, write_report
from cgap.app.reporting import NOT_MEASURED, Costs, make_report
from cgap.app.trace import trace_json
from cgap.backends.common.backend import Backend, Build, Design, Result
from cgap.backends.common.templates import Header
from cgap.backends.common.vectors import write_vectors
from cgap.backends.hls.backend import HlsBackend
from cgap.boundary.files import write_atomic
from cgap.boundary.folders import Origin, replace_folder
from cgap.boundary.threads import one_thread
from cgap.lowering import ImportedModel, ImportOptions, export_qdq, import_onnx, quantise
from cgap.lowering.onnx.qdq import doubtful_layers
from cgap.lowering.onnx.runtime import run_onnx
from cgap.lowering.quantisation.quality import measure
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph
from fpga_model.models.golden import StoredTensors, run_reference
from fpga_model.schedule.schedule import schedule_plan

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Compiled(Planned):
    """A network that is lowered to integers, too, with the images that it was calibrated with.

    Attributes:
        images: the user's file of those images; None: they are CIFAR-10's.
    """

    fixed: FixedGraph
    inputs: Inputs
    images: Path | None

    def command(self, name: str) -> str:
        """The command line of `cgap NAME` that repeats the build."""
        return " ".join(
            [super().command(name), *(["--images-file", shlex.quote(str(self.images))] if self.images else [])]
        )


def origin(onnx: Path, imported: ImportedModel) -> Origin:
    """What a folder is made from, as its marker says it."""
    shipped = onnx.parent == models.pretrained_folder()
    return Origin(f"{onnx.stem} (shipped)" if shipped else str(onnx.resolve()), imported.sha256)


@one_thread
def compile_model(
    model: str, target: Target, images: Path | None = None, options: ImportOptions | None = None
) -> Compiled:
    """Import, quantise and schedule. Raises UserError for whatever is wrong with the input."""
    onnx = models.resolve(model)
    record = models.record_of(onnx)
    options = options or ImportOptions()
    imported = import_onnx(onnx, options=options)
    inputs = load_inputs(imported.image, images)
    plan = plan_on(target, imported.graph)  # before anything is calibrated for an accelerator that is too small
    fixed = quantise(imported, inputs.calibration().images)
    schedule = schedule_plan(plan, fixed)
    compiled = Compiled(build_name(model), onnx, record, imported, options, target, schedule, fixed, inputs, images)
    _ = compiled.capability
    return compiled


def classify(imported: ImportedModel, fixed: FixedGraph, inputs: Inputs, stored: StoredTensors | None) -> Accuracy:
    """Float (onnxruntime on the model) and fixed (integer reference) accuracy; None without labels that fit, or with
    several outputs, of which nobody says which are the classes.

    The float accuracy is None, too, of a model that onnxruntime does not take, such as one with two nodes of one name.
    `stored` are the integers of these images where they are known already.
    """
    if inputs.labels is None or len(fixed.graph.outputs) != 1:
        return NOT_MEASURED
    output = fixed.graph.output.name
    if fixed.graph.shape(output).size <= int(inputs.labels.max()):
        return NOT_MEASURED
    try:
        # Optimised in half the time; not where a file's integers might become kernels that saturate (docs/numbers.md).
        images = imported.image.to_file(inputs.images)
        logits = next(iter(run_onnx(imported.content, images, optimise=not imported.quantised).values()))
    except UserError:
        logits = None
    integers = stored or run_reference(fixed, inputs.integers(), keep=[output])

    def right(scores: npt.NDArray[Any]) -> float:
        rows = scores.reshape(len(scores), -1)
        # A model that ends in ArgMax gives the class itself.
        classes = rows[:, 0] if np.issubdtype(rows.dtype, np.integer) and rows.shape[1] == 1 else rows.argmax(1)
        return float((classes == inputs.labels).mean())

    real = None if logits is None else right(logits)
    return Accuracy(images=len(inputs.images), real=real, fixed=right(integers[output]))


def kept_note(imported: ImportedModel, fixed: FixedGraph) -> str | None:
    """What became of the integers of a network that was quantised before; None for one that was not."""
    if not imported.quantised:
        return None
    kept = sum(fixed.format(name) == form for name, form in imported.pinned.items())
    return f"of the tensors that the file stores as integers, {kept} of {len(imported.quantised)} keep them" + (
        f"; {len(imported.dropped)} more are not stored" if imported.dropped else ""
    )


@dataclass(frozen=True)
class BuildRequest:
    """The input of `cgap hls` and `cgap rtl`.

    Attributes:
        model: a shipped network or a path.
        target: platform, array and schedule to build for.
        backend: emits the accelerator and runs it.
        images: number of images to run, compare and score.
        run: whether to run the emitted accelerator.
        test_set: measure accuracy on the whole test set of CIFAR-10.
        images_file: the user's own images.
        out: the folder to write; None: build/NAME for HLS, build/NAME_BACKEND for other backends.
        reading: settings for what the model file leaves open.
    """

    model: str
    target: Target
    backend: Backend = field(default_factory=HlsBackend)
    images: int = 100
    run: bool = True
    test_set: bool = False
    images_file: Path | None = None
    out: Path | None = None
    reading: ImportOptions = field(default_factory=ImportOptions)


@one_thread
def build_accelerator(request: BuildRequest, say: Say) -> tuple[Path, Report]:
    """Make the whole build folder; returns it with its report. A failure leaves an earlier folder as it was.

    Raises:
        UserError: the input is at fault, or what the backend needs to run is missing.
        RuntimeError: executions that must agree do not, which is a defect of this program.
    """
    backend = request.backend
    if request.run:
        backend.require()
    say("importing, quantising and scheduling")
    compiled = compile_model(request.model, request.target, request.images_file, request.reading)
    if compiled.imported.host:
        say(f"left to the host, after the logits: {', '.join(compiled.imported.host)}")
    note = kept_note(compiled.imported, compiled.fixed)
    if note:
        say(note)
    test_set = load_test_set() if request.test_set else None
    inputs = compiled.inputs.first(request.images)
    suffix = "" if backend.folder == HlsBackend.folder else f"_{backend.folder}"
    folder = request.out or Path("build") / f"{compiled.name}{suffix}"
    with replace_folder(folder, origin(compiled.onnx, compiled.imported), say) as new:
        costs = Costs.of(compiled.schedule)
        say(f"emitting {backend.title}, program, weights and golden vectors")
        _write_network(compiled, new)
        build = backend.emit(design_of(compiled, costs, backend), new)
        stored = write_vectors(compiled.fixed, inputs.integers(), new / "vectors")
        quality = measure(compiled.imported, compiled.fixed, inputs.images, stored)
        say("checking the integers against onnxruntime")
        check_onnxruntime(compiled, stored, new)
        if test_set is None:
            accuracy = classify(compiled.imported, compiled.fixed, inputs, stored)
        else:
            say(f"measuring accuracy on {len(test_set.images):,} images")
            accuracy = classify(compiled.imported, compiled.fixed, test_set, None)
        runs = {backend.name: run_backend(backend, build, inputs, say)} if request.run else {}
        report = make_report(
            compiled,
            costs,
            command=compiled.command(backend.folder),
            dataset=compiled.inputs.dataset,
            accuracy=accuracy,
            quality=quality,
            runs=runs,
        )
        write_report(report, new / "report.json")
        trace = trace_json(costs.simulation, request.target.platform.clock_mhz)
        write_atomic(new / "trace.json", trace)
        write_page(report, trace, new / "report.html")
    return folder, report


def design_of(compiled: Compiled, costs: Costs, backend: Backend) -> Design:
    """What a backend emits of a compiled network."""
    header = Header(compiled.name, compiled.imported.sha256, compiled.command(backend.folder))
    return Design(compiled.schedule, compiled.capability, header, costs.analytic, costs.simulation)


def run_backend(backend: Backend, build: Build, inputs: Inputs, say: Say) -> Result:
    """Run images on what a backend emitted, and say what differs."""
    say(f"compiling {backend.title} and running {len(inputs.images):,} images in it")
    result = backend.run(build, inputs.integers())
    for line in result.differences:
        say(line)
    return result


def _write_network(compiled: Compiled, folder: Path) -> None:
    write_atomic(folder / "model.onnx", compiled.imported.content)
    export_qdq(compiled.fixed, folder / "quantised.onnx")
    write_atomic(folder / "graph.json", json.dumps(compiled.fixed.to_json(), indent=1) + "\n")
    write_atomic(folder / "schedule.json", compiled.schedule.to_json())


def check_onnxruntime(compiled: Compiled, stored: StoredTensors, folder: Path) -> None:
    """Compare every stored tensor of the integer reference with onnxruntime on the QDQ model.

    Layers whose sums float32 is not proven to hold exactly are left out, and those behind them.

    Raises:
        RuntimeError: they differ, which is a defect of this program and not of its input.
    """
    probe = folder / "stored.onnx"
    exported = export_qdq(compiled.fixed, probe, stored_outputs=True)
    images = next(iter(stored.values()))
    results = run_onnx(probe.read_bytes(), compiled.inputs.images[: len(images)])
    probe.unlink()
    doubtful = doubtful_layers(compiled.fixed)
    for name, tensor in exported.stored.items():
        if name not in doubtful and not np.array_equal(results[tensor], stored[name]):
            raise RuntimeError(f"layer {name!r}: onnxruntime and the integer reference differ")
