"""If these fail, a network that people have becomes C++ that computes something else than its integers."""

from __future__ import annotations

import pytest

from cgap.lowering import import_onnx, quantise
from fpga_model.machine.accelerator import Accelerator
from hw_tests.csim.conftest import IMAGES
from tests.backends.networks import random_images
from tests.lowering import zoo


def build_of(make, make_build, folder):
    model = import_onnx(make(folder / "net.onnx"))
    fixed = quantise(model, random_images(model.graph, 4) / 128.0)
    return make_build(fixed, Accelerator(page_depth=1024))


def assert_equal(result, build):
    assert result.mismatches == 0, result.differences
    assert result.images == IMAGES
    assert {layer.layer for layer in result.layers} >= {layer.name for layer in build.fixed.graph.outputs}


@pytest.mark.parametrize("make", zoo.SMALL, ids=lambda make: make.__name__)
def test_small_networks(make, make_build, tmp_path):
    build = build_of(make, make_build, tmp_path)
    assert_equal(build.run(), build)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [*zoo.LARGE, pytest.param(zoo.densenet121, marks=pytest.mark.long)], ids=lambda make: make.__name__
)
def test_large_networks(make, make_build, tmp_path):
    build = build_of(make, make_build, tmp_path)
    assert_equal(build.run(options=("-O2",)), build)
