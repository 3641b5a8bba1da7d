"""What `cgap explore` shows: the front as a table, and as a figure."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from cgap.app.explore import Exploration
from cgap.boundary.files import writing
from fpga_model.errors import UserError
from fpga_model.explore.design import Design

SHOWN = 15


def print_exploration(found: Exploration, console: Console, every: bool = False) -> None:
    """The front, the best design, and where the file with it is."""
    for line in _before(found):
        console.print(line, highlight=False)
    shown = found.front if every else _spread(found.front, SHOWN)
    console.print(_table(found, shown))
    if len(shown) < len(found.front):
        told = f"{len(shown)} of {len(found.front)} shown (--all shows all; front.json has them)"
        console.print(told, highlight=False)
    for line in _after(found):
        console.print(line, highlight=False)


def _before(found: Exploration) -> list[str]:
    known = f", {found.reused:,} of them known from before" if found.reused else ""
    counted = f"{found.configurations:,} configurations{known}, {found.refused:,} cannot hold the network"
    return [
        f"{found.model} on {found.platform.name}: {counted}; {len(found.front)} on the Pareto front; "
        f"{found.cpu_seconds:.1f} CPU-s"
    ]


def _after(found: Exploration) -> list[str]:
    best, closest, platform = found.best, found.closest, found.platform
    if best is None:
        told = "" if closest is None else f"; the fastest that meets the others takes {closest.latency_ms:.3f} ms"
        return [f"no design meets all limits{told}"]
    by = "analytic model" if best.simulated_cycles is None else "simulator"
    return [
        f"best: {best.configuration.array}, {best.configuration.kind.value}, {best.latency_ms:.3f} ms by the {by}, "
        f"{best.dram_bytes:,} DRAM bytes ({best.energy_mj:.3f} mJ), {best.dsp:,} of {platform.dsp:,} "
        f"{platform.dsp_name}, {best.blocks:,} of {platform.block.count:,} {platform.block.name}",
        f"build it: cgap hls {found.model} --config {found.folder / 'best.toml'}",
    ]


def _spread(designs: list[Design], count: int) -> list[Design]:
    """So many designs over the whole front, its ends and what was simulated among them."""
    if len(designs) <= count:
        return designs
    chosen = {round(index * (len(designs) - 1) / (count - 1)) for index in range(count)}
    simulated = [index for index, design in enumerate(designs) if design.simulated_cycles is not None]
    return [designs[index] for index in sorted(chosen | set(simulated[:count]))]


def _table(found: Exploration, designs: list[Design]) -> Table:
    platform = found.platform
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("array", no_wrap=True)
    table.add_column("schedule", no_wrap=True)
    for heading in ("buffers", "port", "ms", "model", "kB", "mJ", "kLUT", "DSP"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(platform.block.name, justify="right", no_wrap=True)
    table.caption = "buffers: pages x words + weight words, k: 1,024; model: its cycles against the simulator's"
    table.caption_justify = "left"
    for design in designs:
        c = design.configuration
        exact = design.simulated_cycles
        error = "-" if exact is None else f"{(design.cycles - exact) / exact:+.2%}"
        table.add_row(
            c.array,
            c.kind.value,
            f"{c.pages}x{_words(c.page_depth)}+{_words(c.weight_depth)}",
            str(c.port_bits),
            f"{design.latency_ms:.3f}",
            error,
            f"{design.dram_bytes / 1e3:,.0f}",
            f"{design.energy_mj:.3f}",
            f"{design.lut / 1e3:.0f}",
            f"{design.dsp:,}",
            f"{design.blocks:,}",
        )
    return table


def _words(depth: int) -> str:
    return f"{depth >> 10}k" if depth % 1024 == 0 else str(depth)


def draw_front(found: Exploration, path: Path) -> None:
    """Latency against memory blocks, a dot a design of the front, its size by DSP. Needs matplotlib.

    Raises:
        UserError: it is not installed, or the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UserError("--figure needs matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for kind in sorted({design.configuration.kind for design in found.front}):
        part = [design for design in found.front if design.configuration.kind is kind]
        axes.scatter(
            [design.latency_ms for design in part],
            [design.blocks for design in part],
            [10 + 190 * design.dsp / found.platform.dsp for design in part],
            alpha=0.7,
            label=kind.value,
        )
    if found.best is not None:
        axes.plot(found.best.latency_ms, found.best.blocks, "k+", markersize=16, label="best")
    axes.set(
        xscale="log",
        xlabel="latency of an image, ms",
        ylabel=f"{found.platform.block.name} (dot size: DSP)",
        title=f"{found.model} on {found.platform.name}: Pareto front",
    )
    axes.legend()
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
    except ValueError as error:  # an ending that it does not know
        raise UserError(f"--figure {path}: {error}") from error
    finally:
        pyplot.close(figure)
