"""Geometry of the page's drawings: plain numbers that the templates turn into SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from cgap.app.page.words import cycles_of
from cgap.app.report import LayerReport, Report

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 960, 270, 64, 36, 10
CLASSES = {"array": "array", "drain": "drain", "dram read": "read", "dram write": "write"}
"""CSS class of what bounds a layer, and of what a unit does."""


@dataclass(frozen=True)
class Box:
    """A rectangle with the words that it shows when it is pointed at."""

    x: float
    y: float
    w: float
    h: float
    kind: str
    text: str


@dataclass(frozen=True)
class Dot:
    """A point with its words."""

    x: float
    y: float
    r: float
    kind: str
    text: str


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A drawing: boxes, dots, a line, and the marks of its axes."""

    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    bottom: int = HEIGHT - BOTTOM
    boxes: list[Box] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    line: str = ""
    x_ticks: list[Tick] = field(default_factory=list)
    y_ticks: list[Tick] = field(default_factory=list)


def _nice(most: float, count: int = 4) -> list[float]:
    """Round numbers from 0 to about `most`."""
    if most <= 0:
        return [0.0]
    step = 10 ** math.floor(math.log10(most / count))
    step *= next(factor for factor in (1, 2, 5, 10) if most / (step * factor) <= count)
    return [step * index for index in range(int(most / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number for an axis: 1,200,000 is 1.2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def latency(report: Report) -> Chart:
    """A column a layer, as high as the cycles that it adds: what the array sums, above it the rest."""
    layers = report.layers
    most = max(map(cycles_of, layers)) or 1
    step = (WIDTH - LEFT) / len(layers)
    scale = (HEIGHT - BOTTOM - TOP) / most
    boxes = []
    for index, layer in enumerate(layers):
        cycles, x = cycles_of(layer), LEFT + index * step
        useful = min(cycles, layer.macs / report.accelerator.macs_per_cycle)
        text = f"{layer.name} ({layer.op}): {cycles:,} cycles, bound by {layer.bound}; {useful:,.0f} at best"
        width, base = max(0.5, step - min(1.0, step / 4)), HEIGHT - BOTTOM
        boxes.append(Box(x, base - useful * scale, width, useful * scale, "useful", text))
        rest = cycles - useful
        boxes.append(Box(x, base - cycles * scale, width, rest * scale, CLASSES[layer.bound], text))
    ticks = [Tick(HEIGHT - BOTTOM - value * scale, short(value)) for value in _nice(most)]
    return Chart(boxes=boxes, y_ticks=ticks, x_ticks=_layer_ticks(len(layers), step))


def _layer_ticks(count: int, step: float) -> list[Tick]:
    return [
        Tick(LEFT + (value + 0.5) * step, f"{value + 1:.0f}") for value in _nice(count - 1, 8) if value == int(value)
    ]


def roofline(report: Report) -> Chart:
    """MACs a cycle over MACs a DRAM byte, both logarithmic; a dot a layer, under what array and port allow."""
    peak, port = report.accelerator.macs_per_cycle, report.board.bytes_per_cycle
    points = []
    for layer in report.layers:
        moved = sum(figures.get("simulated") or 0 for figures in (layer.dram_read_bytes, layer.dram_write_bytes))
        if layer.macs and cycles_of(layer):
            points.append((layer, layer.macs / max(moved, 1), layer.macs / cycles_of(layer)))
    if not points:
        return Chart()
    xs = [x for _, x, _ in points] + [peak / port]
    ys = [y for _, _, y in points] + [peak]
    low_x, high_x = math.log10(min(xs)) - 0.3, math.log10(max(xs)) + 0.3
    low_y, high_y = math.log10(min(ys)) - 0.2, math.log10(max(ys)) + 0.1

    def px(value: float) -> float:
        return LEFT + (math.log10(value) - low_x) / (high_x - low_x) * (WIDTH - LEFT)

    def py(value: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(value) - low_y) / (high_y - low_y) * (HEIGHT - BOTTOM - TOP)

    ridge, start = peak / port, max(10**low_x, 10**low_y / port)
    line = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in ((start, start * port), (ridge, peak), (10**high_x, peak)))
    dots = [
        Dot(
            px(x),
            py(y),
            4,
            CLASSES[layer.bound],
            f"{layer.name}: {x:,.1f} MACs a byte, {y:,.1f} a cycle of {peak:,}",
        )
        for layer, x, y in points
    ]
    return Chart(
        dots=dots,
        line=line,
        x_ticks=[Tick(px(10.0**k), short(10.0**k)) for k in range(math.ceil(low_x), math.floor(high_x) + 1)],
        y_ticks=[Tick(py(10.0**k), short(10.0**k)) for k in range(math.ceil(low_y), math.floor(high_y) + 1)],
    )


def memory_map(report: Report) -> list[tuple[int, Chart]]:
    """For each feature page which words hold which tensor, from the layer that makes it to the last that reads it."""
    depth, names = report.accelerator.page_depth, [layer.name for layer in report.layers]
    count = max([len(names) + 1, *(resident.dies + 1 for resident in report.memory.residents)])
    step, height = (WIDTH - LEFT) / count, 150
    scale = (height - BOTTOM - TOP) / depth
    charts = []
    for page in range(report.accelerator.pages):
        boxes = []
        held = [resident for resident in report.memory.residents if resident.page == page]
        for number, resident in enumerate(held):
            end = resident.address + resident.depth
            text = f"{resident.layer}: words {resident.address} to {end - 1}, layers {resident.born} to {resident.dies}"
            width = max(1.0, (resident.dies - resident.born + 1) * step - 0.5)
            y = height - BOTTOM - end * scale
            boxes.append(
                Box(LEFT + resident.born * step, y, width, resident.depth * scale, f"tensor{number % 2}", text)
            )
        ticks = [Tick(height - BOTTOM - value * scale, short(value)) for value in _nice(depth, 3)]
        charts.append(
            (
                page,
                Chart(
                    height=height, bottom=height - BOTTOM, boxes=boxes, y_ticks=ticks, x_ticks=_layer_ticks(count, step)
                ),
            )
        )
    return charts


def noise(layers: Sequence[LayerReport]) -> Chart | None:
    """Signal-to-noise ratio of each stored tensor in decibels; None where it was not measured."""
    known = [(index, layer, layer.snr_db) for index, layer in enumerate(layers) if layer.snr_db is not None]
    if not known:
        return None
    values = [value for _, _, value in known]
    most, least, height = max(*values, 1.0), min(*values, 0.0), 180
    step, scale = (WIDTH - LEFT) / len(layers), (height - BOTTOM - TOP) / (most - least)
    base = height - BOTTOM + least * scale
    boxes = [
        Box(
            LEFT + index * step,
            base - max(value, 0) * scale,
            max(0.5, step - min(1.0, step / 4)),
            max(1.0, abs(value) * scale),
            "useful",
            f"{layer.name}: {value:.1f} dB"
            + ("" if layer.saturated is None else f", {layer.saturated:,} values saturated"),
        )
        for index, layer, value in known
    ]
    ticks = [Tick(base - value * scale, f"{value:.3g}") for value in _nice(most)]
    return Chart(
        height=height, bottom=height - BOTTOM, boxes=boxes, y_ticks=ticks, x_ticks=_layer_ticks(len(layers), step)
    )
