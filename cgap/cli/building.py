"""Commands that lower a network and build, simulate or look into its accelerator."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cgap.app import models
from cgap.boundary.terminal import console, doing, fail, note, say, say_json, step
from cgap.cli.root import app
from cgap.options import (
    ImagesFileOption,
    JsonOption,
    LayersOption,
    ModelArgument,
    ReadingOptions,
    TargetOptions,
    WavesOption,
    grouped,
)
from fpga_model.machine.accelerator import Accelerator


@app.command("models")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the training records as JSON.")] = False,
) -> None:
    """List the networks that ship with cgap."""
    entries = models.pretrained()
    if as_json:
        say_json({entry.name: {"onnx": str(entry.onnx), **entry.record} for entry in entries})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    for heading in ("dataset", "MACs", "params", "test accuracy"):
        table.add_column(heading, justify="right")
    for entry in entries:
        table.add_row(entry.name, *_model_figures(entry.record))
    console().print(table)
    say("MODEL may also be the path of an ONNX file.")


def _model_figures(record: dict[str, Any]) -> list[str]:
    """Table cells of one training record: '-' for a figure it does not hold."""
    network, accuracy = record.get("network", {}), record.get("accuracy", {})
    return [
        str(record.get("dataset", "-")),
        f"{network['macs'] / 1e6:.2f} M" if "macs" in network else "-",
        f"{network['params'] / 1e3:.1f} k" if "params" in network else "-",
        f"{accuracy['test']:.2f} %" if "test" in accuracy else "-",
    ]


@app.command()
@grouped
def check(
    model: ModelArgument,
    reading: ReadingOptions,
    as_json: JsonOption = False,
) -> None:
    """Show which parts of a network run on the accelerator or on the host, what is unsupported, and how to fix it."""

    from cgap.app.check import check_model, print_check

    report = check_model(model, reading.parse())
    if as_json:
        say_json(report.to_json())
    else:
        print_check(report, console())
    if report.blocks:
        raise typer.Exit(2)


@app.command()
@grouped
def lower(
    model: ModelArgument,
    reading: ReadingOptions,
    bits: Annotated[
        str,
        typer.Option("--bits", help="Bits of weights and stored tensors: 8, 16, or mixed (8 where the target allows)."),
    ] = "8",
    min_snr: Annotated[
        float | None, typer.Option("--min-snr", help="Target for --bits mixed: least SNR of the logits, in dB.")
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            "--max-accuracy-drop", min=0, help="Target for --bits mixed: largest loss of accuracy, in points."
        ),
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            "--calibration", help="How to choose the fraction bits of stored tensors: mse, max or percentile."
        ),
    ] = "mse",
    percentile: Annotated[
        float, typer.Option("--percentile", help="Percent of values that --calibration percentile must not clip.")
    ] = 99.99,
    weight_fractions: Annotated[
        str,
        typer.Option(
            "--weight-fractions",
            help="Fraction bits of weights: one number for each output channel, or for each layer.",
        ),
    ] = "channel",
    bias_correction: Annotated[
        bool, typer.Option("--bias-correction", help="Correct each channel's mean quantisation error in its bias.")
    ] = False,
    activations: Annotated[
        str,
        typer.Option("--activations", help="signed, or unsigned for tensors that cannot be negative (after a ReLU)."),
    ] = "signed",
    images_file: ImagesFileOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write.", show_default="build/MODEL_lowered")
    ] = None,
) -> None:
    """Quantise a network to fixed point and show the error of each layer."""
    from cgap.app.lower import LowerRequest, lower_model, print_lowering
    from cgap.lowering import QuantiseOptions
    from cgap.lowering.quantisation.mixed import Target

    options = QuantiseOptions.parse(calibration, percentile, weight_fractions, bias_correction, activations)
    target = None if min_snr is None and max_accuracy_drop is None else Target(min_snr, max_accuracy_drop)
    request = LowerRequest(model, bits, options, target, images_file, out, reading.parse())
    folder, report = lower_model(request, say=step)
    print_lowering(report, console())
    say(f"wrote {folder}")


@app.command()
@grouped
def hls(
    model: ModelArgument,
    target: TargetOptions,
    reading: ReadingOptions,
    images: Annotated[
        int, typer.Option("--images", min=1, help="Number of images to simulate, compare and score.")
    ] = 100,
    csim: Annotated[bool, typer.Option("--csim/--no-csim", help="Compile and run the emitted C++ with g++.")] = True,
    test_set: Annotated[
        bool, typer.Option("--test-set", help="Measure accuracy on all 10,000 CIFAR-10 test images, not the sample.")
    ] = False,
    images_file: ImagesFileOption = None,
    layers: LayersOption = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write.", show_default="build/MODEL")] = None,
) -> None:
    """Emit the accelerator as HLS C++, run its C simulation, and write a report."""
    from cgap.app.build import BuildRequest, build_accelerator
    from cgap.app.report_table import print_report
    from cgap.backends.hls.backend import HlsBackend

    request = BuildRequest(
        model, target.parse(), HlsBackend(), images, csim, test_set, images_file, out, reading.parse()
    )
    folder, report = build_accelerator(request, say=step)
    print_report(report, console(), layers)
    say(f"wrote {folder}")
    if any(run is not None and run.mismatches for run in report.runs.values()):
        fail("the C simulation differs from the integer reference")
        raise typer.Exit(1)


@app.command()
@grouped
def rtl(
    model: ModelArgument,
    target: TargetOptions,
    reading: ReadingOptions,
    images: Annotated[int, typer.Option("--images", min=1, help="Number of images to simulate and compare.")] = 1,
    simulate: Annotated[
        bool, typer.Option("--simulate/--no-simulate", help="Run the emitted RTL with Verilator.")
    ] = True,
    waves: WavesOption = None,
    images_file: ImagesFileOption = None,
    layers: LayersOption = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write.", show_default="build/MODEL_rtl")] = None,
) -> None:
    """Emit the accelerator in SystemVerilog with its program, and simulate it with Verilator."""
    from cgap.app.build import BuildRequest, build_accelerator
    from cgap.app.report_table import print_report
    from cgap.backends.rtl.backend import RtlBackend

    request = BuildRequest(
        model,
        target.parse(),
        RtlBackend(waves),
        images,
        simulate,
        images_file=images_file,
        out=out,
        reading=reading.parse(),
    )
    folder, report = build_accelerator(request, say=step)
    print_report(report, console(), layers)
    say(f"wrote {folder}")


@app.command()
@grouped
def sim(
    model: ModelArgument,
    target: TargetOptions,
    reading: ReadingOptions,
    rtl: Annotated[
        bool,
        typer.Option(
            "--rtl/--no-rtl", help="Also run the RTL and compare it with the simulator and the integer reference."
        ),
    ] = False,
    images: Annotated[int, typer.Option("--images", min=1, help="Number of images to run on the RTL.")] = 1,
    images_file: ImagesFileOption = None,
    waves: WavesOption = None,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", help="Write the timeline to this file (Chrome trace format, for Perfetto)."),
    ] = None,
    layers: LayersOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a network's cycles and DRAM bytes: analytic, simulated and, with --rtl, in the RTL."""
    from cgap.app.report_table import print_report
    from cgap.app.sim import run_model, simulate_model

    if rtl:
        from cgap.backends.rtl.backend import RtlBackend

        report = run_model(
            model,
            target.parse(),
            [RtlBackend(waves)],
            images,
            note,
            trace=trace,
            images_file=images_file,
            options=reading.parse(),
            beside_dense=as_json,
        )
    else:
        with doing("importing, quantising, scheduling and simulating"):
            report = simulate_model(model, target.parse(), trace, reading.parse(), beside_dense=as_json)
    if as_json:
        say_json(report.model_dump(mode="json", by_alias=True))
    else:
        print_report(report, console(), layers)


@app.command()
def synth(
    platforms: Annotated[
        list[str] | None,
        typer.Option("--platform", help="A name from `cgap platforms`, or a .toml file.", show_default="zcu104"),
    ] = None,
    arrays: Annotated[
        list[str] | None, typer.Option("--array", help="Pox x Poy x Pof; may be repeated.", show_default="8x8x4")
    ] = None,
    page_depth: Annotated[
        int, typer.Option("--page-depth", min=1, help="Words in a bank of a feature page.")
    ] = Accelerator.page_depth,
    capability: Annotated[
        list[str] | None,
        typer.Option(
            "--capability",
            help="A limit of what the accelerator can execute, such as kernel_columns=11; may be repeated.",
        ),
    ] = None,
    route: Annotated[
        bool, typer.Option("--route/--no-route", help="Also place and route with nextpnr (ECP5 parts only).")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for the results, one ARRAY_PLATFORM.json each.")] = Path(
        "build/synth"
    ),
) -> None:
    """Synthesise the accelerator with Yosys: each block's LUTs, FFs, DSP and memory blocks, and the longest path."""
    from cgap.app.synth import SynthRequest, print_synthesis, synthesise_accelerator
    from fpga_model.machine.capability import Capability
    from fpga_model.machine.platform import load_platform

    for platform in platforms or ["zcu104"]:
        for array in arrays or ["8x8x4"]:
            accelerator = Accelerator.parse(array, page_depth=page_depth)
            declared = Capability.parse(capability or ())
            request = SynthRequest(accelerator, load_platform(platform), declared, route)
            print_synthesis(synthesise_accelerator(request, out, say=step), console())


@app.command()
def disasm(
    program: Annotated[Path, typer.Argument(help="A folder made by `cgap hls` or `cgap rtl`, or a program.bin.")],
    unit: Annotated[str, typer.Option("--unit", help="Print only this unit: load, compute or store.")] = "",
) -> None:
    """Print a program as text: its header, then every command with its non-zero fields."""
    from cgap.app.disassembly import lines

    for line in lines(program, unit):
        say(line)
