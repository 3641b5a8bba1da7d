"""Pareto fronts, also where one objective is known within bounds only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fpga_model.explore.design import Design

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """How far the analytic model's cycles may be from the simulator's: a share of them, and some cycles more.

    docs/analytic.md states what was measured and tests assert: 3 % for networks, 30 % and 200 cycles for random ones
    that are made to be hard.
    """

    share: float = 0.03
    cycles: int = 0

    def low(self, cycles: float) -> float:
        """Least that the simulator may say where the model says `cycles`."""
        return (cycles - self.cycles) / (1 + self.share)

    def high(self, cycles: float) -> float:
        """Most that it may say."""
        return (cycles + self.cycles) / (1 - self.share)


def front(designs: Sequence[Design]) -> list[Design]:
    """The Pareto front: designs that no other dominates, fastest first; of equals the first."""
    values = _matrix([design.objectives for design in designs])
    kept = [designs[index] for index in _undominated(values, values)]
    unique = {design.objectives: design for design in reversed(kept)}
    return sorted(unique.values(), key=lambda design: design.objectives)


def candidates(designs: Sequence[Design], band: Band) -> list[Design]:
    """The designs that may be on the front for all that the analytic model knows."""
    rest = [design.objectives[1:] for design in designs]
    exact = [design.simulated_cycles for design in designs]
    low = [band.low(d.cycles) if e is None else e for d, e in zip(designs, exact, strict=True)]
    high = [band.high(d.cycles) if e is None else e for d, e in zip(designs, exact, strict=True)]
    lows = _matrix([(cycles, *others) for cycles, others in zip(low, rest, strict=True)])
    highs = _matrix([(cycles, *others) for cycles, others in zip(high, rest, strict=True)])
    return [designs[index] for index in _undominated(lows, highs)]


def exact_front(designs: Sequence[Design], band: Band, confirm: Callable[[Design], Design]) -> list[Design]:
    """The front by simulated cycles: simulates the designs that may be on it, best first, until none is undecided."""
    known = list(designs)
    while True:
        places = {id(design): index for index, design in enumerate(known)}
        unsure = [design for design in candidates(known, band) if design.simulated_cycles is None]
        if not unsure:
            return front([design for design in known if design.simulated_cycles is not None])
        # The ends of the front first: what they turn out to be rules others out.
        for design in sorted(unsure, key=lambda design: design.objectives)[: max(8, len(unsure) // 4)]:
            known[places[id(design)]] = confirm(design)


def _matrix(rows: Sequence[Sequence[float]]) -> Matrix:
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(rows[0]) if rows else 0)


def _undominated(values: Matrix, rivals: Matrix) -> list[int]:
    """Rows of `values` that no row of `rivals` is at least as good as in all columns and better than in one."""
    if not len(values):
        return []
    leaders = rivals[np.lexsort(rivals.T[::-1])]
    kept = leaders[:0]
    for start in range(0, len(leaders), 256):  # the rivals' own front is enough, and mostly small
        block = np.concatenate([kept, leaders[start : start + 256]])
        kept = block[~_dominated(block, block)]
    return [int(index) for index in np.flatnonzero(~_dominated(values, np.unique(kept, axis=0)))]


def _dominated(values: Matrix, rivals: Matrix) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(values), dtype=bool)
    for start in range(0, len(values), 256):
        block = values[start : start + 256, None, :]
        as_good, better = np.all(rivals <= block, axis=2), np.any(rivals < block, axis=2)
        found[start : start + 256] = np.any(as_good & better, axis=1)
    return found
