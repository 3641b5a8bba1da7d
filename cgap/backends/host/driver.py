"""Runs networks on the accelerator through its registers and through buffers that it and the host both see.

`mmio` and `allocate` are what PYNQ calls so: `pynq.MMIO(address, range)` and `pynq.allocate`. On a board:

    driver = Driver(MMIO(0xA0000000, 0x1000), allocate)
    driver.load_program(Path("program.bin").read_bytes(), Layout.read(Path("tensors.txt")))
    driver.load_weights(Path("weights.bin").read_bytes())
    outputs = driver.run(images).outputs
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from . import registers

ALIGN = 4096
"""Bases and strides of DRAM regions are multiples of this."""
BASES = (
    registers.PARAMETER_BASE,
    registers.INPUT_BASE,
    registers.OUTPUT_BASE,
    registers.FEATURE_BASE,
    registers.INPUT_STRIDE,
    registers.OUTPUT_STRIDE,
)
UNITS = ("LOAD", "COMPUTE", "STORE", "")


class DriverError(RuntimeError):
    """The accelerator has stopped, or was used out of order.

    Attributes:
        code: of the accelerator's register ERROR; 0 where it is the host that refuses.
    """

    def __init__(self, sentence: str, code: int = 0) -> None:
        super().__init__(sentence)
        self.code = code


class Mmio(Protocol):
    """Registers, by their offset in bytes; what `pynq.MMIO` is."""

    def read(self, offset: int = ...) -> int:
        """One register of 32 bits."""

    def write(self, offset: int, data: int) -> None:
        """Write one register of 32 bits."""


class Allocate(Protocol):
    """Makes an array that the accelerator sees, too; what `pynq.allocate` is.

    The array has `physical_address`, `sync_to_device`, `sync_from_device` and `freebuffer`.
    """

    def __call__(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Of bytes that lie at a multiple of 4 KiB."""


@dataclass(frozen=True)
class Tensor:
    """Where one image's input or output tensor lies in its region.

    Attributes:
        name: of its layer.
        shape: maps, rows, columns.
        frac: fraction bits: a stored integer is its value times 2^frac.
        offset: of its first byte.
        packed: maps of one pixel lie side by side; elsewhere rows are padded to whole words.
    """

    name: str
    shape: tuple[int, int, int]
    frac: int
    offset: int
    packed: bool

    def bytes(self, word_pixels: int) -> int:
        """Of one image's tensor."""
        maps, rows, columns = self.shape
        return maps if self.packed else maps * rows * (columns + -columns % word_pixels)


@dataclass(frozen=True)
class Layout:
    """A network's input and outputs in memory: the content of `tensors.txt`."""

    word_pixels: int
    input: Tensor
    outputs: tuple[Tensor, ...]

    @classmethod
    def read(cls, path: Path) -> Layout:
        """The layout in a file that `to_text` wrote."""
        first, *lines = path.read_text("utf-8").splitlines()
        tensors = []
        for line in lines:
            *numbers, name = line.split(maxsplit=6)
            maps, rows, columns, frac, offset, packed = (int(number) for number in numbers)
            tensors.append(Tensor(json.loads(name), (maps, rows, columns), frac, offset, bool(packed)))
        return cls(int(first), tensors[0], tuple(tensors[1:]))

    def to_text(self) -> str:
        """Pixels of a word; then the input and every output: maps, rows, columns, frac, offset, packed, name."""
        lines = [str(self.word_pixels)]
        for tensor in (self.input, *self.outputs):
            numbers = (*tensor.shape, tensor.frac, tensor.offset, int(tensor.packed))
            lines.append(f"{' '.join(map(str, numbers))} {json.dumps(tensor.name)}")
        return "\n".join(lines) + "\n"

    def pack(self, image: npt.NDArray[Any], region: npt.NDArray[np.uint8]) -> None:
        """Write an input image [maps, rows, columns] into its region, with zeros beyond the width."""
        maps, rows, columns = self.input.shape
        padded = np.zeros((maps, rows, columns + -columns % self.word_pixels), np.int8)
        padded[:, :, :columns] = image
        region[self.input.offset :][: padded.size] = padded.reshape(-1).view(np.uint8)

    def unpack(self, tensor: Tensor, region: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        """An output tensor [maps, rows, columns] out of its region."""
        maps, rows, columns = tensor.shape
        pixels = np.asarray(region[tensor.offset :][: tensor.bytes(self.word_pixels)]).view(np.int8)
        if tensor.packed:
            return pixels.reshape(tensor.shape).copy()
        return pixels.reshape(maps, rows, -1)[:, :, :columns].copy()


@dataclass(frozen=True)
class Run:
    """What became of images.

    Attributes:
        outputs: every output tensor, int8 [N, C, H, W], by layer name.
        cycles, read_bytes, write_bytes, saturated: of the last image.
    """

    outputs: dict[str, npt.NDArray[np.int8]]
    cycles: int
    read_bytes: int
    write_bytes: int
    saturated: int


def _rest() -> None:
    time.sleep(1e-4)


class Driver:
    """One accelerator. Every base and every buffer is the driver's; networks may be exchanged at any time."""

    def __init__(
        self,
        mmio: Mmio,
        allocate: Allocate,
        *,
        pause: Callable[[], object] = _rest,
        wait: Callable[[], object] | None = None,
        watchdog: int = 1 << 20,
        timeout_s: float | None = 60.0,
    ) -> None:
        """Reset the accelerator.

        Args:
            mmio: its registers.
            allocate: makes buffers.
            pause: what to do between two looks at a register.
            wait: waits for the interrupt, or for a while; `pause` when None.
            watchdog: cycles without progress after which the accelerator gives up; 0 for none.
            timeout_s: seconds after which the host gives up; None for none.
        """
        self.mmio, self.allocate = mmio, allocate
        self.pause, self.wait = pause, wait or pause
        self.watchdog, self.timeout_s = watchdog, timeout_s
        self.layout: Layout | None = None
        self._sizes = {"parameter": 0, "input": 0, "output": 0, "feature": 0}
        self._buffers: dict[str, Any] = {}
        self.reset()

    # --- registers ---------------------------------------------------------------------------------------------

    def read(self, offset: int) -> int:
        """A register of 32 bits."""
        return self.mmio.read(offset)

    def read_long(self, offset: int) -> int:
        """A register of 64 bits."""
        return self.mmio.read(offset) | self.mmio.read(offset + 4) << 32

    def write_long(self, offset: int, value: int) -> None:
        """A register of 64 bits."""
        self.mmio.write(offset, value & 0xFFFFFFFF)
        self.mmio.write(offset + 4, value >> 32)

    def reset(self) -> None:
        """Back to idle, also out of an error or in the middle of a run. A program that was loaded stays.

        A reset waits for bursts that are open; a memory that never answers them makes it a second one.
        """
        self.mmio.write(registers.CTRL, registers.CTRL_RESET)
        for _ in range(100):
            if self.read(registers.STATUS) & registers.STATUS_IDLE:
                break
            self.pause()
        else:
            self.mmio.write(registers.CTRL, registers.CTRL_RESET)
            self._until_idle(self.pause)
        self.mmio.write(registers.IRQ_STATUS, registers.IRQ_STATUS_DONE | registers.IRQ_STATUS_ERROR)

    def _until_idle(self, wait: Callable[[], object]) -> None:
        limit = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        while not (status := self.read(registers.STATUS)) & registers.STATUS_IDLE:
            if status & registers.STATUS_ERROR:
                # A memory that answers no more leaves it busy for ever: the error is what there is to say.
                for _ in range(100):
                    if self.read(registers.STATUS) & registers.STATUS_IDLE:
                        break
                    self.pause()
                break
            if limit is not None and time.monotonic() > limit:
                raise DriverError(f"the accelerator has not answered for {self.timeout_s:g} s")
            wait()

    def check(self) -> None:
        """Raise DriverError if the accelerator has stopped with an error."""
        if not self.read(registers.STATUS) & registers.STATUS_ERROR:
            return
        value = self.read(registers.ERROR)
        code, unit = value & registers.ERROR_CODE, (value & registers.ERROR_UNIT) >> 4
        meaning = registers.ERRORS[code] if code < len(registers.ERRORS) else f"code {code}"
        raise DriverError(
            f"the accelerator stopped: {meaning} ({UNITS[unit]}, {value >> 8} commands completed)".replace("(, ", "("),
            code,
        )

    # --- a network ---------------------------------------------------------------------------------------------

    def load_program(self, program: bytes, layout: Layout) -> None:
        """Load `program.bin`; the weights that belong to it come next.

        Raises:
            DriverError: it is no program, is damaged, or asks for another accelerator.
        """
        if len(program) < registers.HEADER_BYTES:
            raise DriverError(f"not a program: {len(program)} bytes, and its header alone has {registers.HEADER_BYTES}")
        self.layout = None
        for role in self._sizes:
            at: int = getattr(registers, f"HEADER_{role.upper()}_BYTES")
            self._sizes[role] = int.from_bytes(program[at : at + 4], "little")
        self._place("program", program)
        for base in BASES:  # none that another network has left
            self.write_long(base, 0)
        self.write_long(registers.PROGRAM_BASE, self._buffers["program"].physical_address)
        self.mmio.write(registers.WATCHDOG, self.watchdog)
        self.mmio.write(registers.CTRL, registers.CTRL_LOAD)
        self._until_idle(self.pause)
        self.check()
        self.layout = layout
        self._free("parameter")
        self._make("feature", max(1, self._sizes["feature"]))
        self.write_long(registers.FEATURE_BASE, self._buffers["feature"].physical_address)

    def load_weights(self, weights: bytes) -> None:
        """Load `weights.bin`.

        Raises:
            DriverError: it is not as long as the program says.
        """
        needed = self._sizes["parameter"]
        if len(weights) != needed:
            raise DriverError(f"weights.bin of another network: {len(weights)} bytes, and the program needs {needed}")
        self._place("parameter", weights)
        self.write_long(registers.PARAMETER_BASE, self._buffers["parameter"].physical_address)

    def run(self, images: npt.NDArray[Any]) -> Run:
        """Run images [N, C, H, W] of integers in the input's format; a start runs them all.

        Raises:
            DriverError: the accelerator stopped, or there is no network.
        """
        layout = self.layout
        if layout is None or "parameter" not in self._buffers:
            raise DriverError("load a program and then its weights before images are run")
        if images.ndim != 4 or images.shape[1:] != layout.input.shape or not len(images):
            raise DriverError(f"images of shape {images.shape}; the network takes {('N', *layout.input.shape)}, N > 0")
        if images.min() < -128 or images.max() > 127:
            raise DriverError("images hold numbers beyond 8 bits; scale them to the input's format before")
        strides = {role: _rounded(self._sizes[role]) for role in ("input", "output")}
        for role, stride in strides.items():
            self._make(role, len(images) * stride)
        inputs, outputs = self._buffers["input"], self._buffers["output"]
        for k, image in enumerate(images):
            layout.pack(image, inputs[k * strides["input"] :])
        inputs.sync_to_device()
        self.write_long(registers.INPUT_BASE, inputs.physical_address)
        self.write_long(registers.OUTPUT_BASE, outputs.physical_address)
        self.write_long(registers.INPUT_STRIDE, strides["input"])
        self.write_long(registers.OUTPUT_STRIDE, strides["output"])
        self.mmio.write(registers.IMAGES, len(images))
        self.mmio.write(registers.IRQ_ENABLE, registers.IRQ_ENABLE_DONE | registers.IRQ_ENABLE_ERROR)
        self.mmio.write(registers.CTRL, registers.CTRL_START)
        self._until_idle(self.wait)
        self.check()
        self.mmio.write(registers.IRQ_STATUS, registers.IRQ_STATUS_DONE)
        outputs.sync_from_device()
        regions = [outputs[k * strides["output"] :] for k in range(len(images))]
        return Run(
            {tensor.name: np.stack([layout.unpack(tensor, region) for region in regions]) for tensor in layout.outputs},
            self.read_long(registers.CYCLES),
            self.read_long(registers.READ_BYTES),
            self.read_long(registers.WRITE_BYTES),
            self.read_long(registers.SATURATED),
        )

    @property
    def bases(self) -> dict[str, int]:
        """Address of each buffer that there is: program, parameter, feature, input, output."""
        return {name: int(buffer.physical_address) for name, buffer in self._buffers.items()}

    # --- buffers -----------------------------------------------------------------------------------------------

    def _place(self, name: str, data: bytes) -> None:
        self._make(name, len(data))
        self._buffers[name][: len(data)] = np.frombuffer(data, np.uint8)
        self._buffers[name].sync_to_device()

    def _make(self, name: str, size: int) -> None:
        """A buffer of at least that size; the one that is there, if it is large enough."""
        if name in self._buffers and self._buffers[name].size >= size:
            return
        self._free(name)
        self._buffers[name] = self.allocate((_rounded(size),), np.uint8)

    def _free(self, name: str) -> None:
        if name in self._buffers:
            self._buffers.pop(name).freebuffer()

    def close(self) -> None:
        """Give all buffers back."""
        for name in list(self._buffers):
            self._free(name)
        self.layout = None


def _rounded(size: int) -> int:
    return size + -size % ALIGN
