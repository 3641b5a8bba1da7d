"""Fills the page's templates with a report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from cgap.app.page import charts
from cgap.app.page.words import BOUNDS, cycles_of, difference, verdict
from cgap.app.report import ANALYTIC, C_SIMULATION, RTL, SIMULATED, Beside, Report
from cgap.boundary.files import read_json, write_atomic
from cgap.boundary.names import printable

NAMES = {ANALYTIC: "analytic model", SIMULATED: "simulator", C_SIMULATION: "C simulation", RTL: "RTL"}
UNITS = ("load", "compute", "store")
MAX_TRACE_BYTES = 256 << 20
MAX_EVENTS = 20_000
"""Most commands that the timeline draws one by one; of more, neighbours are joined."""
PAPER = {"FLOPs": -0.633, "size": -0.640, "DRAM energy": -0.118, "latency": -0.402}
"""The published ratios of ResNet-110 on CIFAR-10, in the order of the page's table."""


def _environment() -> jinja2.Environment:
    root = resources.files("cgap.app.page").joinpath("templates")

    def load(name: str) -> str | None:
        entry = root.joinpath(name)
        return entry.read_text("utf-8") if entry.is_file() else None

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        autoescape=True,  # names from a model are text, whatever they say
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(n=_number, ms=lambda value: f"{value:.3f}", pct=_percent, show=_shown, f1=lambda v: f"{v:.1f}")
    return made


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2%}"


def _shown(text: object) -> str:
    """Text without control characters, of readable length."""
    return printable(str(text), 200)


def report_page(report: Report, trace: dict[str, Any] | None = None) -> str:
    """The page of one build. `trace` is its timeline in Chrome's trace format, where it is known."""
    return _environment().get_template("report.html.j2").render(**_context(report), timeline=_timeline(report, trace))


def compare_page(first: Report, second: Report) -> str:
    """The page of two builds side by side."""
    contexts = [_context(report) for report in (first, second)]
    return (
        _environment()
        .get_template("compare.html.j2")
        .render(
            builds=contexts,
            words=difference(first, second),
            rows=_compared(first, second),
            layers=_layers_compared(first, second),
        )
    )


def write_page(report: Report, trace: str, path: Path) -> None:
    """Write the page of a build, whose timeline is `trace` in Chrome's trace format."""
    write_atomic(path, report_page(report, json.loads(trace)))


def read_trace(folder: Path) -> dict[str, Any] | None:
    """The timeline in a build folder, if there is one. Raises UserError if it is damaged."""
    path = folder / "trace.json"
    return read_json(path, MAX_TRACE_BYTES) if path.is_file() else None


def _context(report: Report) -> dict[str, Any]:
    return {
        "report": report,
        "verdict": verdict(report),
        "numbers": _numbers(report),
        "latency": charts.latency(report),
        "roofline": charts.roofline(report),
        "memory": charts.memory_map(report),
        "noise": charts.noise(report.layers),
        "traffic": _traffic(report),
        "executions": _executions(report),
        "ratios": [_ratios(pair) for pair in report.dense],
        "paper": PAPER,
        "bounds": BOUNDS,
        "classes": charts.CLASSES,
        "backends": {name: NAMES[name] for name in report.measured_by()},
        "cycles_of": cycles_of,
        "names": NAMES,
    }


def _moved(report: Report) -> int:
    totals = report.totals
    return (totals.dram_read_bytes[SIMULATED] or 0) + (totals.dram_write_bytes[SIMULATED] or 0)


def _numbers(report: Report) -> list[dict[str, str]]:
    """The four numbers that matter, each with its limit."""
    totals, limits, moved = report.totals, report.limits, _moved(report)
    accuracy = report.accuracy
    energy = report.energy
    return [
        {
            "name": "Latency of an image",
            "value": f"{totals.latency_ms:.3f} ms",
            "limit": f"limit {limits.latency_ms:.3f} ms; {totals.latency_ms / limits.latency_ms:.3f} of it",
            "note": f"{1e3 / totals.latency_ms:,.0f} images a second, one after the other",
        },
        {
            "name": "Array busy with products",
            "value": f"{totals.utilisation:.1%}",
            "limit": f"limit 100 %: {limits.compute_cycles:,} cycles",
            "note": f"{totals.cycles[SIMULATED]:,} cycles of {report.accelerator.macs_per_cycle:,} units",
        },
        {
            "name": "DRAM bytes of an image",
            "value": f"{moved:,}",
            "limit": f"limit {limits.dram_bytes:,}; {moved / limits.dram_bytes:.3f} of it",
            "note": f"{totals.dram_energy_mj:.4f} mJ"
            + ("" if energy is None else f"; with array and buffers {energy.total_mj:.4f} mJ"),
        },
        {
            "name": "Accuracy in fixed point",
            "value": "not measured" if accuracy.fixed is None else f"{accuracy.fixed:.2%}",
            "limit": "in floating point " + ("not measured" if accuracy.real is None else f"{accuracy.real:.2%}"),
            "note": "" if accuracy.fixed is None else f"on {accuracy.images:,} images of {_shown(report.dataset)}",
        },
    ]


def _traffic(report: Report) -> dict[str, Any]:
    """Bytes by kind, as shares of the wider of what is moved and what must be."""
    kinds = {
        "weights and records": ("parameters", "array"),
        "image": ("input", "read"),
        "outputs": ("output", "write"),
        "feature maps read again": ("feature_read", "drain"),
        "feature maps written": ("feature_write", "tensor1"),
    }
    sums = {
        name: (sum(getattr(layer.traffic, key) for layer in report.layers), kind) for name, (key, kind) in kinds.items()
    }
    least, moved = report.limits.dram_bytes, sum(value for value, _ in sums.values())
    scale = 880 / max(least, moved, 1)
    boxes, x = [], 0.0
    for name, (value, kind) in sums.items():
        boxes.append(charts.Box(x, 8, value * scale, 28, kind, f"{name}: {value:,} bytes"))
        x += value * scale
    return {"boxes": boxes, "least": least, "least_width": least * scale, "moved": moved, "sums": sums}


def _executions(report: Report) -> list[dict[str, Any]]:
    """What each backend says, and how far it is from the simulator, in the whole and in the layer where it is worst."""
    rows = []
    for name in report.measured_by():
        cycles, simulated = report.totals.cycles[name] or 0, report.totals.cycles[SIMULATED] or 1
        worst = max(report.layers, key=lambda layer: abs((layer.cycles.get(name) or 0) - cycles_of(layer)))
        apart = (worst.cycles.get(name) or 0) - cycles_of(worst)
        read, written = report.totals.dram_read_bytes.get(name), report.totals.dram_write_bytes.get(name)
        rows.append(
            {
                "name": NAMES[name],
                "cycles": cycles,
                "error": (cycles - simulated) / simulated,
                "worst": f"{apart:+,} in {_shown(worst.name)}" if apart else "0 in every layer",
                "bytes": None if read is None or written is None else read + written,
            }
        )
    return rows


def _ratios(pair: Beside) -> dict[str, Any]:
    def change(key: str) -> float:
        return float(getattr(pair.this, key) / getattr(pair.dense, key) - 1)

    keys = {"FLOPs": "macs", "size": "params", "DRAM energy": "dram_mj", "latency": "cycles"}
    return {"schedule": pair.schedule, "pair": pair, "changes": {name: change(key) for name, key in keys.items()}}


def _timeline(report: Report, trace: dict[str, Any] | None) -> str | None:
    """The commands of the three units as compact JSON: layer names, and [unit, layer, start, cycles, kind] of each."""
    if trace is None:
        return None
    names = {layer.name: index for index, layer in enumerate(report.layers)}
    kinds: list[str] = []
    rows: list[list[int]] = []
    try:
        for event in trace["traceEvents"]:
            if event["ph"] == "X":
                kind = str(event["cat"])
                if kind not in kinds:
                    kinds.append(kind)
                args = event["args"]
                row = [int(event["tid"]), names.get(event["name"], -1), int(args["start"]), int(args["cycles"])]
                rows.append([*row, kinds.index(kind)])
    except (KeyError, TypeError, ValueError):
        return None
    rows = _joined(rows)
    end = max((row[2] + row[3] for row in rows), default=0)
    return json.dumps(
        {"layers": [_shown(name) for name in names], "kinds": kinds, "units": UNITS, "end": end, "events": rows},
        separators=(",", ":"),
    )


def _joined(rows: list[list[int]]) -> list[list[int]]:
    """At most MAX_EVENTS rows: neighbours of one unit and layer become one, over larger and larger gaps."""
    gap = 0
    while len(rows) > MAX_EVENTS:
        gap = max(1, gap * 4)
        last: dict[int, list[int]] = {}
        kept: list[list[int]] = []
        for row in sorted(rows, key=lambda row: row[2]):
            before = last.get(row[0])
            if before is not None and before[1] == row[1] and row[2] - before[2] - before[3] <= gap:
                before[3] = max(before[3], row[2] + row[3] - before[2])
            else:
                last[row[0]] = row = list(row)
                kept.append(row)
        if gap > 1 << 40:
            return kept[:MAX_EVENTS]
        rows = kept
    return rows


def _compared(first: Report, second: Report) -> list[tuple[str, str, str, str]]:
    """(name, first, second, change) of what two builds differ in."""
    rows: list[tuple[str, str, str, str]] = []

    def text(name: str, a: object, b: object) -> None:
        rows.append((name, _shown(a), _shown(b), "same" if a == b else "differs"))

    def figure(name: str, a: float | None, b: float | None, form: str = ",.0f") -> None:
        shown = ["not measured" if v is None else format(v, form) for v in (a, b)]
        change = "" if a is None or b is None or not a else f"{b / a - 1:+.2%}"
        rows.append((name, *shown, change))  # type: ignore[arg-type]

    for name, key in (
        ("platform", "platform"),
        ("array", "array"),
        ("schedule", "schedule"),
        ("feature pages", "pages"),
        ("page depth", "page_depth"),
    ):
        a, b = getattr(first.accelerator, key), getattr(second.accelerator, key)
        text(name, "x".join(map(str, a)) if key == "array" else a, "x".join(map(str, b)) if key == "array" else b)
    figure("MACs", first.network.macs, second.network.macs)
    figure("weights", first.network.params, second.network.params)
    figure("cycles", first.totals.cycles[SIMULATED], second.totals.cycles[SIMULATED])
    figure("latency, ms", first.totals.latency_ms, second.totals.latency_ms, ".3f")
    figure("DRAM bytes", _moved(first), _moved(second))
    figure("DRAM energy, mJ", first.totals.dram_energy_mj, second.totals.dram_energy_mj, ".4f")
    figure("array busy, %", 100 * first.totals.utilisation, 100 * second.totals.utilisation, ".1f")
    figure("accuracy, fixed", first.accuracy.fixed, second.accuracy.fixed, ".4f")
    for key in _shared(first.resources, second.resources):
        a_, b_ = first.resources[key], second.resources[key]
        unit = a_.unit if a_.unit == b_.unit else f"{a_.unit} / {b_.unit}"
        figure(unit, a_.needed, b_.needed)
    return rows


def _shared(first: Iterable[str], second: Iterable[str]) -> list[str]:
    there = set(second)
    return [key for key in first if key in there]


def _layers_compared(first: Report, second: Report) -> list[tuple[str, int | None, int | None]]:
    """Cycles of every layer of either, the largest differences first."""
    sides = [{layer.name: cycles_of(layer) for layer in report.layers} for report in (first, second)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    rows = [(name, sides[0].get(name), sides[1].get(name)) for name in names]
    return sorted(rows, key=lambda row: -abs((row[1] or 0) - (row[2] or 0)))
