"""The `cgap` command.

Commands are thin: they turn arguments into one call and its result into a few lines. What a command needs is imported
inside it, so that `cgap models` starts at once and only `cgap train` and `cgap export` need torch.

Exit codes: 0 success, 2 the input is at fault (one sentence on stderr), 130 interrupted, 1 a defect (traceback).
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cgap import __version__, models
from fpga_model.errors import UserError

app = typer.Typer(
    help="From a growing network to an FPGA accelerator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of `cgap`: runs one command and turns bad input into one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _version(asked: bool) -> None:
    if asked:
        print(f"cgap {__version__}")
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
        print(json.dumps({entry.name: {"onnx": str(entry.onnx), **entry.record} for entry in entries}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    for heading in ("dataset", "MACs", "params", "float accuracy"):
        table.add_column(heading, justify="right")
    for entry in entries:
        table.add_row(entry.name, *_model_figures(entry.record))
    Console().print(table)
    print("MODEL may also be the path of an ONNX file.")


def _model_figures(record: dict[str, Any]) -> list[str]:
    """Table cells of one training record: '-' for a figure it does not hold."""
    network, accuracy = record.get("network", {}), record.get("accuracy", {})
    return [
        str(record.get("dataset", "-")),
        f"{network['macs'] / 1e6:.2f} M" if "macs" in network else "-",
        f"{network['params'] / 1e3:.1f} k" if "params" in network else "-",
        f"{accuracy['float']:.2%}" if "float" in accuracy else "-",
    ]


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file; see cgap/training/configs.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="The run's folder.", show_default="runs/NAME")] = None,
) -> None:
    """Train a network by continuous growth and pruning."""
    require_torch("train")
    from cgap.training.run import train as run_training

    print(f"run folder: {run_training(config, out, resume)}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A folder made by `cgap train`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")],
) -> None:
    """Write the network of a training run as an ONNX file."""
    require_torch("export")
    from cgap.lowering.export import export_run

    export_run(run, output)
    print(f"wrote {output}")
