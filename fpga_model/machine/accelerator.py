"""The accelerator's parameters and what follows from them: array, buffers, words (docs/microarchitecture.md, 1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fpga_model.errors import UserError

FEATURE_COPIES = 2
"""Copy A of a page is read by the array, copy B by drain and STORE."""
RECORD_BITS = 32
"""One parameter record per output map: bias (27 bits, signed) and rounding shift (5 bits)."""


def ceil_div(value: int, divisor: int) -> int:
    """The least integer not below value / divisor."""
    return -(-value // divisor)


@dataclass(frozen=True)
class Memory:
    """A buffer: `copies` memories of `depth` words of `width` bits."""

    name: str
    width: int
    depth: int
    copies: int


@dataclass(frozen=True)
class Accelerator:
    """A `Pox x Poy x Pof` array with its on-chip buffers.

    A feature word holds `2 * Pox` pixels of one row; every page has `Poy` banks of `page_depth` words.
    A weight word holds `Pof` weights; a parameter word is one record (bias, shift) of one output map.
    """

    Pox: int = 8
    Poy: int = 8
    Pof: int = 4
    bits: int = 8
    pages: int = 2
    page_depth: int = 512
    weight_depth: int = 32768
    parameter_depth: int = 1024

    def __post_init__(self) -> None:
        for name in ("Pox", "Poy", "Pof", "page_depth", "weight_depth", "parameter_depth"):
            if getattr(self, name) < 1:
                raise UserError(f"accelerator: {name} is {getattr(self, name)}; it must be at least 1")
        if self.pages < 2:
            raise UserError(
                f"accelerator: {self.pages} feature page; tiles are double buffered, so at least 2 are needed"
            )
        if self.bits != 8:
            raise UserError(f"accelerator: {self.bits}-bit data is not supported; use 8")
        for name, bits, least in (("Pox", 2 * self.Pox * self.bits, 32), ("Pof", self.Pof * self.bits, 8)):
            if bits & (bits - 1) or not least <= bits <= 1024:
                raise UserError(
                    f"accelerator: {name} = {getattr(self, name)} gives buffer words of {bits} bits; "
                    f"choose a power of two that gives {least} to 1024, so that words and AXI beats divide one another"
                )

    @classmethod
    def parse(cls, array: str, **others: int) -> Accelerator:
        """The accelerator named by an array such as `8x8x4` (Pox x Poy x Pof)."""
        match = re.fullmatch(r"(\d{1,3})x(\d{1,3})x(\d{1,3})", array)
        if not match:
            raise UserError(f"array {array!r}: write it as PoxxPoyxPof, for example 8x8x4")
        Pox, Poy, Pof = (int(group) for group in match.groups())
        return cls(Pox=Pox, Poy=Poy, Pof=Pof, **others)

    @property
    def macs(self) -> int:
        """Multiply-accumulate units, which is also the most MACs a cycle."""
        return self.Pox * self.Poy * self.Pof

    @property
    def word_pixels(self) -> int:
        """Pixels in one feature word."""
        return 2 * self.Pox

    @property
    def feature_word_bytes(self) -> int:
        return self.word_pixels * self.bits // 8

    @property
    def weight_word_bytes(self) -> int:
        return self.Pof * self.bits // 8

    @property
    def record_bytes(self) -> int:
        return RECORD_BITS // 8

    @property
    def feature_bytes(self) -> int:
        """Capacity of all feature pages, in bytes."""
        return self.pages * self.Poy * self.page_depth * self.feature_word_bytes

    @property
    def weight_bytes(self) -> int:
        return self.weight_depth * self.weight_word_bytes

    @property
    def array(self) -> str:
        """Its array as it is written, such as `8x8x4`."""
        return f"{self.Pox}x{self.Poy}x{self.Pof}"

    def memories(self) -> tuple[Memory, ...]:
        """All buffers; feature pages are held in two copies."""
        feature_bits, weight_bits = 8 * self.feature_word_bytes, 8 * self.weight_word_bytes
        return (
            Memory("features", feature_bits, self.page_depth, FEATURE_COPIES * self.pages * self.Poy),
            Memory("weights", weight_bits, self.weight_depth, 1),
            Memory("parameters", RECORD_BITS, self.parameter_depth, 1),
        )
