"""Every way of quantising gives integers that the exported file repeats, and does what it promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgap.lowering import ImportedModel, QuantiseOptions, export_qdq, import_onnx, quantise
from cgap.lowering.onnx.qdq import doubtful_layers, unproven_layers
from cgap.lowering.quantisation.calibrate import activation_fractions, weight_fractions
from cgap.lowering.quantisation.integers import stored_forms
from cgap.lowering.quantisation.quality import measure
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph, FloatParameters, Layer, LayerGraph, Shape
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.golden import run_float, run_reference
from fpga_model.numerics.fixed_point import Format
from fpga_model.operators import Concatenation, Convolution, Input, Pooling
from fpga_model.schedule.schedule import Kind, build_schedule
from tests.lowering.exact import exact_mismatches
from tests.lowering.models import Builder, residual_net
from tests.lowering.networks import random_cnns, save
from tests.lowering.test_qdq import random_images, session

options = st.builds(
    QuantiseOptions,
    bits=st.sampled_from([8, 16]),
    calibration=st.sampled_from(["mse", "max", "percentile"]),
    weight_fractions=st.sampled_from(["channel", "layer"]),
    bias_correction=st.booleans(),
    activations=st.sampled_from(["signed", "unsigned"]),
)


def own_layers(model: ImportedModel) -> list[str]:
    """Layers that have bits of their own."""
    return [
        layer.name
        for layer in model.graph.layers
        if not isinstance(layer.operator, Input) and not layer.operator.keeps_format
    ]


def check_numbers(fixed: FixedGraph) -> None:
    """docs/numbers.md, layer by layer."""
    for layer in fixed.graph.layers:
        numbers, inputs = fixed.numbers[layer.name], [fixed.format(source) for source in layer.inputs]
        wide = 16 in [form.bits for form in (numbers.output, *inputs)]
        assert 0 <= numbers.shift.min() <= numbers.shift.max() <= 31
        bound, accumulator = fixed.bounds(layer.name)
        assert accumulator == (48 if wide else 32)
        assert bound < 1 << (accumulator - 1)
        if layer.operator.keeps_format:
            assert numbers.output == inputs[0]
        if numbers.weights is not None:
            assert numbers.bias is not None
            assert numbers.weights.dtype == Format(numbers.output.bits, 0).dtype
            assert np.abs(numbers.bias).max() <= 1 << (31 if wide else 26)
        if not numbers.output.signed:
            assert isinstance(layer.operator, (Pooling, Concatenation)) or layer.operator.relu


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(random_cnns(), options, st.data())
def test_random_networks_bit_for_bit(
    tmp_path: Path, net: Builder, chosen: QuantiseOptions, data: st.DataObject
) -> None:
    model = import_onnx(save(net, tmp_path / "net.onnx"))
    other = 24 - chosen.bits
    chosen = replace(chosen, layer_bits={name: other for name in own_layers(model) if data.draw(st.booleans())})
    shape = model.graph.shape(model.graph.input.name)
    fixed = quantise(model, random_images(shape, 6) / 128.0, chosen)
    check_numbers(fixed)
    for name in own_layers(model):
        assert fixed.format(name).bits == chosen.layer_bits.get(name, chosen.bits)
    images = random_images(shape, 4, seed=1)
    found = exact_mismatches(fixed, images, tmp_path / "exact.onnx")
    assert set(found.values()) == {0}, found
    # onnxruntime sums in float32: exact as long as nothing before a layer is unproven.
    exported = export_qdq(fixed, tmp_path / "qdq.onnx", stored_outputs=True)
    proven = [layer.name for layer in model.graph.layers if layer.name not in doubtful_layers(fixed)]
    results = session(tmp_path / "qdq.onnx").run(
        [exported.stored[name] for name in proven], {model.graph.input.name: images / np.float32(128)}
    )
    expected = run_reference(fixed, images)
    for name, stored in zip(proven, results, strict=True):
        assert np.array_equal(expected[name], stored), name


@pytest.fixture(scope="module")
def small_resnet(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return import_onnx(residual_net(tmp_path_factory.mktemp("net") / "net.onnx"))


def logits_snr(model: ImportedModel, chosen: QuantiseOptions) -> float:
    images = random_images(model.graph.shape("image"), 40) / 128.0
    output = model.graph.output.name
    found = measure(model, quantise(model, images, chosen), images)[output].snr_db
    assert found is not None
    return found


def test_what_each_choice_is_worth(small_resnet: ImportedModel) -> None:
    """16 bits win about 6 dB a bit; the rest moves little, and in the direction that it is there for."""
    base = logits_snr(small_resnet, QuantiseOptions())
    assert 20 < base < 45
    assert logits_snr(small_resnet, QuantiseOptions(bits=16)) > base + 40
    assert logits_snr(small_resnet, QuantiseOptions(activations="unsigned")) > base
    assert logits_snr(small_resnet, QuantiseOptions(weight_fractions="layer")) < base


def test_16_bit_layers_are_unproven_by_name(small_resnet: ImportedModel) -> None:
    fixed = quantise(small_resnet, random_images(Shape(3, 16, 16), 8) / 128.0, QuantiseOptions(bits=16))
    weighted = {layer.name for layer in small_resnet.graph.layers if isinstance(layer.operator, Convolution)}
    assert set(unproven_layers(fixed)) == weighted


def test_fractions_of_a_layer_are_one_number() -> None:
    weights = np.array([0.9, 0.01, 0.0])[:, None, None, None]
    assert weight_fractions(weights, 8).tolist() == [7, 13, 7]
    assert weight_fractions(weights, 8, together=True).tolist() == [7, 7, 7]
    assert weight_fractions(weights, 16, together=True).tolist() == [15, 15, 15]


def test_weights_that_are_integers_already_stay_so() -> None:
    """-128 is no magnitude that fits 8 bits; only as the integer that it is does it keep its neighbours whole."""
    weights = np.array([[-128.0, 3, 127], [-128, 3.5, 127]])[:, :, None, None] / 64
    assert weight_fractions(weights, 8).tolist() == [6, 5]


def test_percentile_counts_what_it_clips(small_resnet: ImportedModel) -> None:
    images = random_images(Shape(3, 16, 16), 40) / 128.0
    chosen = QuantiseOptions(calibration="percentile", percentile=98)
    forms = stored_forms(small_resnet, chosen)
    fractions = activation_fractions(small_resnet, images, forms, chosen)
    real = run_float(small_resnet.graph, small_resnet.parameters, images.astype(np.float32))
    for name, fraction in fractions.items():
        values = np.abs(real[name][real[name] != 0])
        high = forms[name].high + 0.5
        assert np.mean(values >= high * 2.0**-fraction) <= 0.02
        assert np.mean(values >= high * 2.0 ** -(fraction + 1)) > 0.02


def test_nothing_is_clipped_by_the_maximum(small_resnet: ImportedModel) -> None:
    images = random_images(Shape(3, 16, 16), 40) / 128.0
    chosen = QuantiseOptions(calibration="max")
    fractions = activation_fractions(small_resnet, images, stored_forms(small_resnet, chosen), chosen)
    real = run_float(small_resnet.graph, small_resnet.parameters, images.astype(np.float32))
    for name, fraction in fractions.items():
        assert np.abs(real[name]).max() * 2.0**fraction < 127.5 <= np.abs(real[name]).max() * 2.0 ** (fraction + 1)


def test_bias_correction_takes_back_the_mean_error() -> None:
    """Weights that all round down shift every output; the corrected bias does not."""
    graph = LayerGraph("one")
    graph.add(Layer("image", Input(Shape(40, 1, 1))))
    graph.add(Layer("sums", Convolution(40, 2, (1, 1)), ("image",)))
    graph.add(Layer("more", Convolution(2, 2, (1, 1), relu=True), ("sums",)))
    values = np.full((2, 40, 1, 1), 0.2535)  # 32.4 with the seven fraction bits that 0.5 leaves
    values[:, 0] = 0.5
    parameters = {
        "sums": FloatParameters(values, np.zeros(2)),
        "more": FloatParameters(np.array([[0.3, 0.7], [0.6, -0.1]])[:, :, None, None], np.array([0.2, 4.0])),
    }
    model = ImportedModel(graph, parameters)
    images = np.abs(random_images(Shape(40, 1, 1), 200).astype(float)) / 128.0
    images = np.minimum(images, 127 / 128)
    errors = {}
    for corrected in (False, True):
        fixed = quantise(model, images, QuantiseOptions(bias_correction=corrected))
        stored = run_reference(fixed, np.rint(images * 128).astype(np.int8))
        real = run_float(graph, parameters, images)
        errors[corrected] = [
            np.abs((fixed.format(name).value(stored[name]) - real[name]).mean(axis=(0, 2, 3))).max()
            / fixed.format(name).scale
            for name in ("sums", "more")
        ]
    assert max(errors[True]) < 0.3
    assert min(errors[False]) > 0.5


def test_unsigned_tensors_use_the_sign_bit(small_resnet: ImportedModel) -> None:
    fixed = quantise(small_resnet, random_images(Shape(3, 16, 16), 8) / 128.0, QuantiseOptions(activations="unsigned"))
    for layer in small_resnet.graph.layers:
        relu = isinstance(layer.operator, Convolution) and layer.operator.relu
        assert fixed.format(layer.name).signed != (relu or layer.operator.kind == "pooling")
    largest = max(int(tensor.max()) for tensor in run_reference(fixed, random_images(Shape(3, 16, 16), 40)).values())
    assert largest == 255
    document = fixed.to_json()
    assert document["layers"][1]["format"] == {"bits": 8, "frac": fixed.format("conv_0").frac, "signed": False}
    assert LayerGraph.from_json(document).to_json() == small_resnet.graph.to_json()


@pytest.mark.parametrize(
    "chosen", [QuantiseOptions(layer_bits={"conv_0": 16}), QuantiseOptions(activations="unsigned")]
)
def test_the_accelerator_refuses_by_name(small_resnet: ImportedModel, chosen: QuantiseOptions) -> None:
    fixed = quantise(small_resnet, random_images(Shape(3, 16, 16), 8) / 128.0, chosen)
    with pytest.raises(UserError, match=r"signed 8-bit tensors.*'conv_0' \((16 bits|unsigned)\)"):
        build_schedule(fixed, Accelerator(), load_platform("zcu104"), Kind.RESIDENT)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bits": 12}, "12-bit quantisation is not supported"),
        ({"layer_bits": {"a": 4}}, "4-bit quantisation is not supported"),
        ({"calibration": "kl"}, "'kl' are not known: choose mse or max or percentile"),
        ({"percentile": 0}, "a percentile lies above 0"),
        ({"percentile": float("nan")}, "a percentile lies above 0"),
    ],
)
def test_choices_that_do_not_exist(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        QuantiseOptions(**wrong)


def test_bits_of_layers_that_are_not_there(small_resnet: ImportedModel) -> None:
    with pytest.raises(UserError, match="no layer 'nosuch' to choose the bits of"):
        stored_forms(small_resnet, QuantiseOptions(layer_bits={"nosuch": 16}))
