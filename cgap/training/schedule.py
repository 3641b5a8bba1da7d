"""When things happen in a run: learning rate, phases, and growth and pruning events, all in optimiser steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cgap.plasticity import Budget, Cost
from cgap.training.config import Config, PlasticitySection, PruningSection

Phase = Literal["train", "seed", "grow", "prune", "recover"]


@dataclass(frozen=True)
class Event:
    """A change of structure before a step: grow towards `macs`, or prune to all three, or zero what exceeds them.

    `weights` is the share of the filters' single weights that is masked by then.
    """

    kind: Literal["grow", "prune", "zero"]
    macs: float
    params: float
    cycles: float = math.inf
    weights: float = 0.0

    @property
    def budget(self) -> Budget:
        """What the network may cost afterwards, in whole numbers."""
        return Budget(
            *(math.floor(most) if math.isfinite(most) else most for most in (self.macs, self.params, self.cycles))
        )


class Schedule:
    """The timetable of one run, a pure function of its configuration, so that a resumed run follows the same one."""

    def __init__(self, config: Config, steps_per_epoch: int, dense: Cost, seed: Cost) -> None:
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.steps = config.optimiser.epochs * steps_per_epoch
        self.events: dict[int, Event] = {}
        self._starts: list[tuple[int, Phase]] = [
            (0, "seed" if config.plasticity and config.plasticity.growth else "train")
        ]
        if config.plasticity:
            self._plan(config.plasticity, dense, seed)

    def _plan(self, plasticity: PlasticitySection, dense: Cost, seed: Cost) -> None:
        growth, pruning = plasticity.growth, plasticity.pruning
        share = growth.target_macs if growth else 1.0
        peak = share * dense.macs
        if growth:
            for i in range(growth.events):
                macs = seed.macs + (peak - seed.macs) * (i + 1) / growth.events
                self.events[self._step(growth.start + i * growth.interval)] = Event("grow", macs, 0)
            self._starts.append((self._step(growth.start), "grow"))
        count = max(1, round((pruning.end - pruning.start) / pruning.interval))
        last = final_budget(pruning, dense)
        for i in range(1, count + 1):
            done = i / count
            at = self._step(pruning.start + (pruning.end - pruning.start) * done)
            weights = pruning.weights.target * done if pruning.weights else 0.0
            if pruning.method == "soft":
                kind: Literal["prune", "zero"] = "prune" if i == count else "zero"
                self.events[at] = Event(kind, last.macs, last.params, last.cycles, weights)
                continue
            macs = peak + (last.macs - peak) * done
            params = dense.params * share * (1 - done) + last.params * done
            cycles = dense.cycles * share * (1 - done) + last.cycles * done
            self.events[at] = Event("prune", macs, max(params, last.params), max(cycles, last.cycles), weights)
        self._starts += [(self._step(pruning.start), "prune"), (self._step(pruning.end), "recover")]

    def _step(self, epoch: float) -> int:
        return round(epoch * self.steps_per_epoch)

    def phase(self, step: int) -> Phase:
        """The phase that a step belongs to."""
        return [phase for start, phase in self._starts if start <= step][-1]

    def learning_rate(self, step: int) -> float:
        """Linear from zero in warm-up, half a cosine to zero, again after a restart; constant while averaging."""
        optimiser, epoch = self.config.optimiser, self.steps_per_epoch
        if optimiser.averaging and step >= optimiser.averaging.epoch * epoch:
            return optimiser.averaging.learning_rate
        warmup, last = optimiser.warmup_epochs * epoch, self._annealed
        end = optimiser.restart.epoch * epoch if optimiser.restart else last
        if step < warmup:
            return optimiser.learning_rate * (step + 1) / warmup
        if optimiser.restart and step >= end:
            period = (optimiser.restart.period or optimiser.epochs) * epoch
            start = step - (step - end) % period
            return _half_cosine(optimiser.restart.learning_rate, (step - start) / (min(start + period, last) - start))
        return _half_cosine(optimiser.learning_rate, (step - warmup) / max(1.0, end - warmup))

    @property
    def _annealed(self) -> int:
        """The step at which the last cosine reaches zero."""
        averaging = self.config.optimiser.averaging
        return averaging.epoch * self.steps_per_epoch if averaging else self.steps

    def averages(self, step: int) -> bool:
        """Whether the weights after `step` steps count into the mean that becomes the network."""
        averaging = self.config.optimiser.averaging
        if averaging is None or step <= self._annealed:
            return False
        return (step - self._annealed) % averaging.interval == 0 or step == self.steps


def final_budget(pruning: PruningSection, dense: Cost) -> Budget:
    """What the network may cost when pruning has ended."""
    shares = (pruning.target_macs, pruning.target_params, pruning.target_cycles)
    costs = (dense.macs, dense.params, dense.cycles)
    return Budget(*(math.inf if share is None else share * cost for share, cost in zip(shares, costs, strict=True)))


def _half_cosine(peak: float, done: float) -> float:
    """From `peak` to zero as `done` goes from 0 to 1."""
    return peak * 0.5 * (1 + math.cos(math.pi * done))
