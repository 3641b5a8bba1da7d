"""The `cgap` command.

Commands are thin: they turn arguments into one call and its result into a few lines. What a command needs is imported
inside it, so that `cgap models` starts at once and only `cgap train` and `cgap export` need torch.

Exit codes: 0 success, 2 the input is at fault (one sentence on stderr), 130 interrupted, 1 a defect (traceback).
"""

import importlib.util
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cgap import __version__
from cgap.app import models
from cgap.boundary.terminal import console, doing, fail, note, run_command, say, say_json
from cgap.options import (
    ImagesFileOption,
    JsonOption,
    LayersOption,
    ModelArgument,
    ReadingOptions,
    TargetOptions,
    TrustOption,
    WavesOption,
    grouped,
)
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator

# A network is many small matrix products. OpenBLAS's threads wait for one another by spinning, which on a busy
# two-core machine took 20 times the processor time of one thread. Read when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Looking through all installed packages for plugins takes pydantic longer than its own import.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

app = typer.Typer(
    help="From a growing network to an FPGA accelerator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of `cgap`: runs one command and turns bad input into one line and exit code 2."""
    run_command(app)


def _doing(text: str) -> None:
    """Say what a command is doing."""
    say(text, indent=2)


def _version(asked: bool) -> None:
    if asked:
        say(f"cgap {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def require_torch(command: str) -> None:
    """Raise UserError when PyTorch, which `command` needs, is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise UserError(f"`cgap {command}` needs PyTorch: pip install 'cgap[train]'")


@app.command("models")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the training records as JSON.")] = False,
) -> None:
    """List the shipped networks."""
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
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file; see the folder configs/.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="The run's folder.", show_default="runs/NAME")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field that differs from the file, as run.seed=2; with --resume, from here on."),
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Train a network by continuous growth and pruning."""
    require_torch("train")
    from cgap.training.run import train as run_training

    fields = {}
    for change in changes or []:
        field, equals, value = change.partition("=")
        if not (field and equals and value):
            raise UserError(f"--set {change}: give SECTION.FIELD=VALUE, such as run.seed=2")
        fields[field] = value
    say(f"run folder: {run_training(config, out, resume, fields, trust=trust)}")


@app.command("fields")
def list_fields(
    section: Annotated[str, typer.Argument(help="Only this section and those inside it, such as plasticity.")] = "",
) -> None:
    """List the fields of a training run's configuration: what each means, may be, and is by default."""
    require_torch("fields")
    from rich.table import Table

    from cgap.training.fields import all_fields

    chosen = [
        field for field in all_fields() if f"{field.name.strip('[]')}.".startswith(f"{section}." if section else "")
    ]
    if not chosen:
        raise UserError(f"no section {section!r}; `cgap fields` lists them all")
    table = Table(box=None, pad_edge=False)
    for heading in ("field", "may be", "default", "meaning"):
        table.add_column(heading, overflow="fold")
    for field in chosen:
        table.add_row(field.name, field.kind, field.default, field.description, style="" if field.kind else "bold")
    console().print(table)


@app.command("queue")
def run_several(
    configs: Annotated[list[Path], typer.Argument(help="TOML files, each a run; see the folder configs/baselines/.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of the runs' folders, NAME-SEED each.")],
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds that every configuration is run with.")] = "1,2,3",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs at a time; set run.threads to match.")] = 1,
) -> None:
    """Train several networks with several seeds; called again, it goes on where it stopped."""
    require_torch("queue")
    from cgap.training.queue import plan_jobs, run_queue

    if not all(seed.isdecimal() for seed in seeds.split(",")):
        raise UserError(f"--seeds {seeds}: give whole numbers with commas between, such as 1,2,3")
    planned = plan_jobs(configs, [int(seed) for seed in seeds.split(",")], out)
    unfinished = run_queue(planned, jobs, say=_doing)
    if unfinished:
        raise UserError(f"{len(unfinished)} of {len(planned)} runs are not finished: {unfinished[0].folder.name} ...")
    say(f"all runs are finished; compare them with: cgap compare-runs {out}/*-*/")


@app.command("compare-runs")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs; NAME-1, NAME-2, ... are one line.")],
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table for a document.")] = False,
) -> None:
    """Put finished runs side by side: mean and standard deviation over seeds, last epoch, test set read once."""
    require_torch("compare-runs")
    from cgap.training.compare import HEADINGS, compare_runs, markdown, rows

    compared = compare_runs(runs)
    if as_markdown:
        say(markdown(compared))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for row in rows(compared):
        table.add_row(*row)
    console().print(table)


@app.command("spaces")
def list_spaces(
    network: Annotated[str, typer.Argument(help="A network of the zoo, or your own as MODULE:CALLABLE.")],
    size: Annotated[str, typer.Option("--size", help="Of an input: channels x height x width.")] = "3x32x32",
) -> None:
    """List a network's channel spaces: what growth and pruning may resize."""
    require_torch("spaces")
    from rich.table import Table

    from cgap import zoo
    from cgap.plasticity import CostModel, find_spaces

    shape = tuple(int(part) if part.isdecimal() else 0 for part in size.split("x"))
    if len(shape) != 3 or not all(shape):
        raise UserError(f"--size {size}: give channels x height x width, such as 3x32x32")
    model = zoo.build(network)
    spaces = find_spaces(model, shape)
    table = Table(box=None, pad_edge=False)
    for heading in ("space", "width", "producers", "followers", "consumers", "fixed"):
        table.add_column(heading, justify="right" if heading == "width" else "left", overflow="fold")
    for row in spaces.rows():
        table.add_row(*row)
    console().print(table)
    cost = CostModel(model, spaces, shape)({})
    say(f"{cost.macs:,} MACs an image, {cost.params:,} weights")


@app.command()
def plot(
    run: Annotated[Path, typer.Argument(help="A folder made by `cgap train`.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .png, .svg or .pdf file.", show_default="RUN/figure.png")
    ] = None,
) -> None:
    """Draw accuracy, cost and widths of a training run over its epochs."""
    from cgap.training.plot import plot_run

    output = output or run / "figure.png"
    plot_run(run, output)
    say(f"wrote {output}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A folder made by `cgap train`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")],
    trust: TrustOption = False,
) -> None:
    """Write the network of a training run as an ONNX file."""
    require_torch("export")
    from cgap.app.export import export_run

    export_run(run, output, trust=trust)
    say(f"wrote {output}")


@app.command()
@grouped
def check(
    model: ModelArgument,
    reading: ReadingOptions,
    as_json: JsonOption = False,
) -> None:
    """Say what of a network runs on the accelerator, what the host does, what blocks, and what to do."""

    from cgap.app.check import check_model, print_check

    report = check_model(model, reading.parse(), reading.words())
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
        str, typer.Option("--bits", help="8 or 16, of weights and stored tensors; mixed: 8 where the target allows.")
    ] = "8",
    min_snr: Annotated[
        float | None, typer.Option("--min-snr", help="Target of mixed bits: signal-to-noise of the logits, dB.")
    ] = None,
    max_accuracy_drop: Annotated[
        float | None, typer.Option("--max-accuracy-drop", min=0, help="Target of mixed bits: points of accuracy.")
    ] = None,
    calibration: Annotated[
        str, typer.Option("--calibration", help="Fractions of stored tensors by mse, max or percentile.")
    ] = "mse",
    percentile: Annotated[
        float, typer.Option("--percentile", help="Percent of values that its calibration does not clip.")
    ] = 99.99,
    weight_fractions: Annotated[
        str, typer.Option("--weight-fractions", help="One for each output channel, or one for each layer.")
    ] = "channel",
    bias_correction: Annotated[
        bool, typer.Option("--bias-correction", help="Take the mean error of each channel back in its bias.")
    ] = False,
    activations: Annotated[
        str, typer.Option("--activations", help="signed, or unsigned where a ReLU leaves no negative numbers.")
    ] = "signed",
    images_file: ImagesFileOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write.", show_default="build/MODEL_lowered")
    ] = None,
) -> None:
    """Quantise a network to fixed point and say what it costs, layer by layer."""
    from cgap.app.lower import LowerRequest, lower_model, print_lowering
    from cgap.lowering import QuantiseOptions
    from cgap.lowering.quantisation.mixed import Target

    options = QuantiseOptions.parse(calibration, percentile, weight_fractions, bias_correction, activations)
    target = None if min_snr is None and max_accuracy_drop is None else Target(min_snr, max_accuracy_drop)
    request = LowerRequest(model, bits, options, target, images_file, out, reading.parse())
    folder, report = lower_model(request, say=_doing)
    print_lowering(report, console())
    say(f"wrote {folder}")


@app.command()
@grouped
def hls(
    model: ModelArgument,
    target: TargetOptions,
    reading: ReadingOptions,
    images: Annotated[
        int, typer.Option("--images", min=1, help="Images that are simulated, compared and scored.")
    ] = 100,
    csim: Annotated[bool, typer.Option("--csim/--no-csim", help="Compile and run the emitted C++ with g++.")] = True,
    test_set: Annotated[
        bool, typer.Option("--test-set", help="Measure accuracy on all 10,000 CIFAR-10 test images, not the sample.")
    ] = False,
    images_file: ImagesFileOption = None,
    layers: LayersOption = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write.", show_default="build/MODEL")] = None,
) -> None:
    """Emit a C-simulated HLS accelerator with its report."""
    from cgap.app.build import BuildRequest, build_accelerator
    from cgap.app.report_table import print_report
    from cgap.backends.hls.backend import HlsBackend

    request = BuildRequest(
        model, target.parse(), HlsBackend(), images, csim, test_set, images_file, out, reading.parse()
    )
    folder, report = build_accelerator(request, say=_doing)
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
    images: Annotated[int, typer.Option("--images", min=1, help="Images that are simulated and compared.")] = 1,
    simulate: Annotated[
        bool, typer.Option("--simulate/--no-simulate", help="Run the emitted RTL with Verilator.")
    ] = True,
    waves: WavesOption = None,
    images_file: ImagesFileOption = None,
    layers: LayersOption = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write.", show_default="build/MODEL_rtl")] = None,
) -> None:
    """Emit the accelerator in SystemVerilog with its program, and simulate it."""
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
    folder, report = build_accelerator(request, say=_doing)
    print_report(report, console(), layers)
    say(f"wrote {folder}")


@app.command()
@grouped
def sim(
    model: ModelArgument,
    target: TargetOptions,
    reading: ReadingOptions,
    rtl: Annotated[
        bool, typer.Option("--rtl/--no-rtl", help="Run the RTL, too, and hold it against simulator and integers.")
    ] = False,
    images: Annotated[int, typer.Option("--images", min=1, help="Images that the RTL runs.")] = 1,
    images_file: ImagesFileOption = None,
    waves: WavesOption = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Write the timeline here (Chrome trace format, for Perfetto).")
    ] = None,
    layers: LayersOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cycles and DRAM bytes of a network, analytic, simulated and, with --rtl, in the RTL."""
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
        )
    else:
        with doing("importing, quantising, scheduling and simulating"):
            report = simulate_model(model, target.parse(), trace, reading.parse())
    if as_json:
        say_json(report.model_dump(mode="json", by_alias=True))
    else:
        print_report(report, console(), layers)


@app.command("workload")
@grouped
def write_workload(
    model: ModelArgument,
    target: TargetOptions,
    reading: ReadingOptions,
    to: Annotated[str, typer.Option("--to", help="scale-sim, zigzag; DRAM traces: ramulator, dramsim3.")] = "scale-sim",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write.", show_default="MODEL and its ending")
    ] = None,
) -> None:
    """Write a network, or the DRAM accesses of an image, in the format of another tool."""
    from cgap.app.plan import plan_model
    from cgap.app.workload import workload
    from cgap.boundary.files import write_atomic

    planned = plan_model(model, target.parse(), reading.parse())
    text, ending = workload(planned, to)
    path = output or Path(f"{planned.name}{ending}")
    write_atomic(path, text)
    say(f"wrote {path}")


@app.command("explore")
def explore_designs(
    model_names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="As for the other commands.")],
    platform: Annotated[
        list[str] | None, typer.Option("--platform", help="As for the other commands; give it again for more.")
    ] = None,
    target_ms: Annotated[float | None, typer.Option("--target-ms", help="Latency that the best must keep to.")] = None,
    max_dsp: Annotated[int | None, typer.Option("--max-dsp", help="DSP blocks that it may take.")] = None,
    max_bram: Annotated[int | None, typer.Option("--max-bram", help="Memory blocks, in the part's unit.")] = None,
    confirm: Annotated[int, typer.Option("--confirm", min=0, help="How many of the best are simulated.")] = 5,
    exact: Annotated[
        bool, typer.Option("--exact", help="Simulate all that may be on the front, so that it is the machine's.")
    ] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Processes.", show_default="one a core")] = None,
    scheduler: Annotated[str, typer.Option("--scheduler", help="Address of a Dask scheduler to work on.")] = "",
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw the front: a .png, .svg or .pdf file.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Print the whole front.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write.", show_default="build/explore/MODEL-PLATFORM")
    ] = None,
) -> None:
    """Find the best accelerators that a part holds: arrays, buffer depths, ports and schedules."""
    from cgap.app.explore import ExploreRequest, Wishes, cores, explore
    from cgap.app.explore_table import draw_front, print_exploration
    from cgap.boundary.terminal import progress_bar

    pairs = [(name, board) for name in model_names for board in platform or ["zcu104"]]
    if len(pairs) > 1 and (out is not None or figure is not None):
        raise UserError("--out and --figure are for one network on one platform")
    wishes, count, results = Wishes(target_ms, max_dsp, max_bram), None if exact else confirm, []
    for name, board in pairs:
        request = ExploreRequest(
            name, board, wishes=wishes, confirm=count, jobs=jobs or cores(), scheduler=scheduler, out=out
        )
        with progress_bar(f"{name} on {board}") as progress:
            found = explore(request, progress)
        results.append(found)
        if figure is not None:
            draw_front(found, figure)
        if not as_json:
            print_exploration(found, console(), every)
    if as_json:
        say_json([found.to_json() for found in results])
    if any(found.best is None for found in results):
        fail("no design keeps to what was asked for")
        raise typer.Exit(2)


@app.command("report")
def write_report_page(
    build: Annotated[Path, typer.Argument(help="A folder made by `cgap hls` or `cgap rtl`, or a report.json.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The .html file.", show_default="report.html beside it")
    ] = None,
) -> None:
    """Write a build's report as one page for a browser, which needs no network."""
    from cgap.app.page import read_trace, report_page
    from cgap.app.report import read_report
    from cgap.boundary.files import write_atomic

    folder = build if build.is_dir() else build.parent
    path = output or folder / "report.html"
    write_atomic(path, report_page(read_report(build), read_trace(folder)))
    say(f"wrote {path}")


@app.command("compare-builds")
def compare_builds(
    first: Annotated[Path, typer.Argument(help="A folder made by `cgap hls` or `cgap rtl`, or a report.json.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .html file.")] = Path("compare.html"),
) -> None:
    """Write a page with two builds side by side."""
    from cgap.app.page import compare_page
    from cgap.app.report import read_report
    from cgap.boundary.files import write_atomic

    write_atomic(output, compare_page(read_report(first), read_report(second)))
    say(f"wrote {output}")


@app.command("compare")
@grouped
def compare_reports(
    model: ModelArgument,
    csynth: Annotated[Path, typer.Option("--csynth", help="csynth.xml, or the .rpt, of Vivado HLS or Vitis HLS.")],
    target: TargetOptions,
    reading: ReadingOptions,
    cosim: Annotated[
        Path | None, typer.Option("--cosim", help="The .rpt of a co-simulation of the same design.")
    ] = None,
) -> None:
    """Put a vendor's report of the emitted C++ beside the model; exit code 1 where interval or clock are missed."""
    from cgap.app.compare import compare_model

    rows = compare_model(model, target.parse(), csynth, cosim, reading.parse())
    what, figure = max(len(row.what) for row in rows), max(len(row.model) for row in rows)
    say(f"{'':{what}}  {'model':>{figure}}  tool")
    for row in rows:
        say(f"{row.what:{what}}  {row.model:>{figure}}  {row.tool}{'   <- missed' if row.missed else ''}")
    if any(row.missed for row in rows):
        fail(f"missed: {', '.join(row.what for row in rows if row.missed)}")
        raise typer.Exit(1)


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
        typer.Option("--capability", help="What the accelerator can execute at most, such as kernel_columns=11."),
    ] = None,
    route: Annotated[
        bool, typer.Option("--route/--no-route", help="Place and route with nextpnr, too: ECP5 parts alone.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of the results, ARRAY_PLATFORM.json each.")] = Path(
        "build/synth"
    ),
) -> None:
    """Synthesise the accelerator with Yosys: LUTs, FFs, DSP and memory blocks of each block, and the longest path."""
    from cgap.app.synth import SynthRequest, print_synthesis, synthesise_accelerator
    from fpga_model.machine.capability import Capability
    from fpga_model.machine.platform import load_platform

    for platform in platforms or ["zcu104"]:
        for array in arrays or ["8x8x4"]:
            accelerator = Accelerator.parse(array, page_depth=page_depth)
            declared = Capability.parse(capability or ())
            request = SynthRequest(accelerator, load_platform(platform), declared, route)
            print_synthesis(synthesise_accelerator(request, out, say=_doing), console())


@app.command()
def disasm(
    program: Annotated[Path, typer.Argument(help="A folder made by `cgap hls`, or a program.bin.")],
    unit: Annotated[str, typer.Option("--unit", help="Only this unit: load, compute or store.")] = "",
) -> None:
    """Print a program as text: its header, then every command with the fields that are not zero."""
    from cgap.app.disassembly import lines

    for line in lines(program, unit):
        say(line)


@app.command("platforms")
def list_platforms(
    as_json: Annotated[bool, typer.Option("--json", help="Print every field of every platform as JSON.")] = False,
) -> None:
    """List the FPGA platforms that ship with the package."""
    from cgap.app.platforms import platforms_json, platforms_table

    if as_json:
        say_json(platforms_json())
        return
    console().print(platforms_table())
    say("GB/s: usable of one DRAM channel. PLATFORM may also be the path of a .toml file of the same form.")
