"""Names of layers as files and identifiers: the same in every emitted artefact."""

from __future__ import annotations

from cgap.boundary.names import safe_name
from fpga_model.graph import LayerGraph

# A layer called like a file of the test vectors or of the engine must not take its place.
_TAKEN = ("manifest", "tops")


def layer_ids(graph: LayerGraph) -> dict[str, str]:
    """A safe, unique name for every layer, by its original name, in graph order."""
    taken = set(_TAKEN)
    return {layer.name: safe_name(layer.name, taken) for layer in graph.layers}
