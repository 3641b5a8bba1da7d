"""The report of a build: a dictionary with stable keys (`report.json`) and the table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from fpga_model.models.analytic import LayerEstimate, estimate
from fpga_model.models.simulator import LayerCost, Simulation, simulate
from fpga_model.schedule.schedule import Schedule

if TYPE_CHECKING:
    from cgap.lowering.quantisation.quality import Quality

Figures = dict[str, "int | None"]
"""One quantity as each execution gives it; None where it was not run."""


@dataclass(frozen=True)
class Accuracy:
    """Share of `images` that the real-valued and the fixed-point network classify rightly; None: not measured."""

    images: int
    real: float | None
    fixed: float | None


@dataclass(frozen=True)
class Csim:
    """C simulation: images run, stored values that differ from the golden vectors, seconds of running."""

    images: int
    mismatches: int
    seconds: float


@dataclass(frozen=True)
class Rtl:
    """Simulation of the RTL: images run, stored values that differ from the integer reference, seconds of running.

    `layers` are cycles, bytes read and bytes written of an image by layer, as they were on the RTL's ports.
    """

    images: int
    mismatches: int
    seconds: float
    layers: Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Network:
    """MACs of one image and weights; of the dense network too, where the model's record tells them."""

    macs: int
    params: int
    dense_macs: int | None
    dense_params: int | None


@dataclass(frozen=True, eq=False)
class Costs:
    """A schedule with what the analytic model and the simulator say of it."""

    schedule: Schedule
    analytic: dict[str, LayerEstimate]
    simulation: Simulation

    @classmethod
    def of(cls, schedule: Schedule) -> Costs:
        return cls(schedule, estimate(schedule.plan), simulate(schedule))

    def layer(self, name: str) -> tuple[LayerEstimate, LayerCost]:
        """Both figures of one layer."""
        return self.analytic[name], self.simulation.layers[name]


def build_report(
    model: str,
    dataset: str | None,
    onnx_sha256: str,
    network: Network,
    accuracy: Accuracy,
    costs: Costs,
    csim: Csim | None,
    quality: Mapping[str, Quality],
) -> dict[str, Any]:
    """Everything measured on one build; what was not measured is None."""
    schedule = costs.schedule
    accelerator, platform = schedule.accelerator, schedule.platform
    return {
        "model": model,
        "dataset": dataset,
        "onnx_sha256": onnx_sha256,
        "accuracy": {"images": accuracy.images, "float": accuracy.real, "fixed": accuracy.fixed},
        "network": asdict(network),
        "accelerator": {
            "platform": platform.name,
            "array": [accelerator.Pox, accelerator.Poy, accelerator.Pof],
            "bits": accelerator.bits,
            "clock_mhz": platform.clock_mhz,
            "schedule": schedule.kind.value,
        },
        "layers": [_layer(name, costs, quality.get(name)) for name in costs.simulation.layers],
        "totals": _totals(costs),
        "limits": limits(schedule),
        "csim": {"images": None, "mismatches": None, "seconds": None} if csim is None else asdict(csim),
        "rtl": {"images": None, "mismatches": None, "seconds": None},
    }


def add_rtl(report: dict[str, Any], rtl: Rtl) -> None:
    """Fill in what the RTL did."""
    report["rtl"] = {"images": rtl.images, "mismatches": rtl.mismatches, "seconds": rtl.seconds}
    for index, key in enumerate(("cycles", "dram_read_bytes", "dram_write_bytes")):
        for layer in report["layers"]:
            layer[key]["rtl"] = rtl.layers[layer["name"]][index]
        report["totals"][key]["rtl"] = sum(figures[index] for figures in rtl.layers.values())


def _figures(analytic: int, simulated: int) -> Figures:
    return {"analytic": analytic, "simulated": simulated, "rtl": None}


def _layer(name: str, costs: Costs, quality: Quality | None) -> dict[str, Any]:
    schedule = costs.schedule
    layer = schedule.graph.layer(name)
    closed, measured = costs.layer(name)
    macs = layer.operator.macs(schedule.graph.input_shapes(name))
    efficiency = macs / (measured.sums * schedule.accelerator.macs) if measured.sums else None
    return {
        "name": name,
        "op": layer.operator.kind,
        "macs": macs,
        "tile_efficiency": efficiency,
        "bound": measured.bound,
        "cycles": _figures(closed.cycles, measured.cycles),
        "dram_read_bytes": _figures(closed.dram_read_bytes, measured.dram_read_bytes),
        "dram_write_bytes": _figures(closed.dram_write_bytes, measured.dram_write_bytes),
        "saturated": None if quality is None else quality.saturated,
        "snr_db": None if quality is None else quality.snr_db,
    }


def _totals(costs: Costs) -> dict[str, Any]:
    schedule, simulation = costs.schedule, costs.simulation
    closed = list(costs.analytic.values())
    moved = simulation.dram_read_bytes + simulation.dram_write_bytes
    return {
        "cycles": _figures(sum(e.cycles for e in closed), simulation.cycles),
        "dram_read_bytes": _figures(sum(e.dram_read_bytes for e in closed), simulation.dram_read_bytes),
        "dram_write_bytes": _figures(sum(e.dram_write_bytes for e in closed), simulation.dram_write_bytes),
        "latency_ms": simulation.cycles / schedule.platform.clock_mhz / 1e3,
        "dram_energy_mj": moved * 8 * schedule.platform.dram_pj_per_bit * 1e-9,
        "utilisation": schedule.graph.macs() / (simulation.cycles * schedule.accelerator.macs),
    }


def limits(schedule: Schedule) -> dict[str, Any]:
    """What no schedule on this array and port can beat: MACs over units; weights, image and logits over the bus."""
    graph, accelerator, platform = schedule.graph, schedule.accelerator, schedule.platform
    compute = -(-graph.macs() // accelerator.macs)
    values = graph.weights() + sum(graph.shape(layer.name).size for layer in (graph.input, *graph.outputs))
    least = values * accelerator.bits // 8
    cycles = max(compute, least / platform.bytes_per_cycle)
    return {"compute_cycles": compute, "dram_bytes": least, "latency_ms": cycles / platform.clock_mhz / 1e3}


SHOWN_LAYERS = 12
"""Layers in the table on the terminal, those that add most cycles."""


def print_report(report: dict[str, Any], console: Console, every_layer: bool = False) -> None:
    """The table of layers, the totals beside the physical limits, and what was checked."""
    layers, title = report["layers"], "cycles and DRAM bytes by layer"
    if not every_layer and len(layers) > SHOWN_LAYERS:
        costly = sorted(layers, key=lambda layer: -layer["cycles"]["simulated"])[:SHOWN_LAYERS]
        title = f"the {SHOWN_LAYERS} of {len(layers)} layers that add most cycles (--layers shows all)"
        layers = [layer for layer in layers if layer in costly]
    left_out = 0
    while _width(console, table := _layer_table(layers, title, left_out)) > console.width and left_out < _SPARE:
        left_out += 1
    console.print(table)
    if left_out:
        console.print(f"{left_out} columns are hidden: the terminal is too narrow; --json has them", highlight=False)
    console.print()
    console.print(_total_table(report))
    console.print()
    for line in _facts(report):
        console.print(line, highlight=False)


_SHORT = {"convolution": "conv", "fully_connected": "fc", "pooling": "pool"}


def _width(console: Console, table: Table) -> int:
    """Columns of the terminal that a table takes when nothing but its first column is folded."""
    whole = Measurement.get(console, console.options.update(width=1000), table).maximum
    first = table.columns[0]
    return whole - max(0, max((cell_len(str(name)) for name in first.cells), default=0) - (first.min_width or 0))


_SPARE = 7
"""Columns that a narrow terminal may go without, the last ones first."""


def _layer_table(layers: list[dict[str, Any]], title: str, left_out: int) -> Table:
    headings = ["op", "kMAC", "analytic", "simulated", "bound", "read", "written", "tile", "satur.", "SNR, dB"]
    if any(layer["cycles"]["rtl"] is not None for layer in layers):
        headings.insert(headings.index("simulated") + 1, "RTL")
    shown = headings[: len(headings) - left_out]
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    names = max((len(layer["name"]) for layer in layers), default=0)
    table.add_column("layer", overflow="fold", min_width=min(names, 24))
    for heading in shown:
        table.add_column(heading, justify="left" if heading in ("op", "bound") else "right", no_wrap=True)
    for layer in layers:
        efficiency = layer["tile_efficiency"]
        cells = {
            "op": _SHORT.get(layer["op"], layer["op"]),
            "kMAC": f"{layer['macs'] / 1e3:,.1f}",
            "analytic": f"{layer['cycles']['analytic']:,}",
            "simulated": f"{layer['cycles']['simulated']:,}",
            "RTL": "-" if layer["cycles"]["rtl"] is None else f"{layer['cycles']['rtl']:,}",
            "bound": layer["bound"],
            "read": f"{layer['dram_read_bytes']['simulated']:,}",
            "written": f"{layer['dram_write_bytes']['simulated']:,}",
            "tile": "-" if efficiency is None else f"{efficiency:.2f}",
            "satur.": "-" if layer["saturated"] is None else f"{layer['saturated']:,}",
            "SNR, dB": decibels(layer["snr_db"]),
        }
        table.add_row(layer["name"], *(cells[heading] for heading in shown))
    return table


def _total_table(report: dict[str, Any]) -> Table:
    totals, bounds = report["totals"], report["limits"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("network")
    there = report["rtl"]["images"] is not None
    for heading in ("analytic", "simulated", *(("RTL",) if there else ()), "limit", "simulated / limit"):
        table.add_column(heading, justify="right")

    def row(name: str, figures: Mapping[str, float], limit: float, form: str) -> None:
        values = [format(figures[key], form) for key in ("analytic", "simulated", *(("rtl",) if there else ()))]
        table.add_row(name, *values, format(limit, form), f"{figures['simulated'] / limit:.3f}")

    clock = report["accelerator"]["clock_mhz"]
    executions = [key for key, value in totals["cycles"].items() if value is not None]
    cycles = {key: totals["cycles"][key] for key in executions}
    moved = {key: totals["dram_read_bytes"][key] + totals["dram_write_bytes"][key] for key in executions}
    row("cycles", cycles, bounds["latency_ms"] * clock * 1e3, ",.0f")
    row("DRAM bytes", moved, bounds["dram_bytes"], ",.0f")
    row("latency, ms", {key: value / clock / 1e3 for key, value in cycles.items()}, bounds["latency_ms"], ".3f")
    return table


def _facts(report: dict[str, Any]) -> list[str]:
    network, accelerator, accuracy, csim = (report[key] for key in ("network", "accelerator", "accuracy", "csim"))
    array = "x".join(map(str, accelerator["array"]))
    lines = [
        f"{report['model']}: {network['macs']:,} MACs ({2 * network['macs']:,} FLOPs)"
        + _share(network["macs"], network["dense_macs"])
        + f", {network['params']:,} weights"
        + _share(network["params"], network["dense_params"]),
        f"{array} array on {accelerator['platform']} at {accelerator['clock_mhz']:g} MHz, {accelerator['schedule']} "
        f"schedule: array {report['totals']['utilisation']:.1%} busy, "
        f"{report['totals']['dram_read_bytes']['simulated'] + report['totals']['dram_write_bytes']['simulated']:,} "
        f"DRAM bytes = {report['totals']['dram_energy_mj']:.4f} mJ an image",
        "cycles are this project's machine model (docs/microarchitecture.md); a vendor's is yours to measure",
    ]
    if accuracy["fixed"] is not None:
        lines.append(accuracy_line(accuracy))
    if csim["images"] is not None:
        lines.append(
            f"C simulation: {csim['images']} images, {csim['mismatches']} mismatches in all stored tensors, "
            f"{csim['seconds']:.1f} s"
        )
    rtl = report["rtl"]
    if rtl["images"] is not None:
        lines.append(
            f"RTL: {rtl['images']} images, {rtl['mismatches']} mismatches in all stored tensors; commands start and "
            f"complete in the simulator's cycles, all bursts are the schedule's; {rtl['seconds']:.1f} s"
        )
    return lines


def _share(value: int, dense: int | None) -> str:
    return "" if dense is None else f" = {value / dense:.1%} of dense"


def accuracy_line(accuracy: dict[str, Any]) -> str:
    """The accuracies of a report, of which the fixed one was measured, in words."""
    real = "not measured" if accuracy["float"] is None else f"{accuracy['float']:.2%}"
    return f"accuracy on {accuracy['images']:,} images: float {real}, fixed {accuracy['fixed']:.2%}"


def decibels(value: float | None) -> str:
    """A table cell."""
    return "-" if value is None else f"{value:.1f}"
