"""Operators against loops that anyone can check by eye, in exact Python integers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpga_model.errors import UserError
from fpga_model.numerics.fixed_point import Format, requantise
from fpga_model.numerics.tensors import FloatParameters, LayerNumbers, Shape
from fpga_model.operators import (
    Concatenation,
    Convolution,
    FullyConnected,
    Input,
    Operator,
    Part,
    Pooling,
    Shortcut,
    operator_from_json,
    operator_to_json,
    register,
)
from fpga_model.operators.base import _REGISTRY
from fpga_model.operators.windows import extent

Maps = Any


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Convolution, Shape]:
    """A convolution and an input that fits it."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    pad = tuple(draw(st.integers(0, kernel[axis] - 1)) for axis in (0, 1, 0, 1))
    height = draw(st.integers(max(1, kernel[0] - pad[0] - pad[2]), 6))
    width = draw(st.integers(max(1, kernel[1] - pad[1] - pad[3]), 6))
    operator = Convolution(
        in_channels=draw(st.integers(1, 4)),
        out_channels=draw(st.integers(1, 4)),
        kernel=kernel,
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        pad=pad,  # type: ignore[arg-type]
        relu=draw(st.booleans()),
    )
    return operator, Shape(operator.Nif, height, width)


@st.composite
def poolings(draw: st.DrawFn) -> tuple[Pooling, Shape]:
    """A pooling, dilated or not, and an input of which every window has a pixel."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.sampled_from([(1, 1), (2, 2), (1, 3), (3, 2)]))
    span = extent(kernel, dilation)
    pad = tuple(draw(st.integers(0, kernel[axis] - 1)) for axis in (0, 1, 0, 1))
    height = draw(st.integers(max(dilation[0], span[0] - pad[0] - pad[2]), 12))
    width = draw(st.integers(max(dilation[1], span[1] - pad[1] - pad[3]), 12))
    mode = draw(st.sampled_from(["sum", "max"]))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    operator = Pooling(mode, kernel, stride, pad, dilation)  # type: ignore[arg-type]
    return operator, Shape(draw(st.integers(1, 4)), height, width)


def with_shortcut(operator: Convolution, output: Shape, random: np.random.Generator) -> tuple[Convolution, Shape]:
    channels = int(random.integers(1, operator.Nof + 1))
    stride = int(random.integers(1, 3)), int(random.integers(1, 3))
    shortcut = Shortcut(stride, int(random.integers(0, operator.Nof - channels + 1)), channels)
    size = [
        (side - 1) * step + int(random.integers(1, step + 1))
        for side, step in zip((output.height, output.width), stride, strict=True)
    ]
    settings = operator_to_json(operator) | {
        "shortcut": {"stride": list(stride), "channel_offset": shortcut.channel_offset, "channels": channels}
    }
    made = operator_from_json(settings)
    assert isinstance(made, Convolution)
    return made, Shape(channels, *size)


def random_numbers(operator: Convolution, random: np.random.Generator, largest: int = 128) -> LayerNumbers:
    return LayerNumbers(
        output=Format(8, 4),
        shift=random.integers(0, 16, operator.Nof),
        weights=random.integers(-largest, largest, operator.weight_shape),
        bias=random.integers(-5000, 5000, operator.Nof),
        shortcut_shift=random.integers(0, 12, operator.Nof) if operator.shortcut else None,
    )


def naive_accumulators(operator: Convolution, inputs: list[Maps], numbers: LayerNumbers) -> list[Maps]:
    """One image [C, H, W] as nested loops over Python integers."""
    data = inputs[0].tolist()
    weights, bias = numbers.weights.tolist(), numbers.bias.tolist()  # type: ignore[union-attr]
    output = operator.output_shape([Shape(*maps.shape) for maps in inputs])
    top, left = operator.pad[:2]
    result = [[[bias[of]] * output.width for _ in range(output.height)] for of in range(operator.Nof)]
    for of, oy, ox in np.ndindex(operator.Nof, output.height, output.width):
        for i, ky, kx in np.ndindex(operator.Nif, operator.Nky, operator.Nkx):
            iy, ix = oy * operator.stride[0] + ky - top, ox * operator.stride[1] + kx - left
            if 0 <= iy < inputs[0].shape[1] and 0 <= ix < inputs[0].shape[2]:
                result[of][oy][ox] += weights[of][i][ky][kx] * data[i][iy][ix]
        shortcut = operator.shortcut
        if shortcut is not None and 0 <= of - shortcut.channel_offset < shortcut.channels:
            rows, columns = shortcut.stride
            pixel = int(inputs[1][of - shortcut.channel_offset, oy * rows, ox * columns])
            result[of][oy][ox] += pixel << int(numbers.shortcut_shift[of])  # type: ignore[index]
    return result


@settings(max_examples=150, deadline=None)
@given(convolutions(), st.booleans(), st.integers(0, 1 << 32))
def test_convolution_equals_loops(case: tuple[Convolution, Shape], adds: bool, seed: int) -> None:
    operator, shape = case
    random = np.random.default_rng(seed)
    shapes = [shape]
    if adds:
        operator, source = with_shortcut(operator, operator.output_shape([shape]), random)
        shapes.append(source)
    inputs = [random.integers(-128, 128, (2, s.channels, s.height, s.width)).astype(np.int8) for s in shapes]
    numbers = random_numbers(operator, random)
    acc = operator.accumulators(inputs, numbers)
    stored, saturated = operator.reference(inputs, numbers)
    for image in range(2):
        assert acc[image].tolist() == naive_accumulators(operator, [maps[image] for maps in inputs], numbers)
    expected, count = requantise(acc, numbers.shift.reshape(-1, 1, 1), 8, operator.relu)
    assert np.array_equal(stored, expected)
    assert saturated == count
    assert acc[0].shape == (operator.Nof, *stored.shape[2:])


@pytest.mark.parametrize("largest", [1 << 7, 1 << 15, 1 << 34, 1 << 46])
def test_convolution_is_exact_beyond_float32(largest: int) -> None:
    """The number type follows the bound: sums that float32 or float64 would round must still be exact."""
    operator = Convolution(7, 3, (3, 3), pad=(1, 1, 1, 1))
    random = np.random.default_rng(largest)
    numbers = random_numbers(operator, random, largest)
    maps = random.integers(-128, 128, (1, 7, 5, 5)).astype(np.int8)
    assert operator.accumulators([maps], numbers)[0].tolist() == naive_accumulators(operator, [maps[0]], numbers)


@settings(max_examples=50, deadline=None)
@given(convolutions(), st.integers(0, 1 << 32))
def test_accumulator_bound_holds_for_the_worst_input(case: tuple[Convolution, Shape], seed: int) -> None:
    """The proof that 32 bits suffice rests on this bound; it must also be nearly reached, or it refuses too much."""
    operator, _ = case
    operator = Convolution(operator.Nif, operator.Nof, operator.kernel)
    numbers = random_numbers(operator, np.random.default_rng(seed))
    assert numbers.weights is not None
    assert numbers.bias is not None
    bound = operator.accumulator_bound(numbers, [8])
    largest = 0
    for of in range(operator.Nof):
        sign = 1 if numbers.bias[of] >= 0 else -1
        worst = np.where(sign * numbers.weights[of] > 0, 127, -128).astype(np.int8)
        largest = max(largest, abs(int(operator.accumulators([worst[None]], numbers)[0, of, 0, 0])))
    assert bound * 127 // 128 - 1 <= largest <= bound


@settings(max_examples=80, deadline=None)
@given(poolings(), st.integers(0, 3), st.integers(0, 1 << 32))
def test_pooling_equals_loops(case: tuple[Pooling, Shape], shift: int, seed: int) -> None:
    operator, shape = case
    mode = operator.mode
    maps = (
        np.random.default_rng(seed).integers(-128, 128, (1, shape.channels, shape.height, shape.width)).astype(np.int8)
    )
    shifts = np.full(shape.channels, shift if mode == "sum" else 0)
    stored, _ = operator.reference([maps], LayerNumbers(Format(8, 0), shifts))
    output = operator.output_shape([shape])
    for c, oy, ox in np.ndindex(output.channels, output.height, output.width):
        first = oy * operator.stride[0] - operator.pad[0], ox * operator.stride[1] - operator.pad[1]
        rows = [first[0] + k * operator.dilation[0] for k in range(operator.Nky)]
        columns = [first[1] + k * operator.dilation[1] for k in range(operator.Nkx)]
        inside = [(y, x) for y in rows for x in columns if 0 <= y < shape.height and 0 <= x < shape.width]
        pixels = [int(maps[0, c, y, x]) for y, x in inside]
        value = np.array([sum(pixels) if mode == "sum" else max(pixels)])
        assert stored[0, c, oy, ox] == requantise(value, int(shifts[0]), 8, relu=False)[0][0]


def test_fully_connected_is_a_matrix_product() -> None:
    operator = FullyConnected(Shape(3, 2, 4), 5, relu=True)
    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(5, 3, 2, 4)), random.normal(size=5)
    maps = random.normal(size=(6, 3, 2, 4))
    expected = np.maximum(maps.reshape(6, -1) @ weights.reshape(5, -1).T + bias, 0)
    made = operator.forward([maps], FloatParameters(weights, bias))
    assert made.shape == (6, 5, 1, 1)
    assert np.allclose(made.reshape(6, 5), expected)
    assert operator.macs([operator.in_shape]) == operator.weights() == 5 * 24


def test_concatenation_copies_or_rounds_each_part() -> None:
    """Input 1 has two fraction bits more than the output: -6 is 1.5 units below zero, -2 half a unit."""
    operator = Concatenation((Part(1, 1, 2), Part(0, 0, 1), Part(1, 2, 1)))
    inputs = [np.full((2, 1, 1, 3), 127, np.int8), np.array([[[[5, 5, 5]], [[-6, -2, 127]], [[2, 6, 3]]]] * 2, np.int8)]
    assert operator.output_shape([Shape(1, 1, 3), Shape(3, 1, 3)]) == Shape(4, 1, 3)
    numbers = LayerNumbers(Format(8, 4), np.array([2, 2, 0, 2]))
    stored, saturated = operator.reference(inputs, numbers)
    assert stored.dtype == np.int8
    assert stored[1].tolist() == [[[-2, 0, 32]], [[0, 2, 1]], [[127, 127, 127]], [[0, 2, 1]]]
    assert saturated == 0
    assert operator.sources().tolist() == [1, 1, 0, 1]
    real = operator.forward([maps.astype(float) for maps in inputs], None)
    assert np.array_equal(real, np.stack([inputs[1][:, 1], inputs[1][:, 2], inputs[0][:, 0], inputs[1][:, 2]], axis=1))


@pytest.mark.parametrize(
    "operator",
    [
        Input(Shape(3, 32, 32)),
        Convolution(3, 16, (3, 5), (2, 2), (1, 2, 1, 2), True),
        Convolution(16, 32, (3, 3), (1, 1), (1, 1, 1, 1), False, Shortcut((2, 2), 4, 16)),
        FullyConnected(Shape(64, 2, 3), 10, True),
        Pooling("max", (2, 2), (2, 1), (1, 0, 1, 0), (1, 3)),
        Concatenation((Part(1, 0, 4), Part(0, 2, 3), Part(1, 0, 4))),
    ],
)
def test_operators_survive_json(operator: Operator) -> None:
    assert operator_from_json(json.loads(json.dumps(operator_to_json(operator)))) == operator


def test_convolution_and_fully_connected_are_different_operators() -> None:
    assert Convolution(4, 2, (1, 1)) != FullyConnected(Shape(4, 1, 1), 2)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"kind": "convolve"}, "unknown operator 'convolve'"),
        ({"kind": ["input"]}, "unknown operator"),
        ({"kind": "input"}, "unreadable settings"),
        (
            {"kind": "pooling", "mode": "mean", "kernel": [2, 2], "stride": [2, 2], "pad": [0] * 4, "dilation": [1, 1]},
            "'sum' or the 'max'",
        ),
        (
            {"kind": "pooling", "mode": "max", "kernel": [2], "stride": [2, 2], "pad": [0] * 4, "dilation": [1, 1]},
            "unreadable settings",
        ),
    ],
)
def test_bad_json_is_a_user_error(settings_: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        operator_from_json(settings_)


def test_two_operators_cannot_share_a_kind() -> None:
    with pytest.raises(ValueError, match="two operators"):
        register(type("Other", (Pooling,), {}))
    assert _REGISTRY["pooling"] is Pooling


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Convolution(0, 4, (3, 3)), "must be positive"),
        (lambda: Convolution(3, 4, (3, 0)), "at least one"),
        (lambda: Convolution(3, 4, (3, 3), stride=(1, 0)), "at least one"),
        (lambda: Pooling("max", (3, 3), (1, 1), dilation=(0, 1)), "at least one"),
        (lambda: Pooling("max", (3, 3), (1, 1), pad=(3, 0, 0, 0), dilation=(3, 1)), "less than the kernel"),
        (
            lambda: Pooling("max", (3, 1), (1, 1), (2, 0, 2, 0), (4, 1)).output_shape([Shape(1, 3, 3)]),
            "a window may miss",
        ),
        (lambda: Convolution(3, 4, (3, 3), pad=(3, 0, 0, 0)), "less than the kernel"),
        (lambda: Shortcut((1, 1), -1, 4), "not a shortcut"),
        (lambda: Shape(3, 0, 4), "empty"),
        (lambda: Part(0, 2, 0), "no range of channels"),
        (lambda: Concatenation(()), "all its inputs"),
        (lambda: Concatenation((Part(1 << 40, 0, 1),)), "all its inputs"),
        (lambda: Concatenation((Part(0, 2, 3),)).output_shape([Shape(4, 2, 2)]), "beyond the channels of 4x2x2"),
        (
            lambda: Concatenation((Part(0, 0, 3), Part(1, 0, 1))).output_shape([Shape(3, 2, 2), Shape(1, 2, 1)]),
            "maps 3x2x2 and 1x2x1 cannot be concatenated",
        ),
        (lambda: Convolution(3, 4, (3, 3)).output_shape([Shape(4, 8, 8)]), "reads 3 channels"),
        (lambda: Convolution(3, 4, (5, 5)).output_shape([Shape(3, 4, 8)]), "larger than its input"),
        (lambda: FullyConnected(Shape(3, 4, 4), 2).output_shape([Shape(3, 5, 4)]), "reads 3x4x4"),
    ],
)
def test_impossible_layers_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("shortcut", "source", "message"),
    [
        (Shortcut((1, 1), 0, 3), Shape(4, 8, 8), "does not map 4 channels"),
        (Shortcut((1, 1), 2, 3), Shape(3, 8, 8), "into 4"),
        (Shortcut((2, 2), 0, 3), Shape(3, 8, 8), "do not match the output"),
    ],
)
def test_shortcuts_that_do_not_fit_are_refused(shortcut: Shortcut, source: Shape, message: str) -> None:
    operator = Convolution(3, 4, (3, 3), pad=(1, 1, 1, 1), shortcut=shortcut)
    with pytest.raises(UserError, match=message):
        operator.output_shape([Shape(3, 8, 8), source])
