"""How the numbers of a file's tensors lie in maps [N, C, H, W]: what only moves numbers is followed, not computed.

A tensor of any rank is seen as maps whose axes were transposed, merged and dropped. `Axes` says so: for each axis of
the tensor the axes of the maps, outermost first, whose product it is. Axes of one element, the batch apart, lie
anywhere; that they are listed is no more than a likely place.

    [N, C, H, W]    ((0,), (1,), (2,), (3,))        [N, H * W * C]    ((0,), (2, 3, 1))
    [N, H, W, C]    ((0,), (2,), (3,), (1,))        [N, C, L]         ((0,), (1,), (3,)), of maps [N, C, 1, L]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Axes = tuple[tuple[int, ...], ...]
_LIKELY = [(1, 2, 3), (2, 3, 1), (1, 3), (1, 2), (3, 1), (2, 1), (2, 3), (3, 2), (1,), (3,)]
MAPS: Axes = ((0,), (1,), (2,), (3,))
ROWS: Axes = ((0,), (1,))


@dataclass(frozen=True)
class View:
    """A tensor that holds the numbers of the maps `base`, of `shape` [N, C, H, W], as `axes` say."""

    base: str
    shape: tuple[int, ...]
    axes: Axes

    @property
    def plain(self) -> Axes:
        """`axes` without those of one element, the batch apart."""
        return tuple(tuple(axis for axis in group if axis == 0 or self.shape[axis] != 1) for group in self.axes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(math.prod(self.shape[axis] for axis in group) for group in self.axes)

    @property
    def is_maps(self) -> bool:
        """Whether the tensor is [N, C, H, W] itself."""
        return self.plain == View(self.base, self.shape, MAPS).plain

    def places(self, channels_first: bool = False) -> tuple[int, ...] | None:
        """The axis of the maps that each axis of the tensor is; None where one of them is several.

        Axes of one element may be any that is left: what is listed and the usual layouts are tried first.
        """
        if not 1 <= len(self.axes) <= 4 or self.plain[0] != (0,):
            return None
        rest = itertools.permutations((1, 2, 3), len(self.axes) - 1)
        orders = sorted(rest, key=lambda order: _LIKELY.index(order) if order in _LIKELY else len(_LIKELY))
        for axes in (self.axes, self.plain):
            for order in orders:
                agree = all(group in ((), (axis,)) for group, axis in zip(axes[1:], order, strict=True))
                if agree and (order[:1] == (1,) or not channels_first):
                    return 0, *order
        return None

    def transposed(self, order: Sequence[int]) -> View:
        return View(self.base, self.shape, tuple(self.axes[axis] for axis in order))

    def reshaped(self, sizes: Sequence[int]) -> View | None:
        """The same numbers in the same order as a tensor of `sizes`; None where an axis of the maps would be cut."""
        left = [axis for group in self.plain for axis in group]
        made: list[tuple[int, ...]] = []
        for size in sizes:
            group: list[int] = []
            if not made and left and self.shape[left[0]] == size:  # the batch, which may be of one
                group.append(left.pop(0))
            while math.prod(self.shape[axis] for axis in group) < size and left:
                group.append(left.pop(0))
            if math.prod(self.shape[axis] for axis in group) != size:
                return None
            made.append(tuple(group))
        return None if left else View(self.base, self.shape, tuple(made))

    def constant(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """A constant that broadcasts against the tensor, as one that broadcasts against the maps; None if it widens."""
        if values.ndim > len(self.axes):
            return None
        values = values.reshape((1,) * (len(self.axes) - values.ndim) + values.shape)
        atoms: list[int] = []
        dims: list[int] = []
        for group, size, given in zip(self.axes, self.sizes, values.shape, strict=True):
            if given not in (1, size):
                return None
            atoms += group
            dims += [1 if given == 1 else self.shape[axis] for axis in group]
        order = np.argsort(atoms)
        shape = [1] * 4
        for axis, size in zip(atoms, dims, strict=True):
            shape[axis] = size
        return values.reshape(dims).transpose(order).reshape(shape)


@dataclass(frozen=True)
class FileTensor:
    """An input or output as the file has it.

    Attributes:
        name: of the tensor in the file.
        shape: its sizes, the batch first.
        maps: [C, H, W] of the maps that hold the same numbers.
        axes: how they lie in the maps.
        scale, offset: the file's value is that of the maps times `scale`, plus `offset`.
        kind: number type in the file.
    """

    name: str
    shape: tuple[int, ...]
    maps: tuple[int, int, int]
    axes: Axes
    scale: float = 1.0
    offset: float = 0.0
    kind: str = "float32"

    @property
    def is_maps(self) -> bool:
        """Whether the file has the maps [N, C, H, W] themselves."""
        return len(self.shape) == 4 and self.shape[1:] == self.maps and self._view.is_maps

    @property
    def _view(self) -> View:
        return View(self.name, (self.shape[0], *self.maps), self.axes)

    @property
    def _order(self) -> list[int]:
        listed = [axis for group in self._view.axes for axis in group]
        return listed + [axis for axis in range(4) if axis not in listed]

    def to_file(self, maps: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Maps [N, C, H, W] as the file's tensor, in its number type if that is of integers."""
        if (self.scale, self.offset) != (1, 0):
            maps = (maps.astype(np.float64) * self.scale + self.offset).astype(maps.dtype)
        if self.kind != "float32":
            maps = np.rint(maps).astype(self.kind)
        return maps.transpose(self._order).reshape(len(maps), *self.shape[1:])

    def from_file(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The file's tensor as maps [N, C, H, W]."""
        if (self.scale, self.offset) != (1, 0):
            values = ((values.astype(np.float64) - self.offset) / self.scale).astype(np.float32)
        sizes = (len(values), *self.maps)
        return values.reshape([sizes[axis] for axis in self._order]).transpose(np.argsort(self._order))
