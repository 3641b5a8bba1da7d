"""Finished runs side by side: one line for each configuration, mean and spread over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgap.training.record import read_finished
from fpga_model.errors import UserError

HEADINGS = ("run", "seeds", "MACs", "weights", "training MACs", "held out", "test", "CPU time")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds; one seed has no deviation."""

    mean: float
    deviation: float | None

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" ± {self.deviation:.2f}"
        return f"{self.mean:.2f}{spread} %"


@dataclass(frozen=True)
class Comparison:
    """The runs of one configuration that differ in their seeds alone."""

    name: str
    seeds: tuple[int, ...]
    macs: tuple[float, float]
    """Of the network, and of the dense one: means over the seeds."""
    params: tuple[float, float]
    training_macs: float | None
    """Forward multiply-accumulates of all its training images; None where a record does not hold them."""
    held_out: Spread
    test: Spread
    cpu_seconds: float

    def cells(self, most: float | None) -> list[str]:
        """A row under `HEADINGS`; training MACs relative to `most`."""
        training = "-" if self.training_macs is None or not most else f"{self.training_macs / most:.2f}"
        return [
            self.name, str(len(self.seeds)), _part(*self.macs), _part(*self.params), training,
            str(self.held_out), str(self.test), f"{self.cpu_seconds / 60:.1f} min",
        ]  # fmt: skip


def _part(value: float, whole: float) -> str:
    return f"{value:,.0f} ({100 * value / whole:.1f} %)"


def compare_runs(folders: Sequence[Path]) -> list[Comparison]:
    """Group run folders by name less a closing `-SEED`, in the order given.

    Accuracies are those of the last epoch; the test set was read once, when the run ended. Raises UserError if a
    folder holds no finished run, or if runs of one name differ in more than their seeds.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for folder in folders:
        record = read_finished(folder)
        groups.setdefault(folder.resolve().name.removesuffix(f"-{record['seed']}"), []).append(record)
    return [_compare(name, records) for name, records in groups.items()]


def _compare(name: str, records: list[dict[str, Any]]) -> Comparison:
    if any(_seedless(record) != _seedless(records[0]) for record in records):
        raise UserError(f"the runs called {name} differ in more than their seeds")
    seeds = tuple(record["seed"] for record in records)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"two of the runs called {name} have the same seed")

    def mean(part: str, key: str) -> float:
        return statistics.fmean(record[part][key] for record in records)

    training = [record["training_macs"] for record in records if "training_macs" in record]
    return Comparison(
        name,
        seeds,
        (mean("network", "macs"), mean("network", "dense_macs")),
        (mean("network", "params"), mean("network", "dense_params")),
        statistics.fmean(training) if len(training) == len(records) else None,
        Spread.of([record["accuracy"]["held_out"] for record in records]),
        Spread.of([record["accuracy"]["test"] for record in records]),
        statistics.fmean(record["cpu_seconds"] for record in records),
    )


def _seedless(record: dict[str, Any]) -> dict[str, Any]:
    return {**record["config"], "run": {**record["config"]["run"], "seed": None}}


def rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Table cells under `HEADINGS`, training MACs relative to the most in the table."""
    known = [c.training_macs for c in comparisons if c.training_macs is not None]
    return [c.cells(max(known, default=None)) for c in comparisons]


def markdown(comparisons: Sequence[Comparison]) -> str:
    """The table for a document."""
    lines = [HEADINGS, ["---", *["---:"] * (len(HEADINGS) - 1)], *rows(comparisons)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
