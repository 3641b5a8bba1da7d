"""Random networks in every layout, rank and number of outputs: each output and each stored integer is onnxruntime's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cgap.lowering import import_onnx
from tests.lowering.forms import networks_in_any_form
from tests.lowering.models import Builder
from tests.lowering.whole import check_file

OPTIONS = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
NETWORK = st.tuples(networks_in_any_form())


def check(drawn: tuple[tuple[Builder, list[str]]], folder: Path) -> None:
    net, ends = drawn[0]
    path = net.save(ends, folder / "net.onnx")
    model = import_onnx(path)
    found = [result.name for _, result in model.results]
    assert len(found) >= 1
    assume(len(model.graph.layers) < 60)
    check_file(path, folder, count=2)


@settings(max_examples=120, **OPTIONS)
@given(NETWORK)
def test_networks_in_any_form(tmp_path: Path, drawn: tuple[tuple[Builder, list[str]]]) -> None:
    check(drawn, tmp_path)


@pytest.mark.long
@pytest.mark.slow
@settings(max_examples=500, **OPTIONS)
@given(NETWORK)
def test_many_networks_in_any_form(tmp_path: Path, drawn: tuple[tuple[Builder, list[str]]]) -> None:
    check(drawn, tmp_path)
