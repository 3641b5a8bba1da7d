"""The report of a build as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from cgap.app.report import C_SIMULATION, RTL, SIMULATED, Accuracy, LayerReport, Report

SHOWN_LAYERS = 12
"""Layers in the table on the terminal, those that add most cycles."""


def print_report(report: Report, console: Console, every_layer: bool = False) -> None:
    """The table of layers, the totals beside the physical limits, and what was checked."""
    layers, title = report.layers, "cycles and DRAM bytes by layer"
    if not every_layer and len(layers) > SHOWN_LAYERS:
        costly = sorted(layers, key=lambda layer: -(layer.cycles[SIMULATED] or 0))[:SHOWN_LAYERS]
        title = f"the {SHOWN_LAYERS} of {len(layers)} layers that add most cycles (--layers shows all)"
        layers = [layer for layer in layers if layer in costly]
    left_out = 0
    while _width(console, table := _layer_table(report, layers, title, left_out)) > console.width and left_out < _SPARE:
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


_NAMES = {C_SIMULATION: "C sim.", RTL: "RTL"}
"""Headings of backends that are not called as they are in the report."""


def _layer_table(report: Report, layers: list[LayerReport], title: str, left_out: int) -> Table:
    backends = report.measured_by()
    headings = ["op", "kMAC", *(_NAMES.get(name, name) for name in backends)]
    headings += ["bound", "read", "written", "tile", "satur.", "SNR, dB"]
    shown = headings[: len(headings) - left_out]
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    names = max((len(layer.name) for layer in layers), default=0)
    table.add_column("layer", overflow="fold", min_width=min(names, 24))
    for heading in shown:
        table.add_column(heading, justify="left" if heading in ("op", "bound") else "right", no_wrap=True)
    for layer in layers:
        cells = {
            "op": _SHORT.get(layer.op, layer.op),
            "kMAC": f"{layer.macs / 1e3:,.1f}",
            **{_NAMES.get(name, name): _count(layer.cycles.get(name)) for name in backends},
            "bound": layer.bound,
            "read": _count(layer.dram_read_bytes[SIMULATED]),
            "written": _count(layer.dram_write_bytes[SIMULATED]),
            "tile": "-" if layer.tile_efficiency is None else f"{layer.tile_efficiency:.2f}",
            "satur.": _count(layer.saturated),
            "SNR, dB": decibels(layer.snr_db),
        }
        table.add_row(layer.name, *(cells[heading] for heading in shown))
    return table


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _total_table(report: Report) -> Table:
    totals, bounds, clock, backends = report.totals, report.limits, report.accelerator.clock_mhz, report.measured_by()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("network")
    for heading in (*(_NAMES.get(name, name) for name in backends), "limit", "simulated / limit"):
        table.add_column(heading, justify="right")

    def row(name: str, figures: Mapping[str, float], limit: float, form: str) -> None:
        values = [format(figures[key], form) if key in figures else "-" for key in backends]
        table.add_row(name, *values, format(limit, form), f"{figures[SIMULATED] / limit:.3f}")

    cycles = {key: value for key, value in totals.cycles.items() if value is not None}
    reads, writes = totals.dram_read_bytes, totals.dram_write_bytes
    moved = {
        key: read + write
        for key in backends
        if (read := reads.get(key)) is not None and (write := writes.get(key)) is not None
    }
    row("cycles", cycles, bounds.latency_ms * clock * 1e3, ",.0f")
    row("DRAM bytes", moved, bounds.dram_bytes, ",.0f")
    row("latency, ms", {key: value / clock / 1e3 for key, value in cycles.items()}, bounds.latency_ms, ".3f")
    return table


def _facts(report: Report) -> list[str]:
    network, accelerator, totals = report.network, report.accelerator, report.totals
    array = "x".join(map(str, accelerator.array))
    moved = (totals.dram_read_bytes[SIMULATED] or 0) + (totals.dram_write_bytes[SIMULATED] or 0)
    lines = [
        f"{report.model}: {network.macs:,} MACs ({2 * network.macs:,} FLOPs)"
        + _share(network.macs, network.dense_macs)
        + f", {network.params:,} weights"
        + _share(network.params, network.dense_params),
        f"{array} array on {accelerator.platform} at {accelerator.clock_mhz:g} MHz, {accelerator.schedule} "
        f"schedule: array {totals.utilisation:.1%} busy, {moved:,} DRAM bytes = "
        f"{totals.dram_energy_mj:.4f} mJ an image",
        "cycles are this project's machine model (docs/microarchitecture.md); a vendor's is yours to measure",
    ]
    if report.accuracy.fixed is not None:
        lines.append(accuracy_line(report.accuracy))
    csim, rtl = report.runs.get(C_SIMULATION), report.runs.get(RTL)
    if csim is not None:
        lines.append(
            f"C simulation: {csim.images} images, {csim.mismatches} mismatches in all stored tensors, "
            f"{csim.seconds:.1f} s"
        )
    if rtl is not None:
        lines.append(
            f"RTL: {rtl.images} images, {rtl.mismatches} mismatches in all stored tensors; commands start and "
            f"complete in the simulator's cycles, all bursts are the schedule's; {rtl.seconds:.1f} s"
        )
    return lines


def _share(value: int, dense: int | None) -> str:
    return "" if dense is None else f" = {value / dense:.1%} of dense"


def accuracy_line(accuracy: Accuracy) -> str:
    """The accuracies of a report, of which the fixed one was measured, in words."""
    real = "not measured" if accuracy.real is None else f"{accuracy.real:.2%}"
    fixed = "not measured" if accuracy.fixed is None else f"{accuracy.fixed:.2%}"
    return f"accuracy on {accuracy.images:,} images: float {real}, fixed {fixed}"


def decibels(value: float | None) -> str:
    """A table cell."""
    return "-" if value is None else f"{value:.1f}"
