"""What a report says in words: which layer is slowest, why, and what would help."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from cgap.app.report import SIMULATED, LayerReport, Report

BOUNDS = {
    "array": "multiplications",
    "drain": "the drain",
    "dram read": "DRAM reads",
    "dram write": "DRAM writes",
}
"""What bounds a layer, as a reader calls it."""


@dataclass(frozen=True)
class Verdict:
    """Sentences for the top of the page."""

    slowest: str
    why: str
    help: str
    whole: str


def cycles_of(layer: LayerReport) -> int:
    """Cycles that a layer adds to the network, as simulated."""
    return layer.cycles[SIMULATED] or 0


def verdict(report: Report) -> Verdict:
    """Which layer is slowest, why, and what would help it; and where the network's time goes."""
    layer = max(report.layers, key=cycles_of)
    total = report.totals.cycles[SIMULATED] or 1
    cycles = cycles_of(layer)
    alike = [other for other in report.layers if cycles_of(other) >= 0.95 * cycles and other is not layer]
    others = f" ({len(alike)} more take nearly as long)" if alike else ""
    slowest = (
        f"The slowest layer is {layer.name}: {cycles:,} cycles, {cycles / total:.1%} of the image's {total:,}{others}."
    )
    return Verdict(slowest, _why(report, layer), _help(report, layer), _whole(report, total))


def _why(report: Report, layer: LayerReport) -> str:
    busy, cycles = layer.busy, cycles_of(layer)
    shares = ", ".join(f"{BOUNDS[name]} {busy[name]:,}" for name in BOUNDS if busy.get(name))
    efficiency = layer.tile_efficiency
    if layer.bound == "array":
        fill = "" if efficiency is None else f" and fills {efficiency:.0%} of the array while it does"
        return (
            f"It is bound by multiplications: {layer.macs:,} of them on {report.accelerator.macs_per_cycle:,} "
            f"units{fill}. Busy cycles: {shares}, of {cycles:,} that it adds."
        )
    if layer.bound == "drain":
        return (
            f"It is bound by the drain, which takes the array's results out row by row: each output sums few products, "
            f"so that sums are ready before the drain is. Busy cycles: {shares}, of {cycles:,} that it adds."
        )
    moved = layer.traffic
    reads = moved.parameters + moved.input + moved.feature_read
    what = (
        f"{reads:,} bytes are read ({moved.parameters:,} of them weights)"
        if layer.bound == "dram read"
        else f"{moved.output + moved.feature_write:,} bytes are written"
    )
    return (
        f"It is bound by DRAM: {what}, which takes longer than its sums. "
        f"Busy cycles: {shares}, of {cycles:,} that it adds."
    )


def _help(report: Report, layer: LayerReport) -> str:
    Pox, Poy, Pof = report.accelerator.array
    if layer.bound == "array":
        if layer.tile_efficiency is not None and layer.tile_efficiency < 0.85:
            channels, height, width = layer.output_shape
            reasons = [
                f"{size} {name} are not a multiple of {unit}"
                for size, name, unit in ((channels, "maps", Pof), (height, "rows", Poy), (width, "columns", Pox))
                if size % unit
            ]
            cause = "; ".join(reasons) or "tiles are ragged"
            return (
                f"What would help: a width or an array that fit one another ({cause}), "
                f"or an array of another shape, if other layers do not lose by it: cgap explore weighs them."
            )
        return (
            "What would help: fewer multiplications in it (prune its maps, in steps of "
            f"{Pof}, which the array computes at once) or a larger array: cgap explore lists those that the part holds."
        )
    if layer.bound == "drain":
        return (
            f"What would help: an array with fewer rows x maps ({Poy} x {Pof} rows leave it one a cycle), "
            f"or more input maps per output."
        )
    if report.accelerator.schedule == "layerwise":
        return "What would help: the resident schedule, which keeps feature maps on chip, or a wider port."
    if layer.traffic.feature_read + layer.traffic.feature_write:
        return "What would help: deeper feature pages (--page-depth), so that its maps stay on chip, or a wider port."
    return "What would help: fewer weights in it, a deeper weight buffer, so that they load earlier, or a wider port."


LOST = {
    "array": "where maps do not fill the array",
    "drain": "where the array waits for the drain",
    "dram read": "where it waits for DRAM reads",
    "dram write": "where it waits for DRAM writes",
}
"""What the cycles beyond a layer's multiplications are lost to, by what bounds the layer."""


def _whole(report: Report, total: int) -> str:
    by_bound: Counter[str] = Counter()
    for layer in report.layers:
        by_bound[layer.bound] += cycles_of(layer)
    parts = ", ".join(
        f"{_percent(cycles / total)} to layers bound by {BOUNDS[name]}" for name, cycles in by_bound.most_common()
    )
    over = report.totals.latency_ms / report.limits.latency_ms
    if over < 1.1:
        nearness = "no schedule on this array can be much faster"
    else:
        nearness = f"{over - 1:.0%} above what the array and the port allow. {_lost(report)}"
    return f"Of the time go {parts}. The image takes {over:.3f} of its limit: {nearness}."


def _lost(report: Report) -> str:
    """What the cycles beyond the multiplications go to, and the layer in which most do."""
    units = report.accelerator.macs_per_cycle
    lost = {layer.name: max(0.0, cycles_of(layer) - layer.macs / units) for layer in report.layers}
    everything = sum(lost.values()) or 1.0
    causes: Counter[str] = Counter()
    for layer in report.layers:
        causes[layer.bound] += round(lost[layer.name])
    shares = ", ".join(f"{_percent(cycles / everything)} {LOST[name]}" for name, cycles in causes.most_common())
    worst = max(lost, key=lambda name: lost[name])
    return (
        f"The {everything:,.0f} cycles beyond the multiplications are lost: {shares}; "
        f"{worst} loses most, {lost[worst]:,.0f}"
    )


def _percent(share: float) -> str:
    return "under 1%" if 0 < share < 0.01 else f"{share:.0%}"


def difference(first: Report, second: Report) -> list[str]:
    """How the second of two builds differs from the first: time and bytes, what it takes of the part, which layers."""
    before, after = first.totals.latency_ms, second.totals.latency_ms
    bytes_before, bytes_after = (
        (totals.dram_read_bytes[SIMULATED] or 0) + (totals.dram_write_bytes[SIMULATED] or 0)
        for totals in (first.totals, second.totals)
    )
    times = f"{before / after:.2f} times as fast as" if after < before else f"{after / before:.2f} times as slow as"
    if after == before:
        times = "as fast as"
    told = [
        f"The second is {times} the first: {after:.3f} ms an image beside {before:.3f}, "
        f"and {_more(bytes_before, bytes_after)} DRAM bytes."
    ]
    pairs = [(first.resources[key], second.resources[key]) for key in first.resources if key in second.resources]
    taken = ", ".join(f"{_more(a.needed, b.needed)} {b.unit}" for a, b in pairs if a.needed and b.needed is not None)
    if taken:
        told.append(f"It takes {taken}.")
    sides = [{layer.name: cycles_of(layer) for layer in report.layers} for report in (first, second)]
    changes = {name: sides[1][name] - sides[0][name] for name in sides[0] if name in sides[1]}
    if changes:
        most = max(changes, key=lambda name: abs(changes[name]))
        faster, slower = (sum(sign * change > 0 for change in changes.values()) for sign in (-1, 1))
        told.append(
            f"Of the {len(changes)} layers that both have, {faster} take fewer cycles and {slower} more; {most} "
            f"changes most, from {sides[0][most]:,} to {sides[1][most]:,}."
        )
    return told


def _more(before: float, after: float) -> str:
    if before == after or not before:
        return "as many" if before == after else f"{after:,.0f}"
    return f"{abs(after / before - 1):.1%} {'more' if after > before else 'fewer'}"
