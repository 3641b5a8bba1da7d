"""Commands that train, and that read the folders of runs."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from cgap.boundary.terminal import console, say, step
from cgap.boundary.threads import wait_passively
from cgap.cli.root import app
from cgap.options import (
    TrustOption,
)
from fpga_model.errors import UserError


def require_torch(command: str) -> None:
    """Raise UserError when PyTorch, which `command` needs, is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise UserError(f"`cgap {command}` needs PyTorch: pip install 'cgap[train]'")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file; the folder configs/ has examples.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the run's last checkpoint.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="The run folder.", show_default="runs/NAME")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override a field of the file, such as run.seed=2; with --resume, from now on. May be repeated.",
        ),
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Train a network by continuous growth and pruning."""
    require_torch("train")
    wait_passively()  # before the import of torch
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
    section: Annotated[
        str, typer.Argument(help="List only this section and its subsections, such as plasticity.")
    ] = "",
) -> None:
    """List the fields of a training configuration, with meaning, allowed values and default."""
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
    configs: Annotated[
        list[Path], typer.Argument(help="TOML files, one per run; the folder configs/baselines/ has examples.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the run folders, one NAME-SEED each.")],
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds to run every configuration with.")] = "1,2,3",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Number of runs at a time; set run.threads to match.")] = 1,
) -> None:
    """Train several configurations with several seeds; call it again to continue where it stopped."""
    require_torch("queue")
    from cgap.training.queue import plan_jobs, run_queue

    if not all(seed.isdecimal() for seed in seeds.split(",")):
        raise UserError(f"--seeds {seeds}: give whole numbers with commas between, such as 1,2,3")
    planned = plan_jobs(configs, [int(seed) for seed in seeds.split(",")], out)
    unfinished = run_queue(planned, jobs, say=step)
    if unfinished:
        raise UserError(f"{len(unfinished)} of {len(planned)} runs are not finished: {unfinished[0].folder.name} ...")
    say(f"all runs are finished; compare them with: cgap compare-runs {out}/*-*/")


@app.command("compare-runs")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs; NAME-1, NAME-2, ... share a row.")],
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Compare finished runs in a table: mean and standard deviation over seeds, at the last epoch."""
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
    network: Annotated[
        str, typer.Argument(help="A built-in network such as resnet20, or your own as MODULE:CALLABLE.")
    ],
    size: Annotated[str, typer.Option("--size", help="Size of an input: channels x height x width.")] = "3x32x32",
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
    """Plot accuracy, cost and widths of a training run over its epochs."""
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
