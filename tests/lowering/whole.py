"""A file beside what becomes of it: every output in real numbers, and every stored integer against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from cgap.lowering import ImportedModel, ImportOptions, export_qdq, import_onnx, quantise
from fpga_model.graph import FixedGraph
from fpga_model.models.golden import run_float, run_reference


def drawn_images(model: ImportedModel, count: int, seed: int) -> np.ndarray:
    """Stored images [N, C, H, W] of any values."""
    shape = model.graph.shape(model.graph.input.name)
    drawn = np.random.default_rng(seed).integers(-128, 128, (count, shape.channels, shape.height, shape.width))
    return drawn.astype(np.int8)


def session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_file(path: Path, model: ImportedModel, images: np.ndarray) -> list[np.ndarray]:
    """The file's own values of what the network's outputs are, one image at a time, in the file's layout."""
    proto = onnx.load(path)
    present = {info.name for info in proto.graph.output}
    names = [found.name for _, found in model.results]
    inner = [name for name in dict.fromkeys(names) if name not in present]
    proto.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner)
    if all(model.image.name != info.name for info in proto.graph.input):  # the network begins further in
        del proto.graph.input[:]
        kept = [node for node in proto.graph.node if model.image.name not in node.output]
        del proto.graph.node[:]
        proto.graph.node.extend(kept)
        proto.graph.input.append(helper.make_tensor_value_info(model.image.name, TensorProto.FLOAT, None))
    run = session(proto.SerializeToString())
    given = [model.image.to_file(image[None] / np.float32(128)) for image in images]
    results = [run.run(names, {model.image.name: image}) for image in given]
    return [np.concatenate([np.atleast_1d(result[index]) for result in results]) for index in range(len(names))]


def check_file(
    path: Path, folder: Path, count: int = 4, options: ImportOptions | None = None
) -> tuple[ImportedModel, FixedGraph]:
    """Import, compare in real numbers, quantise, and compare every stored integer; returns the network."""
    model = import_onnx(path, options=options)
    images = drawn_images(model, count, seed=1)
    real = run_float(model.graph, model.parameters, images / 128.0)
    for (layer, found), expected in zip(model.results, run_file(path, model, images), strict=True):
        made = found.to_file(real[layer])
        assert made.shape == expected.shape, (layer, made.shape, expected.shape)
        bound = 1e-4 * max(1.0, float(np.abs(expected).max()))
        assert np.allclose(made, expected, rtol=1e-4, atol=bound), (layer, np.abs(made - expected).max())
    fixed = quantise(model, drawn_images(model, 8, seed=2) / 128.0)
    wrong = stored_mismatches(fixed, images, folder / "qdq.onnx")
    assert set(wrong.values()) == {0}, wrong
    return model, fixed


def stored_mismatches(fixed: FixedGraph, images: np.ndarray, path: Path) -> dict[str, int]:
    """Stored integers that differ between the reference and onnxruntime on the exported file, by layer."""
    exported = export_qdq(fixed, path, stored_outputs=True)
    assert exported.unproven == []
    expected = run_reference(fixed, images)
    run = session(path.read_bytes())
    found = run.run(list(exported.stored.values()), {fixed.graph.input.name: images / np.float32(128)})
    assert expected.keys() == exported.stored.keys()
    return {
        name: int(np.count_nonzero(expected[name] != stored))
        for name, stored in zip(exported.stored, found, strict=True)
    }
