"""The instruction set: every command as a dataclass whose fields carry their width, sign and meaning.

This table is the only place where a field's width is written. The encoder and decoder below, the C++ struct, the
SystemVerilog package, the limits in error messages and the page in `docs/` are all made from it
(docs/microarchitecture.md says what hardware does with each field). To add a field, add a line.

Rows, maps and columns are counted so that hardware only adds and counts: no field asks for a product or a quotient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from fpga_model.errors import UserError

WORD_BITS = 64
"""Commands are whole words of a program memory of this width, least significant bits first."""


class Width(NamedTuple):
    """Bits of a field, two's complement where `signed`."""

    bits: int
    signed: bool

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - self.signed)) - 1


def U(bits: int) -> Width:
    """An unsigned field."""
    return Width(bits, signed=False)


def S(bits: int) -> Width:
    """A signed field."""
    return Width(bits, signed=True)


@dataclass(frozen=True)
class Walk:
    """A place in a feature page, and how to go on from it to the next bank, row group or map.

    Row r of a tile lies in bank `r // interleave % Poy`; `address` is the word of its first pixels in that bank.
    """

    page: Annotated[int, U(4), "feature page"]
    address: Annotated[int, S(20), "word in the bank; negative in rows above the tile, which are never accessed"]
    bank: Annotated[int, U(8), "bank of the row"]
    remainder: Annotated[int, U(8), "place of the row among the `interleave` rows that follow one another in its bank"]
    interleave: Annotated[int, U(8), "rows that follow one another in a bank"]
    group_words: Annotated[int, U(20), "words from one group of interleave x Poy rows to the next"]
    map_words: Annotated[int, U(20), "words from one map to the next"]


@dataclass(frozen=True)
class RowStep:
    """How a walk moves by a fixed number of rows.

    `remainder` is added; if it reaches `interleave`, that is subtracted, the bank moves one more and the address goes
    back by `group_words`. Then `bank` is added; if it reaches Poy, that is subtracted and the address goes on by
    `group_words`. `address` is added in any case.
    """

    remainder: Annotated[int, U(8), "added to the remainder"]
    bank: Annotated[int, U(8), "added to the bank"]
    address: Annotated[int, S(20), "added to the address"]


@dataclass(frozen=True)
class Columns:
    """The feature words under a group of `Pox` neighbouring windows, and how they move from group to group."""

    word: Annotated[int, S(12), "first word of a row under the first group; negative left of the row"]
    offset: Annotated[int, U(8), "pixel of that word under the first window's first column"]
    step: Annotated[int, U(16), "pixels from one group to the next: Pox x the stride of columns"]
    stride: Annotated[int, U(8), "pixels from one window to the next"]
    words: Annotated[int, U(6), "words that a group touches at most"]
    row_words: Annotated[int, U(12), "words of a row; those outside count as zero and are not read"]


@dataclass(frozen=True)
class Rows:
    """The rows of a tensor under a window, to tell rows outside of it."""

    top: Annotated[int, S(18), "first row under the first output row, in the whole tensor; negative above it"]
    stride: Annotated[int, U(8), "rows from one output row to the next"]
    dilation: Annotated[int, U(8), "rows from one row of a window to the next"]
    height: Annotated[int, U(16), "rows of the tensor"]


@dataclass(frozen=True)
class Transfer:
    """A DRAM access: `runs` runs of `beats` beats, `stride` bytes apart."""

    region: Annotated[int, U(2), "base register: 0 parameters, 1 input, 2 output, 3 feature maps"]
    address: Annotated[int, U(32), "first byte, counted from the region's base"]
    beats: Annotated[int, U(24), "beats of a run"]
    stride: Annotated[int, U(32), "bytes from one run to the next"]
    runs: Annotated[int, U(16), "runs"]


@dataclass(frozen=True)
class Tile:
    """Words of feature maps in the order in which DRAM holds them: map by map, row by row."""

    place: Annotated[Walk, "place of the first row"]
    row: Annotated[RowStep, "step to the next row"]
    row_words: Annotated[int, U(12), "words of a row"]
    rows: Annotated[int, U(16), "rows of a map"]


@dataclass(frozen=True)
class Destination:
    """Where a COMPUTE command writes its maps."""

    place: Annotated[Walk, "place of its first row of its first map"]
    row: Annotated[RowStep, "step to the next row"]
    packed: Annotated[int, U(1), "1: maps of one pixel, 2 x Pox of them in a word, in bank 0"]


@dataclass(frozen=True)
class Shortcut:
    """The tensor that a convolution adds in its accumulators. Without one, all is zero."""

    present: Annotated[int, U(1), "1: there is one"]
    first: Annotated[int, U(16), "first output map of the tile that gets one"]
    maps: Annotated[int, U(16), "output maps from there on that get one"]
    place: Annotated[Walk, "place of the row that the first output row adds, in the map of output map `first`"]
    row: Annotated[RowStep, "step to the row that the next output row adds"]
    step: Annotated[int, U(16), "pixels from one group of columns to the next: Pox x stride"]
    stride: Annotated[int, U(8), "pixels from one output column to the next"]
    words: Annotated[int, U(4), "words read for one row of a group"]
    row_words: Annotated[int, U(12), "words of a row; those beyond are not read"]
    delta: Annotated[int, S(7), "a pixel is shifted left by the record's shift minus this"]


@dataclass(frozen=True, kw_only=True)
class Command:
    """What every command begins with."""

    OPCODE: ClassVar[int]
    UNIT: ClassVar[str]
    WORDS: ClassVar[int]

    layer: Annotated[int, U(16), "index of the layer, the input being 0"]
    last: Annotated[int, U(1), "1: the unit's last command of an image"] = 0
    wait_load: Annotated[int, U(24), "LOAD commands of this image that must have completed"] = 0
    wait_compute: Annotated[int, U(24), "COMPUTE commands of this image that must have completed"] = 0
    wait_store: Annotated[int, U(24), "STORE commands of this image that must have completed"] = 0


@dataclass(frozen=True, kw_only=True)
class Load(Command):
    """DRAM to the feature pages (`tile`) or to words of the weight or parameter buffer, from `word` on."""

    OPCODE = 1
    UNIT = "load"
    WORDS = 6

    dram: Annotated[Transfer, "what is read"]
    buffer: Annotated[int, U(2), "0 feature pages, 1 weights, 2 parameter records"]
    word: Annotated[int, U(24), "first word of the weight or parameter buffer, at a whole beat"]
    tile: Annotated[Tile, "where feature maps go"]


@dataclass(frozen=True, kw_only=True)
class Store(Command):
    """Feature pages to DRAM."""

    OPCODE = 2
    UNIT = "store"
    WORDS = 6

    dram: Annotated[Transfer, "where it is written"]
    tile: Annotated[Tile, "what is read; a packed tile is one row"]


@dataclass(frozen=True, kw_only=True)
class Convolve(Command):
    """A tile of a convolution: `Tof` output maps of `Toy` rows, in groups of Pof maps, Poy rows and Pox columns."""

    OPCODE = 3
    UNIT = "compute"
    WORDS = 16

    Tof: Annotated[int, U(16), "output maps"]
    Toy: Annotated[int, U(16), "output rows"]
    Nox: Annotated[int, U(16), "output columns"]
    column_groups: Annotated[int, U(14), "groups of Pox columns"]
    Nif: Annotated[int, U(16), "input maps that an output map sums over"]
    Nky: Annotated[int, U(12), "rows of the kernel"]
    Nkx: Annotated[int, U(12), "columns of the kernel: waves of a step"]
    step: Annotated[int, U(16), "cycles of a step: one input map and kernel row"]
    fetch: Annotated[int, U(16), "reads of a step: words under a group, once or row by row"]
    row_by_row: Annotated[int, U(1), "1: rows of a group are read one after the other, 0: all at once"]
    Gof: Annotated[int, U(16), "output maps that share their input maps"]
    group_left: Annotated[int, U(16), "of those, what is left from the tile's first output map on"]
    weights: Annotated[int, U(24), "first weight word"]
    parameters: Annotated[int, U(24), "record of the first output map"]
    low: Annotated[int, S(8), "least result"]
    high: Annotated[int, S(8), "greatest result"]
    leak: Annotated[int, U(5), "negative sums are shifted right by this much more"]
    source: Annotated[Walk, "place of the first input map's row under the first output row"]
    source_row: Annotated[RowStep, "step to the row under the next row of the kernel"]
    source_stride: Annotated[RowStep, "step to the row under the next output row, where rows are read one by one"]
    columns: Annotated[Columns, "words under the kernel"]
    rows: Annotated[Rows, "rows under the kernel"]
    destination: Annotated[Destination, "where results go"]
    shortcut: Annotated[Shortcut, "what is added before the rounding"]


@dataclass(frozen=True, kw_only=True)
class Pool(Command):
    """A tile of a pooling or a copy: `Tof` maps of `Toy` rows, Pox columns of one row at a time."""

    OPCODE = 4
    UNIT = "compute"
    WORDS = 16

    maximum: Annotated[int, U(1), "1: the greatest pixel of a window, 0: their sum"]
    shift: Annotated[int, U(5), "a sum is rounded by this shift"]
    Tof: Annotated[int, U(16), "output maps"]
    Toy: Annotated[int, U(16), "output rows"]
    Nox: Annotated[int, U(16), "output columns"]
    column_groups: Annotated[int, U(14), "groups of Pox columns"]
    Nky: Annotated[int, U(12), "rows of a window"]
    Nkx: Annotated[int, U(12), "columns of a window"]
    step: Annotated[int, U(16), "cycles of a group: max(Nky x words, Nkx, 2)"]
    dilation: Annotated[int, U(8), "columns from one column of a window to the next"]
    width: Annotated[int, U(16), "columns of the tensor; those beyond count for nothing"]
    source: Annotated[Walk, "place of the first map's row under the first output row"]
    source_row: Annotated[RowStep, "step to the next row of a window"]
    source_stride: Annotated[RowStep, "step to the row under the next output row"]
    columns: Annotated[Columns, "words under the windows"]
    rows: Annotated[Rows, "rows under the windows"]
    destination: Annotated[Destination, "where results go"]


COMMANDS: tuple[type[Command], ...] = (Load, Store, Convolve, Pool)
OPCODE = U(3)
"""The first field of every command; 0 is no command."""

UNITS = ("load", "compute", "store")


class Slot(NamedTuple):
    """One field of a record, flattened: `path` leads to it through nested records."""

    name: str
    width: Width
    meaning: str
    path: tuple[str, ...]
    offset: int


def layout(record: type) -> tuple[Slot, ...]:
    """The fields of a record class in the order of their bits, from bit 0 on; a command's first is its opcode."""
    return _layout(record)


@cache
def _layout(record: type) -> tuple[Slot, ...]:
    slots: list[Slot] = []
    offset = 0
    if issubclass(record, Command):
        slots.append(Slot("opcode", OPCODE, "the kind of command", (), 0))
        offset = OPCODE.bits
    for path, width, meaning in _flat(record):
        slots.append(Slot("_".join(path), width, meaning, path, offset))
        offset += width.bits
    if issubclass(record, Command) and offset > record.WORDS * WORD_BITS:
        raise TypeError(f"{record.__name__} has {offset} bits, more than its {record.WORDS} words hold")
    return tuple(slots)


def _flat(record: type, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Width, str]]:
    hints = get_type_hints(record, include_extras=True)
    for field in fields(record):
        hint = hints[field.name]
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{record.__name__}.{field.name} has no width")
        kind, *notes = get_args(hint)
        if is_dataclass(kind):
            assert isinstance(kind, type)
            for path, width, meaning in _flat(kind, (*prefix, field.name)):
                yield path, width, meaning
        else:
            width, meaning = notes
            yield (*prefix, field.name), width, meaning


def bits(record: type) -> int:
    """Bits of a record, without the padding to whole words."""
    last = layout(record)[-1]
    return last.offset + last.width.bits


@cache
def _reader(record: type) -> Callable[[object], tuple[int, ...]]:
    """What reads the values of a record's fields, as `layout` has them."""
    opcode = (record.OPCODE,) if issubclass(record, Command) else ()
    names = [".".join(slot.path) for slot in layout(record) if slot.path]
    read: Callable[[object], Any] = attrgetter(*names)  # of a single field its value, not a tuple
    return lambda given: (*opcode, *read(given)) if len(names) > 1 else (*opcode, read(given))


def values_of(record: object) -> tuple[int, ...]:
    """The values of a record's fields, in the order of `layout`."""
    kind: type = type(record)
    return _reader(kind)(record)


@cache
def _places(record: type) -> tuple[tuple[int, int, int, int], ...]:
    """Least and greatest value, mask and place of each field."""
    slots = layout(record)
    return tuple((slot.width.low, slot.width.high, (1 << slot.width.bits) - 1, slot.offset) for slot in slots)


def pack(record: object, where: str) -> int:
    """The bits of a record as one number.

    Raises:
        UserError: a value does not fit its field. The message names `where`, the field, the value and its limits.
    """
    kind: type = type(record)
    number = 0
    for value, (low, high, mask, offset) in zip(values_of(record), _places(kind), strict=True):
        if not low <= value <= high:
            name = next(slot.name for slot in layout(kind) if slot.offset == offset)
            raise UserError(f"{where}: {name} is {value:,}, and a command holds {low:,} to {high:,}")
        number |= (value & mask) << offset
    return number


def encode(command: Command, layer: str) -> bytes:
    """A command as it lies in `program.bin`; `layer` is named in errors.

    Raises:
        UserError: a value does not fit its field.
    """
    return pack(command, f"layer {layer!r}").to_bytes(command.WORDS * WORD_BITS // 8, "little")


_R = TypeVar("_R")


def unpack(record: type[_R], number: int) -> _R:
    """The inverse of `pack`."""
    values = {slot.path: _signed(number >> slot.offset, slot.width) for slot in layout(record) if slot.path}
    return _build(record, values, ())


def _signed(number: int, width: Width) -> int:
    value = number & ((1 << width.bits) - 1)
    return value - (1 << width.bits) if width.signed and value > width.high else value


def _build(record: type[_R], values: dict[tuple[str, ...], int], prefix: tuple[str, ...]) -> _R:
    arguments: dict[str, Any] = {}
    hints = get_type_hints(record, include_extras=True)
    for field in fields(record):  # type: ignore[arg-type]
        path = (*prefix, field.name)
        kind = get_args(hints[field.name])[0]
        arguments[field.name] = values[path] if path in values else _build(kind, values, path)
    return record(**arguments)


def decode(data: bytes) -> Command:
    """The command that begins `data`.

    Raises:
        UserError: there is no such command, or its end is missing.
    """
    opcode = data[0] & OPCODE.high if data else 0
    kind = next((kind for kind in COMMANDS if opcode == kind.OPCODE), None)
    if kind is None:
        raise UserError(f"there is no command with the operation code {opcode}: the program is damaged")
    size = kind.WORDS * WORD_BITS // 8
    if len(data) < size:
        raise UserError(f"a {kind.__name__} command has {size} bytes, and {len(data)} are left: the program is cut off")
    return unpack(kind, int.from_bytes(data[:size], "little"))
