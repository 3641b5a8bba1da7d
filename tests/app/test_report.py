"""If these break, what `cgap hls` and `cgap sim` print cannot be read on some terminal."""

from io import StringIO

import pytest
from rich.console import Console

from cgap.app.build import Target, simulate_model
from cgap.app.report import print_report


@pytest.fixture(scope="module")
def report():
    return simulate_model("resnet20", Target.parse("zcu104", "8x8x4", "resident", 512), None, None)


@pytest.mark.parametrize(("width", "left_out"), [(60, 5), (80, 2), (120, 0)])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(report, width, left_out):
    text = StringIO()
    print_report(report, Console(file=text, width=width))
    lines = text.getvalue().splitlines()
    assert "…" not in text.getvalue()
    for layer in report["layers"]:
        line = next(line for line in lines if line.startswith(f"{layer['name']} "))
        assert f" {layer['cycles']['simulated']:,}" in line
    assert any(f"left out for want of room: {left_out};" in line for line in lines) == (left_out > 0)
