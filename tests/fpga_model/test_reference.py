"""Whole networks in numpy: batching, what is kept, what is counted."""

from __future__ import annotations

import numpy as np
import pytest

import fpga_model.models.golden as reference
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph, FloatParameters, Layer, LayerGraph, LayerNumbers, Shape
from fpga_model.models.golden import run_float, run_reference
from fpga_model.numerics.fixed_point import Format
from fpga_model.operators import Convolution, Input, Pooling, Shortcut


@pytest.fixture
def fixed() -> FixedGraph:
    random = np.random.default_rng(1)
    graph = LayerGraph("small")
    graph.add(Layer("image", Input(Shape(3, 6, 6))))
    graph.add(Layer("a", Convolution(3, 4, (3, 3), pad=(1, 1, 1, 1), relu=True), ("image",)))
    graph.add(Layer("b", Convolution(4, 4, (3, 3), pad=(1, 1, 1, 1), shortcut=Shortcut((1, 1), 0, 4)), ("a", "a")))
    graph.add(Layer("c", Pooling("sum", (6, 6), (1, 1)), ("b",)))
    numbers = {"image": LayerNumbers(Format(8, 7), np.zeros(3, int)), "c": LayerNumbers(Format(8, 1), np.full(4, 3))}
    for name, depth in (("a", 3), ("b", 4)):
        numbers[name] = LayerNumbers(
            output=Format(8, 4),
            shift=np.full(4, 7),
            weights=random.integers(-128, 128, (4, depth, 3, 3)).astype(np.int8),
            weight_frac=np.full(4, 4),
            bias=random.integers(-999, 999, 4),
            shortcut_shift=np.full(4, 7) if name == "b" else None,
        )
    return FixedGraph(graph, numbers)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(-128, 128, (count, 3, 6, 6)).astype(np.int8)


def test_batches_make_no_difference(fixed: FixedGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_reference(fixed, images(7))
    monkeypatch.setattr(reference, "BATCH_BYTES", 1)
    single = run_reference(fixed, images(7))
    assert whole.keys() == single.keys() == {"image", "a", "b", "c"}
    assert all(np.array_equal(whole[name], single[name]) for name in whole)
    assert whole.saturated == single.saturated


def test_saturation_is_counted_where_it_happens(fixed: FixedGraph) -> None:
    stored = run_reference(fixed, images(5))
    assert stored.saturated["image"] == 0
    # A saturated value lies on a limit, but a value on a limit need not have been saturated.
    for name in ("a", "b", "c"):
        assert 0 < stored.saturated[name] <= np.isin(stored[name], (-128, 127)).sum()


def test_only_what_is_asked_for_is_kept(fixed: FixedGraph) -> None:
    assert run_reference(fixed, images(3), keep=["c"]).keys() == {"c"}


def test_no_images_give_empty_tensors(fixed: FixedGraph) -> None:
    assert run_reference(fixed, images(0))["c"].shape == (0, 4, 1, 1)


def test_images_must_fit_the_network(fixed: FixedGraph) -> None:
    with pytest.raises(UserError, match=r"reads images \[N, 3x6x6\], not \[2, 3, 5, 6\]"):
        run_reference(fixed, images(2)[:, :, 1:])
    with pytest.raises(UserError, match="outside -128"):
        run_reference(fixed, images(2).astype(np.int16) + 128)


def test_the_integers_follow_the_real_network(fixed: FixedGraph) -> None:
    """The same parameters as real numbers: without saturation each stored value is within its own rounding."""
    numbers = fixed.numbers["a"]
    assert numbers.weights is not None
    assert numbers.bias is not None
    parameters = {
        name: FloatParameters(n.weights / 2.0**4, n.bias / 2.0 ** (11 if name == "a" else 8))
        for name, n in fixed.numbers.items()
        if n.weights is not None and n.bias is not None
    }
    real = run_float(fixed.graph, parameters, images(4) / 128.0)["a"]
    stored = run_reference(fixed, images(4))["a"]
    inside = stored < 127
    assert np.abs(real - stored / 16.0)[inside].max() <= 1 / 32
