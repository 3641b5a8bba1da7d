"""Waits derived from what operations touch, so that no order has to be placed by hand."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from fpga_model.collection import collection_paused
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import Operation
from fpga_model.machine.tiles import Footprint, Port, Unit, Waits

FEW = 256
"""So many ranges of a memory are not worth going through to forget some of them."""


@dataclass
class Touches:
    """For every word of one memory, the number of the last operation that touched it: sorted, disjoint intervals.

    `limit`: of intervals, beyond which those that nobody asks for are forgotten.
    """

    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    limit: int = field(default_factory=lambda: FEW)

    def latest(self, begin: int, end: int) -> int:
        """The highest number in a range; 0 for none."""
        low, high = bisect_right(self.ends, begin), bisect_left(self.begins, end)
        if high - low == 1:  # the usual case
            return self.numbers[low]
        return max(self.numbers[low:high], default=0)

    def touch(self, begin: int, end: int, number: int) -> None:
        """Set a range to a number that is higher than all before."""
        low, high = bisect_right(self.ends, begin), bisect_left(self.begins, end)
        if low == high:  # a range that nobody touched
            self.begins.insert(low, begin)
            self.ends.insert(low, end)
            self.numbers.insert(low, number)
            return
        if high - low == 1 and self.begins[low] == begin and self.ends[low] == end:  # the same range again
            self.numbers[low] = number
            return
        pieces = []
        if self.begins[low] < begin:
            pieces.append((self.begins[low], begin, self.numbers[low]))
        pieces.append((begin, end, number))
        if self.ends[high - 1] > end:
            pieces.append((end, self.ends[high - 1], self.numbers[high - 1]))
        self.begins[low:high] = [piece[0] for piece in pieces]
        self.ends[low:high] = [piece[1] for piece in pieces]
        self.numbers[low:high] = [piece[2] for piece in pieces]

    def forget(self, number: int) -> None:
        """Drop what operations up to `number` touched last."""
        kept = [index for index, last in enumerate(self.numbers) if last > number]
        self.begins = [self.begins[index] for index in kept]
        self.ends = [self.ends[index] for index in kept]
        self.numbers = [self.numbers[index] for index in kept]


@dataclass
class _History:
    """What the operations of one unit have touched so far, as far as those of others do not wait for it anyway."""

    count: int = 0
    reads: dict[str, Touches] = field(default_factory=lambda: defaultdict(Touches))
    writes: dict[str, Touches] = field(default_factory=lambda: defaultdict(Touches))
    ports: dict[Port, int] = field(default_factory=dict)

    def needed(self, later: Footprint) -> int:
        """The last operation that a later one of another unit depends on; 0 for none."""
        number = 0
        for port in later.ports:
            number = max(number, self.ports.get(port, 0))
        for spans, earlier in ((later.reads, (self.writes,)), (later.writes, (self.reads, self.writes))):
            for memory, begin, end in spans:
                for touched in earlier:
                    if memory in touched:
                        number = max(number, touched[memory].latest(begin, end))
        return number

    def add(self, footprint: Footprint, awaited: int) -> None:
        """Add an operation; of those up to `awaited` nobody needs to know any more what they touched.

        Ranges are forgotten whenever there are twice as many as were left the last time. So a network as deep as it may
        be leaves short lists, and forgetting takes time in proportion to the operations.
        """
        self.count += 1
        for touched, spans in ((self.reads, footprint.reads), (self.writes, footprint.writes)):
            for memory, begin, end in spans:
                ranges = touched[memory]
                ranges.touch(begin, end, self.count)
                if len(ranges.begins) > ranges.limit:
                    ranges.forget(awaited)
                    ranges.limit = max(FEW, 2 * len(ranges.begins))
        self.ports.update(dict.fromkeys(footprint.ports, self.count))


@collection_paused()
def with_waits(operations: Iterable[Operation], accelerator: Accelerator) -> tuple[Operation, ...]:
    """Operations in program order, each with waits for the earlier ones of other units that it conflicts with.

    That is a true, anti or output dependence, or a shared port of a page. An operation is given at least the waits of
    its unit's operation before it, which it follows anyway; those that it had are replaced.
    """
    histories = {unit: _History() for unit in Unit}
    waits = {unit: dict.fromkeys((other.value for other in Unit), 0) for unit in Unit}
    ordered = []
    for operation in operations:
        mine, found = operation.footprint(accelerator), waits[operation.unit]
        for unit, history in histories.items():
            if unit is not operation.unit:
                found[unit.value] = max(found[unit.value], history.needed(mine))
        awaited = min(waits[unit][operation.unit.value] for unit in Unit if unit is not operation.unit)
        histories[operation.unit].add(mine, awaited)
        ordered.append(replace(operation, waits=Waits(**found)))
    return tuple(ordered)
