"""The pass that turns concatenations and slices of channels into gatherings of stored channels."""

from __future__ import annotations

from collections import Counter

from cgap.lowering.onnx.network import DOMAIN, Edit, Network, Node, rewrite
from cgap.lowering.passes.affine import channels_of

Range = tuple[str, int, int]
"""A tensor, the first of its channels that are taken, and how many."""


def lower_concatenations(network: Network) -> Network:
    """Pass: Concat and Slice along the channels become Concatenation; nested ones, read once, become one."""
    return rewrite(network, _gather)


def _gather(network: Network, node: Node) -> Edit | None:
    ranges = _ranges(network, node)
    if ranges is None:
        return None
    found: list[Range] = []
    removed = [node]
    uses = Counter(tensor for tensor, _, _ in ranges)
    for tensor, first, count in ranges:
        # Read once only: ranges that are read again and again would double with every level.
        inner = network.producer(tensor) if network.only_reader(tensor) and uses[tensor] == 1 else None
        deeper = None if inner is None else _ranges(network, inner)
        if inner is not None and deeper is not None:
            removed.append(inner)
        for piece in [(tensor, first, count)] if deeper is None else _cut(deeper, first, count):
            if found and found[-1][0] == piece[0] and sum(found[-1][1:]) == piece[1]:
                found[-1] = (piece[0], found[-1][1], found[-1][2] + piece[2])
            else:
                found.append(piece)
    if len(found) == 1 and found[0][1:] == (0, channels_of(network, found[0][0])):
        return Edit(tuple(removed), rename={node.output: found[0][0]})
    made = _concatenation(node.name, node.output, found)
    same = node.domain == DOMAIN and (made.inputs, made.attributes) == (node.inputs, node.attributes)
    return None if same else Edit(tuple(removed), made)


def _concatenation(name: str, output: str, ranges: list[Range]) -> Node:
    sources = list(dict.fromkeys(tensor for tensor, _, _ in ranges))
    parts = [number for tensor, first, count in ranges for number in (sources.index(tensor), first, count)]
    return Node(name, "Concatenation", tuple(sources), (output,), {"parts": parts}, DOMAIN)


def _ranges(network: Network, node: Node) -> list[Range] | None:
    """The channels that a node stacks; None if it does anything else."""
    if node.is_a("Concatenation", domain=DOMAIN):
        numbers = iter(node.attributes["parts"])
        return [(node.inputs[source], first, count) for source, first, count in zip(*[numbers] * 3, strict=True)]
    if node.is_a("Concat"):
        return _stacked(network, node)
    return _sliced(network, node) if node.is_a("Slice") else None


def _stacked(network: Network, node: Node) -> list[Range] | None:
    shape = network.shape(node.output)
    if shape is None or len(shape) not in (2, 4) or node.attributes["axis"] not in (1, 1 - len(shape)):
        return None
    found = []
    for tensor in node.inputs:
        count = channels_of(network, tensor)
        if count is None or tensor in network.constants:
            return None
        found.append((tensor, 0, count))
    return found


def _sliced(network: Network, node: Node) -> list[Range] | None:
    data = node.inputs[0]
    shape, made = network.shape(data), network.shape(node.output)
    starts, ends = network.argument(node, "starts", 1), network.argument(node, "ends", 2)
    if shape is None or made is None or starts is None or ends is None or channels_of(network, data) is None:
        return None
    axes = network.argument(node, "axes", 3) or list(range(len(starts)))
    steps = network.argument(node, "steps", 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or any(step != 1 for step in steps):
        return None
    if any(not -len(shape) <= axis < len(shape) for axis in axes):
        return None
    taken = [range(size) for size in shape]
    for start, end, axis in zip(starts, ends, axes, strict=True):
        taken[axis % len(shape)] = range(shape[axis % len(shape)])[start:end]
    if tuple(map(len, taken)) != made or shape[:1] + shape[2:] != made[:1] + made[2:]:
        return None
    return [(data, taken[1].start, made[1])]


def _cut(ranges: list[Range], first: int, count: int) -> list[Range]:
    """Channels `first ... first+count-1` of stacked ranges."""
    found, place = [], 0
    for tensor, begin, size in ranges:
        low, high = max(first, place), min(first + count, place + size)
        if low < high:
            found.append((tensor, begin + low - place, high - low))
        place += size
    return found
