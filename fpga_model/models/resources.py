"""What an accelerator takes of an FPGA, block by block: DSP and memory blocks, LUTs, flip-flops.

The counts follow the structure of the RTL: how many bits its registers, multiplexers, adders and memories have. Factors
that follow from no structure are fitted to synthesis with Yosys (docs/rtl.md has the error of every resource, a test
holds it). It is a matter of tens of microseconds, so that a search can ask it for every candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import attrgetter

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.capability import Capability
from fpga_model.machine.isa import COMMANDS
from fpga_model.machine.platform import MemoryKind, Platform

SUM_BITS = 32
POOL_BITS = 20
"""Bits of a column's sum or maximum in a pooling."""


@dataclass(frozen=True)
class Usage:
    """Resources: LUTs of logic, LUTs that are memories or shift registers, flip-flops, DSP blocks, memory blocks.

    `block` counts the platform's memory blocks; halves are RAMB18. `ultra` counts its large ones.
    """

    lut: float = 0
    lutram: float = 0
    ff: float = 0
    dsp: float = 0
    block: float = 0
    ultra: float = 0


NAMES = tuple(field.name for field in fields(Usage))


@dataclass(frozen=True)
class Resources:
    """What each block of an accelerator takes, by the block's place in the RTL, such as `compute.drain`."""

    blocks: Mapping[str, Usage]

    @cached_property
    def total(self) -> Usage:
        """The sum over all blocks, in whole LUTs and flip-flops."""
        lut, lutram, ff, dsp, block, ultra = (
            sum(values) for values in zip(*(_VALUES(usage) for usage in self.blocks.values()), strict=True)
        )
        return Usage(round(lut), round(lutram), round(ff), dsp, block, ultra)

    def over(self, platform: Platform) -> dict[str, tuple[float, int]]:
        """Every resource of which the platform has too little: how much is needed, and how much there is.

        LUTs serve as logic and as memory, so that `lut` is the sum of both.
        """
        there = {
            "lut": platform.lut,
            "ff": platform.ff,
            "dsp": platform.dsp,
            "block": platform.block.count,
            "ultra": platform.ultra.count if platform.ultra else 0,
        }
        total = self.total
        needed = {name: getattr(total, name) for name in there}
        needed["lut"] += total.lutram
        return {name: (needed[name], there[name]) for name in there if needed[name] > there[name]}


_VALUES = attrgetter(*NAMES)


def estimate_resources(accelerator: Accelerator, platform: Platform, capability: Capability | None = None) -> Resources:
    """What the RTL of an accelerator takes on a platform.

    Args:
        accelerator: the array and its buffers.
        platform: gives the kinds of blocks and the width of the bus.
        capability: what the accelerator can execute; the default set when None.
    """
    sizes = _Sizes.of(accelerator, platform, capability or Capability())
    blocks = {name: block(sizes) for name, block in _BLOCKS.items()}
    if not sizes.six:
        blocks = {name: _four_inputs(name, usage, sizes) for name, usage in blocks.items()}
    missing = sum(usage.block for usage in blocks.values()) - platform.block.count
    if platform.ultra and missing > 0:
        for name, (width, depth) in _deep_memories(sizes).items():
            if missing > 0:
                missing -= blocks[name].block
                blocks[name] = replace(blocks[name], block=0, ultra=platform.ultra.blocks(width, depth))
    return Resources(blocks)


def check_fits(accelerator: Accelerator, platform: Platform, capability: Capability | None = None) -> None:
    """Refuse an accelerator that takes more than its platform has.

    Raises:
        UserError: says what it needs too much of, which blocks take most of that, and an array that fits.
    """
    found = estimate_resources(accelerator, platform, capability)
    over = found.over(platform)
    if not over:
        return
    units = {"lut": "LUTs", "ff": "flip-flops", "dsp": f"{platform.dsp_name} blocks"}
    units |= {"block": f"{platform.block.name} blocks", "ultra": platform.ultra.name if platform.ultra else "URAM"}
    lines = []
    for name, (needed, there) in over.items():
        takers = sorted(found.blocks.items(), key=lambda item: -getattr(item[1], name))[:3]
        most = ", ".join(
            f"{block} {round(getattr(usage, name), 1):,g}" for block, usage in takers if getattr(usage, name)
        )
        lines.append(f"{needed:,g} {units[name]} and there are {there:,} ({most})")
    fitting = _fitting(accelerator, platform, capability)
    advice = f"--array {fitting} fits" if fitting else "no smaller array fits with these buffers"
    raise UserError(
        f"platform {platform.name} is too small: the {accelerator.array} accelerator needs {', and '.join(lines)}; "
        f"{advice}, or choose smaller buffers or a larger platform"
    )


def _fitting(accelerator: Accelerator, platform: Platform, capability: Capability | None) -> str | None:
    """The largest array that fits, none of its sides longer; of several the one nearest to a square."""
    arrays = [
        replace(accelerator, Pox=1 << x, Poy=y, Pof=1 << f)
        for x in range(1, accelerator.Pox.bit_length())
        for f in range(accelerator.Pof.bit_length())
        for y in range(1, accelerator.Poy + 1)
    ]
    for array in sorted(arrays, key=lambda array: (-array.macs, abs(array.Pox - array.Poy))):
        if not estimate_resources(array, platform, capability).over(platform):
            return array.array
    return None


def memory_blocks(kind: MemoryKind, width: int, depth: int, byte_writes: bool = False) -> float:
    """Blocks that make a memory: as `MemoryKind.blocks`, and half a RAMB36 where a RAMB18 will do.

    A memory that is written by bytes uses eight of the nine bits that a block has for each.
    """
    usable = tuple((w * 8 // 9 if byte_writes and w % 9 == 0 else w, d) for w, d in kind.shapes)
    whole: float = min(ceil_div(width, w) * ceil_div(depth, d) for w, d in usable)
    if kind.name != "RAMB36":
        return whole
    halves = min(ceil_div(width, w // 2) * ceil_div(depth, d) for w, d in usable if w > 1)
    return min(whole, halves / 2)


@dataclass(frozen=True)
class _Sizes:
    """An accelerator's sizes as its blocks see them: X, Y, F are Pox, Poy, Pof; bits unless said otherwise."""

    X: int
    Y: int
    F: int
    pages: int
    page_depth: int
    weight_depth: int
    parameter_depth: int
    beat: int
    capability: Capability
    platform: Platform

    @classmethod
    def of(cls, accelerator: Accelerator, platform: Platform, capability: Capability) -> _Sizes:
        return cls(
            accelerator.Pox,
            accelerator.Poy,
            accelerator.Pof,
            accelerator.pages,
            accelerator.page_depth,
            accelerator.weight_depth,
            accelerator.parameter_depth,
            min(platform.axi_bits, 8 * accelerator.feature_word_bytes),
            capability,
            platform,
        )

    @property
    def word(self) -> int:
        """Of a feature word."""
        return 16 * self.X

    @property
    def six(self) -> bool:
        """Whether LUTs have six inputs (or are ALMs), not four."""
        return self.platform.dsp_name != "MULT18X18D"


def _bits(values: int) -> int:
    """Bits that count `values` values; one for a single value."""
    return max(1, (values - 1).bit_length())


def _mux(inputs: int) -> float:
    """LUTs of a multiplexer of one bit: one of six inputs chooses among four."""
    return 0 if inputs <= 1 else max(1, (inputs - 1) * 0.357)


def _barrel(positions: int) -> int:
    """LUTs of a rotation by any of `positions` amounts, for each bit: two levels of two ways a LUT."""
    return ceil_div((positions - 1).bit_length(), 2)


def _mac_array(s: _Sizes) -> Usage:
    macs = s.X * s.Y * s.F
    dsp = ceil_div(macs, s.platform.dsp_macs)
    if s.six:
        # A DSP block has the product's and the sum's registers, and the adder.
        return Usage(ff=SUM_BITS * macs + 2, dsp=dsp)
    return Usage(lut=2 * SUM_BITS * macs, ff=(2 * SUM_BITS + 16) * macs + 2, dsp=dsp)


def _line_regs(s: _Sizes) -> Usage:
    taps = (s.X - 1) * s.capability.stride_columns + s.capability.kernel_columns
    selected = 8 * (s.X - 1) * _mux(s.capability.stride_columns)
    lut = s.word * _barrel(s.X) + 10.6 * taps + selected
    return Usage(lut=s.Y * lut, ff=s.Y * 8 * (2 * taps + s.X))


def _line_fetch(s: _Sizes) -> Usage:
    rotation = s.Y * s.word * _barrel(s.Y)
    # Every bank compares its place with that of every row.
    lut = rotation + 36 * s.Y + 8.6 * s.Y**2 + 471
    return Usage(lut=lut, lutram=6 + s.Y, ff=s.Y * (s.word + 9) + 360)


def _drain(s: _Sizes) -> Usage:
    rows = SUM_BITS * s.X * s.F * _mux(s.Y)
    maps = SUM_BITS * s.X * _mux(s.F + 1)
    # A column: alignment and addition of bias and shortcut, rounding shift, clamp, the pixel's place in its word.
    column = 457 + 8 * s.capability.shortcut_stride + (30 if s.capability.leaky else 0)
    lut = rows + maps + s.X * column + 83
    return Usage(lut=lut, lutram=59, ff=SUM_BITS * s.X * s.F + 208 * s.X + 528)


def _pool(s: _Sizes) -> Usage:
    c = s.capability
    taps = (s.X - 1) * c.pool_stride + c.pool_columns
    pixels = taps + s.X
    # Every pixel of a line is compared and added to; the line then moves under the windows.
    line = POOL_BITS * (pixels * 2.6 + taps * c.pool_dilation)
    outputs = s.X * (100 + POOL_BITS * _mux(c.pool_stride))
    lut = line + outputs + s.word * (_barrel(s.X) + 1) + 460
    return Usage(lut=lut, lutram=9, ff=POOL_BITS * (pixels + taps) + s.X * 68 + 403)


def _conv_ctrl(s: _Sizes) -> Usage:
    return Usage(lut=325 + 8 * s.Y, ff=196 + 2 * s.Y)


def _weight_read(s: _Sizes) -> Usage:
    address = _bits(s.weight_depth)
    return Usage(lut=3.3 * address, ff=2 * address)


def _compute(s: _Sizes) -> Usage:
    return Usage(lut=380, ff=30)


def _pages(s: _Sizes) -> Usage:
    banks = s.pages * s.Y
    reads = s.word * (s.Y * _mux(s.pages) + 2 * _mux(banks))
    writes = 1.2 * (s.pages * (1.125 * s.word + 2 * _bits(s.page_depth)) + banks * (s.word // 8 + 3))
    blocks = 2 * banks * memory_blocks(s.platform.block, s.word, s.page_depth, byte_writes=True)
    delays = 2 * (3 * _bits(s.pages) + 2 * _bits(s.Y))
    return Usage(lut=reads + writes, ff=2 * banks * s.word + delays, block=blocks)


def _word_buffer(s: _Sizes, width: int, depth: int) -> Usage:
    """A buffer that is written by beats and read by words."""
    words = max(1, s.beat // width)
    row, rows = _rows(s, width, depth)
    select = 2 * _bits(words) if words > 1 else 0
    return Usage(lut=width * _mux(words), ff=row + select, block=memory_blocks(s.platform.block, row, rows))


def _rows(s: _Sizes, width: int, depth: int) -> tuple[int, int]:
    """Width and depth of the memory of a buffer whose words are read and whose beats are written."""
    return max(s.beat, width), ceil_div(depth, max(1, s.beat // width))


def _deep_memories(s: _Sizes) -> dict[str, tuple[int, int]]:
    """Width and depth of the memories that large blocks suit, those first that take most of the small ones."""
    c = s.capability
    found = {
        "weights": _rows(s, 8 * s.F, s.weight_depth),
        "load_queue": (64, WORDS["load"] * c.load_commands),
        "compute_queue": (64, WORDS["compute"] * c.compute_commands),
        "store_queue": (64, WORDS["store"] * c.store_commands),
    }
    return dict(sorted(found.items(), key=lambda item: -item[1][0] * item[1][1]))


def _weights(s: _Sizes) -> Usage:
    return _word_buffer(s, 8 * s.F, s.weight_depth)


def _parameters(s: _Sizes) -> Usage:
    return _word_buffer(s, 32, s.parameter_depth)


def _queue(s: _Sizes, words: int, commands: int) -> Usage:
    """A unit's program memory, the command that waits in it and the one that is executed."""
    blocks = memory_blocks(s.platform.block, 64, words * commands)
    return Usage(lut=397, ff=128 * words + 203, block=blocks)


def _load_queue(s: _Sizes) -> Usage:
    return _queue(s, WORDS["load"], s.capability.load_commands)


def _compute_queue(s: _Sizes) -> Usage:
    return _queue(s, WORDS["compute"], s.capability.compute_commands)


def _store_queue(s: _Sizes) -> Usage:
    return _queue(s, WORDS["store"], s.capability.store_commands)


def _load(s: _Sizes) -> Usage:
    # Lengths of open bursts are a small memory.
    return Usage(lut=727, lutram=8, ff=371 + s.beat)


def _store(s: _Sizes) -> Usage:
    # Words wait in a queue of eight.
    parts = s.beat * _mux(s.word // s.beat)
    return Usage(lut=786 + parts, lutram=8 * ceil_div(s.word, 14), ff=478)


def _loader(s: _Sizes) -> Usage:
    # A beat of 64 bits goes in and out as one word, in shift registers where LUTs have six inputs.
    if not s.six:
        return Usage(lut=1035 if s.beat == 64 else 1882, ff=1531)
    if s.beat == 64:
        return Usage(lut=698, lutram=64, ff=571)
    return Usage(lut=1649, ff=1531)


def _control(s: _Sizes) -> Usage:
    return Usage(lut=530, ff=1335)


def _registers(s: _Sizes) -> Usage:
    return Usage(lut=1066, ff=583)


def _top(s: _Sizes) -> Usage:
    return Usage(lut=390)


_FOUR_INPUTS: dict[str, tuple[float, int]] = {
    "registers": (4.38, 0),
    "control": (2.71, 0),
    "load_queue": (1.86, 0),
    "compute_queue": (1.57, 0),
    "store_queue": (1.85, 0),
    "load": (1.57, 0),
    "store": (1.87, 0),
    "pages": (1.49, 0),
    "compute": (1.39, 0),
    "compute.conv_ctrl": (2.07, 0),
    "compute.line_fetch": (1.74, 30),
    "compute.line_regs": (2.95, 0),
    "compute.weight_read": (2.36, 0),
    "compute.pool": (1.61, 34),
    "compute.drain": (1.89, 490),
}
"""LUTs of four inputs, a carry cell being two, for one of six, and flip-flops in place of shift registers: fitted."""


def _four_inputs(name: str, usage: Usage, s: _Sizes) -> Usage:
    """A block where LUTs have four inputs and are no shift registers, but memories of 16 words of four bits."""
    factor, more = _FOUR_INPUTS.get(name, (1, 0))
    words = {"load": 9, "store": s.word}
    memory = 6 * ceil_div(words[name], 4) if name in words else 0
    return replace(usage, lut=factor * usage.lut, lutram=memory, ff=usage.ff + more)


WORDS = {kind.UNIT: kind.WORDS for kind in COMMANDS}
"""64-bit words of a unit's commands."""

_BLOCKS: dict[str, Callable[[_Sizes], Usage]] = {
    "top": _top,
    "registers": _registers,
    "control": _control,
    "loader": _loader,
    "load_queue": _load_queue,
    "compute_queue": _compute_queue,
    "store_queue": _store_queue,
    "load": _load,
    "store": _store,
    "pages": _pages,
    "weights": _weights,
    "parameters": _parameters,
    "compute": _compute,
    "compute.conv_ctrl": _conv_ctrl,
    "compute.line_fetch": _line_fetch,
    "compute.line_regs": _line_regs,
    "compute.weight_read": _weight_read,
    "compute.mac_array": _mac_array,
    "compute.pool": _pool,
    "compute.drain": _drain,
}
