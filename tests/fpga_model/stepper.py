"""The timing contract (docs/microarchitecture.md, sections 3 to 7) as state machines that are stepped cycle by cycle.

Written from that page alone, without the closed forms of fpga_model/machine/timing.py, to which its results are
compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import ConvolveOp, LoadOp, Operation, PoolOp, StoreOp
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import DramRuns, Unit, Window


def burst_lengths(dram: DramRuns, platform: Platform) -> list[int]:
    """Beats of each burst, found by walking beat by beat."""
    lengths: list[int] = []
    for run in range(dram.count):
        begin = dram.address + run * dram.stride
        length = 0
        block = min(4096, platform.burst_beats * platform.beat_bytes)
        for address in range(begin, begin + dram.bytes, platform.beat_bytes):
            if length and address % block == 0:
                lengths.append(length)
                length = 0
            length += 1
        lengths.append(length)
    return lengths


@dataclass
class Bus:
    """The data channel: one beat every `interval / 256` cycles, idle for `gap` cycles after a burst."""

    interval: int
    gap: int
    left: int = 0  # beats of the burst under way
    owed: int = 0  # 1/256 cycles that the beats so far have not paid yet
    idle: int = 0

    @property
    def free(self) -> bool:
        return not self.left and self.owed <= 0 and not self.idle

    def step(self, offer: int) -> bool:
        """One cycle, in which a burst of `offer` beats may begin (0: none); whether the burst's last beat moves."""
        if self.free and offer:
            self.left, self.owed = offer, 0
        ended = False
        if self.left and self.owed < 256:
            self.left -= 1
            self.owed += self.interval
            ended = not self.left
            if ended:
                self.idle = self.gap
        elif not self.left and self.owed <= 0 and self.idle:
            self.idle -= 1
        self.owed -= 256
        return ended


def load_cycles(load: LoadOp, platform: Platform) -> int:
    """Cycles of a LOAD: decode, one address a cycle, data in order, write, complete."""
    waiting = deque(burst_lengths(load.dram, platform))
    flying: deque[tuple[int, int]] = deque()  # (cycle in which data may come, beats)
    bus = Bus(platform.beat_interval, platform.burst_gap)
    open_bursts, moving, cycle = 0, False, 0
    while True:
        if cycle >= 1 and waiting and open_bursts < platform.outstanding:
            flying.append((cycle + platform.read_latency, waiting.popleft()))
            open_bursts += 1
        offer = flying[0][1] if flying and flying[0][0] <= cycle and not moving else 0
        began = bool(offer) and bus.free
        moving = moving or began
        if bus.step(offer):
            flying.popleft()
            open_bursts -= 1
            moving = False
            if not flying and not waiting:
                return cycle + 2 + 1  # written in the next cycle, complete in the one after
        cycle += 1


def store_cycles(store: StoreOp, platform: Platform) -> int:
    """Cycles of a STORE: decode, address, memory read 2, data, response, complete."""
    waiting = deque(burst_lengths(store.dram, platform))
    bus = Bus(platform.beat_interval, platform.burst_gap)
    cycle, moving = 4, False
    while True:
        offer = waiting[0] if waiting and not moving else 0
        moving = moving or (bool(offer) and bus.free)
        if bus.step(offer):
            waiting.popleft()
            moving = False
            if not waiting:
                return cycle + platform.write_latency + 1 + 1
        cycle += 1


def words_touched(window: Window, Nox: int, accelerator: Accelerator) -> int:
    """The most feature words of one row under the windows of a column group."""
    word = 2 * accelerator.Pox
    most = 0
    for ox in range(0, Nox, accelerator.Pox):
        lanes = min(accelerator.Pox, Nox)
        columns = [
            (ox + lane) * window.stride_x - window.pad_left + kx * window.dilation_x
            for lane in range(lanes)
            for kx in range(window.Nkx)
        ]
        most = max(most, max(columns) // word - min(columns) // word + 1)
    return most


def row_reads(window: Window, Toy: int, interleave: int, Poy: int) -> int:
    """Reads of one word of every row of a group: all at once where they lie in consecutive banks, or one by one."""
    rows = min(Poy, Toy)
    if window.stride_y != interleave and rows > 1:
        return rows
    for first in range(2 * interleave * Poy):
        banks = [(first + j * window.stride_y) // interleave % Poy for j in range(rows)]
        assert banks == [(banks[0] + j) % Poy for j in range(rows)], "rows of a group are rotated, not permuted"
    return 1


def shortcut_words(stride: int, accelerator: Accelerator) -> int:
    """The most words that hold the shortcut's pixels of one group of Pox columns."""
    Pox, most = accelerator.Pox, 0
    for ox in range(0, 64 * Pox, Pox):
        words = {(ox + lane) * stride // (2 * Pox) for lane in range(Pox)}
        most = max(most, max(words) - min(words) + 1)
    return most


def convolve_cycles(command: ConvolveOp, accelerator: Accelerator) -> int:
    """Cycles of a convolution: line fetch, array and drain stepped side by side."""
    window = command.window
    fetch = words_touched(window, command.Nox, accelerator) * row_reads(
        window, command.Toy, command.source.interleave, accelerator.Poy
    )
    slots = 1 if command.shortcut is None else shortcut_words(command.shortcut.stride_x, accelerator)
    groups: deque[tuple[int, int]] = deque()  # (steps, drain cycles)
    maps = range(command.of, command.of + command.Tof)
    for _, lanes in groupby(maps, lambda m: (m // accelerator.Pof, m // command.Gof)):
        live_maps = len(list(lanes))
        for oy in range(0, command.Toy, accelerator.Poy):
            for _ in range(0, command.Nox, accelerator.Pox):
                live = live_maps * min(accelerator.Poy, command.Toy - oy)
                groups.append((command.Nif * window.Nky, live * slots))
    cycle = 1 + fetch  # decode, then the first line, which no step hides
    steps, result = groups.popleft()
    waves = reads = summed = 0  # of the step under way; cycles of the group
    drain = 0
    summing = True
    while summing or drain:
        if summing:
            summed += 1
            if steps:
                waves += waves < window.Nkx
                reads += reads < fetch
                if waves == window.Nkx and reads == fetch:
                    steps, waves, reads = steps - 1, 0, 0
        drain -= drain > 0
        if summing and not steps and summed >= 4 and not drain:
            drain, summed = result, 0
            summing = bool(groups)
            if groups:
                steps, result = groups.popleft()
        cycle += 1
    return cycle + 15  # the last slot's way to the page


def pool_cycles(command: PoolOp, accelerator: Accelerator) -> int:
    """Cycles of a pooling: the reads of a group beside the columns of the group before it."""
    reads = command.window.Nky * words_touched(command.window, command.Nox, accelerator)
    cycle, columns = 1, command.window.Nkx  # both stages keep one pace from the first group on
    for _ in range(command.Tof * command.Toy * -(-command.Nox // accelerator.Pox)):
        port, taken = reads, 0
        while port or columns or taken < 2:
            port -= port > 0
            columns -= columns > 0
            taken += 1
            cycle += 1
        columns = command.window.Nkx
    return cycle + columns + 15


def command_cycles(command: Operation, accelerator: Accelerator, platform: Platform) -> int:
    """Cycles of any command, stepped."""
    if isinstance(command, LoadOp):
        return load_cycles(command, platform)
    if isinstance(command, StoreOp):
        return store_cycles(command, platform)
    if isinstance(command, ConvolveOp):
        return convolve_cycles(command, accelerator)
    return pool_cycles(command, accelerator)


@dataclass
class _Unit:
    queue: deque[int] = field(default_factory=deque)
    completed: int = 0
    busy: int = 0


def run(commands: Sequence[Operation], cycles_of: Callable[[Operation], int]) -> list[tuple[int, int]]:
    """(start, completion) of every command: three units stepped cycle by cycle with their counters."""
    units = {unit: _Unit() for unit in Unit}
    for index, command in enumerate(commands):
        units[command.unit].queue.append(index)
    times = [(-1, -1)] * len(commands)
    cycle = 0
    while any(unit.queue for unit in units.values()):
        seen = {name: unit.completed for name, unit in units.items()}  # as they stood when the cycle began
        for unit in units.values():
            if not unit.queue:
                continue
            index = unit.queue[0]
            waits = commands[index].waits
            ready = seen[Unit.LOAD] >= waits.load and seen[Unit.COMPUTE] >= waits.compute
            if not unit.busy and ready and seen[Unit.STORE] >= waits.store:
                unit.busy = cycles_of(commands[index])
                times[index] = cycle, -1
            if unit.busy:
                unit.busy -= 1
                if not unit.busy:
                    times[index] = times[index][0], cycle
                    unit.queue.popleft()
                    unit.completed += 1
        cycle += 1
    return times
