"""What the quantiser is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from fpga_model.errors import UserError

Calibration = Literal["mse", "max", "percentile"]
Sharing = Literal["channel", "layer"]
Activations = Literal["signed", "unsigned"]


@dataclass(frozen=True)
class QuantiseOptions:
    """How a network becomes integers (docs/numbers.md says what each choice is worth).

    Attributes:
        bits: bits of stored outputs and weights, 8 or 16.
        layer_bits: the same for single layers, by name.
        calibration: how the fraction of a stored tensor is chosen from images: least mean square error, nothing
            clipped, or at most 100 - `percentile` percent of the values other than zero clipped.
        percentile: above 0, up to 100; used by that calibration only.
        weight_fractions: whether each output channel has its own fraction bits, or a layer has one number for all.
        bias_correction: add the mean error of each output channel over the images to its bias.
        activations: whether tensors that cannot be negative (after ReLU) are stored without a sign bit.

    Raises:
        UserError: a value that is not one of the choices.
    """

    bits: int = 8
    layer_bits: Mapping[str, int] = field(default_factory=dict)
    calibration: Calibration = "mse"
    percentile: float = 99.99
    weight_fractions: Sharing = "channel"
    bias_correction: bool = False
    activations: Activations = "signed"

    def __post_init__(self) -> None:
        for bits in (self.bits, *self.layer_bits.values()):
            if bits not in (8, 16):
                raise UserError(f"{bits}-bit quantisation is not supported; use 8 or 16")
        for name, choice, known in (
            ("calibration", self.calibration, get_args(Calibration)),
            ("weight fractions", self.weight_fractions, get_args(Sharing)),
            ("activations", self.activations, get_args(Activations)),
        ):
            if choice not in known:
                raise UserError(f"{name} {choice!r} are not known: choose {' or '.join(known)}")
        if not 0 < self.percentile <= 100:
            raise UserError(f"a percentile lies above 0 and up to 100, not {self.percentile:g}")

    @classmethod
    def parse(
        cls, calibration: str, percentile: float, weight_fractions: str, bias_correction: bool, activations: str
    ) -> QuantiseOptions:
        """From the command line's words. Raises UserError."""
        return cls(
            calibration=cast(Calibration, calibration),
            percentile=percentile,
            weight_fractions=cast(Sharing, weight_fractions),
            bias_correction=bias_correction,
            activations=cast(Activations, activations),
        )
