"""Mixed precision: which layers can do with 8 bits where the others have 16, measured on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cgap.lowering.importer import ImportedModel
from cgap.lowering.quantisation.calibrate import activation_fractions
from cgap.lowering.quantisation.integers import layers_with_bits, stored_forms, to_integers
from cgap.lowering.quantisation.options import QuantiseOptions
from cgap.lowering.quantisation.quality import compare
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph
from fpga_model.models.golden import run_float, run_reference
from fpga_model.numerics.fixed_point import FloatArray


@dataclass(frozen=True)
class Target:
    """What the network must keep over the images; one of the two at least.

    Attributes:
        min_snr_db: of the logits, against real numbers.
        max_accuracy_drop: in points, against real numbers.

    Raises:
        UserError: neither is given.
    """

    min_snr_db: float | None = None
    max_accuracy_drop: float | None = None

    def __post_init__(self) -> None:
        if self.min_snr_db is None and self.max_accuracy_drop is None:
            raise UserError("mixed precision needs a target: --min-snr in dB, or --max-accuracy-drop in points")


@dataclass(frozen=True)
class Score:
    """The logits of an integer network beside the real ones: SNR (infinite without error; of several outputs the
    worst's), accuracy drop in points."""

    snr_db: float
    drop: float | None

    def meets(self, target: Target) -> bool:
        quiet = target.min_snr_db is None or self.snr_db >= target.min_snr_db
        return quiet and (target.max_accuracy_drop is None or (self.drop or 0.0) <= target.max_accuracy_drop)


@dataclass(frozen=True, eq=False)
class Mixed:
    """Outcome of the search.

    Attributes:
        options: those that were asked for, with the bits of each layer.
        fixed: the network.
        score: of this network.
        alone: of the network in which only that layer has 8 bits, by layer name, the least sensitive first.
    """

    options: QuantiseOptions
    fixed: FixedGraph
    score: Score
    alone: dict[str, Score]


class _Trials:
    """Quantises a network again and again, calibrated once for each width."""

    def __init__(
        self,
        model: ImportedModel,
        images: FloatArray,
        labels: npt.NDArray[np.integer] | None,
        options: QuantiseOptions,
    ) -> None:
        self.model, self.images, self.labels, self.options = model, images, labels, options
        self.outputs = [layer.name for layer in model.graph.outputs]
        self.real = run_float(model.graph, model.parameters, images.astype(np.float32), self.outputs)
        self.fractions = {}
        for bits in (8, 16):
            forms = stored_forms(model, replace(options, bits=bits, layer_bits={}))
            self.fractions[bits] = activation_fractions(model, images, forms, options)

    def run(self, narrow: set[str]) -> Mixed:
        """The network whose layers `narrow` have 8 bits and the others 16."""
        layer_bits = {**dict.fromkeys(sorted(narrow), 8), **self.options.layer_bits}
        options = replace(self.options, bits=16, layer_bits=layer_bits)
        forms = stored_forms(self.model, options)
        calibrated = {name: self.fractions[form.bits][name] for name, form in forms.items()}
        fixed = to_integers(self.model, self.images, forms, calibrated, options)
        form = fixed.format(fixed.graph.input.name)
        stored = run_reference(fixed, form.quantise(self.images), self.outputs)
        found = [compare(stored[name], fixed.format(name), self.real[name]).snr_db for name in self.outputs]
        worst = min((float("inf") if snr is None else snr for snr in found), default=float("inf"))
        return Mixed(options, fixed, Score(worst, self._drop(stored)), {})

    def _drop(self, stored: Mapping[str, npt.NDArray[np.integer]]) -> float | None:
        if self.labels is None:
            return None
        name = self.model.graph.output.name
        real, fixed = (
            float((logits[name].reshape(len(logits[name]), -1).argmax(1) == self.labels).mean())
            for logits in (self.real, stored)
        )
        return 100 * (real - fixed)


def choose_bits(
    model: ImportedModel,
    images: FloatArray,
    labels: npt.NDArray[np.integer] | None,
    options: QuantiseOptions,
    target: Target,
    say: Callable[[str], None] = lambda _: None,
) -> Mixed:
    """Give 8 bits to as many layers as the target allows, the least sensitive first; the same input, the same result.

    Each layer is measured with 8 bits alone. Then they take 8 bits one after another, in the order of their score; a
    layer with which the whole network misses the target stays at 16.

    Args:
        images: [N, C, H, W], for calibration and for measuring.
        labels: [N] classes, needed for a target of accuracy.
        options: all but their `bits`; layers in `layer_bits` keep those.

    Raises:
        UserError: the target asks for labels that are not there, or is missed with 16 bits everywhere.
    """
    if target.max_accuracy_drop is not None and labels is None:
        raise UserError("a largest accuracy drop needs images with labels; give a least signal-to-noise ratio")
    trials = _Trials(model, images, labels, options)
    best = trials.run(set())
    if not best.score.meets(target):
        score = best.score
        reached = f"{score.snr_db:.1f} dB" + ("" if score.drop is None else f" and a drop of {score.drop:.2f} points")
        raise UserError(f"network {model.graph.name!r} misses the target with 16 bits in every layer: {reached}")
    free = [name for name in layers_with_bits(model) if name not in options.layer_bits]
    say(f"measuring the sensitivity of {len(free)} layers")
    alone = {name: trials.run({name}).score for name in free}

    def harm(name: str) -> tuple[float, float]:
        drop = 0.0 if target.max_accuracy_drop is None else alone[name].drop or 0.0
        return drop, -alone[name].snr_db

    order = sorted(free, key=harm)
    narrow: set[str] = set()
    for name in order:
        found = trials.run({*narrow, name})
        if found.score.meets(target):
            best, narrow = found, {*narrow, name}
    say(f"{len(narrow)} of {len(free)} layers have 8 bits")
    return replace(best, alone={name: alone[name] for name in order})
