"""Commands that explore accelerators and put results beside one another."""

from pathlib import Path
from typing import Annotated

import typer

from cgap.boundary.terminal import console, fail, say, say_json
from cgap.cli.root import app
from cgap.options import (
    ModelArgument,
    ReadingOptions,
    TargetOptions,
    grouped,
)
from fpga_model.errors import UserError


@app.command("workload")
@grouped
def write_workload(
    model: ModelArgument,
    target: TargetOptions,
    reading: ReadingOptions,
    to: Annotated[
        str, typer.Option("--to", help="Format: scale-sim or zigzag (network); ramulator or dramsim3 (DRAM trace).")
    ] = "scale-sim",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write.", show_default="MODEL with the format's extension"),
    ] = None,
) -> None:
    """Write a network, or the DRAM accesses of one image, in the format of another tool."""
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
    model_names: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Names from `cgap models`, or paths of ONNX files.")
    ],
    platform: Annotated[
        list[str] | None,
        typer.Option(
            "--platform", help="A name from `cgap platforms`, or a .toml file; may be repeated.", show_default="zcu104"
        ),
    ] = None,
    target_ms: Annotated[float | None, typer.Option("--target-ms", help="Upper limit on latency, in ms.")] = None,
    max_dsp: Annotated[int | None, typer.Option("--max-dsp", help="Upper limit on DSP blocks.")] = None,
    max_bram: Annotated[
        int | None, typer.Option("--max-bram", help="Upper limit on memory blocks, in the part's own unit.")
    ] = None,
    confirm: Annotated[int, typer.Option("--confirm", min=0, help="How many of the best designs to simulate.")] = 5,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Simulate every design that may be on the Pareto front, so that the front is exact."
        ),
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Number of processes.", show_default="one per core")
    ] = None,
    scheduler: Annotated[
        str, typer.Option("--scheduler", help="Address of a Dask scheduler whose workers to use.")
    ] = "",
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw the Pareto front to this .png, .svg or .pdf file.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Print the whole Pareto front.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write.", show_default="build/explore/MODEL-PLATFORM")
    ] = None,
) -> None:
    """Find the best accelerators that fit a part: array, buffer depths, port width and schedule."""
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
        fail("no design meets all limits")
        raise typer.Exit(2)


@app.command("report")
def write_report_page(
    build: Annotated[Path, typer.Argument(help="A folder made by `cgap hls` or `cgap rtl`, or a report.json.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The .html file.", show_default="report.html beside it")
    ] = None,
) -> None:
    """Write a build's report as one self-contained HTML page."""
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
    second: Annotated[Path, typer.Argument(help="The build to compare it with.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .html file.")] = Path("compare.html"),
) -> None:
    """Write an HTML page with two builds side by side."""
    from cgap.app.page import compare_page
    from cgap.app.report import read_report
    from cgap.boundary.files import write_atomic

    write_atomic(output, compare_page(read_report(first), read_report(second)))
    say(f"wrote {output}")


@app.command("compare")
@grouped
def compare_reports(
    model: ModelArgument,
    csynth: Annotated[Path, typer.Option("--csynth", help="The csynth.xml or .rpt report of Vivado HLS or Vitis HLS.")],
    target: TargetOptions,
    reading: ReadingOptions,
    cosim: Annotated[
        Path | None, typer.Option("--cosim", help="The .rpt report of a co-simulation of the same design.")
    ] = None,
) -> None:
    """Compare a vendor's synthesis report with the model; exit code 1 if an interval or the clock is missed."""
    from cgap.app.compare import compare_model

    rows = compare_model(model, target.parse(), csynth, cosim, reading.parse())
    what, figure = max(len(row.what) for row in rows), max(len(row.model) for row in rows)
    say(f"{'':{what}}  {'model':>{figure}}  tool")
    for row in rows:
        say(f"{row.what:{what}}  {row.model:>{figure}}  {row.tool}{'   <- missed' if row.missed else ''}")
    if any(row.missed for row in rows):
        fail(f"missed: {', '.join(row.what for row in rows if row.missed)}")
        raise typer.Exit(1)


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
