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
from fpga_model.machine.commands import Chunks, Command, Convolve, Load, PoolRows, Store, Unit, Window
from fpga_model.machine.platform import Platform


def burst_lengths(dram: Chunks, platform: Platform) -> list[int]:
    """Beats of each burst, found by walking beat by beat."""
    lengths: list[int] = []
    for run in range(dram.count):
        begin = dram.address + run * dram.stride
        length = 0
        for address in range(begin, begin + dram.bytes, platform.beat_bytes):
            if length and (length == platform.burst_beats or address % 4096 == 0):
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


def load_cycles(load: Load, platform: Platform) -> int:
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


def store_cycles(store: Store, platform: Platform) -> int:
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


def bank_passes(stride: int, interleave: int, Poy: int) -> int:
    """The most rows of a window, Poy of them, that lie in the same bank."""
    if stride == interleave:
        return 1
    counts = []
    for first in range(64 * interleave * Poy):
        rows = [first + j * stride for j in range(Poy)]
        banks = [row // interleave % Poy for row in rows]
        counts.append(max(banks.count(b) for b in set(banks)))
    return max(counts)


def shortcut_words(stride: int, accelerator: Accelerator) -> int:
    """The most words that hold the shortcut's pixels of one group of Pox columns."""
    Pox, most = accelerator.Pox, 0
    for ox in range(0, 64 * Pox, Pox):
        words = {(ox + lane) * stride // (2 * Pox) for lane in range(Pox)}
        most = max(most, max(words) - min(words) + 1)
    return most


def convolve_cycles(command: Convolve, accelerator: Accelerator) -> int:
    """Cycles of a convolution: line fetch, array and drain stepped side by side."""
    window = command.window
    fetch = words_touched(window, command.Nox, accelerator) * bank_passes(
        window.stride_y, command.source.interleave, accelerator.Poy
    )
    slots = 1 if command.shortcut is None else 1 + shortcut_words(command.shortcut.stride_x, accelerator)
    groups: deque[tuple[int, int]] = deque()  # (steps, drain cycles)
    maps = range(command.of, command.of + command.Tof)
    for _, lanes in groupby(maps, lambda m: (m // accelerator.Pof, m // command.Gof)):
        live_maps = len(list(lanes))
        for oy in range(0, command.Toy, accelerator.Poy):
            for _ in range(0, command.Nox, accelerator.Pox):
                live = live_maps * min(accelerator.Poy, command.Toy - oy)
                groups.append((command.Nif * window.Nky, live * slots))
    cycle = 8 + fetch  # the pipeline's depth, then the first line, which no step hides
    steps, result = groups.popleft()
    waves = reads = 0  # of the step under way
    drain = 0
    summing = True
    while summing or drain:
        if summing and steps:
            waves += waves < window.Nkx
            reads += reads < fetch
            if waves == window.Nkx and reads == fetch:
                steps, waves, reads = steps - 1, 0, 0
        drain -= drain > 0
        if summing and not steps and not drain:
            drain = result
            summing = bool(groups)
            if groups:
                steps, result = groups.popleft()
        cycle += 1
    return cycle + 6


def pool_cycles(command: PoolRows, accelerator: Accelerator) -> int:
    """Cycles of a pooling: the reads of a group beside the columns of the group before it."""
    reads = command.window.Nky * words_touched(command.window, command.Nox, accelerator)
    cycle, columns = 4, command.window.Nkx  # both stages keep one pace from the first group on
    for _ in range(command.Tof * command.Toy * -(-command.Nox // accelerator.Pox)):
        port = reads + 1  # one slot is the write of an earlier group
        while port or columns:
            port -= port > 0
            columns -= columns > 0
            cycle += 1
        columns = command.window.Nkx
    return cycle + columns + 6


def command_cycles(command: Command, accelerator: Accelerator, platform: Platform) -> int:
    """Cycles of any command, stepped."""
    if isinstance(command, Load):
        return load_cycles(command, platform)
    if isinstance(command, Store):
        return store_cycles(command, platform)
    if isinstance(command, Convolve):
        return convolve_cycles(command, accelerator)
    return pool_cycles(command, accelerator)


@dataclass
class _Unit:
    queue: deque[int] = field(default_factory=deque)
    completed: int = 0
    busy: int = 0


def run(commands: Sequence[Command], cycles_of: Callable[[Command], int]) -> list[tuple[int, int]]:
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
