"""The drivers of an accelerator, in Python and in C, and where a network's tensors lie for them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from cgap.backends.host import Layout, Tensor
from cgap.boundary.files import write_atomic
from fpga_model.schedule.dram import INPUT, OUTPUT, is_packed
from fpga_model.schedule.schedule import Schedule

PYTHON_FOLDER = "cgap_host"
"""Name of the emitted package, which is `cgap/backends/host` as it is."""


def tensors_of(schedule: Schedule) -> Layout:
    """Where a network's input and outputs lie in memory."""
    graph, dram = schedule.graph, schedule.dram

    def tensor(name: str, role: str) -> Tensor:
        shape = graph.shape(name)
        size = (shape.channels, shape.height, shape.width)
        packed = role == OUTPUT and is_packed(graph, name)
        return Tensor(name, size, schedule.fixed.format(name).frac, dram.place(name, role).address, packed)

    outputs = tuple(tensor(layer.name, OUTPUT) for layer in graph.outputs)
    return Layout(schedule.accelerator.word_pixels, tensor(graph.input.name, INPUT), outputs)


def emit_drivers(folder: Path) -> None:
    """Write both drivers into the folder, made when needed."""
    places = {"hls_templates": ("drivers", folder), "cgap": ("backends/host", folder / PYTHON_FOLDER)}
    for package, (inside, out) in places.items():
        for entry in resources.files(package).joinpath(inside).iterdir():
            if entry.name.endswith((".c", ".h", ".py")):
                write_atomic(out / entry.name, entry.read_text("utf-8"))
