"""The `cgap` command itself."""

import os
from typing import Annotated

import typer

from cgap import __version__
from cgap.boundary.terminal import run_command, say

# A network is many small matrix products. OpenBLAS's threads wait for one another by spinning, which on a busy
# two-core machine took 20 times the processor time of one thread. Read when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Looking through all installed packages for plugins takes pydantic longer than its own import.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

app = typer.Typer(
    help="Grow and prune convolutional networks, and turn these or ONNX files into FPGA accelerators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of `cgap`: runs one command and turns bad input into one line and exit code 2."""
    run_command(app)


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
