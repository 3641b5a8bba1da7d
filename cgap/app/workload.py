"""`cgap workload`: a network, or its DRAM accesses, in the formats of other tools."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from cgap.app.plan import Planned
from fpga_model.errors import UserError
from fpga_model.graph import Layer, LayerGraph
from fpga_model.models.dram_trace import requests
from fpga_model.models.simulator import simulate
from fpga_model.operators import Convolution


def _convolutions(graph: LayerGraph) -> Iterator[tuple[Layer, Convolution]]:
    """Convolutions and fully connected layers, which are all that these tools know how to count."""
    for layer in graph.layers:
        if isinstance(layer.operator, Convolution):
            yield layer, layer.operator


def scale_sim(planned: Planned) -> str:
    """A topology file of SCALE-Sim: one line a convolution, or one for each group of a grouped one.

    The input is as large as what the windows touch, padding included, so that the output has the right size.

    Raises:
        UserError: a stride that differs between rows and columns, or a dilation, which the format has no place for.
    """
    graph = planned.schedule.graph
    lines = ["Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"]
    for layer, operator in _convolutions(graph):
        window, output = operator.window(graph.input_shapes(layer.name)), graph.shape(layer.name)
        if window.stride_y != window.stride_x or (window.dilation_y, window.dilation_x) != (1, 1):
            raise UserError(f"layer {layer.name!r}: SCALE-Sim has one stride for rows and columns, and no dilation")
        height = (output.height - 1) * window.stride_y + window.Nky
        width = (output.width - 1) * window.stride_x + window.Nkx
        sizes = (height, width, window.Nky, window.Nkx, operator.Gif, operator.Gof, window.stride_y)
        for group in range(operator.groups):
            name = _plain(layer.name) + (f"_group{group}" if operator.groups > 1 else "")
            lines.append(f"{name}, {', '.join(map(str, sizes))},")
    return "\n".join(lines) + "\n"


def _plain(name: str) -> str:
    """A name that can stand in a line of values with commas between."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]


def zigzag(planned: Planned) -> str:
    """A workload file of ZigZag (YAML, of which JSON is a part): convolutions with their sizes, strides and padding."""
    graph = planned.schedule.graph
    entries: list[dict[str, Any]] = []
    numbers: dict[str, int] = {}
    bits = planned.schedule.accelerator.bits
    for layer, operator in _convolutions(graph):
        numbers[layer.name] = len(entries)
        source = _source(graph, layer.inputs[0], numbers)
        entries.append(_zigzag_layer(graph, layer, operator, len(entries), source, bits))
    return json.dumps(entries, indent=1) + "\n"


def _source(graph: LayerGraph, name: str, numbers: dict[str, int]) -> int | None:
    """The convolution that a tensor comes from, through poolings and the like; None for the image."""
    while name not in numbers:
        inputs = graph.layer(name).inputs
        if not inputs:
            return None
        name = inputs[0]
    return numbers[name]


def _zigzag_layer(
    graph: LayerGraph, layer: Layer, operator: Convolution, number: int, source: int | None, bits: int
) -> dict[str, Any]:
    shape, output = graph.input_shapes(layer.name)[0], graph.shape(layer.name)
    window = operator.window([shape])
    bottom = (output.height - 1) * window.stride_y + window.rows - window.pad_top - shape.height
    right = (output.width - 1) * window.stride_x + window.columns - window.pad_left - shape.width
    group, sizes = ("", []) if operator.groups == 1 else ("[g]", [operator.groups])
    return {
        "id": number,
        "name": layer.name,
        "operator_type": "Conv",
        "equation": f"O[b]{group}[k][oy][ox]+=W{group}[k][c][fy][fx]*I[b]{group}[c][iy][ix]",
        "dimension_relations": [
            f"ix={window.stride_x}*ox+{window.dilation_x}*fx",
            f"iy={window.stride_y}*oy+{window.dilation_y}*fy",
        ],
        "loop_dims": ["B", *(["G"] if sizes else []), "K", "C", "OY", "OX", "FY", "FX"],
        "loop_sizes": [1, *sizes, operator.Gof, operator.Gif, output.height, output.width, window.Nky, window.Nkx],
        "operand_precision": {"W": bits, "I": bits, "O": 2 * bits, "O_final": bits},
        "operand_source": {"W": number, "I": number if source is None else source},
        "pr_loop_dims": ["IX", "IY"],
        "pr_loop_sizes": [shape.width, shape.height],
        "padding": [[window.pad_left, max(0, right)], [window.pad_top, max(0, bottom)]],
    }


def ramulator(planned: Planned) -> str:
    """A DRAM trace of Ramulator: an address and R or W a line."""
    events = simulate(planned.schedule).events
    return "".join(f"0x{r.address:x} {'W' if r.write else 'R'}\n" for r in requests(events, planned.schedule.dram))


def dramsim3(planned: Planned) -> str:
    """A trace of DRAMsim3: address, READ or WRITE, and the cycle of the DRAM's clock."""
    events, platform = simulate(planned.schedule).events, planned.schedule.platform
    scale = platform.dram_megatransfers / 2 / platform.clock_mhz  # two transfers a cycle of the DRAM's clock
    return "".join(
        f"0x{r.address:x} {'WRITE' if r.write else 'READ'} {int(r.cycle * scale)}\n"
        for r in requests(events, planned.schedule.dram)
    )


FORMATS: dict[str, tuple[Callable[[Planned], str], str]] = {
    "scale-sim": (scale_sim, ".csv"),
    "zigzag": (zigzag, ".yaml"),
    "ramulator": (ramulator, ".trace"),
    "dramsim3": (dramsim3, ".trc"),
}
"""What writes a format, and how its files end."""


def workload(planned: Planned, form: str) -> tuple[str, str]:
    """The text of a format and the ending of its files. Raises UserError."""
    if form not in FORMATS:
        raise UserError(f"no format {form!r}: choose {', '.join(FORMATS)}")
    write, ending = FORMATS[form]
    return write(planned), ending
