"""Runs a network in real numbers, layer by layer: what calibration and quality look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from cgap.lowering.importer import ImportedModel
from cgap.lowering.onnx.qdq import REAL, export_real
from cgap.lowering.onnx.runtime import run_session, start_session
from fpga_model.graph import Layer, LayerGraph
from fpga_model.models.golden import check_run, live_values
from fpga_model.numerics.fixed_point import FloatArray
from fpga_model.operators import Input

BATCH = 32
"""Images that run together, at least."""
HELD_BYTES = 64 << 20
"""What the tensors that layers still read may take, where more than BATCH images run together; and the outputs of the
layers that onnxruntime runs at once."""

_Section = Sequence[Layer]
_Run = Callable[[Mapping[str, FloatArray]], Mapping[str, FloatArray]]
"""From the tensors that a section reads, and maybe others, to its layers' outputs."""


def images_together(model: ImportedModel) -> int:
    """How many images run together in real numbers: as many as HELD_BYTES have room for, and BATCH at least."""
    return max(BATCH, HELD_BYTES // (4 * live_values(model.graph)))


def real_tensors(model: ImportedModel, images: FloatArray) -> Iterator[tuple[slice, str, FloatArray]]:
    """Every layer's real output in float32, `images_together` at a time: which images, the layer, its output for them.

    onnxruntime runs the layers, which takes it a third of numpy's time. Tensors are forgotten when no later layer reads
    them, but for those of the layers that run at once, so that memory does not grow with the depth of the network.

    Raises:
        UserError: images of another size, a network that takes too much memory, or onnxruntime cannot run a layer.
    """
    graph, together = model.graph, images_together(model)
    check_run(graph, images, ())
    sections = _sections(graph, min(together, len(images)))
    runs = [_run_of(model, section) for section in sections]
    last_reader = {name: number for number, section in enumerate(sections) for each in section for name in each.inputs}
    for start in range(0, len(images), together):
        part = slice(start, start + together)
        live = {graph.input.name: images[part].astype(np.float32)}
        yield part, graph.input.name, live[graph.input.name]
        for number, (section, run) in enumerate(zip(sections, runs, strict=True)):
            live.update(run(live))
            for layer in section:
                yield part, layer.name, live[layer.name]
            live = {name: values for name, values in live.items() if last_reader.get(name, -1) > number}


def _sections(graph: LayerGraph, images: int) -> list[_Section]:
    """All layers but the input: in a row those that onnxruntime runs at once, others alone.

    A sum begins a section if no other layer reads what it adds: onnxruntime 1.23 to 1.31 makes one kernel of the sum
    and the convolution before it, and then misses that convolution's output.
    """
    sections: list[list[Layer]] = []
    room = 0
    for layer in graph.layers:
        if isinstance(layer.operator, Input):
            continue
        held, written = 4 * images * graph.shape(layer.name).size, type(layer.operator) in REAL
        adds_its_own = any(len(graph.consumers(name)) == 1 for name in layer.inputs[1:])
        if not written or held > room or adds_its_own:
            sections.append([])
            room = HELD_BYTES if written else 0
        sections[-1].append(layer)
        room -= held
    return list(sections)


def _run_of(model: ImportedModel, section: _Section) -> _Run:
    if type(section[0].operator) not in REAL:
        (layer,) = section

        def forward(live: Mapping[str, FloatArray]) -> Mapping[str, FloatArray]:
            parameters = model.parameters.get(layer.name)
            return {layer.name: layer.operator.forward([live[name] for name in layer.inputs], parameters)}

        return forward
    content, outputs = export_real(model.graph, model.parameters, section)
    session = start_session(content)
    inputs = [given.name for given in session.get_inputs()]

    def run(live: Mapping[str, FloatArray]) -> Mapping[str, FloatArray]:
        found = run_session(session, {name: live[name] for name in inputs})
        return {name: found[tensor] for name, tensor in outputs.items()}

    return run
