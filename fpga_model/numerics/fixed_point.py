"""Fixed-point numbers: formats, the one rounding, and saturation (docs/numbers.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fpga_model.errors import UserError

IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.floating[Any]]

MAX_SHIFT = 31
"""Largest shift a layer record can hold (five bits)."""
ACCUMULATOR_BITS = {8: 32, 16: 48}
"""Bits of a layer's accumulator, by the most bits of what it reads and stores."""
BIAS_BITS = {8: 27, 16: 32}
"""Bits of its bias. Of 8-bit layers, bias and shift share one 32-bit record of the hardware."""
FLOAT32_EXACT = 1 << 24
"""Integers below this in magnitude are exact in float32, and so are their sums in any order."""


@dataclass(frozen=True)
class Format:
    """A fixed-point format: an integer of `bits` bits, signed or not, that stands for integer x 2^-frac.

    `frac` may be negative (coarser than one) or larger than `bits` (every value below one half).

    Raises:
        UserError: `bits` is not 8 or 16.
    """

    bits: int
    frac: int
    signed: bool = True

    def __post_init__(self) -> None:
        if self.bits not in (8, 16):
            raise UserError(f"a stored number has 8 or 16 bits, not {self.bits}")

    @property
    def low(self) -> int:
        """Smallest integer."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest integer."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def wide_bits(self) -> int:
        """Bits of the two's complement number that holds these integers: one more where they are unsigned."""
        return self.bits + (not self.signed)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type that holds these integers."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits // 8}")

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.bits} x 2^{-self.frac}"

    @property
    def scale(self) -> float:
        """Value of the integer one."""
        return 2.0**-self.frac

    def quantise(self, values: FloatArray) -> IntArray:
        """The nearest integers of this format (ties to even, saturated) to real `values`."""
        integers = np.rint(values.astype(np.float64) * 2.0**self.frac)
        return np.clip(integers, self.low, self.high).astype(self.dtype)

    def value(self, integers: IntArray) -> FloatArray:
        """The real numbers (float64, exact) that `integers` stand for."""
        return integers.astype(np.float64) * self.scale


def round_shift(values: npt.NDArray[Any], shift: int | IntArray) -> npt.NDArray[np.int64]:
    """Divide integers by 2^shift, rounding to the nearest and ties to even.

    Args:
        values: integers below 2^62 in magnitude.
        shift: 0..62, a number or an array that broadcasts against `values`.

    Raises:
        ValueError: a shift outside 0..62.
    """
    shifts = _checked(shift)
    wide = values.astype(np.int64)
    # Adding half less one, plus one where the quotient is odd, carries into the quotient exactly when the
    # remainder is above half, or is half beside an odd quotient. Without a shift nothing is added.
    shifted = (shifts > 0).astype(np.int64)
    nudge = (shifted << np.maximum(shifts - 1, 0)) - shifted
    result = wide >> shifts
    result &= shifted
    result += nudge
    result += wide
    result >>= shifts
    return result


def _round_exact(values: npt.NDArray[Any], shift: int | IntArray) -> FloatArray:
    """`round_shift` of integers in floating point: a division by a power of two is exact, and `rint` ties to even."""
    rounded = values * np.ldexp(1.0, -_checked(shift)).astype(values.dtype)
    return np.rint(rounded, out=rounded)


def _checked(shift: int | IntArray) -> npt.NDArray[np.int64]:
    shifts = np.asarray(shift, dtype=np.int64)
    if shifts.size and (shifts.min() < 0 or shifts.max() > 62):
        raise ValueError(f"shift outside 0..62: {shifts.min()}..{shifts.max()}")
    return shifts


def requantise(
    acc: npt.NDArray[Any],
    shift: int | IntArray,
    bits: int,
    relu: bool,
    ceiling: int | None = None,
    leak: int = 0,
    signed: bool = True,
) -> tuple[IntArray, int]:
    """Turn accumulators into stored integers: round once, then the activation if any, then saturate.

    This is the only place where precision is lost; the C++ and RTL drains are tested against it.

    Args:
        acc: exact accumulators, any shape; as integers, or in a floating-point type that holds them exactly.
        shift: accumulator fraction less stored fraction, broadcast against `acc` (see `per_channel`).
        bits: width of the stored integers, 8 or 16.
        relu: replace negative results by zero.
        ceiling: upper bound of results (the 6 of ReLU6, in stored integers); None: no bound. A bound at the
            format's limit counts as none: larger results saturate.
        leak: a leaky ReLU of slope 2^-leak: negative accumulators are divided by 2^(shift + leak) instead, still
            with one rounding.
        signed: whether the stored integers are.

    Returns:
        The stored integers (of 8 or 16 bits) and how many of them saturated.
    """
    stored = Format(bits, 0, signed)
    shifts = np.where(acc < 0, np.add(shift, leak), shift) if leak else shift
    rounded: npt.NDArray[Any] = (
        _round_exact(acc, shifts) if np.issubdtype(acc.dtype, np.floating) else round_shift(acc, shifts)
    )
    if relu:
        np.maximum(rounded, 0, out=rounded)
    if ceiling is not None and ceiling < stored.high:
        np.minimum(rounded, ceiling, out=rounded)
    clipped = np.clip(rounded, stored.low, stored.high)
    return clipped.astype(stored.dtype), int(np.count_nonzero(clipped != rounded))


def per_channel(values: IntArray) -> IntArray:
    """One number per channel, [C] -> [C, 1, 1], ready to broadcast against maps [N, C, H, W]."""
    return values.reshape(-1, 1, 1)
