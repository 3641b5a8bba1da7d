"""The one rounding: if it is off by one bit anywhere, every execution disagrees with onnxruntime."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpga_model.errors import UserError
from fpga_model.numerics.fixed_point import Format, per_channel, requantise, round_shift


def exact(value: int, shift: int) -> int:
    """Python rounds fractions exactly, half to even."""
    return round(Fraction(value, 1 << shift))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.integers(-(1 << 61), 1 << 61), min_size=1, max_size=20), st.integers(0, 62))
def test_round_shift_is_exact(values: list[int], shift: int) -> None:
    assert round_shift(np.array(values), shift).tolist() == [exact(value, shift) for value in values]


@settings(max_examples=200, deadline=None)
@given(st.integers(-1000, 1000), st.integers(1, 31))
def test_round_shift_breaks_ties_to_even(quotient: int, shift: int) -> None:
    """Exact halves are rare among random numbers, so they are made here."""
    half = (2 * quotient + 1) << (shift - 1)
    around = np.array([half - 1, half, half + 1])
    assert round_shift(around, shift).tolist() == [exact(int(value), shift) for value in around]
    assert round_shift(np.array([half]), shift)[0] % 2 == 0


def test_round_shift_small_widths_exhaustively() -> None:
    values = np.arange(-(1 << 10), (1 << 10) + 1)
    for shift in range(13):
        assert round_shift(values, shift).tolist() == [exact(int(value), shift) for value in values], shift


def test_round_shift_takes_one_shift_per_channel() -> None:
    acc = np.full((2, 3, 2, 2), 12)
    rounded = round_shift(acc, per_channel(np.array([0, 3, 31])))
    assert [rounded[1, channel, 1, 1] for channel in range(3)] == [12, 2, 0]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(-(1 << 24) + 1, (1 << 24) - 1), min_size=1, max_size=20),
    st.integers(0, 31),
    st.booleans(),
    st.sampled_from([0, 1, 7, 31]),
    st.sampled_from([np.float32, np.float64]),
)
def test_sums_in_floating_point_round_like_integers(values, shift, relu, leak, kind) -> None:
    """The reference keeps sums in float32 where it holds them exactly: results and saturations are the integers'."""
    half = (1 << shift) >> 1
    acc = np.array([*values, half, -half, 3 * half, (1 << 24) - 1]).clip(-(1 << 24) + 1, (1 << 24) - 1)
    stored, saturated = requantise(acc, shift, 8, relu, leak=0 if relu else leak)
    other, count = requantise(acc.astype(kind), shift, 8, relu, leak=0 if relu else leak)
    assert (other.tolist(), count, other.dtype) == (stored.tolist(), saturated, stored.dtype)


@pytest.mark.parametrize("shift", [-1, 63])
def test_round_shift_refuses_shifts_that_do_not_exist(shift: int) -> None:
    with pytest.raises(ValueError, match="shift outside"):
        round_shift(np.array([1]), shift)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=1, max_size=20),
    st.integers(0, 31),
    st.sampled_from([8, 16]),
    st.booleans(),
    st.booleans(),
)
def test_requantise_rounds_then_relu_then_saturates(
    values: list[int], shift: int, bits: int, relu: bool, signed: bool
) -> None:
    stored, saturated = requantise(np.array(values), shift, bits, relu, signed=signed)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    expected, count = [], 0
    for value in values:
        rounded = exact(value, shift)
        if relu:
            rounded = max(rounded, 0)
        clipped = min(max(rounded, low), high)
        count += clipped != rounded
        expected.append(clipped)
    assert stored.tolist() == expected
    assert stored.dtype == {8: (np.uint8, np.int8), 16: (np.uint16, np.int16)}[bits][signed]
    assert saturated == count


def test_relu_is_not_counted_as_saturation() -> None:
    stored, saturated = requantise(np.array([-5000, 5000]), 0, 8, relu=True)
    assert stored.tolist() == [0, 127]
    assert saturated == 1


def test_requantise_leaves_its_argument_alone() -> None:
    acc = np.array([-3, 3], dtype=np.int64)
    requantise(acc, 0, 8, relu=True)
    assert acc.tolist() == [-3, 3]


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e3, 1e3), st.integers(-8, 12), st.sampled_from([8, 16]))
def test_format_quantises_to_the_nearest(value: float, frac: int, bits: int) -> None:
    form = Format(bits, frac)
    integer = int(form.quantise(np.array([value]))[0])
    scaled = Fraction(value) * Fraction(2) ** frac
    assert integer == min(max(round(scaled), form.low), form.high)
    assert form.value(np.array([integer]))[0] == integer * form.scale


@pytest.mark.parametrize("bits", [8, 16])
def test_unsigned_formats_fit_numbers_of_one_bit_more(bits: int) -> None:
    form = Format(bits, 0, signed=False)
    assert (form.low, form.high) == (0, 2**bits - 1)
    assert form.wide_bits == bits + 1
    assert form.high < 1 << (form.wide_bits - 1)
    assert form.quantise(np.array([-3.0, 2.5, 1e9])).tolist() == [0, 2, form.high]


def test_format_refuses_other_widths() -> None:
    with pytest.raises(UserError, match="8 or 16 bits, not 12"):
        Format(12, 0)


def test_a_ceiling_at_the_formats_limit_is_saturation():
    """The accelerator sees one bound: where the ceiling does not fit the format, what is cut off is lost."""
    sums = np.array([-300, -5, 90, 127, 128, 4000])
    for ceiling, saturated in ((None, 3), (127, 3), (126, 1), (90, 1)):
        results, count = requantise(sums, 0, 8, relu=False, ceiling=ceiling)
        assert count == saturated
        assert results.max() == (127 if ceiling is None else ceiling)
