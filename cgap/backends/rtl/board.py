"""A simulated board: the RTL with a memory, which a host drives through two pipes (`hls_templates/rtl/sim/`).

It offers what PYNQ does: registers to read and write, and buffers that both sides see. So the driver of
`cgap/backends/host` runs on it as it is.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import tempfile
import time
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from cgap.boundary.locks import scratch
from cgap.boundary.processes import Tool, end_of
from fpga_model.errors import UserError
from fpga_model.machine.platform import AXI_BOUNDARY, Platform
from fpga_model.machine.stalls import Stalls
from fpga_model.schedule.dram import round_up

MAX_WAIT = 1 << 20
"""Cycles of one wait for the interrupt."""
START_S, END_S = 60.0, 10.0
_POLL_MS = 200
UNWRITTEN = 0xA5
"""What a new buffer holds."""
TAIL_LINES = 15


class BoardEnded(UserError):
    """The simulation has ended: by an assertion, or because it was told to."""


class Request(IntEnum):
    """What a host can ask for; `operation_e` of `harness.sv`."""

    WRITE_REGISTER = 1
    READ_REGISTER = 2
    WRITE_MEMORY = 3
    READ_MEMORY = 4
    WAIT = 5
    CLOCK = 6
    FIGURE = 7
    TRACE = 8
    STALLS = 9
    WAVES = 10
    ELAPSED = 11


class Buffer(np.ndarray[Any, np.dtype[Any]]):
    """An array with a place in the board's memory, as PYNQ's are: what the host writes is there after a `sync`."""

    physical_address: int
    board: Board

    def sync_to_device(self) -> None:
        """What the array holds goes to the memory."""
        self.board.write_memory(self.physical_address, self.tobytes())

    def sync_from_device(self) -> None:
        """What the memory holds comes into the array."""
        data = self.board.read_memory(self.physical_address, self.nbytes)
        self[...] = np.frombuffer(data, self.dtype).reshape(self.shape)

    def freebuffer(self) -> None:
        """Give its place back."""
        self.board.release(self.physical_address)


class Board:
    """A simulation that runs until it is closed. Its time passes only while the host waits, reads and writes."""

    def __init__(self, binary: Path, memory_bytes: int, options: tuple[str, ...] = ()) -> None:
        """Start it.

        Args:
            binary: made by `build_simulation`.
            memory_bytes: of the memory that it was built with.
            options: plus-arguments, for replaced modules.

        Raises:
            UserError: it does not start.
        """
        self.memory_bytes = memory_bytes
        self._taken: dict[int, int] = {}
        self._resources = contextlib.ExitStack()
        try:
            self._start(binary, options)
        except BaseException:
            self._resources.close()
            raise

    def _start(self, binary: Path, options: tuple[str, ...]) -> None:
        self.folder = self._resources.enter_context(scratch())
        pipes = {name: self.folder / name for name in ("requests", "replies")}
        for pipe in pipes.values():
            os.mkfifo(pipe, 0o600)
        self._output: IO[bytes] = self._resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        # Open before the simulation opens it, which waits for a reader; it opens the requests after.
        self._replies = os.open(pipes["replies"], os.O_RDONLY | os.O_NONBLOCK)
        self._resources.callback(os.close, self._replies)
        arguments = [f"+{name}={path}" for name, path in pipes.items()]
        self._tool = Tool([str(binary), *arguments, *options], self._output)
        self._resources.callback(self._end)
        limit = time.monotonic() + START_S
        while True:
            try:
                self._requests = os.open(pipes["requests"], os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError as error:  # nobody reads it yet
                if self._tool.poll() is not None or time.monotonic() > limit:
                    raise self._failure() from error
                time.sleep(0.002)
        self._resources.callback(os.close, self._requests)
        os.set_blocking(self._requests, True)
        os.set_blocking(self._replies, True)
        self._poll = select.poll()
        self._poll.register(self._replies, select.POLLIN)

    def close(self) -> None:
        """End the simulation; an assertion that failed is told."""
        self._resources.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    # --- requests ----------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """The simulation ends by itself when nobody asks any more, and then has written its files."""
        limit = time.monotonic() + END_S
        while self._tool.poll() is None and time.monotonic() < limit:
            time.sleep(0.002)
        self._tool.stop()

    def _failure(self) -> BoardEnded:
        self._end()
        lines = end_of(self._output).strip().splitlines()
        errors = [line for line in lines if "rror" in line or "fatal" in line.lower()][:TAIL_LINES]
        return BoardEnded("the simulation of the RTL failed:\n" + "\n".join(errors or lines[-TAIL_LINES:]))

    def ask(self, request: Request, address: int = 0, value: int = 0, data: bytes = b"") -> int:
        """Send a request and return its answer.

        Raises:
            BoardEnded: the simulation has ended, for example by an assertion.
        """
        try:
            message = struct.pack("<QQQ", request, address, value) + data
            while message:
                message = message[os.write(self._requests, message) :]
        except BrokenPipeError:
            raise self._failure() from None
        return int.from_bytes(self._take(8), "little")

    def ask_about(self, request: Request, name: str, address: int = 0) -> int:
        """A request that carries a name."""
        data = name.encode()
        return self.ask(request, address, len(data), data)

    def _take(self, size: int) -> bytes:
        parts = []
        while size:
            while not self._poll.poll(_POLL_MS):
                pass  # a simulation that ends closes the pipe
            part = os.read(self._replies, min(size, 1 << 20))
            if not part:
                raise self._failure()
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    # --- what PYNQ offers --------------------------------------------------------------------------------------

    def read(self, offset: int = 0) -> int:
        """A register."""
        return self.ask(Request.READ_REGISTER, offset)

    def write(self, offset: int, data: int) -> None:
        """Write a register."""
        self.ask(Request.WRITE_REGISTER, offset, data)

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """A buffer at a multiple of 4 KiB.

        Raises:
            UserError: the memory is full.
        """
        array = np.zeros(shape, dtype).view(Buffer)
        size, address = max(1, array.nbytes), 0
        for begin, taken in sorted(self._taken.items()):
            if begin - address >= size:
                break
            address = round_up(begin + taken, AXI_BOUNDARY)
        if address + size > self.memory_bytes:
            raise UserError(f"the simulated memory of {self.memory_bytes:,} bytes has no room for {size:,} more")
        self._taken[address] = size
        array.physical_address, array.board = address, self
        # What lay here before must not stand in for what is never written.
        self.write_memory(address, bytes([UNWRITTEN]) * size)
        return array

    def release(self, address: int) -> None:
        """Forget a buffer."""
        del self._taken[address]

    def write_memory(self, address: int, data: bytes) -> None:
        """Bytes into the memory."""
        self.ask(Request.WRITE_MEMORY, address, len(data), data)

    def read_memory(self, address: int, size: int) -> bytes:
        """Bytes out of the memory."""
        return self._take(self.ask(Request.READ_MEMORY, address, size))

    # --- time, bus and trace -----------------------------------------------------------------------------------

    def wait(self) -> bool:
        """Let time pass until the interrupt, at most MAX_WAIT cycles; whether it came."""
        return bool(self.ask(Request.WAIT, value=MAX_WAIT))

    def clock(self, cycles: int = 64) -> None:
        """Let time pass."""
        self.ask(Request.CLOCK, value=cycles)

    def set_platform(self, platform: Platform) -> None:
        """Give the memory the timing of a platform; its beats must be as wide as those that were built."""
        figures = {
            "read_latency": platform.read_latency,
            "write_latency": platform.write_latency,
            "gap": platform.burst_gap,
            "interval": platform.beat_interval,
        }
        for name, value in figures.items():
            self.set_figure(name, value)

    def set_figure(self, name: str, value: int) -> None:
        """A figure or a fault of `dram_model.sv`."""
        self.ask_about(Request.FIGURE, name, value)

    def set_stalls(self, stalls: Stalls | None) -> None:
        """What the memory does not do, cycle by cycle of every image."""
        path = self.folder / "stalls.txt"
        if stalls is not None:
            stalls.write(path)
        self.ask_about(Request.STALLS, "" if stalls is None else str(path))

    def begin_trace(self) -> None:
        """Keep what the first image of the next start does."""
        self.ask_about(Request.TRACE, str(self.folder / "trace"))

    def end_trace(self) -> list[str]:
        """The trace's lines."""
        self.ask_about(Request.TRACE, "")
        return (self.folder / "trace").read_text("ascii").splitlines()

    def write_waves(self, path: Path, begin: int, end: int) -> None:
        """Write cycles `begin` to `end` of the next image into an FST file, after which the simulation ends."""
        self.set_figure("wave_from", begin)
        self.set_figure("wave_to", end)
        self.ask_about(Request.WAVES, str(path))

    def elapsed(self) -> int:
        """Cycles from the first cycle of a start's first image to the last of its last."""
        return self.ask(Request.ELAPSED)
