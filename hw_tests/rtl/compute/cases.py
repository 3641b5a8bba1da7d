"""Random single COMPUTE commands: memories before, memories after by the integer reference, cycles by the contract."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fpga_model.machine.accelerator import Accelerator, ceil_div
from fpga_model.machine.capability import Capability
from fpga_model.machine.operations import ConvolveOp, PoolOp
from fpga_model.machine.tiles import FeatureTile, PoolMode, ShortcutRead, Waits, Window
from fpga_model.machine.timing import GROUP_FLOOR, array_groups, shortcut_reads, step_cycles
from fpga_model.numerics.fixed_point import Format, per_channel, requantise
from fpga_model.numerics.tensors import LayerNumbers, Shape
from fpga_model.operators import Convolution, Shortcut
from fpga_model.operators.windows import Kernel, Pad, Steps, extent, sliding, window_shape, windows

Bytes = npt.NDArray[np.int8]
FORMAT = Format(8, 0)


@dataclass
class Case:
    """One command on its memories.

    Attributes:
        before, after: the pages, int8 [page, bank, word, pixel].
        weights, parameters: words of the buffers from 0 on, int8 [word, Pof] and uint32 [record].
        saturated: pixels that the command saturates.
        held: cycles in which the array waits for the drain.
    """

    name: str
    operation: ConvolveOp | PoolOp
    before: Bytes
    after: Bytes
    weights: Bytes
    parameters: npt.NDArray[np.uint32]
    saturated: int
    held: int


@dataclass
class Memory:
    """The pages while tiles are being placed in them; what no tile holds is noise."""

    accelerator: Accelerator
    random: np.random.Generator
    pages: Bytes = field(init=False)
    free: list[int] = field(init=False)

    def __post_init__(self) -> None:
        shape = (
            self.accelerator.pages,
            self.accelerator.Poy,
            self.accelerator.page_depth,
            self.accelerator.word_pixels,
        )
        self.pages = self.random.integers(-128, 128, shape, dtype=np.int8)
        self.free = [int(self.random.integers(0, 4)) for _ in range(self.accelerator.pages)]

    def place(
        self, first_map: int, maps: int, first_row: int, rows: int, width: int, interleave: int, packed: bool = False
    ) -> FeatureTile | None:
        """A new tile in a random page; None if none has room."""
        words = ceil_div(width, self.accelerator.word_pixels)
        tile = FeatureTile(0, 0, maps, rows, words, 1 if packed else interleave, first_map, first_row, packed)
        depth = tile.depth(self.accelerator.Poy, self.accelerator.word_pixels)
        for page in self.random.permutation(self.accelerator.pages):
            address = self.free[page]
            if address + depth <= self.accelerator.page_depth:
                self.free[page] += depth + int(self.random.integers(0, 3))
                return FeatureTile(int(page), address, maps, rows, words, tile.interleave, first_map, first_row, packed)
        return None


def put(pages: Bytes, tile: FeatureTile, maps: Bytes, first_map: int, first_row: int, accelerator: Accelerator) -> None:
    """Write rows [map, row, column], counted in the whole tensor from `first_map` and `first_row` on, into a tile.

    Only what the tile holds is written; a row's last word is filled up with zeros.
    """
    word = accelerator.word_pixels
    if tile.packed:
        for m, value in enumerate(maps[:, 0, 0]):
            index, pixel = divmod(first_map + m - tile.first_map, word)
            if pixel == 0:
                pages[tile.page, 0, tile.address + index] = 0
            pages[tile.page, 0, tile.address + index, pixel] = value
        return
    row_words = tile.row_words
    padded = np.zeros((*maps.shape[:2], row_words * word), dtype=np.int8)
    padded[:, :, : maps.shape[2]] = maps
    padded = padded.reshape(*maps.shape[:2], row_words, word)
    group_rows = tile.group_rows(accelerator.Poy)
    for m in range(maps.shape[0]):
        place = first_map + m - tile.first_map
        for r in range(maps.shape[1]):
            row = first_row + r - tile.first_row
            if not (0 <= place < tile.maps and 0 <= row < tile.rows):
                continue
            unit, rest = divmod(row, tile.interleave)
            group, bank = divmod(unit, accelerator.Poy)
            address = tile.address + (place * group_rows + group * tile.interleave + rest) * row_words
            pages[tile.page, bank, address : address + row_words] = padded[m, r]


def _rows(window: Window, oy: int, Toy: int) -> tuple[int, int]:
    """The rows of the tensor, first and number, that output rows oy ... oy+Toy-1 read."""
    first = max(0, oy * window.stride_y - window.pad_top)
    last = min(window.height - 1, (oy + Toy - 1) * window.stride_y - window.pad_top + window.rows - 1)
    return first, max(last, first) - first + 1


def _surrounded(random: np.random.Generator, first: int, count: int, size: int) -> tuple[int, int]:
    """A range of `size` that covers `count` from `first` on: often just that, sometimes more."""
    if random.random() < 0.6:
        return first, count
    low = int(random.integers(0, first + 1))
    high = int(random.integers(first + count, size + 1))
    return low, high - low


def _pick(random: np.random.Generator, *values: int) -> int:
    return int(random.choice(values))


@dataclass(frozen=True)
class _Layer:
    """A random window over a random tensor."""

    kernel: Kernel
    stride: Steps
    pad: Pad
    dilation: Steps
    source: Shape

    def window(self) -> Window:
        return sliding(self.kernel, self.stride, self.pad, self.source, self.dilation)


def _layer(
    random: np.random.Generator,
    accelerator: Accelerator,
    channels: int,
    columns: int,
    stride_columns: int,
    dilations: Steps = (1, 1),
) -> _Layer:
    """A window of at most `columns` columns, dilation included, that fits into its tensor."""
    Nky = _pick(random, 1, 1, 2, 3, 3, 3, 5, 7)
    Nkx = min(columns, _pick(random, 1, 1, 2, 3, 3, 3, 5, 7, columns))
    stride = _pick(random, 1, 1, 1, 2, 2, 3), int(random.integers(1, stride_columns + 1))
    most = (columns - 1) // (Nkx - 1) if Nkx > 1 else dilations[1]
    dilation = int(random.integers(1, dilations[0] + 1)), int(random.integers(1, min(dilations[1], most) + 1))
    if random.random() < 0.1:
        height, width = Nky, Nkx  # a fully connected layer, a global pooling
        dilation, pad = (1, 1), (0, 0, 0, 0)
    else:
        pad = (
            int(random.integers(0, Nky)),
            int(random.integers(0, Nkx)),
            int(random.integers(0, Nky)),
            int(random.integers(0, Nkx)),
        )
        spans = extent((Nky, Nkx), dilation)
        least = max(1, spans[0] - pad[0] - pad[2]), max(1, spans[1] - pad[1] - pad[3])
        height = least[0] + int(random.integers(0, 3 * accelerator.Poy))
        width = least[1] + int(random.integers(0, _pick(random, 2, 2 * accelerator.Pox, 6 * accelerator.Pox)))
    return _Layer((Nky, Nkx), stride, pad, dilation, Shape(channels, height, width))


def convolution(
    random: np.random.Generator, accelerator: Accelerator, capability: Capability, name: str
) -> Case | None:
    """A random convolution command; None if its tiles do not fit."""
    groups = _pick(random, 1, 1, 1, 2, 3, 5) if capability.grouped else 1
    Gif, Gof = int(random.integers(1, 7)), int(random.integers(1, 2 * accelerator.Pof + 3))
    if groups > 1 and random.random() < 0.5:
        groups, Gif, Gof = int(random.integers(2, 12)), 1, _pick(random, 1, 1, 2, 3)
    layer = _layer(random, accelerator, groups * Gif, capability.kernel_columns, capability.stride_columns)
    output = window_shape(layer.source, layer.kernel, layer.stride, layer.pad, groups * Gof)
    window = layer.window()

    # The tile: maps from a whole weight word on, any rows.
    of = int(random.integers(0, ceil_div(output.channels, accelerator.Pof))) * accelerator.Pof
    oy = int(random.integers(0, output.height)) if random.random() < 0.5 else 0
    packed = output.height == output.width == 1 and random.random() < 0.5
    if random.random() < 0.5:
        of = 0
    Tof = output.channels - of if random.random() < 0.6 else int(random.integers(1, output.channels - of + 1))
    Toy = output.height - oy if random.random() < 0.6 else int(random.integers(1, output.height - oy + 1))

    memory = Memory(accelerator, random)
    first_group, last_group = of // Gof, (of + Tof - 1) // Gof
    read = _surrounded(random, first_group * Gif, (last_group - first_group + 1) * Gif, layer.source.channels)
    rows = _surrounded(random, *_rows(window, oy, Toy), layer.source.height)
    interleave = layer.stride[0]
    if capability.row_by_row and random.random() < 0.3:
        interleave = _pick(random, 1, 2, 3)
    source = memory.place(*read, *rows, layer.source.width, interleave)
    if packed:
        destination = memory.place(of, Tof, 0, 1, 1, 1, packed=True)
    else:
        written = _surrounded(random, of, Tof, output.channels)
        held = _surrounded(random, oy, Toy, output.height)
        destination = memory.place(*written, *held, output.width, _pick(random, 1, 1, 2, 3))
    if source is None or destination is None:
        return None

    relu = random.random() < 0.4
    leak = int(random.integers(1, 32)) if capability.leaky and not relu and random.random() < 0.3 else 0
    bound = int(random.integers(1, 127)) if random.random() < 0.3 else None
    shift = (
        random.integers(0, 32, output.channels) if random.random() < 0.2 else random.integers(3, 12, output.channels)
    )

    # The shortcut: some maps of a tensor at its own strides.
    shortcut, added, delta, maps_added = None, None, 0, None
    if random.random() < 0.4:
        maps = output.channels if random.random() < 0.5 else int(random.integers(1, output.channels + 1))
        offset = int(random.integers(0, output.channels - maps + 1))
        strides = _pick(random, 1, 1, 2, 3, 5), int(random.integers(1, capability.shortcut_stride + 1))
        shape = Shape(maps, (output.height - 1) * strides[0] + 1, (output.width - 1) * strides[1] + 1)
        if max(offset, of) < min(offset + maps, of + Tof):
            delta = int(random.integers(-8, 4))
            shift = np.clip(shift, max(0, delta), min(31, delta + 31))
            added = Shortcut(strides, offset, maps)
            maps_added = random.integers(-128, 128, (1, maps, shape.height, shape.width), dtype=np.int8)
            first = max(offset, of) - offset
            last = min(offset + maps, of + Tof) - offset
            taken = _surrounded(random, first, last - first, maps)
            lines = _surrounded(random, oy * strides[0], (Toy - 1) * strides[0] + 1, shape.height)
            tile = memory.place(*taken, *lines, shape.width, _pick(random, 1, strides[0], 2))
            if tile is None:
                return None
            shortcut = ShortcutRead(tile, *strides, offset, maps, delta)

    operator = Convolution(
        layer.source.channels, output.channels, layer.kernel, layer.stride, layer.pad, shortcut=added, groups=groups
    )
    numbers = LayerNumbers(
        output=FORMAT,
        shift=shift,
        weights=random.integers(-128, 128, operator.weight_shape, dtype=np.int8),
        weight_frac=np.zeros(output.channels, dtype=np.int64),
        bias=random.integers(-(1 << _pick(random, 3, 12, 20)), 1 << 12, output.channels),
        shortcut_shift=None if added is None else shift - delta,
    )
    if operator.accumulator_bound(numbers, [8, 8]) >= 1 << 31:
        return None
    maps_read = random.integers(-128, 128, (1, layer.source.channels, *_size(layer.source)), dtype=np.int8)
    inputs = [maps_read] if maps_added is None else [maps_read, maps_added]
    sums = operator.accumulators(inputs, numbers)[0, of : of + Tof, oy : oy + Toy]
    results, saturated = requantise(sums, per_channel(shift[of : of + Tof]), 8, relu, bound, leak)

    step = step_cycles(window, output.width, Toy, interleave, accelerator)
    operation = ConvolveOp(
        layer=name,
        waits=Waits(),
        source=source,
        window=window,
        step=step,
        Nif=Gif,
        Gof=Gof,
        of=of,
        Tof=Tof,
        oy=oy,
        Toy=Toy,
        Nox=output.width,
        weights=int(random.integers(0, 50)),
        parameters=int(random.integers(0, 8)),
        low=0 if relu else -128,
        high=127 if bound is None else bound,
        leak=leak,
        destination=destination,
        shortcut=shortcut,
    )
    put(memory.pages, source, maps_read[0], 0, 0, accelerator)
    if shortcut is not None and maps_added is not None:
        put(memory.pages, shortcut.tile, maps_added[0], 0, 0, accelerator)
    after = memory.pages.copy()
    put(after, destination, results, of, oy, accelerator)
    return Case(
        name,
        operation,
        memory.pages,
        after,
        _weight_words(operation, numbers, random, accelerator),
        _records(operation, numbers),
        saturated,
        _held(operation, accelerator),
    )


def _size(shape: Shape) -> tuple[int, int]:
    return shape.height, shape.width


def _weight_words(
    operation: ConvolveOp, numbers: LayerNumbers, random: np.random.Generator, accelerator: Accelerator
) -> Bytes:
    """Words [group of Pof maps][if][ky][kx] from the command's address on; lanes without a map are noise."""
    assert numbers.weights is not None
    Pof = accelerator.Pof
    mine = numbers.weights[operation.of : operation.of + operation.Tof]
    groups = ceil_div(operation.Tof, Pof)
    words = random.integers(-128, 128, (groups * Pof, *mine.shape[1:]), dtype=np.int8)
    words[: operation.Tof] = mine
    words = words.reshape(groups, Pof, -1).transpose(0, 2, 1).reshape(-1, Pof)
    return np.concatenate([random.integers(-128, 128, (operation.weights, Pof), dtype=np.int8), words])


def _records(operation: ConvolveOp, numbers: LayerNumbers) -> npt.NDArray[np.uint32]:
    assert numbers.bias is not None
    mine = slice(operation.of, operation.of + operation.Tof)
    records = ((numbers.bias[mine] << 5) | numbers.shift[mine]) & 0xFFFFFFFF
    return np.concatenate([np.zeros(operation.parameters, dtype=np.int64), records]).astype(np.uint32)


def _held(operation: ConvolveOp, accelerator: Accelerator) -> int:
    """Cycles in which a group's sums are complete and the drain is not: where drain cycles exceed them."""
    reads = 0 if operation.shortcut is None else shortcut_reads(operation.shortcut.stride_x, accelerator)
    length = max(GROUP_FLOOR, operation.Nif * operation.window.Nky * operation.step)
    drains = [
        maps * min(accelerator.Poy, operation.Toy - row) * max(1, reads)
        for maps in array_groups(operation.of, operation.Tof, operation.Gof, accelerator.Pof)
        for row in range(0, operation.Toy, accelerator.Poy)
        for _ in range(ceil_div(operation.Nox, accelerator.Pox))
    ]
    return sum(max(0, drain - length) for drain in drains[:-1])


def pooling(random: np.random.Generator, accelerator: Accelerator, capability: Capability, name: str) -> Case | None:
    """A random pooling, or a copy of maps to other places; None if its tiles do not fit."""
    channels = int(random.integers(1, 2 * accelerator.word_pixels))
    copy = random.random() < 0.3
    mode = PoolMode.SUM if copy or random.random() < 0.5 else PoolMode.MAX
    layer = _layer(
        random,
        accelerator,
        channels,
        capability.pool_columns,
        capability.pool_stride,
        (3, capability.pool_dilation),
    )
    if copy:
        layer = _Layer((1, 1), (1, 1), (0, 0, 0, 0), (1, 1), layer.source)
    output = window_shape(layer.source, extent(layer.kernel, layer.dilation), layer.stride, layer.pad, channels)
    window = layer.window()
    first_if = int(random.integers(0, channels))
    Tof = int(random.integers(1, channels - first_if + 1))
    of = int(random.integers(0, 40)) if copy else first_if
    oy = int(random.integers(0, output.height)) if random.random() < 0.5 else 0
    Toy = output.height - oy if random.random() < 0.6 else int(random.integers(1, output.height - oy + 1))
    packed = output.height == output.width == 1 and random.random() < 0.5

    memory = Memory(accelerator, random)
    read = _surrounded(random, first_if, Tof, channels)
    rows = _surrounded(random, *_rows(window, oy, Toy), layer.source.height)
    source = memory.place(*read, *rows, layer.source.width, _pick(random, 1, 1, 2, 3))
    if packed:
        destination = memory.place(of, Tof, 0, 1, 1, 1, packed=True)
    else:
        written = _surrounded(random, of, Tof, of + Tof + 3)
        held = _surrounded(random, oy, Toy, output.height)
        destination = memory.place(*written, *held, output.width, _pick(random, 1, 1, 2, 3))
    if source is None or destination is None:
        return None

    maps_read = random.integers(-128, 128, (1, channels, *_size(layer.source)), dtype=np.int8)
    fill = 0 if mode is PoolMode.SUM else -1000
    views = windows(maps_read.astype(np.int64), layer.kernel, layer.stride, layer.pad, fill, layer.dilation)
    reduced = views.sum(axis=(4, 5)) if mode is PoolMode.SUM else views.max(axis=(4, 5))
    if (reduced < -128 * views.shape[4] * views.shape[5]).any():
        return None  # a dilated window that lies outside altogether, which no network has
    shift = 0 if mode is PoolMode.MAX else int(random.integers(0, 7))
    tile = reduced[0, first_if : first_if + Tof, oy : oy + Toy]
    results, saturated = requantise(tile, shift, 8, relu=False)

    operation = PoolOp(
        layer=name,
        waits=Waits(),
        mode=mode,
        source=source,
        window=window,
        first_if=first_if,
        of=of,
        Tof=Tof,
        oy=oy,
        Toy=Toy,
        Nox=output.width,
        shift=shift,
        destination=destination,
    )
    put(memory.pages, source, maps_read[0], 0, 0, accelerator)
    after = memory.pages.copy()
    put(after, destination, results, of, oy, accelerator)
    none = np.zeros((0, accelerator.Pof), dtype=np.int8)
    return Case(name, operation, memory.pages, after, none, np.zeros(0, dtype=np.uint32), saturated, 0)
