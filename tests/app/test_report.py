"""If these break, what `cgap hls` and `cgap sim` print cannot be read on some terminal."""

from io import StringIO

import pytest
from rich.console import Console

from cgap.app.plan import Target
from cgap.app.report import SHOWN_LAYERS, print_report
from cgap.app.sim import simulate_model


@pytest.fixture(scope="module")
def report():
    return simulate_model("resnet20", Target.parse("zcu104", "8x8x4", "resident", 512), None)


@pytest.mark.parametrize(("width", "left_out"), [(60, 5), (80, 2), (120, 0)])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(report, width, left_out):
    text = StringIO()
    print_report(report, Console(file=text, width=width), every_layer=True)
    lines = text.getvalue().splitlines()
    assert "…" not in text.getvalue()
    for layer in report["layers"]:
        line = next(line for line in lines if line.startswith(f"{layer['name']} "))
        assert f" {layer['cycles']['simulated']:,}" in line
    assert any(line.startswith(f"{left_out} columns are hidden") for line in lines) == (left_out > 0)


def test_a_long_network_shows_the_layers_that_cost_most(report):
    """Fails if the figures that matter scroll away under a hundred layers, or the costliest layer is hidden."""
    text = StringIO()
    print_report(report, Console(file=text, width=200))
    layers = {layer["name"]: layer["cycles"]["simulated"] for layer in report["layers"]}
    shown = [line.split()[0] for line in text.getvalue().splitlines() if line.split()[:1] and line.split()[0] in layers]
    assert len(shown) == SHOWN_LAYERS < len(layers)
    assert min(layers[name] for name in shown) >= sorted(layers.values())[-SHOWN_LAYERS]
