"""`cgap disasm`: a program as readable text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cgap.boundary.files import read_json
from cgap.boundary.names import printable
from fpga_model.errors import UserError
from fpga_model.graph import LayerGraph
from fpga_model.machine.isa import UNITS, Command, layout, values_of
from fpga_model.machine.program import Header, read_program

MAX_BYTES = 1 << 28
"""Most bytes of a program that are read."""


def lines(path: Path, unit: str = "") -> Iterator[str]:
    """The header and the commands of a program, a line each.

    Args:
        path: a build folder, whose graph.json names the layers, or a program's file.
        unit: `load`, `compute` or `store` for that unit's commands alone.

    Raises:
        UserError: there is no program there, or it is damaged.
    """
    if unit and unit not in UNITS:
        raise UserError(f"no unit {unit!r}: choose {', '.join(UNITS)}")
    file = path / "program.bin" if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UserError(f"{file} is larger than any program: {file.stat().st_size:,} bytes")
        program = read_program(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; `cgap hls MODEL` writes a program") from error
    names = _layers(path)
    header = zip(layout(Header), values_of(program.header), strict=True)
    yield from (f"{slot.name:<28}{value:>12,}  {slot.meaning}" for slot, value in header)
    for name in UNITS:
        if unit in ("", name):
            yield ""
            yield f"{name.upper()}: {len(program.commands[name])} commands"
            yield from (_line(number, command, names) for number, command in enumerate(program.commands[name], 1))


def read_graph(folder: Path) -> LayerGraph:
    """The network in `graph.json` of a build.

    Raises:
        UserError: there is none, or the file is damaged or of another version.
    """
    path = folder / "graph.json"
    document = read_json(path, MAX_BYTES)
    try:
        return LayerGraph.from_json(document)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _layers(folder: Path) -> list[str]:
    """Names of the layers in the order of their indices; none where there is no graph beside the program."""
    return [layer.name for layer in read_graph(folder).layers] if (folder / "graph.json").is_file() else []


def _line(number: int, command: Command, names: list[str]) -> str:
    layer = names[command.layer] if command.layer < len(names) else f"layer {command.layer}"
    slots = zip(layout(type(command)), values_of(command), strict=True)
    fields = " ".join(f"{slot.name}={value}" for slot, value in slots if value and slot.path and slot.name != "layer")
    return f"{number:>6} {type(command).__name__:<8} {printable(layer)}: {fields}"
