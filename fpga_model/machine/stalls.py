"""Stalls of the DRAM: cycles in which nothing happens on a channel, and what LOAD and STORE make of them.

docs/microarchitecture.md, section 12. Cycles are those of an image; a trace is the same for every image.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpga_model.errors import UserError
from fpga_model.machine.platform import INTERVAL_UNIT, Platform
from fpga_model.machine.tiles import DramRuns
from fpga_model.machine.timing import LOAD_DONE, LOAD_FIRST_ADDRESS, STORE_DONE, STORE_FIRST_BEAT, bursts, bus_cycles

CHANNELS = ("AR", "R", "AW", "W", "B")
MAX_CYCLES = 1 << 22


@dataclass(frozen=True)
class Stalls:
    """A trace of stalls.

    Attributes:
        bits: for every cycle a bit a channel, in the order of CHANNELS; no stalls after the last.
    """

    bits: bytes

    @classmethod
    def random(cls, seed: int, cycles: int, share: float, longest: int = 1) -> Stalls:
        """Stalls on all channels apart.

        Args:
            seed: of the random numbers.
            cycles: length of the trace.
            share: of the cycles in which a channel is stalled, about.
            longest: cycles that one stall may last.
        """
        random = np.random.default_rng(seed)
        bits = np.zeros(cycles, np.uint8)
        for channel in range(len(CHANNELS)):
            starts = np.flatnonzero(random.random(cycles) < share * 2 / (longest + 1))
            for start, length in zip(starts, random.integers(1, longest + 1, len(starts)), strict=True):
                bits[start : start + length] |= 1 << channel
        return cls(bits.tobytes())

    def next_free(self, channel: str, cycle: int) -> int:
        """The first cycle from `cycle` on in which something may happen on a channel."""
        bit = 1 << CHANNELS.index(channel)
        while cycle < len(self.bits) and self.bits[cycle] & bit:
            cycle += 1
        return cycle

    def write(self, path: Path) -> None:
        """As text: the number of cycles, then a line for each cycle with stalls: cycle, bits."""
        lines = [str(len(self.bits)), *(f"{cycle} {bits}" for cycle, bits in enumerate(self.bits) if bits)]
        path.write_text("\n".join(lines) + "\n", "ascii")

    @classmethod
    def read(cls, path: Path) -> Stalls:
        """The trace in a file that `write` made.

        Raises:
            UserError: it is none.
        """
        try:
            (length, *_), *rows = [
                [int(word) for word in line.split()] for line in path.read_text("ascii").splitlines()
            ]
            if not 0 <= length <= MAX_CYCLES:
                raise ValueError(f"{length} cycles")
            bits = bytearray(length)
            for cycle, value in rows:
                if not (0 <= cycle < length and 0 <= value < 1 << len(CHANNELS)):
                    raise ValueError(f"{cycle} {value}")
                bits[cycle] = value
        except OSError as error:
            raise UserError(f"stall trace {path}: {error.strerror or error}") from error
        except ValueError as error:
            raise UserError(
                f"stall trace {path}: {error}; its first line is the number of cycles, and each other line a cycle and "
                f"the bits of the channels {', '.join(CHANNELS)} (bit 0 is {CHANNELS[0]})"
            ) from error
        return cls(bytes(bits))

    # --- LOAD and STORE ----------------------------------------------------------------------------------------

    def load_cycles(self, dram: DramRuns, platform: Platform, start: int) -> int:
        """Cycles of a LOAD that starts in cycle `start`."""
        address, free, last = start + LOAD_FIRST_ADDRESS - 1, start, start
        window: deque[int] = deque(maxlen=platform.outstanding)
        for n in bursts(dram, platform):
            oldest = window[0] if len(window) == platform.outstanding else -1
            address = self.next_free("AR", max(address, oldest) + 1)
            first = self.next_free("R", max(address + platform.read_latency, free))
            last = self._beats("R", first, n, platform)
            window.append(last)
            free = max(first + bus_cycles(n, platform), last + 1) + platform.burst_gap
        return last + LOAD_DONE + 1 - start

    def store_cycles(self, dram: DramRuns, platform: Platform, start: int) -> int:
        """Cycles of a STORE that starts in cycle `start`."""
        address, free, answer = start, start + STORE_FIRST_BEAT, start
        for n in bursts(dram, platform):
            address = self.next_free("AW", address + 1)
            first = self.next_free("W", max(free, address + 1))
            last = self._beats("W", first, n, platform)
            answer = self.next_free("B", max(last + platform.write_latency, answer + 1))
            free = max(first + bus_cycles(n, platform), last + 1) + platform.burst_gap
            address = first
        return answer + STORE_DONE + 1 - start

    def _beats(self, channel: str, first: int, n: int, platform: Platform) -> int:
        """Cycle of the last of `n` beats, each no earlier than the bus's pace from the first on, nor stalled."""
        last = first
        for beat in range(1, n):
            last = self.next_free(channel, max(last + 1, first + beat * platform.beat_interval // INTERVAL_UNIT))
        return last
