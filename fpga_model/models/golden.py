"""Runs whole networks in numpy: exactly in integers, and in floating point."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph, FloatParameters, Layer, LayerGraph
from fpga_model.numerics.fixed_point import FloatArray, IntArray
from fpga_model.operators import Convolution

BATCH_BYTES = 8 << 20
"""Working memory aimed at, which sets how many images run together. About a cache: 128 MB took twice the time."""
MAX_BYTES = 16 << 30
"""Most memory that a run may take, by a bound that is rarely reached."""


class StoredTensors(dict[str, IntArray]):
    """Stored tensors [N, C, H, W] by layer name, and `saturated`: how many values saturated, by layer name."""

    saturated: dict[str, int]


def run_reference(fixed: FixedGraph, images: IntArray, keep: Collection[str] | None = None) -> StoredTensors:
    """Run the integer network.

    Args:
        fixed: the quantised network.
        images: [N, C, H, W] integers in the format of the input layer.
        keep: layers whose tensors are returned; all of them when None (about 0.25 MB an image for a ResNet-20).

    Raises:
        UserError: images of another size, or outside the input's format.
    """
    graph = fixed.graph
    check_run(graph, images, keep)
    form = fixed.format(graph.input.name)
    if images.size and (images.min() < form.low or images.max() > form.high):
        raise UserError(f"images hold values {images.min()}..{images.max()}, outside {form.low}..{form.high}")
    saturated = dict.fromkeys((layer.name for layer in graph.layers), 0)

    def step(layer: Layer, inputs: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        stored, count = layer.operator.reference(inputs, fixed.numbers[layer.name])
        if stored.dtype != fixed.format(layer.name).dtype:
            raise TypeError(f"{layer.operator.kind} stores {stored.dtype}, and {fixed.format(layer.name)} is meant")
        saturated[layer.name] += count
        return stored

    result = StoredTensors(_run(graph, images.astype(form.dtype), keep, step))
    result.saturated = saturated
    return result


def run_float(
    graph: LayerGraph,
    parameters: Mapping[str, FloatParameters],
    images: FloatArray,
    keep: Collection[str] | None = None,
) -> dict[str, FloatArray]:
    """Run the real-valued network in the number type of `images` [N, C, H, W].

    Returns:
        The output of each layer of `keep` (all when None). A sum pooling returns the sum.

    Raises:
        UserError: images of another size.
    """
    check_run(graph, images, keep)
    return _run(graph, images, keep, lambda layer, inputs: layer.operator.forward(inputs, parameters.get(layer.name)))


def _run(
    graph: LayerGraph,
    images: npt.NDArray[Any],
    keep: Collection[str] | None,
    step: Callable[[Layer, Sequence[npt.NDArray[Any]]], npt.NDArray[Any]],
) -> dict[str, npt.NDArray[Any]]:
    kept = [layer.name for layer in graph.layers if keep is None or layer.name in keep]
    last_use = {source: layer.name for layer in graph.layers for source in layer.inputs}
    pieces: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in kept}
    batch = _batch_size(graph)
    for start in range(0, max(len(images), 1), batch):
        live: dict[str, npt.NDArray[Any]] = {}
        for layer in graph.layers:
            inputs = [live[source] for source in layer.inputs] or [images[start : start + batch]]
            live[layer.name] = step(layer, inputs)
            if layer.name in pieces:
                pieces[layer.name].append(live[layer.name])
            for source in set(layer.inputs):
                if last_use[source] == layer.name:
                    del live[source]
    return {name: np.concatenate(parts) for name, parts in pieces.items()}


def live_values(graph: LayerGraph) -> int:
    """Most values of one image that are held at once where a tensor is forgotten when its last reader has run."""
    last_use = {source: layer.name for layer in graph.layers for source in layer.inputs}
    live: dict[str, int] = {}
    most = 0
    for layer in graph.layers:
        live[layer.name] = graph.shape(layer.name).size
        most = max(most, sum(live.values()))
        for source in set(layer.inputs):
            if last_use[source] == layer.name:
                del live[source]
    return most


def _batch_size(graph: LayerGraph) -> int:
    """Images whose widest layer, as a matrix of float32 windows beside its int64 accumulators, fits BATCH_BYTES."""
    widest = max(_working_bytes(graph, layer) for layer in graph.layers)
    return max(1, min(256, BATCH_BYTES // widest))


def _working_bytes(graph: LayerGraph, layer: Layer) -> int:
    output = graph.shape(layer.name)
    operator = layer.operator
    taps = operator.Nif * operator.Nky * operator.Nkx if isinstance(operator, Convolution) else 1
    return 4 * taps * output.pixels + 32 * output.size


def check_run(graph: LayerGraph, images: npt.NDArray[Any], keep: Collection[str] | None) -> None:
    """Raise UserError if images are of another size, or if a run that keeps the tensors `keep` (all: None) takes more
    memory than a usual machine has."""
    _check_images(graph, images)
    _check_memory(graph, images, keep)


def _check_memory(graph: LayerGraph, images: npt.NDArray[Any], keep: Collection[str] | None) -> None:
    """Refuse what no usual machine has the memory for, before it is asked for."""
    kept = [layer.name for layer in graph.layers if keep is None or layer.name in keep]
    working = {layer.name: _working_bytes(graph, layer) for layer in graph.layers}
    live = 8 * sum(graph.shape(layer.name).size for layer in graph.layers)
    stored = images.dtype.itemsize * len(images) * sum(graph.shape(name).size for name in kept)
    needed = stored + min(_batch_size(graph), max(len(images), 1)) * (live + max(working.values()))
    if needed > MAX_BYTES:
        largest = max(working, key=lambda name: working[name])
        raise UserError(
            f"network {graph.name!r}: running it on {len(images)} images takes up to {needed >> 30:,} GiB of memory; "
            f"at most {MAX_BYTES >> 30} are used, and layer {largest!r} takes most"
        )


def _check_images(graph: LayerGraph, images: npt.NDArray[Any]) -> None:
    expected = graph.shape(graph.input.name)
    if images.ndim != 4 or images.shape[1:] != (expected.channels, expected.height, expected.width):
        raise UserError(f"network {graph.name!r} reads images [N, {expected}], not {list(images.shape)}")
