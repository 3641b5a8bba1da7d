"""On-chip memory: rings for parameters, liveness and first fit for feature maps."""

from __future__ import annotations

from dataclasses import dataclass, field

from fpga_model.graph import LayerGraph
from fpga_model.machine.accelerator import Accelerator

Interval = tuple[int, int]
"""A half-open range of words."""


@dataclass
class Ring:
    """Contiguous allocations that follow one another around a memory; the hazards keep users of a place in order."""

    capacity: int
    head: int = 0

    def take(self, words: int) -> int:
        """Address of the next `words` words."""
        assert 0 < words <= self.capacity, "the planner never asks for more than the memory has"
        begin = self.head if self.head + words <= self.capacity else 0
        self.head = begin + words
        return begin


@dataclass
class Pages:
    """What is taken in every page at one moment."""

    accelerator: Accelerator
    taken: list[list[Interval]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.taken = self.taken or [[] for _ in range(self.accelerator.pages)]

    def copy(self) -> Pages:
        return Pages(self.accelerator, [list(page) for page in self.taken])

    def free(self, page: int) -> int:
        """Words not taken in a bank of the page."""
        return self.accelerator.page_depth - sum(end - begin for begin, end in self.taken[page])

    def fit(self, depth: int, page: int) -> int | None:
        """The lowest address in the page where `depth` words fit, which are then taken; None if there is none."""
        begin = 0
        for low, high in sorted(self.taken[page]):
            if low - begin >= depth:
                break
            begin = max(begin, high)
        if begin + depth > self.accelerator.page_depth:
            return None
        self.taken[page].append((begin, begin + depth))
        return begin


def live_ranges(graph: LayerGraph) -> dict[str, tuple[int, int]]:
    """For every tensor the indices of the layer that makes it and of the last layer that reads it."""
    order = {layer.name: index for index, layer in enumerate(graph.layers)}
    last = dict(order)
    for layer in graph.layers:
        for source in layer.inputs:
            last[source] = max(last[source], order[layer.name])
    return {name: (order[name], last[name]) for name in order}


@dataclass(frozen=True)
class Placed:
    """A tensor in a page for as long as it lives."""

    page: int
    address: int
    depth: int
    live: tuple[int, int]
