"""Integers that the hardware can hold, chosen well; what it cannot hold is an error that names the layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgap.lowering import ImportedModel, QuantiseOptions, import_onnx, quantise
from cgap.lowering.onnx.qdq import unproven_layers
from cgap.lowering.quantisation.calibrate import fitting_fraction, squared_error, weight_fractions
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph, FloatParameters, Layer, LayerGraph, Shape
from fpga_model.models.golden import run_float, run_reference
from fpga_model.numerics.fixed_point import Format
from fpga_model.operators import Concatenation, Convolution, Input, Pooling, Shortcut
from tests.lowering.models import Builder
from tests.lowering.networks import random_cnns, save


def images(shape: Shape, count: int = 8, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(-128, 128, (count, shape.channels, shape.height, shape.width))
    return drawn / 128.0


def check_contract(fixed: FixedGraph) -> None:
    """What the hardware relies on, layer by layer."""
    assert fixed.format(fixed.graph.input.name) == Format(8, 7)
    for layer in fixed.graph.layers:
        numbers = fixed.numbers[layer.name]
        assert numbers.shift.shape == (fixed.graph.shape(layer.name).channels,)
        assert 0 <= numbers.shift.min() <= numbers.shift.max() <= 31
        if isinstance(layer.operator, Concatenation):
            fractions = np.array([fixed.format(source).frac for source in layer.inputs])[layer.operator.sources()]
            assert np.array_equal(numbers.shift, np.minimum(fractions - numbers.output.frac, 31))
        if not isinstance(layer.operator, Convolution):
            continue
        assert numbers.weights is not None
        assert numbers.weight_frac is not None
        assert numbers.bias is not None
        assert numbers.weights.dtype == np.int8
        assert numbers.weights.shape == layer.operator.weight_shape
        data, *shortcuts = (fixed.format(source) for source in layer.inputs)
        assert np.array_equal(numbers.shift, data.frac + numbers.weight_frac - numbers.output.frac)
        assert np.abs(numbers.bias).max() <= 1 << 26
        assert layer.operator.accumulator_bound(numbers, [data.bits, *(s.bits for s in shortcuts)]) < 1 << 31
        if shortcuts:
            assert numbers.shortcut_shift is not None
            assert np.array_equal(numbers.shortcut_shift, data.frac + numbers.weight_frac - shortcuts[0].frac)
            assert 0 <= numbers.shortcut_shift.min() <= numbers.shortcut_shift.max() <= 31


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random_cnns())
def test_random_networks_keep_the_contract(tmp_path: Path, net: Builder) -> None:
    model = import_onnx(save(net, tmp_path / "net.onnx"))
    check_contract(quantise(model, images(model.graph.shape("image"))))


def one_layer(weights: np.ndarray, bias: np.ndarray, relu: bool = False, shortcut: bool = False) -> ImportedModel:
    """A 1x1 convolution "odd" over 2x2 images, behind a layer "same" that repeats them and may be its shortcut."""
    count, depth = weights.shape
    graph = LayerGraph("one")
    graph.add(Layer("image", Input(Shape(depth, 2, 2))))
    same = FloatParameters(np.eye(depth)[:, :, None, None], np.zeros(depth))
    graph.add(Layer("same", Convolution(depth, depth, (1, 1)), ("image",)))
    operator = Convolution(depth, count, (1, 1), relu=relu, shortcut=Shortcut((1, 1), 0, depth) if shortcut else None)
    graph.add(Layer("odd", operator, ("same", "same") if shortcut else ("same",)))
    given = FloatParameters(weights[:, :, None, None].astype(float), bias.astype(float))
    return ImportedModel(graph, {"same": same, "odd": given})


def test_dead_channels_give_their_bias() -> None:
    """A channel whose weights are all zero has no scale of its own to choose."""
    model = one_layer(np.array([[0.5, -0.25], [0, 0], [0, 0]]), np.array([0, 0.75, 0]))
    fixed = quantise(model, images(Shape(2, 2, 2)))
    check_contract(fixed)
    stored = run_reference(fixed, np.zeros((1, 2, 2, 2), np.int8))["odd"][0, :, 0, 0]
    assert fixed.format("odd").value(stored).tolist() == [0, 0.75, 0]


def test_dead_channels_still_add_their_shortcut() -> None:
    model = one_layer(np.zeros((2, 2)), np.zeros(2), shortcut=True)
    fixed = quantise(model, images(Shape(2, 2, 2)))
    check_contract(fixed)
    stored = run_reference(fixed, np.full((1, 2, 2, 2), 64, np.int8))["odd"]
    assert np.all(fixed.format("odd").value(stored) == 0.5)


def test_dead_layers_and_dead_networks() -> None:
    fixed = quantise(one_layer(np.zeros((3, 2)), np.zeros(3)), images(Shape(2, 2, 2)))
    check_contract(fixed)
    assert not run_reference(fixed, np.full((1, 2, 2, 2), 99, np.int8))["odd"].any()


@pytest.mark.parametrize(
    ("gain", "shortcut"),
    [(2.0**-12, False), (1.0, False), (2.0**14, False), (2.0**-30, True), (2.0**-12, True), (1.0, True), (64.0, True)],
)
def test_weights_of_any_size_are_fitted(gain: float, shortcut: bool) -> None:
    """Huge weights leave few fraction bits, tiny ones would need shifts beyond 31: formats must give way."""
    weights = np.array([[gain, -gain / 3], [gain / 7, gain]])
    model = one_layer(weights, np.array([gain, -gain]), shortcut=shortcut)
    calibration = images(Shape(2, 2, 2), 64)
    fixed = quantise(model, calibration)
    check_contract(fixed)
    real = run_float(model.graph, model.parameters, calibration)["odd"]
    stored = fixed.format("odd").value(run_reference(fixed, (calibration * 128).astype(np.int8))["odd"])
    assert np.abs(stored - real).max() < 0.03 * np.abs(real).max()


def test_channels_of_very_different_sizes_keep_their_own_scale() -> None:
    weights = np.diag([2.0**-8, 1.0, 2.0**5])
    fixed = quantise(one_layer(weights, np.zeros(3)), images(Shape(3, 2, 2)))
    found = fixed.numbers["odd"].weight_frac
    assert found is not None
    assert found.tolist() == [14, 6, 1]


def test_bias_too_large_for_its_record_costs_weight_precision() -> None:
    """A bias of 27 bits or more is made to fit by a coarser accumulator."""
    fixed = quantise(one_layer(np.array([[2.0**-20, 0.0]]), np.array([3.0])), images(Shape(2, 2, 2)))
    check_contract(fixed)
    numbers = fixed.numbers["odd"]
    assert numbers.bias is not None
    assert numbers.bias[0] * 2.0 ** -(numbers.shift[0] + numbers.output.frac) == 3.0


def test_large_biases_leave_onnxruntime_exact() -> None:
    """Tiny weights under a large bias or shortcut would fill 32 bits with digits that do not reach the output."""
    for shortcut in (False, True):
        model = one_layer(np.eye(2) * 2.0**-15, np.array([0.5, -0.5]), shortcut=shortcut)
        fixed = quantise(model, images(Shape(2, 2, 2)))
        check_contract(fixed)
        assert unproven_layers(fixed) == []


def test_impossible_numbers_name_the_layer() -> None:
    with pytest.raises(UserError, match="layer 'odd' makes numbers as large as"):
        quantise(one_layer(np.full((1, 2), 1e30), np.zeros(1)), images(Shape(2, 2, 2)))
    # Weights that fit no fraction bits at all leave none for the shortcut, which is the layer's own input.
    with pytest.raises(UserError, match="layer 'odd': its weights are so large"):
        quantise(one_layer(np.full((2, 2), 512.0), np.zeros(2), shortcut=True), images(Shape(2, 2, 2)))


def test_overflow_is_refused() -> None:
    """Images of zeros promise a fine output, and no accumulator with that many fraction bits holds the bias."""
    with pytest.raises(UserError, match="layer 'odd': output channel 0 could overflow: its bias must fit 27 bits"):
        quantise(one_layer(np.full((1, 2), 0.5), np.array([-(2.0**30)]), relu=True), np.zeros((1, 2, 2, 2)))


def test_sums_too_large_for_the_accumulator_cost_weight_precision() -> None:
    """140,000 products of 8-bit numbers exceed 32 bits, unless the weights use fewer."""
    depth = 140_000
    graph = LayerGraph("wide")
    graph.add(Layer("image", Input(Shape(depth, 1, 1))))
    graph.add(Layer("odd", Convolution(depth, 1, (1, 1)), ("image",)))
    given = FloatParameters(np.full((1, depth, 1, 1), 1.0 - 2**-7), np.zeros(1))
    model = ImportedModel(graph, {"odd": given})
    fixed = quantise(model, images(Shape(depth, 1, 1), 1))
    check_contract(fixed)


def test_max_pooling_keeps_the_format_and_sums_round_once() -> None:
    graph = LayerGraph("pools")
    graph.add(Layer("image", Input(Shape(2, 8, 8))))
    graph.add(Layer("max", Pooling("max", (2, 2), (2, 2)), ("image",)))
    graph.add(Layer("sum", Pooling("sum", (4, 4), (1, 1)), ("max",)))
    fixed = quantise(ImportedModel(graph, {}), images(Shape(2, 8, 8)))
    assert fixed.format("max") == Format(8, 7)
    assert fixed.numbers["max"].shift.tolist() == [0, 0]
    assert fixed.numbers["sum"].shift.tolist() == [7 - fixed.format("sum").frac] * 2
    check_contract(fixed)


def test_calibration_chooses_the_least_error() -> None:
    """One outlier among small values is worth clipping; evenly spread values are not."""
    values = np.concatenate([np.random.default_rng(0).normal(0, 0.1, 4000), [0.9]])
    errors = [squared_error(values, Format(8, frac)) for frac in (7, 8, 9)]
    assert np.argmin(errors) == 0
    # The same outlier in a tensor a thousand times larger no longer matters.
    errors = [squared_error(np.tile(values[:-1], 1000), Format(8, frac)) for frac in (7, 8)]
    assert np.argmin(errors) == 1


@settings(max_examples=200, deadline=None)
@given(st.floats(2.0**-40, 2.0**40))
def test_fitting_fraction_is_the_largest_that_fits(largest: float) -> None:
    fraction = fitting_fraction(largest, Format(8, 0))
    assert round(largest * 2.0**fraction) <= 127 < round(largest * 2.0 ** (fraction + 1))


def test_fitting_fraction_of_nothing() -> None:
    assert fitting_fraction(0.0, Format(8, 0)) == 7


def test_weights_use_all_their_bits_and_none_is_clipped() -> None:
    weights = np.random.default_rng(0).normal(size=(50, 4, 3, 3)) * 2.0 ** np.arange(-25, 25)[:, None, None, None]
    integers = np.rint(np.ldexp(weights, weight_fractions(weights, 8)[:, None, None, None]))
    largest = np.abs(integers).max(axis=(1, 2, 3))
    assert largest.min() >= 63
    assert largest.max() <= 127


def test_quantising_twice_gives_the_same_integers(tmp_path: Path) -> None:
    net = Builder()
    model = import_onnx(net.save(net.dense(net.node("Flatten", net.conv("image", 3, 4)), 256, 5), tmp_path / "n.onnx"))
    first, second = (quantise(model, images(Shape(3, 8, 8))) for _ in range(2))
    for name, numbers in first.numbers.items():
        assert numbers.output == second.numbers[name].output
        assert np.array_equal(numbers.shift, second.numbers[name].shift)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (np.zeros((0, 2, 2, 2)), "needs images"),
        (np.full((1, 2, 2, 2), np.nan), "finite"),
        (np.zeros((1, 3, 2, 2)), "reads images"),
    ],
)
def test_bad_calibration_images(calibration: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        quantise(one_layer(np.eye(2), np.zeros(2)), calibration)


def test_other_widths_are_refused() -> None:
    with pytest.raises(UserError, match="12-bit quantisation is not supported"):
        quantise(one_layer(np.eye(2), np.zeros(2)), images(Shape(2, 2, 2)), QuantiseOptions(bits=12))
