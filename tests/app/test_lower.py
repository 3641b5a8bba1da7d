"""`cgap lower`: files, report, mixed precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

from cgap import cli
from cgap.app.lower import LowerRequest, lower_model, print_lowering
from cgap.app.report import LoweringReport, read_report
from cgap.lowering import ImportedModel, QuantiseOptions, import_onnx, quantise
from cgap.lowering.quantisation.mixed import Target, choose_bits
from cgap.lowering.quantisation.quality import measure
from fpga_model.errors import UserError
from fpga_model.graph import LayerGraph, Shape
from fpga_model.models.golden import run_float
from tests.lowering.models import Builder, residual_net
from tests.lowering.test_qdq import random_images


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return residual_net(tmp_path_factory.mktemp("model") / "small net.onnx", widths=(4, 6, 9), size=32)


def lower(network: Path, out: Path, **changes: object) -> tuple[LoweringReport, list[str]]:
    said: list[str] = []
    folder, report = lower_model(LowerRequest(str(network), out=out, **changes), said.append)  # type: ignore[arg-type]
    assert report == read_report(folder, LoweringReport)
    return report, said


def test_the_folder_holds_the_network_and_what_it_costs(network: Path, tmp_path: Path) -> None:
    report, _ = lower(network, tmp_path / "out", options=QuantiseOptions(activations="unsigned"))
    assert (report.images, report.dataset, report.accuracy.images) == (300, "cifar10", 300)
    document = json.loads((tmp_path / "out" / "graph.json").read_text())
    graph = LayerGraph.from_json(document)
    assert [layer.name for layer in graph.layers] == [entry.name for entry in report.layers]
    assert [entry["format"] for entry in document["layers"]] == [entry.format.model_dump() for entry in report.layers]
    onnx.checker.check_model(onnx.load(tmp_path / "out" / "quantised.onnx"), full_check=True)
    for layer in report.layers[1:]:
        assert layer.values == 300 * graph.shape(layer.name).size
        assert 0 <= layer.saturated < layer.values / 50
        assert 15 < layer.snr_db < 60
        assert layer.accumulator_bits == 32
        assert layer.proven
    assert any(layer.saturated for layer in report.layers)
    console = Console(width=120, record=True)
    print_lowering(report, console)
    text = console.export_text()
    assert "uint8 x 2^-" in text
    assert "accuracy on 300 images" in text


def test_the_command(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, choices = tmp_path / "out", {"calibration": "percentile", "weight_fractions": "layer", "bias_correction": True}
    cli.building.lower(str(network), **choices, out=out)
    printed = capsys.readouterr().out
    assert "stored as" in printed
    assert f"wrote {out}" in printed
    options = json.loads((out / "report.json").read_text())["options"]
    assert {key: options[key] for key in choices} == choices
    with pytest.raises(UserError, match="calibration 'kl' are not known"):
        cli.building.lower(str(network), calibration="kl", out=tmp_path / "p")


def test_what_was_lowered_can_be_lowered_again(network: Path, tmp_path: Path) -> None:
    """The network that comes out goes in, and keeps its integers."""
    first, _ = lower(network, tmp_path / "first", options=QuantiseOptions(activations="unsigned"))
    second, said = lower(tmp_path / "first" / "quantised.onnx", tmp_path / "second")
    assert second.file.requantised == second.file.not_stored == []
    assert second.file.kept == [layer.name for layer in first.layers]
    assert [layer.format for layer in second.layers] == [layer.format for layer in first.layers]
    assert second.accuracy.fixed == first.accuracy.fixed
    assert any(f"{len(first.layers)} of {len(first.layers)} keep them" in line for line in said)


def test_tensors_that_are_not_kept_are_told(tmp_path: Path) -> None:
    net = Builder(("N", 3, 32, 32))
    scale, zero = net.constant(np.float32(0.1)), net.constant(np.int8(0))
    stored = net.node("QuantizeLinear", net.conv("image", 3, 2), scale, zero)
    path = net.save(net.node("DequantizeLinear", stored, scale, zero), tmp_path / "net.onnx")
    report, said = lower(path, tmp_path / "out")
    (entry,) = report.file.requantised
    assert 20 < entry.snr_db < 60
    assert any("0 of 1 keep them" in line for line in said)


@pytest.fixture(scope="module")
def sensitive(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return import_onnx(residual_net(tmp_path_factory.mktemp("mixed") / "net.onnx"))


def test_bits_are_spent_where_they_count(sensitive: ImportedModel) -> None:
    images = random_images(Shape(3, 16, 16), 12) / 128.0
    output = sensitive.graph.output.name
    base = measure(sensitive, quantise(sensitive, images), images)[output].snr_db
    assert base is not None
    targets = [base + 3, base + 10, base + 25]
    chosen = {target: choose_bits(sensitive, images, None, QuantiseOptions(), Target(target)) for target in targets}
    counts = []
    for target, mixed in chosen.items():
        bits = [mixed.fixed.format(name).bits for name in mixed.alone]
        counts.append(bits.count(8))
        snr = measure(sensitive, mixed.fixed, images)[output].snr_db
        assert snr is not None
        assert snr >= target
        assert snr == pytest.approx(mixed.score.snr_db, abs=0.1)
        alone = [score.snr_db for score in mixed.alone.values()]
        assert alone == sorted(alone, reverse=True)
    assert len(bits) > counts[0] > counts[1] > counts[2]
    again = choose_bits(sensitive, images, None, QuantiseOptions(), Target(targets[1]))
    assert dict(again.options.layer_bits) == dict(chosen[targets[1]].options.layer_bits)


def test_accuracy_can_be_the_target(sensitive: ImportedModel) -> None:
    """Labels that the real network gives itself: with 8 bits a few images change their class."""
    images = random_images(Shape(3, 16, 16), 60, seed=5) / 128.0
    output = sensitive.graph.output.name
    labels = run_float(sensitive.graph, sensitive.parameters, images)[output].reshape(60, -1).argmax(1)
    mixed = choose_bits(sensitive, images, labels, QuantiseOptions(), Target(max_accuracy_drop=0.0))
    assert mixed.score.drop == 0
    assert 0 < sum(bits == 8 for bits in mixed.options.layer_bits.values()) <= len(mixed.alone)


def test_targets_out_of_reach(sensitive: ImportedModel) -> None:
    images = random_images(Shape(3, 16, 16), 4) / 128.0
    with pytest.raises(UserError, match=r"misses the target with 16 bits in every layer: \d+\.\d dB"):
        choose_bits(sensitive, images, None, QuantiseOptions(), Target(200))
    with pytest.raises(UserError, match="needs images with labels"):
        choose_bits(sensitive, images, None, QuantiseOptions(), Target(max_accuracy_drop=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": "12"}, "no '12' bits: choose 8, 16 or mixed"),
        ({"bits": "mixed"}, "mixed precision needs a target"),
        ({"bits": "16", "target": Target(30)}, "a target is for --bits mixed"),
        ({"model": "nosuch"}, "unknown model 'nosuch'"),
    ],
)
def test_wrong_requests(network: Path, tmp_path: Path, changes: dict, message: str) -> None:
    request = LowerRequest(**{"model": str(network), "out": tmp_path / "out", **changes})
    with pytest.raises(UserError, match=message):
        lower_model(request, print)
    assert not (tmp_path / "out").exists()


def test_mixed_bits_are_reported(network: Path, tmp_path: Path) -> None:
    report, said = lower(network, tmp_path / "out", bits="mixed", target=Target(45))
    assert report.target == {"min_snr_db": 45, "max_accuracy_drop": None}
    searched = [layer for layer in report.layers if layer.alone_at_8_bits]
    assert {layer.format.bits for layer in searched} == {8, 16}
    assert {layer.weight_bits == layer.format.bits for layer in searched if layer.weight_bits} == {True}
    assert not all(layer.proven for layer in searched)
    assert any("layers have 8 bits" in line for line in said)
    console = Console(width=140, record=True)
    print_lowering(report, console)
    assert "alone at 8, dB" in console.export_text()
