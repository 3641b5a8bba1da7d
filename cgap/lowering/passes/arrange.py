"""The pass after which every tensor is maps [N, C, H, W]: layouts are followed through the network, and disappear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from cgap.lowering.onnx.axes import MAPS, ROWS, Axes, FileTensor, View
from cgap.lowering.onnx.network import Network, Node, prune, shorten

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with most of the work: what lies before one of them is never left to the host."""
MOVING = (
    *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Slice", "Split", "Gather"),
    *("Add", "Sub", "Mul", "Div", "ReduceMean", "ReduceMax", "ReduceSum"),
)
"""What the host does at the end of a network, when the accelerator's maps cannot be seen as it needs them."""


TAKES_CONSTANTS = ("Add", "Concat", "Sub", "Mul", "Div", "Sum", "QuantizeLinear", "DequantizeLinear")
"""Operators whose first input may be a constant."""


LONG = 256
"""Rows beyond this are stored as lines of pixels, if dense layers alone read them."""


class Unarranged(Exception):
    """Why a node's numbers do not lie as its operator needs them."""


@dataclass(frozen=True)
class Stack:
    """Rows [N, K1 + K2 + ...] of flattened maps of different sizes, for a dense layer to read part by part."""

    concat: Node
    parts: tuple[View, ...]


def arrange(network: Network) -> Network:
    """Pass: transpositions, reshapes and ranks other than four disappear; the image takes the layout its readers want.

    At the end of the network, what cannot be arranged is left to the host with all that follows it. Elsewhere it is
    remembered as a problem, for `check_supported` to report with all others.
    """
    best: Arranger | None = None
    for shape, axes in image_layouts(network):
        found = Arranger(network, View(network.input, shape, axes))
        found.run()
        if best is None or found.faults < best.faults:
            best = found
        if best.faults == (0, 0):
            break
    assert best is not None
    return best.arranged()


def image_layouts(network: Network) -> Iterator[tuple[tuple[int, ...], Axes]]:
    """Maps [N, C, H, W] that the image may be, and how they lie in it, the likeliest first."""
    given = network.shapes[network.input]
    if len(given) == 2 and all(node.is_a("Gemm", "MatMul") for node in network.readers(network.input)):
        # Long rows that only dense layers read: as lines of pixels they fill the feature buffer's words.
        width = next((size for size in (8, 4, 2) if given[1] > LONG and given[1] % size == 0), 0)
        if width:
            yield (given[0], given[1] // width, 1, width), ((0,), (1, 2, 3))
    yield from _layouts(given)
    for node in network.readers(network.input):
        made = network.shape(node.output)
        if node.is_a("Reshape", "Unsqueeze") and made is not None and made[:1] == given[:1]:
            for shape, axes in _layouts(made):
                image = View(network.input, shape, axes).reshaped(given)
                if image is not None:
                    yield shape, image.axes


def _layouts(given: tuple[int, ...]) -> list[tuple[tuple[int, ...], Axes]]:
    batch, *sizes = given
    if len(sizes) == 3:
        return [(given, MAPS), ((batch, sizes[2], *sizes[:2]), ((0,), (2,), (3,), (1,)))]
    if len(sizes) == 2:
        first, last = sizes
        return [
            ((batch, first, 1, last), ((0,), (1,), (3,))),
            ((batch, last, 1, first), ((0,), (3,), (1,))),
            ((batch, 1, first, last), ((0,), (2,), (3,))),
        ]
    if len(sizes) == 1:
        return [((batch, *sizes, 1, 1), ROWS), ((batch, 1, 1, *sizes), ((0,), (3,)))]
    return [((batch, *sizes, 1, 1, 1)[:4], MAPS[: len(given)])]


class Arranger:
    """Follows one layout of the image through the network, node by node.

    Attributes:
        nodes: those that are left, over tensors that are all maps.
        shapes: of these tensors.
        views: every tensor of the network, as a view of one of them.
        problems: nodes that cannot be arranged, and why.
        hosted: nodes that the host runs instead.
        unseen: tensors made by nodes that are not understood; what reads them is kept as it is.
        misread: outputs of nodes whose sizes say nothing, since they read tensors of both kinds.
    """

    def __init__(self, network: Network, image: View) -> None:
        self.network, self.image = network, image
        self.nodes: list[Node] = []
        self.constants: dict[str, npt.NDArray[Any]] = dict(network.constants)
        self.shapes: dict[str, tuple[int, ...]] = {network.input: image.shape}
        self.views: dict[str, View | Stack] = {network.input: image}
        self.problems: list[tuple[Node, str]] = []
        self.hosted: dict[str, Node] = {}
        self.unseen: set[str] = set()
        self.misread: set[str] = set()
        self._tail = tail(network)
        self._names = {*network.constants, network.input, *(name for node in network.nodes for name in node.outputs)}

    @property
    def faults(self) -> tuple[int, int]:
        return len(self.problems), len(self.hosted)

    def run(self) -> None:
        for node in self.network.nodes:
            data = self.data(node)
            handler = None if node.domain else HANDLERS.get(node.op)
            if any(tensor in self.hosted for tensor in data):
                self._host(node)
            elif handler is None or any(tensor in self.unseen for tensor in data) or self._constant_data(node):
                self.keep(node)
            else:
                try:
                    handler(self, node)
                except Unarranged as reason:
                    self._fail(node, str(reason))

    def data(self, node: Node) -> list[str]:
        """The tensors that a node reads and that are no constants."""
        return [tensor for tensor in node.inputs if tensor and tensor not in self.network.constants]

    def _constant_data(self, node: Node) -> bool:
        return node.op not in TAKES_CONSTANTS and node.inputs[0] in self.network.constants

    def keep(self, node: Node) -> None:
        """Leave a node as it is: `check_supported` knows what is wrong with it."""
        changed = False
        inputs = []
        for tensor in node.inputs:
            view = self.views.get(tensor)
            changed |= view is not None and (isinstance(view, Stack) or not view.is_maps or len(view.axes) != 4)
            inputs.append(view.base if isinstance(view, View) else tensor)
        self.nodes.append(replace(node, inputs=tuple(inputs)))
        for output in node.outputs:
            self.unseen.add(output)
            if output in self.network.shapes:
                self.shapes[output] = self.network.shapes[output]
        if changed:
            self.misread.add(node.output)

    def leave(self, node: Node) -> None:
        """Keep a node that other rules refuse; raises Unarranged where they could not say why."""
        seen = [self.views.get(tensor) for tensor in self.data(node)]
        if any(not isinstance(view, View) or len(view.axes) != 4 or not view.is_maps for view in seen):
            sizes = [list(self.network.shapes.get(tensor, ())) for tensor in node.inputs if tensor]
            raise Unarranged(
                f"tensors {', '.join(map(str, sizes))} are no maps [N, C, H, W] or rows that it is read for"
            )
        self.keep(node)

    def _fail(self, node: Node, reason: str) -> None:
        stacks = [view.concat for t in self.data(node) if isinstance(view := self.views.get(t), Stack)]
        known = all(self.network.shape(name) is not None for name in node.outputs if name)
        if node.output in self._tail and node.is_a(*MOVING) and known:
            for concat in stacks:
                self._host(concat)
            self._host(node)
            return
        at = stacks[0] if stacks else node
        self.problems.append((at, reason))
        self.unseen.update(node.outputs)
        self.shapes.update((name, self.network.shapes[name]) for name in node.outputs if name in self.network.shapes)

    def _host(self, node: Node) -> None:
        self.hosted.update(dict.fromkeys(filter(None, node.outputs), node))

    # What handlers use.

    def seen(self, tensor: str) -> View | Stack:
        if tensor not in self.views:
            raise Unarranged(f"it reads {shorten(tensor)!r}, which is made by no layer")
        return self.views[tensor]

    def view(self, tensor: str) -> View:
        view = self.seen(tensor)
        if isinstance(view, Stack):
            raise Unarranged(
                "it concatenates flattened maps of different sizes, which only a dense layer can read part by part"
            )
        return view

    def made(self, node: Node, index: int = 0) -> tuple[int, ...]:
        """Shape of what a node makes."""
        shape = self.network.shape(node.outputs[index])
        if shape is None:
            sizes = self.network.shapes.get(node.outputs[index])
            known = "unknown" if sizes is None else str(["?" if size < 0 else size for size in sizes])
            raise Unarranged(f"its output is of {known} shape; only the batch axis may be dynamic: give --shape")
        return shape

    def fresh(self, wish: str) -> str:
        while wish in self._names:
            wish += "'"
        self._names.add(wish)
        return wish

    def constant(self, wish: str, values: npt.NDArray[Any]) -> str:
        name = self.fresh(wish)
        self.constants[name] = values
        return name

    def emit(self, node: Node, shape: Sequence[int], axes: Axes) -> View:
        """Append a node that makes maps of `shape`, which the file's tensor holds as `axes` say."""
        self.nodes.append(node)
        self.shapes[node.output] = tuple(shape)
        view = View(node.output, tuple(shape), axes)
        self.views[node.output] = view
        return view

    def arranged(self) -> Network:
        """The network of maps, its outputs without what is left to the host."""
        network = self.network
        outputs: list[str] = []
        results: list[FileTensor] = []
        for tensor, name in self._outputs():
            view = self.views.get(tensor)
            outputs.append(view.base if isinstance(view, View) else tensor)
            if isinstance(view, View):
                results.append(FileTensor(name, view.sizes, _maps(view.shape), view.axes))
        image = FileTensor(
            name=network.input,
            shape=network.shapes[network.input],
            maps=_maps(self.image.shape),
            axes=self.image.axes,
            scale=network.image_scale,
            offset=network.image_offset,
            kind=network.image_kind,
        )
        labels = [f"{node.label} ({node.op})" for node in dict.fromkeys(self.hosted.values())]
        renamed = {tensor: view.base for tensor, view in self.views.items() if isinstance(view, View)}
        return prune(
            replace(
                network,
                nodes=tuple(self.nodes),
                constants=self.constants,
                shapes=self.shapes,
                outputs=tuple(outputs),
                output_names=tuple(result.name for result in results),
                image=image,
                results=tuple(results),
                host=(*labels, *network.host),
                problems=tuple(self.problems),
                kept=frozenset(node.output for node in self.nodes if node.output in self.unseen),
                misread=frozenset(self.misread),
                pairs={renamed.get(tensor, tensor): self._seen(pair) for tensor, pair in network.pairs.items()},
            )
        )

    def _seen(self, pair: Any) -> Any:
        view = self.views.get(pair.at)
        return replace(pair, axes=view.axes) if isinstance(view, View) else pair

    def _outputs(self) -> list[tuple[str, str]]:
        """The tensors that leave the accelerator and the file's names of them, with those that the host needs."""
        return hosted_outputs(self.network, self.hosted)


def hosted_outputs(network: Network, hosted: Mapping[str, Node]) -> list[tuple[str, str]]:
    """Tensors and names of the outputs, what the host makes replaced by what it makes that of."""
    given = list(zip(network.outputs, network.output_names, strict=True))
    found: list[tuple[str, str]] = []
    wanted, done = given[::-1], set(network.outputs) - hosted.keys()
    while wanted:
        tensor, name = wanted.pop()
        if tensor in hosted:
            inner = [t for t in hosted[tensor].inputs if t and t not in network.constants and t != network.input]
            fresh = [t for t in dict.fromkeys(inner) if t not in done]
            done.update(fresh)
            wanted += [(t, t) for t in reversed(fresh)]
        else:
            found.append((tensor, name))
    return found


def _maps(shape: Sequence[int]) -> tuple[int, int, int]:
    _, channels, height, width = shape
    return channels, height, width


def tail(network: Network) -> set[str]:
    """Outputs of the nodes that no weights follow, in topological order from the end."""
    heavy: set[str] = set()
    found: set[str] = set()
    for node in reversed(network.nodes):
        if node.is_a(*WEIGHTED) or any(tensor in heavy for tensor in node.outputs):
            heavy.update(node.inputs)
        else:
            found.add(node.output)
    return found


Handler = Callable[[Arranger, Node], None]
HANDLERS: dict[str, Handler] = {}
"""What becomes of a node, by ONNX operator. Handlers raise Unarranged, or `keep` what other rules will refuse."""


def arranges(*ops: str) -> Callable[[Handler], Handler]:
    """Decorator: the handler for ONNX operators `ops`."""

    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(ops, handler))
        return handler

    return enter
