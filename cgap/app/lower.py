"""`cgap lower`: a network as integers, with what that costs layer by layer, for any accelerator or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from cgap import __version__
from cgap.app import models
from cgap.app.build import classify, kept_note, origin
from cgap.app.inputs import Inputs, load_inputs
from cgap.app.plan import build_name
from cgap.app.report import (
    Alone,
    FileIntegers,
    FormatReport,
    LoweringReport,
    Requantised,
    StoredLayer,
    write_report,
)
from cgap.app.report_table import accuracy_line, decibels
from cgap.boundary.files import write_atomic
from cgap.boundary.folders import replace_folder
from cgap.boundary.threads import one_thread
from cgap.lowering import ImportedModel, ImportOptions, QuantiseOptions, export_qdq, import_onnx, quantise
from cgap.lowering.quantisation.mixed import Score, Target, choose_bits
from cgap.lowering.quantisation.quality import Quality, against_file, measure
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph
from fpga_model.models.golden import run_reference
from fpga_model.numerics.fixed_point import Format

MIXED = "mixed"


@dataclass(frozen=True)
class LowerRequest:
    """What `cgap lower` is asked for.

    Attributes:
        bits: "8" or "16" for all layers, or "mixed": chosen for each under `target`.
        options: all but their bits.
        target: for mixed bits only.
        out: the folder to write; build/NAME_lowered when None.
        reading: settings for what the model file leaves open.
    """

    model: str
    bits: str = "8"
    options: QuantiseOptions = field(default_factory=QuantiseOptions)
    target: Target | None = None
    images_file: Path | None = None
    out: Path | None = None
    reading: ImportOptions = field(default_factory=ImportOptions)


@one_thread
def lower_model(request: LowerRequest, say: Callable[[str], None]) -> tuple[Path, LoweringReport]:
    """Write quantised.onnx, graph.json and report.json; returns their folder and the report.

    Raises:
        UserError: the input is at fault, or misses the target.
    """
    if request.bits not in ("8", "16", MIXED):
        raise UserError(f"no {request.bits!r} bits: choose 8, 16 or {MIXED}")
    if request.target is not None and request.bits != MIXED:
        raise UserError(f"a target is for --bits {MIXED}; with --bits {request.bits} there is nothing to choose")
    say("importing and quantising")
    onnx = models.resolve(request.model)
    imported = import_onnx(onnx, options=request.reading)
    inputs = load_inputs(imported.image, request.images_file)
    calibration, alone = inputs.calibration(), None
    if request.bits == MIXED:
        target, labels = request.target or Target(), _labels(imported, calibration)
        chosen = choose_bits(imported, calibration.images, labels, request.options, target, say)
        options, fixed, alone = chosen.options, chosen.fixed, chosen.alone
    else:
        options = replace(request.options, bits=int(request.bits))
        fixed = quantise(imported, calibration.images, options)
    say(f"measuring on {len(inputs.images):,} images")
    stored = run_reference(fixed, inputs.integers())
    name = build_name(request.model)
    folder = request.out or Path("build") / f"{name}_lowered"
    with replace_folder(folder, origin(onnx, imported), say) as new:
        exported = export_qdq(fixed, new / "quantised.onnx")
        report = LoweringReport(
            tool=f"cgap {__version__}",
            model=name,
            dataset=inputs.dataset,
            onnx_sha256=imported.sha256,
            images=len(inputs.images),
            options=asdict(replace(options, layer_bits=dict(options.layer_bits))),
            target=None if request.target is None else asdict(request.target),
            accuracy=classify(imported, fixed, inputs, stored),
            layers=_layers(fixed, measure(imported, fixed, inputs.images, stored), exported.unproven, alone),
            file=_file(imported, fixed, inputs),
        )
        write_atomic(new / "graph.json", json.dumps(fixed.to_json(), indent=1) + "\n")
        write_report(report, new / "report.json")
    note = kept_note(imported, fixed)
    if note:
        say(note)
    return folder, report


def _labels(imported: ImportedModel, inputs: Inputs) -> npt.NDArray[np.integer] | None:
    """The classes of the images, if the network tells as many apart."""
    if len(imported.graph.outputs) != 1:
        return None
    classes = imported.graph.shape(imported.graph.output.name).size
    return None if inputs.labels is None or classes <= int(inputs.labels.max()) else inputs.labels


def _layers(
    fixed: FixedGraph, quality: Mapping[str, Quality], unproven: list[str], alone: Mapping[str, Score] | None
) -> list[StoredLayer]:
    entries = []
    for layer in fixed.graph.layers:
        numbers, measured = fixed.numbers[layer.name], quality[layer.name]
        score = (alone or {}).get(layer.name)
        entries.append(
            StoredLayer(
                name=layer.name,
                op=layer.operator.kind,
                format=FormatReport(**asdict(numbers.output)),
                weight_bits=None if numbers.weights is None else 8 * numbers.weights.dtype.itemsize,
                accumulator_bits=fixed.bounds(layer.name)[1],
                values=measured.values,
                saturated=measured.saturated,
                snr_db=measured.snr_db,
                proven=layer.name not in unproven,
                alone_at_8_bits=None if score is None else Alone(snr_db=score.snr_db, drop=score.drop),
            )
        )
    return entries


def _file(imported: ImportedModel, fixed: FixedGraph, inputs: Inputs) -> FileIntegers:
    """What became of the tensors that the file itself stores as integers; their SNR is against the file's values."""
    kept = [name for name, form in imported.pinned.items() if fixed.format(name) == form]
    quality = against_file(imported, fixed, inputs.images)
    changed = [name for name in imported.quantised if name not in kept]
    return FileIntegers(
        kept=kept,
        requantised=[Requantised(layer=n, snr_db=None if quality is None else quality[n].snr_db) for n in changed],
        not_stored=list(imported.dropped),
    )


def print_lowering(report: LoweringReport, console: Console) -> None:
    """The table of layers, and the accuracy."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="stored tensors", title_justify="left")
    table.add_column("layer", overflow="fold")
    searched = any(layer.alone_at_8_bits for layer in report.layers)
    middle = ["alone at 8, dB"] if searched else []
    for heading in ("stored as", "weights", "saturated", "SNR, dB", *middle, "float32"):
        table.add_column(heading, justify="left" if heading in ("stored as", "float32") else "right", no_wrap=True)
    for layer in report.layers:
        alone = layer.alone_at_8_bits
        table.add_row(
            layer.name,
            str(Format(**dict(layer.format))),
            "-" if layer.weight_bits is None else str(layer.weight_bits),
            f"{layer.saturated:,}",
            decibels(layer.snr_db),
            *([decibels(None if alone is None else alone.snr_db)] if searched else []),
            "exact" if layer.proven else "unproven",
        )
    console.print(table)
    console.print()
    if report.accuracy.fixed is not None:
        console.print(accuracy_line(report.accuracy))
    for entry in report.file.requantised:
        snr = decibels(entry.snr_db)
        console.print(f"{entry.layer}: stored in another format than the file asks for, {snr} dB from its values")
    for tensor in report.file.not_stored:
        console.print(f"{tensor}: rounded in the file, and not by the accelerator")
