"""If this breaks, fixed point costs the shipped networks more than the project promises."""

import pytest

from cgap.app.build import classify, compile_model
from cgap.app.inputs import load_test_set
from cgap.app.plan import Target
from cgap.data.download import find_cifar10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet110", "resnet20"])
def test_fixed_point_costs_at_most_half_a_point(name):
    """On all 10,000 test images."""
    if find_cifar10() is None:
        pytest.skip("needs the whole CIFAR-10 test set")
    compiled = compile_model(name, Target.parse("zcu104", "8x8x4", "resident"))
    accuracy = classify(compiled.imported, compiled.fixed, load_test_set(), None)
    recorded = compiled.record["accuracy"]["test"] / 100
    assert accuracy.images == 10_000
    assert accuracy.real == pytest.approx(recorded, abs=0.0003)
    assert accuracy.fixed >= accuracy.real - 0.005
