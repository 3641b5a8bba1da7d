"""Golden vectors: the input images and what every layer must make of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cgap.backends.common.names import layer_ids
from cgap.boundary.files import write_atomic
from fpga_model.graph import FixedGraph, LayerGraph
from fpga_model.models.golden import StoredTensors, run_reference
from fpga_model.numerics.fixed_point import IntArray


def vector_files(graph: LayerGraph) -> dict[str, str]:
    """File of every tensor, by its layer's name."""
    return {name: f"{identifier}.bin" for name, identifier in layer_ids(graph).items()}


def write_vectors(fixed: FixedGraph, images: IntArray, folder: Path) -> StoredTensors:
    """Run the integer reference and write every tensor, the input too, as int8 [image][map][row][column].

    Args:
        fixed: the integer network.
        images: [N, C, H, W] in the input's format.
        folder: gets one file per layer and `manifest.json`.

    Returns:
        What was written, by layer name.

    Raises:
        UserError: the images do not fit the network.
    """
    graph = fixed.graph
    stored = run_reference(fixed, images)
    entries = []
    for name, file in vector_files(graph).items():
        data = stored[name].tobytes()
        write_atomic(folder / file, data)
        shape = [graph.shape(name).channels, graph.shape(name).height, graph.shape(name).width]
        digest = hashlib.sha256(data).hexdigest()
        entries.append({"layer": name, "file": file, "shape": shape, "frac": fixed.format(name).frac, "sha256": digest})
    document = {"images": len(images), "bits": 8, "order": ["image", "map", "row", "column"], "tensors": entries}
    write_atomic(folder / "manifest.json", json.dumps(document, indent=1) + "\n")
    return stored
