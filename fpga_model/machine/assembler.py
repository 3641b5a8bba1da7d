"""From operations in tensor coordinates to commands in which hardware only adds and counts."""

from __future__ import annotations

from fpga_model.machine import isa
from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.operations import ConvolveOp, LoadOp, Operation, PoolOp, StoreOp
from fpga_model.machine.tiles import Buffer, DramRuns, FeatureTile, PoolMode, ShortcutRead, Waits, Window
from fpga_model.machine.timing import fetch_cycles, group_cycles, line_words, row_passes, shortcut_reads

REGIONS = ("parameters", "input", "output", "feature")
"""Names of the base registers, in the order of `Transfer.region`."""
BUFFERS = (Buffer.FEATURE, Buffer.WEIGHT, Buffer.PARAMETER)

_NO_WALK = isa.Walk(0, 0, 0, 0, 0, 0, 0)
_NO_STEP = isa.RowStep(0, 0, 0)
_NO_TILE = isa.Tile(_NO_WALK, _NO_STEP, 0, 0)
_NO_SHORTCUT = isa.Shortcut(0, 0, 0, _NO_WALK, _NO_STEP, 0, 0, 0, 0, 0)


def assemble(operation: Operation, layer: int, last: bool, accelerator: Accelerator, beat_bytes: int) -> isa.Command:
    """The command of an operation; `layer` is its layer's index and `last` says that its unit has no more."""
    if isinstance(operation, LoadOp):
        tile = _NO_TILE if operation.tile is None else moved(operation.tile, accelerator)
        return isa.Load(
            layer=layer,
            last=int(last),
            **_waits(operation.waits),
            dram=_transfer(operation.dram, beat_bytes),
            buffer=BUFFERS.index(operation.buffer),
            word=operation.address,
            tile=tile,
        )
    if isinstance(operation, StoreOp):
        return isa.Store(
            layer=layer,
            last=int(last),
            **_waits(operation.waits),
            dram=_transfer(operation.dram, beat_bytes),
            tile=moved(operation.tile, accelerator),
        )
    if isinstance(operation, ConvolveOp):
        return _convolve(operation, layer, last, accelerator)
    return _pool(operation, layer, last, accelerator)


def _waits(waits: Waits) -> dict[str, int]:
    return {"wait_load": waits.load, "wait_compute": waits.compute, "wait_store": waits.store}


def _transfer(dram: DramRuns, beat_bytes: int) -> isa.Transfer:
    beats, rest = divmod(dram.bytes, beat_bytes)
    if rest or dram.address % beat_bytes or dram.stride % beat_bytes:
        raise ValueError(f"{dram} is not made of whole {beat_bytes}-byte beats")
    return isa.Transfer(REGIONS.index(dram.region), dram.address, beats, dram.stride, dram.count)


def walk(tile: FeatureTile, map_: int, row: int, accelerator: Accelerator) -> isa.Walk:
    """The place of a row of a map, both counted in the whole tensor; the row may lie above the tile."""
    unit, remainder = divmod(row - tile.first_row, tile.interleave)
    group, bank = divmod(unit, accelerator.Poy)
    group_words = tile.interleave * tile.row_words
    map_words = tile.group_rows(accelerator.Poy) * tile.row_words
    address = tile.address + (map_ - tile.first_map) * map_words + group * group_words + remainder * tile.row_words
    return isa.Walk(tile.page, address, bank, remainder, tile.interleave, group_words, map_words)


def row_step(tile: FeatureTile, rows: int, accelerator: Accelerator) -> isa.RowStep:
    """How a walk through the tile moves on by `rows` rows."""
    units, remainder = divmod(rows, tile.interleave)
    groups, bank = divmod(units, accelerator.Poy)
    return isa.RowStep(remainder, bank, (remainder + groups * tile.interleave) * tile.row_words)


def moved(tile: FeatureTile, accelerator: Accelerator) -> isa.Tile:
    """A tile as LOAD and STORE walk through it: a packed one is a single row."""
    if tile.packed:
        words = ceil_div(tile.maps, accelerator.word_pixels)
        place = isa.Walk(tile.page, tile.address, 0, 0, 1, words, words)
        return isa.Tile(place, isa.RowStep(0, 1, 0), words, 1)
    place = walk(tile, tile.first_map, tile.first_row, accelerator)
    return isa.Tile(place, row_step(tile, 1, accelerator), tile.row_words, tile.rows)


def _destination(tile: FeatureTile, of: int, oy: int, accelerator: Accelerator) -> isa.Destination:
    if tile.packed:
        word, lane = divmod(of - tile.first_map, accelerator.word_pixels)
        assert lane == 0, "a packed tile begins at a word"
        return isa.Destination(isa.Walk(tile.page, tile.address + word, 0, 0, 1, 1, 1), isa.RowStep(0, 1, 0), 1)
    return isa.Destination(walk(tile, of, oy, accelerator), row_step(tile, 1, accelerator), 0)


def _columns(window: Window, Nox: int, row_words: int, accelerator: Accelerator) -> isa.Columns:
    word, offset = divmod(-window.pad_left, accelerator.word_pixels)
    step = accelerator.Pox * window.stride_x
    words = line_words(window, Nox, accelerator)
    return isa.Columns(word, offset, step, window.stride_x, words, row_words)


def _rows(window: Window, oy: int) -> isa.Rows:
    top = oy * window.stride_y - window.pad_top
    return isa.Rows(top, window.stride_y, window.dilation_y, window.height)


def _shortcut(read: ShortcutRead | None, operation: ConvolveOp, accelerator: Accelerator) -> isa.Shortcut:
    if read is None:
        return _NO_SHORTCUT
    first = max(operation.of, read.map_offset)
    end = min(operation.of + operation.Tof, read.map_offset + read.maps)
    return isa.Shortcut(
        present=1,
        first=first - operation.of,
        maps=end - first,
        place=walk(read.tile, first - read.map_offset, operation.oy * read.stride_y, accelerator),
        row=row_step(read.tile, read.stride_y, accelerator),
        step=accelerator.Pox * read.stride_x,
        stride=read.stride_x,
        words=shortcut_reads(read.stride_x, accelerator),
        row_words=read.tile.row_words,
        delta=read.shift_delta,
    )


def _convolve(operation: ConvolveOp, layer: int, last: bool, accelerator: Accelerator) -> isa.Convolve:
    window, tile = operation.window, operation.source
    group, place = divmod(operation.of, operation.Gof)
    top = operation.oy * window.stride_y - window.pad_top
    return isa.Convolve(
        layer=layer,
        last=int(last),
        **_waits(operation.waits),
        Tof=operation.Tof,
        Toy=operation.Toy,
        Nox=operation.Nox,
        column_groups=ceil_div(operation.Nox, accelerator.Pox),
        Nif=operation.Nif,
        Nky=window.Nky,
        Nkx=window.Nkx,
        step=operation.step,
        fetch=fetch_cycles(window, operation.Nox, operation.Toy, tile.interleave, accelerator),
        row_by_row=int(row_passes(window.stride_y, tile.interleave, operation.Toy, accelerator.Poy) > 1),
        Gof=operation.Gof,
        group_left=operation.Gof - place,
        weights=operation.weights,
        parameters=operation.parameters,
        low=operation.low,
        high=operation.high,
        leak=operation.leak,
        source=walk(tile, group * operation.Nif, top, accelerator),
        source_row=row_step(tile, 1, accelerator),
        source_stride=row_step(tile, window.stride_y, accelerator),
        columns=_columns(window, operation.Nox, tile.row_words, accelerator),
        rows=_rows(window, operation.oy),
        destination=_destination(operation.destination, operation.of, operation.oy, accelerator),
        shortcut=_shortcut(operation.shortcut, operation, accelerator),
    )


def _pool(operation: PoolOp, layer: int, last: bool, accelerator: Accelerator) -> isa.Pool:
    window, tile = operation.window, operation.source
    top = operation.oy * window.stride_y - window.pad_top
    return isa.Pool(
        layer=layer,
        last=int(last),
        **_waits(operation.waits),
        maximum=int(operation.mode is PoolMode.MAX),
        shift=operation.shift,
        Tof=operation.Tof,
        Toy=operation.Toy,
        Nox=operation.Nox,
        column_groups=ceil_div(operation.Nox, accelerator.Pox),
        Nky=window.Nky,
        Nkx=window.Nkx,
        step=group_cycles(window, operation.Nox, accelerator),
        dilation=window.dilation_x,
        width=window.width,
        source=walk(tile, operation.first_if, top, accelerator),
        source_row=row_step(tile, window.dilation_y, accelerator),
        source_stride=row_step(tile, window.stride_y, accelerator),
        columns=_columns(window, operation.Nox, tile.row_words, accelerator),
        rows=_rows(window, operation.oy),
        destination=_destination(operation.destination, operation.of, operation.oy, accelerator),
    )
