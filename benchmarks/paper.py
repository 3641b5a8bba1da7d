"""The paper's four ratios on this project's machine: dense against shipped ResNet-110 (docs/paper.md).

    python benchmarks/paper.py            # prints the tables
    python benchmarks/paper.py --write    # puts them into docs/paper.md
    python benchmarks/paper.py --layers   # every layer of the shipped network, with what its cycles are lost to

Du, Li, Ma, Cao (JETCAS 2019) publish for ResNet-110 on CIFAR-10: FLOPs -63.3 %, size -64.0 %, DRAM access energy
-11.8 %, latency -40.2 %. The network is the one that ships; the dense one has 16, 32 and 64 maps in every block, and is
checked against the MACs and weights of the training record.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cgap.app import models
from cgap.app.dense import dense_twin
from cgap.lowering import import_onnx
from fpga_model.graph import LayerGraph
from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.platform import load_platform
from fpga_model.machine.tiles import Unit
from fpga_model.models.published import reference_estimate
from fpga_model.models.simulator import LayerCost, simulate
from fpga_model.operators import Convolution
from fpga_model.schedule.plan import Kind, make_plan
from fpga_model.schedule.schedule import schedule_plan

ARRAYS = ("8x8x4", "8x8x16", "16x16x4", "8x32x4")
PLATFORM = load_platform("zcu104")
DOCUMENT = Path(__file__).parents[1] / "docs" / "paper.md"
PUBLISHED_SCHEME = "published scheme"


@dataclass(frozen=True)
class Figures:
    """Cycles and DRAM bytes of an image; cycles by layer, and where they were simulated what they went into."""

    cycles: int
    dram_bytes: int
    layers: dict[str, int]
    costs: dict[str, LayerCost] = field(default_factory=dict)


@dataclass(frozen=True)
class Lost:
    """A layer's cycles, or those of several: what its MACs need on all units, and what the rest is lost to.

    Attributes:
        needed: MACs over units.
        maps, pixels: units that are idle because widths are no multiple of Pof, rows and columns none of Poy and Pox.
        drain: the array waits for the drain, which takes a row of a map a cycle.
        fill: line fetch and pipeline before the first sums, the last drain after them.
        dram: nothing is computed, because data has not come or has not gone.
    """

    needed: float = 0
    maps: float = 0
    pixels: float = 0
    drain: float = 0
    fill: float = 0
    dram: float = 0

    def __add__(self, other: Lost) -> Lost:
        return Lost(*(getattr(self, name) + getattr(other, name) for name in CAUSES))

    @property
    def cycles(self) -> float:
        return sum(getattr(self, name) for name in CAUSES)


CAUSES = {
    "needed": "needed",
    "maps": "ragged maps",
    "pixels": "ragged pixels",
    "drain": "drain",
    "fill": "fill",
    "dram": "DRAM",
}


def accelerator(array: str) -> Accelerator:
    """An array with the default accelerator's buffers, in words."""
    return Accelerator.parse(array)


def published(graph: LayerGraph, array: str) -> Figures:
    """The published model of the reference accelerator at 16 bits, as its papers have it."""
    costs = reference_estimate(graph, accelerator(array), PLATFORM, bytes_per_word=2)
    return Figures(
        sum(cost.cycles for cost in costs.values()),
        sum(cost.read_bytes + cost.write_bytes for cost in costs.values()),
        {name: cost.cycles for name, cost in costs.items()},
    )


def simulated(graph: LayerGraph, array: str, kind: Kind) -> Figures:
    """This project's machine, by its simulator."""
    found = simulate(schedule_plan(make_plan(graph, accelerator(array), PLATFORM, kind)))
    layers = {name: cost.cycles for name, cost in found.layers.items()}
    return Figures(found.cycles, found.dram_read_bytes + found.dram_write_bytes, layers, found.layers)


def lost(graph: LayerGraph, name: str, cost: LayerCost, array: Accelerator) -> Lost:
    """What the cycles of a layer went into; the parts sum to them."""
    operator = graph.layer(name).operator
    busy = cost.busy[Unit.COMPUTE]
    if not isinstance(operator, Convolution):
        return Lost(fill=busy, dram=cost.cycles - busy)
    shape = graph.shape(name)
    needed = operator.macs(graph.input_shapes(name)) / array.macs
    maps = needed * ceil_div(shape.channels, array.Pof) * array.Pof / shape.channels
    drain = max(0, cost.drains - cost.sums)
    return Lost(needed, maps - needed, cost.sums - maps, drain, busy - cost.sums - drain, cost.cycles - busy)


def layer_table(dense: LayerGraph, shipped: LayerGraph, array: str, before: Figures, after: Figures) -> list[str]:
    """Layers of one shape a row, those that lose most first; what is left in one row."""
    rows: dict[str, list[str]] = defaultdict(list)
    for name in after.layers:
        parts = name.split(".")
        block = f"{parts[0]}.*.{parts[2]}" if len(parts) == 3 else name
        channels = [shape.channels for shape in (shipped.input_shapes(name)[0], shipped.shape(name))]
        wide = [shape.channels for shape in (dense.input_shapes(name)[0], dense.shape(name))]
        rows[f"{block} | {wide[0]} to {wide[1]} | {channels[0]} to {channels[1]}"].append(name)

    def summed(names: list[str], graph: LayerGraph, found: Figures) -> Lost:
        return sum((lost(graph, name, found.costs[name], accelerator(array)) for name in names), Lost())

    parts = {title: summed(names, shipped, after) for title, names in rows.items()}
    order = sorted(parts, key=lambda title: parts[title].needed - parts[title].cycles)
    shown = [title for title in order if parts[title].cycles - parts[title].needed >= 0.02 * after.cycles]
    lines = []
    for title in shown:
        wide = summed(rows[title], dense, before)
        lines.append(f"| {array} | {len(rows[title])} | {title} | {_share(wide)} | {_cells(parts[title])} |")
    rest = [name for title in order if title not in shown for name in rows[title]]
    wide, narrow = summed(rest, dense, before), summed(rest, shipped, after)
    lines.append(f"| {array} | {len(rest)} | all others | | | {_share(wide)} | {_cells(narrow)} |")
    return lines


LAYER_HEADINGS = ("array", "layers", "which", "maps, dense", "maps, pruned", "units at work, dense", "pruned", "cycles")


def _share(part: Lost) -> str:
    return f"{part.needed / part.cycles:.0%}"


def _cells(part: Lost) -> str:
    return f"{_share(part)} | {part.cycles:,.0f} | " + " | ".join(
        f"{getattr(part, name):,.0f}" if round(getattr(part, name)) else "" for name in CAUSES
    )


def figures(graph: LayerGraph, array: str, scheme: str) -> Figures:
    """A network under one scheme."""
    return published(graph, array) if scheme == PUBLISHED_SCHEME else simulated(graph, array, Kind(scheme))


def networks() -> tuple[LayerGraph, LayerGraph]:
    """(dense, shipped) ResNet-110."""
    path = models.resolve("resnet110")
    shipped = import_onnx(path).graph
    dense = dense_twin(shipped, models.record_of(path))
    assert dense is not None, "the record tells the dense network's MACs and weights"
    return dense, shipped


def change(before: float, after: float) -> str:
    """A table cell: how much less."""
    return f"{100 * (after / before - 1):+.1f} %"


def tables() -> str:
    """The ratios, and where pruning's gain is lost, as Markdown."""
    dense, shipped = networks()
    macs, weights = change(dense.macs(), shipped.macs()), change(dense.weights(), shipped.weights())
    lines = _table("array", "units", "scheme", "FLOPs", "size", "DRAM energy", "latency", "cycles", "DRAM bytes")
    lines.append("| published | unknown | unknown | -63.3 % | -64.0 % | -11.8 % | -40.2 % | not public | not public |")
    stages: list[str] = []
    layers: list[str] = []
    for array in ARRAYS:
        units = accelerator(array).macs
        for scheme in (PUBLISHED_SCHEME, *(kind.value for kind in Kind)):
            before, after = figures(dense, array, scheme), figures(shipped, array, scheme)
            lines.append(
                f"| {array} | {units:,} | {scheme} | {macs} | {weights} "
                f"| {change(before.dram_bytes, after.dram_bytes)} "
                f"| {change(before.cycles, after.cycles)} | {before.cycles:,} to {after.cycles:,} "
                f"| {before.dram_bytes:,} to {after.dram_bytes:,} |"
            )
            if scheme == Kind.RESIDENT.value:
                stages += [f"| {array} | {line}" for line in _lost(dense, shipped, array, before, after)]
                if units == 1024:
                    layers += layer_table(dense, shipped, array, before, after)
    head = _table("array", "stage", "MACs", "cycles", "cycles that the MACs need", "units at work, dense to pruned")
    lines += ["", "By stage, under `resident`:", "", *head, *stages]
    lines += [
        "",
        "By layer, under `resident` with 1,024 multipliers: what the cycles of the pruned network's layers go into.",
        "",
    ]
    return "\n".join([*lines, *_table(*LAYER_HEADINGS, *CAUSES.values()), *layers]) + "\n"


def every_layer() -> str:
    """The same for each layer of the shipped network alone, as Markdown."""
    _, shipped = networks()
    lines = _table("array", "layer", "maps", "units at work", "cycles", *CAUSES.values())
    for array in ARRAYS:
        found = simulated(shipped, array, Kind.RESIDENT)
        for name, cost in found.costs.items():
            maps = f"{shipped.input_shapes(name)[0].channels} to {shipped.shape(name).channels}"
            lines.append(f"| {array} | {name} | {maps} | {_cells(lost(shipped, name, cost, accelerator(array)))} |")
    return "\n".join(lines) + "\n"


def _table(*headings: str) -> list[str]:
    return ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]


def _lost(dense: LayerGraph, shipped: LayerGraph, array: str, before: Figures, after: Figures) -> Iterator[str]:
    """How much of each stage's reduction in MACs becomes one in cycles."""
    units = accelerator(array).macs
    stages = dict.fromkeys(name.split(".")[0] for name in after.layers)
    for stage in stages:
        rows = []
        for graph, found in ((dense, before), (shipped, after)):
            names = [name for name in found.layers if name.split(".")[0] == stage]
            macs = sum(graph.layer(name).operator.macs(graph.input_shapes(name)) for name in names)
            rows.append((macs, sum(found.layers[name] for name in names)))
        (dense_macs, dense_cycles), (macs, cycles) = rows
        if macs:
            shares = (dense_macs / units / dense_cycles, macs / units / cycles)
            yield (
                f"{stage} | {change(dense_macs, macs)} | {change(dense_cycles, cycles)} "
                f"| {macs / units:,.0f} of {cycles:,} | {shares[0]:.0%} to {shares[1]:.0%} |"
            )


def main() -> None:
    """Print the tables, or write them into the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/paper.md")
    parser.add_argument("--layers", action="store_true", help="print every layer of the shipped network instead")
    arguments = parser.parse_args()
    if arguments.layers:
        print(every_layer())
        return
    text = tables()
    if arguments.write:
        before, rest = DOCUMENT.read_text("utf-8").split("<!-- tables -->\n", 1)
        after = re.split(r"<!-- end of tables -->\n", rest, maxsplit=1)[1]
        DOCUMENT.write_text(f"{before}<!-- tables -->\n{text}<!-- end of tables -->\n{after}", "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
