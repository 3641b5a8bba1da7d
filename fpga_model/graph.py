"""The layer graph: layers, the tensors between them, and the integers of a quantised network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fpga_model.errors import UserError
from fpga_model.numerics.fixed_point import ACCUMULATOR_BITS, Format
from fpga_model.numerics.tensors import FloatParameters, LayerNumbers, Shape
from fpga_model.operators import Input, Operator, operator_from_json, operator_to_json

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["FixedGraph", "FloatParameters", "Layer", "LayerGraph", "LayerNumbers", "Shape"]


GRAPH_VERSION = 1
"""Of `graph.json`; larger when a key changes its meaning or goes."""


@dataclass(frozen=True)
class Layer:
    """One layer, named as in the model it came from; its output tensor has the layer's name.

    Attributes:
        name: unique in its graph; any text (whoever makes a file name or an identifier of it must clean it).
        operator: what it computes.
        inputs: names of the layers whose outputs it reads: the data, then the shortcut if any.
    """

    name: str
    operator: Operator
    inputs: tuple[str, ...] = ()


class LayerGraph:
    """A network as layers and the tensors between them.

    A layer is added after the layers it reads, so the order of addition is a topological order and no cycle can
    be made; shapes are checked as layers arrive.

    Attributes:
        name: name of the network.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._layers: dict[str, Layer] = {}
        self._shapes: dict[str, Shape] = {}
        self._readers: dict[str, dict[str, Layer]] = {}
        self._named: tuple[str, ...] = ()
        self._outputs: tuple[Layer, ...] | None = None

    def add(self, layer: Layer) -> None:
        """Append a layer.

        Raises:
            UserError: a name used twice, an unknown producer, a second input, or shapes that do not fit. The
                message names the layer.
        """
        if layer.name in self._layers:
            raise UserError(f"two layers are called {layer.name!r}")
        if len(layer.inputs) != layer.operator.arity:
            raise UserError(
                f"layer {layer.name!r}: {layer.operator.kind} reads {layer.operator.arity} tensors, "
                f"{len(layer.inputs)} are given"
            )
        if not layer.inputs and self._layers:
            raise UserError(
                f"layer {layer.name!r}: a network has one input, and it already has {self.layers[0].name!r}"
            )
        for source in layer.inputs:
            if source not in self._layers:
                raise UserError(f"layer {layer.name!r} reads {source!r}, which no earlier layer makes")
        try:
            shape = layer.operator.output_shape([self.shape(source) for source in layer.inputs])
        except UserError as error:
            raise UserError(f"layer {layer.name!r}: {error}") from error
        self._layers[layer.name], self._shapes[layer.name] = layer, shape
        self._readers[layer.name] = {}
        for source in layer.inputs:
            self._readers[source][layer.name] = layer
        self._outputs = None

    @property
    def digraph(self) -> nx.DiGraph[str]:
        """The same as a networkx graph: an edge is a tensor, nodes carry `layer` and `shape`."""
        import networkx as nx  # takes longer to import than most networks to plan

        graph: nx.DiGraph[str] = nx.DiGraph()
        for name, layer in self._layers.items():
            graph.add_node(name, layer=layer, shape=self._shapes[name])
            graph.add_edges_from((source, name) for source in layer.inputs)
        return graph

    @property
    def layers(self) -> list[Layer]:
        """All layers in a stable topological order, the input first."""
        return list(self._layers.values())

    def layer(self, name: str) -> Layer:
        """The layer called `name`.

        Raises:
            UserError: there is none.
        """
        if name not in self._layers:
            raise UserError(f"network {self.name!r} has no layer {name!r}")
        return self._layers[name]

    def shape(self, name: str) -> Shape:
        """Size of the output maps of layer `name`."""
        self.layer(name)
        return self._shapes[name]

    def input_shapes(self, name: str) -> list[Shape]:
        """Sizes of the maps that layer `name` reads, in its order."""
        return [self.shape(source) for source in self.layer(name).inputs]

    def consumers(self, name: str) -> list[Layer]:
        """Layers that read the output of layer `name`, in topological order."""
        self.layer(name)
        return list(self._readers[name].values())

    @property
    def input(self) -> Layer:
        """The one input layer.

        Raises:
            UserError: the first layer is not an input, or the graph is empty.
        """
        first = next(iter(self._layers.values()), None)
        if first is None or not isinstance(first.operator, Input):
            raise UserError(f"network {self.name!r} has no input layer")
        return first

    def name_outputs(self, names: Iterable[str]) -> None:
        """Say which layers are outputs, in the order in which the network's user knows them.

        Raises:
            UserError: there is no layer of such a name, or it is the input.
        """
        named = tuple(dict.fromkeys(names))
        for name in named:
            if isinstance(self.layer(name).operator, Input):
                raise UserError(f"network {self.name!r}: its input {name!r} is no output")
        self._named = named
        self._outputs = None

    @property
    def outputs(self) -> tuple[Layer, ...]:
        """The layers whose tensors leave the network: those named (others may read them, too), then those that nobody
        reads, in topological order."""
        if self._outputs is None:
            ends = (name for name, readers in self._readers.items() if not readers)
            self._outputs = tuple(self.layer(name) for name in dict.fromkeys((*self._named, *ends)))
        return self._outputs

    @property
    def output(self) -> Layer:
        """The output of a network that has one.

        Raises:
            UserError: there is not exactly one; the message names them.
        """
        ends = self.outputs
        if len(ends) != 1:
            names = ", ".join(repr(layer.name) for layer in ends)
            raise UserError(f"network {self.name!r} needs one output, it has {len(ends)}: {names}")
        return ends[0]

    def validate(self) -> None:
        """Check what can only be known when every layer is there.

        Raises:
            UserError: no input, or nothing computed from it.
        """
        if self.outputs == (self.input,):
            raise UserError(f"network {self.name!r} computes nothing")

    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return sum(layer.operator.macs(self.input_shapes(layer.name)) for layer in self.layers)

    def weights(self) -> int:
        """Weights of all layers, without biases."""
        return sum(layer.operator.weights() for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Structure without tensors, for `json.dump`."""
        return {
            "version": GRAPH_VERSION,
            "name": self.name,
            "outputs": [layer.name for layer in self.outputs],
            "layers": [
                {
                    "name": layer.name,
                    "inputs": list(layer.inputs),
                    "output_shape": [self.shape(layer.name).channels, *_map_size(self.shape(layer.name))],
                    "operator": operator_to_json(layer.operator),
                }
                for layer in self.layers
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LayerGraph:
        """The inverse of `to_json`; shapes are derived again.

        Raises:
            UserError: the document is not a layer graph, or describes a faulty one.
        """
        try:
            if document["version"] != GRAPH_VERSION:
                raise UserError(
                    f"a layer graph of version {document['version']!r}, and this cgap reads version {GRAPH_VERSION}: "
                    f"build it again"
                )
            graph = cls(str(document["name"]))
            entries = [(str(e["name"]), e["operator"], tuple(map(str, e["inputs"]))) for e in document["layers"]]
            outputs = [str(name) for name in document["outputs"]]
        except (KeyError, TypeError) as error:
            raise UserError(f"not a layer graph: {error!r}") from error
        for name, settings, inputs in entries:
            try:
                operator = operator_from_json(settings)
            except UserError as error:
                raise UserError(f"layer {name!r}: {error}") from error
            graph.add(Layer(name, operator, inputs))
        graph.name_outputs(outputs)
        graph.validate()
        return graph


@dataclass(frozen=True, eq=False)
class FixedGraph:
    """A quantised network: the graph and the integers of each layer, by layer name."""

    graph: LayerGraph
    numbers: dict[str, LayerNumbers]

    def format(self, name: str) -> Format:
        """Format of the stored output of layer `name`."""
        return self.numbers[name].output

    def bounds(self, name: str) -> tuple[int, int]:
        """What no partial sum of layer `name` exceeds in magnitude, and the bits of its accumulator."""
        layer = self.graph.layer(name)
        inputs = [self.format(source) for source in layer.inputs]
        bound = layer.operator.accumulator_bound(self.numbers[name], [form.wide_bits for form in inputs])
        return bound, ACCUMULATOR_BITS[max(form.bits for form in (self.format(name), *inputs))]

    def to_json(self) -> dict[str, Any]:
        """The layer graph (see `LayerGraph.to_json`) with each layer's stored `format`, for `json.dump`."""
        document = self.graph.to_json()
        for entry in document["layers"]:
            entry["format"] = asdict(self.format(entry["name"]))
        return document


def formats_from_json(document: Mapping[str, Any]) -> dict[str, Format]:
    """The stored formats, by layer, in the document of a quantised network (`FixedGraph.to_json`).

    Raises:
        UserError: the document has none, or one that is no format.
    """
    try:
        return {str(entry["name"]): Format(**entry["format"]) for entry in document["layers"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"not the graph of a quantised network: {error!r}") from error


def _map_size(shape: Shape) -> tuple[int, int]:
    return shape.height, shape.width
