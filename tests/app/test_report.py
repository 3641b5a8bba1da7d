"""If these break, what `cgap hls` and `cgap sim` print cannot be read on some terminal."""

import json
import re
from io import StringIO

import pytest
from rich.console import Console

from cgap.app.plan import Target
from cgap.app.report import LoweringReport, read_report, report_json, write_report
from cgap.app.report_table import SHOWN_LAYERS, print_report
from cgap.app.sim import simulate_model
from fpga_model.errors import UserError


@pytest.fixture(scope="module")
def report():
    return simulate_model("resnet20", Target.parse("zcu104", "8x8x4", "resident", 512), None)


@pytest.mark.parametrize(("width", "left_out"), [(60, 5), (80, 2), (120, 0)])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(report, width, left_out):
    text = StringIO()
    print_report(report, Console(file=text, width=width), every_layer=True)
    lines = text.getvalue().splitlines()
    assert "…" not in text.getvalue()
    for layer in report.layers:
        line = next(line for line in lines if line.startswith(f"{layer.name} "))
        assert f" {layer.cycles['simulated']:,}" in line
    assert any(line.startswith(f"{left_out} columns are hidden") for line in lines) == (left_out > 0)


def test_a_long_network_shows_the_layers_that_cost_most(report):
    """Fails if the figures that matter scroll away under a hundred layers, or the costliest layer is hidden."""
    text = StringIO()
    print_report(report, Console(file=text, width=200))
    layers = {layer.name: layer.cycles["simulated"] for layer in report.layers}
    shown = [line.split()[0] for line in text.getvalue().splitlines() if line.split()[:1] and line.split()[0] in layers]
    assert len(shown) == SHOWN_LAYERS < len(layers)
    assert min(layers[name] for name in shown) >= sorted(layers.values())[-SHOWN_LAYERS]


@pytest.mark.parametrize("kind", ["resident", "layerwise"])
def test_a_report_survives_its_file(kind, tmp_path):
    """Fails if something of a report is lost in the file, or read back as something else."""
    report = simulate_model("resnet20", Target.parse("zcu104", "8x8x4", kind, capabilities=["kernel_columns=11"]), None)
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path) == read_report(tmp_path / "report.json") == report
    assert report.command == (
        f"cgap sim resnet20 --platform zcu104 --array 8x8x4 --schedule {kind} --capability kernel_columns=11"
    )
    assert bool(report.memory.residents) == (kind == "resident")
    assert bool(report.memory.in_dram) == (kind == "layerwise")


def test_a_newer_report_with_more_keys_is_read(report, tmp_path):
    document = json.loads(report_json(report))
    document["later"], document["layers"][0]["later"] = 1, {"more": 2}
    (tmp_path / "report.json").write_text(json.dumps(document))
    assert read_report(tmp_path) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: "not JSON", "is not JSON"),
        (lambda document: json.dumps([1]), "is not a report of cgap"),
        (lambda document: json.dumps({"model": "resnet20", "layers": []}), "is not a report of cgap"),
        (lambda document: json.dumps(document | {"version": 99}), "version 99, and this cgap reads version 1"),
        (lambda document: json.dumps({**document, "kind": "lowering"}), "the kind 'lowering', not 'accelerator'"),
        (lambda document: json.dumps({**document, "totals": {}}), r"damaged: totals\.cycles: Field required"),
        (lambda document: json.dumps({**document, "layers": [7]}), r"damaged: layers\.0"),
        (lambda document: re.sub(r'"latency_ms": [^,}]+', '"latency_ms": NaN', json.dumps(document)), "finite number"),
        (lambda document: json.dumps(document)[:-9], "is not JSON"),
    ],
)
def test_a_foreign_or_damaged_report_is_one_sentence(report, tmp_path, change, message):
    path = tmp_path / "report.json"
    path.write_text(change(json.loads(report_json(report))))
    with pytest.raises(UserError, match=message) as refused:
        read_report(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_there_is_no_report_where_nothing_was_built(report, tmp_path):
    with pytest.raises(UserError, match="there is no report"):
        read_report(tmp_path)
    write_report(report, tmp_path / "report.json")
    with pytest.raises(UserError, match="of the kind 'accelerator', not 'lowering'"):
        read_report(tmp_path, LoweringReport)
