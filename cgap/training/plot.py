"""A picture of a training run: accuracy, cost and widths over its epochs."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cgap.boundary.files import read_json, read_text, write_atomic
from cgap.boundary.names import printable
from cgap.training.log import LIMIT, parse_line
from fpga_model.errors import UserError

FORMATS = ("png", "svg", "pdf")
_SHADES = {"seed": "#dceaf7", "grow": "#dff2dc", "prune": "#fbe3d6", "recover": "#f1f1f1", "train": "#f1f1f1"}


@dataclass(frozen=True)
class History:
    """What `metrics.jsonl` says, over time in epochs.

    `phases` are (name, begin, end). `cost` and `widths` are (time, value) of each change, to the last time.
    """

    title: str
    epochs: list[dict[str, Any]]
    phases: list[tuple[str, float, float]]
    cost: list[tuple[float, dict[str, Any]]]
    widths: list[tuple[float, dict[str, int]]]
    test: float | None


def can_plot() -> bool:
    """Whether Matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def read_history(run: Path) -> History:
    """The history of a run that has finished an epoch. Raises UserError if `run` holds no such thing."""
    if not (run / "run.json").is_file():
        raise UserError(f"{run}: is not the folder of a training run (no run.json)")
    record = read_json(run / "run.json", LIMIT)
    lines = [parse_line(line, run / "metrics.jsonl") for line in read_text(run / "metrics.jsonl", LIMIT).splitlines()]
    try:
        said = _Run.model_validate(record)
        for line in lines:
            (_Epoch if "epoch" in line else _Event).model_validate(line)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        raise UserError(f"{run}: is not the folder of a training run ({field}: {fault['msg']})") from error
    epochs = [line for line in lines if "epoch" in line]
    if not epochs:
        raise UserError(f"{run}: has nothing to draw before its first epoch is over")
    first = epochs[0]
    steps = max(1, round(first["images_per_second"] * first["seconds"] / said.config.optimiser.batch_size))
    end = float(epochs[-1]["epoch"])
    events = [(line["step"] / steps, line) for line in lines if "event" in line]
    return History(
        f"{said.model} on {said.dataset}, seed {said.seed}",
        epochs,
        list(_phases(events, first["phase"], end)),
        [*_costs(events, first), (end, epochs[-1])],
        list(_widths(events, end)),
        said.accuracy.test if said.status == "complete" and said.accuracy else None,
    )


class _Lenient(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


_Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_Percent = Annotated[float, Field(ge=0, le=100)]
_Time = Annotated[float, Field(gt=0, le=1e12)]


class _Epoch(_Lenient):
    """A line of `metrics.jsonl` about an epoch, as far as it is drawn."""

    epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    phase: Literal["train", "seed", "grow", "prune", "recover"]
    train_accuracy: _Percent
    held_out_accuracy: _Percent
    macs: _Count
    params: _Count
    images_per_second: _Time
    seconds: _Time


class _Event(_Lenient):
    """A line about growth or pruning."""

    event: Literal["grow", "prune", "zero"]
    step: _Count
    changed: Annotated[dict[str, Annotated[list[_Count], Field(min_length=2, max_length=2)]], Field(max_length=2000)]
    widths: Annotated[dict[str, _Count], Field(max_length=2000)]
    macs: _Count
    params: _Count


class _Optimiser(_Lenient):
    batch_size: Annotated[int, Field(ge=1, lt=1 << 31)]


class _Settings(_Lenient):
    optimiser: _Optimiser


class _Accuracy(_Lenient):
    test: _Percent


class _Run(_Lenient):
    """The run's record."""

    model: Annotated[str, Field(max_length=200)]
    dataset: Annotated[str, Field(max_length=4000)]
    seed: int
    status: str
    config: _Settings
    accuracy: _Accuracy | None = None


def _phases(events: list[tuple[float, dict[str, Any]]], only: str, end: float) -> Iterator[tuple[str, float, float]]:
    grown = [at for at, event in events if event["event"] == "grow"]
    pruned = [at for at, event in events if event["event"] == "prune"]
    if not events:
        yield only, 0.0, end
        return
    limits = [0.0]
    if grown:
        yield "seed", 0.0, grown[0]
        limits = [grown[0]]
        yield "grow", grown[0], pruned[0] if pruned else end
    if pruned:
        yield "prune", pruned[0] if grown else limits[0], pruned[-1]
        yield "recover", pruned[-1], end


def _costs(events: list[tuple[float, dict[str, Any]]], first: dict[str, Any]) -> Iterator[tuple[float, dict[str, Any]]]:
    if not events:
        yield 0.0, first
    yield from events


def _widths(events: list[tuple[float, dict[str, Any]]], end: float) -> Iterator[tuple[float, dict[str, int]]]:
    if events:
        first = events[0][1]
        yield 0.0, {**first["widths"], **{name: change[0] for name, change in first["changed"].items()}}
        yield from ((at, event["widths"]) for at, event in events)
        yield end, events[-1][1]["widths"]


def plot_run(run: Path, output: Path) -> None:
    """Draw a run's history into a file, in the format of its suffix.

    Raises UserError if Matplotlib is missing, the format is unknown, or `run` is no run with a finished epoch.
    """
    if not can_plot():
        raise UserError("`cgap plot` needs Matplotlib: pip install 'cgap[train]'")
    kind = output.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise UserError(f"{output}: can be a .{', a .'.join(FORMATS)} file")
    history = read_history(run)
    from matplotlib.figure import Figure

    plastic = bool(history.widths)
    figure = Figure(figsize=(8, 8 if plastic else 5.4), layout="constrained")
    axes = figure.subplots(3 if plastic else 2, sharex=True, squeeze=False)[:, 0]
    _draw_accuracy(axes[0], history)
    _draw_cost(axes[1], history)
    if plastic:
        _draw_widths(axes[2], history, figure)
    for axis in axes:
        axis.grid(alpha=0.4)
        for name, begin, end in history.phases:
            axis.axvspan(begin, end, color=_SHADES[name], zorder=0, lw=0)
    top = axes[0].get_xaxis_transform()
    length = history.epochs[-1]["epoch"]
    for name, begin, end in history.phases:
        wide = (end - begin) / length > 0.06
        axes[0].text((begin + end) / 2, 1.02, name if wide else name[0], ha="center", transform=top, fontsize=9)
    axes[0].set_xlim(0, length)
    axes[-1].set_xlabel("epoch")
    figure.suptitle(_plain(history.title), fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=110)
    write_atomic(output, buffer.getvalue())


def _plain(text: str) -> str:
    """Text that Matplotlib takes for no formula."""
    return printable(text, 120).replace("$", r"\$")


def _draw_accuracy(axis: Any, history: History) -> None:
    at = [line["epoch"] for line in history.epochs]
    axis.plot(at, [line["train_accuracy"] for line in history.epochs], color="#9aa5b1", label="training batches")
    held_out = history.epochs[-1]["held_out_accuracy"]
    label = f"held out, {held_out:.2f} % at the end"
    axis.plot(at, [line["held_out_accuracy"] for line in history.epochs], color="#1f5fa8", label=label)
    if history.test is not None:
        axis.plot(at[-1], history.test, "*", ms=11, color="#c8322b", clip_on=False, label=f"test, {history.test:.2f} %")
    axis.set_ylabel("accuracy, %")
    axis.legend(loc="lower right", fontsize=9)


def _draw_cost(axis: Any, history: History) -> None:
    at = [time for time, _ in history.cost]
    macs = [line["macs"] / 1e6 for _, line in history.cost]
    params = [line["params"] / 1e3 for _, line in history.cost]
    other = axis.twinx()
    (first,) = axis.step(at, macs, where="post", color="#1f5fa8", label=f"MACs, {macs[-1]:.2f} M at the end")
    (second,) = other.step(
        at, params, where="post", ls="--", color="#b3611b", label=f"weights, {params[-1]:.1f} k at the end"
    )
    axis.set_ylabel("MACs an image, millions", color=first.get_color())
    other.set_ylabel("weights, thousands", color=second.get_color())
    axis.set_ylim(0, 1.15 * max(macs))
    other.set_ylim(0, 1.15 * max(params))
    other.legend(handles=[first, second], loc="lower right", fontsize=9)


def _draw_widths(axis: Any, history: History, figure: Any) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    names = list(history.widths[0][1])
    at = [time for time, _ in history.widths]
    count = max(1, len(names) - 1)
    colours = ListedColormap([colormaps["viridis"](0.9 * i / count) for i in range(len(names))])
    for i, name in enumerate(names):
        values = [widths.get(name, 0) for _, widths in history.widths]
        # Spaces of equal width would hide one another: each line is a little off, by less than one channel.
        shifted = [value + 0.5 * (i / count - 0.5) for value in values]
        axis.step(at, shifted, where="post", color=colours(i), lw=1.6, label=_plain(f"{name}, {values[-1]}"))
    axis.set_ylabel("width, channels")
    axis.set_ylim(bottom=0)
    if len(names) <= 12:
        title = "space, width at the end"
        axis.legend(fontsize=8, title=title, title_fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    else:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        scale = ScalarMappable(Normalize(1, len(names)), colours)
        figure.colorbar(scale, ax=axis, label="space, from input to output", pad=0.01)
