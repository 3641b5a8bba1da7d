"""Channel spaces: the sets of tensor axes that index the same channels, found by tracing a plain `nn.Module`.

An axis of a module's tensors is a row of segments, and each segment holds all channels of one space. Most axes have
one segment. A concatenation makes several; so does a shortcut that pads with zero channels, because the sum it is
added to then has the shortcut's channels first and others of its own behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from torch import Tensor, nn

from fpga_model.errors import UserError

Role = Literal["producer", "follower", "consumer", "padding"]


class ChannelPad(nn.Module):
    """Base of modules that append `extra` zero channels: the one parameter-free module with a width of its own.

    Surgery sets `extra`; a constant in a forward it could not change.
    """

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra


@dataclass(frozen=True)
class Segment:
    """All channels of one space on an axis: each as `repeat` consecutive entries, and all of that `groups` times.

    Entry r of channel c in group g is number (g * width + c) * repeat + r. Behind a flatten a channel is `repeat`
    pixels; a grouped convolution, whose groups keep one size, makes channel c the c-th of every group.
    """

    space: str
    repeat: int = 1
    groups: int = 1


@dataclass(frozen=True)
class Member:
    """One module's part in spaces: an axis of its tensors.

    A producer's outputs, a follower's per-channel parameters and buffers, a consumer's inputs, or what a padding
    appends. A follower is a batch norm, or a depthwise convolution.

    Attributes:
        segments: of the axis, in order.
        groups: of a grouped convolution's inputs: its weight has those of one group only; else 1.
    """

    module: str
    role: Role
    segments: tuple[Segment, ...]
    groups: int = 1

    @property
    def axis(self) -> int:
        """The axis of the module's `weight` that the channels index."""
        return 1 if self.role == "consumer" else 0

    def tensors(self, module: nn.Module) -> Iterator[tuple[str, Tensor, int]]:
        """(name, tensor, axis) of every parameter and buffer of `module` that has this axis."""
        names = {"padding": (), "consumer": ("weight",)}.get(
            self.role, ("weight", "bias", "running_mean", "running_var")
        )
        for name in names:
            tensor = getattr(module, name, None)
            if isinstance(tensor, Tensor):
                yield name, tensor, self.axis

    def entries(self, widths: Mapping[str, int]) -> Iterator[tuple[Segment, range]]:
        """Runs of entries along the tensors' axis that hold one group of one segment's channels, in order."""
        start = 0
        for segment in self.segments:
            for _ in range(segment.groups // self.groups):
                length = widths[segment.space] * segment.repeat
                yield segment, range(start, start + length)
                start += length


@dataclass
class Space:
    """Channels `0 .. width-1` and everything that is indexed by them.

    Attributes:
        groups: actual channels that each one stands for (those at the same position in every group of a convolution).
        fixed: why the space may not be resized; None if it may.
    """

    name: str
    width: int
    members: list[Member]
    groups: int = 1
    fixed: str | None = None

    def of(self, role: Role) -> list[Member]:
        """The members that have this role."""
        return [m for m in self.members if m.role == role]

    def granule(self, channels: int) -> int:
        """The width that stands for at least this many actual channels."""
        return -(-channels // self.groups)


@dataclass
class Spaces:
    """Every channel space of a network, in order of execution."""

    spaces: dict[str, Space] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Space:
        return self.spaces[name]

    def __iter__(self) -> Iterator[Space]:
        return iter(self.spaces.values())

    def plastic(self) -> list[Space]:
        """The spaces that growth and pruning may resize."""
        return [space for space in self if space.fixed is None]

    def widths(self) -> dict[str, int]:
        """Width of every plastic space by name."""
        return {space.name: space.width for space in self.plastic()}

    def all_widths(self) -> dict[str, int]:
        """Width of every space by name."""
        return {space.name: space.width for space in self}

    def members(self) -> list[Member]:
        """Every member once, in order of its first space."""
        return list(dict.fromkeys(member for space in self for member in space.members))

    def runs(self, member: Member, name: str) -> Iterator[tuple[range, int]]:
        """Runs of a space's channels on a member's axis, and how many consecutive entries each channel has there."""
        for segment, run in member.entries(self.all_widths()):
            if segment.space == name:
                yield run, segment.repeat

    def freeze(self, patterns: Iterable[str], why: str) -> None:
        """Keep spaces from being resized whose names match one of these shell patterns ("[" stands for itself).

        Raises UserError for a pattern that matches none.
        """
        for pattern in patterns:
            found = [space for space in self if fnmatchcase(space.name, pattern.replace("[", "[[]"))]
            if not found:
                raise UserError(f"no channel space is called {pattern!r}; there are {', '.join(self.spaces)}")
            for space in found:
                space.fixed = space.fixed or why

    def rows(self) -> list[tuple[str, ...]]:
        """(name, width, producers, followers, consumers, why it is fixed) of every space.

        A module of which the space has only one segment is followed by the segment's number in brackets.
        """
        return [
            (
                space.name,
                str(space.width) if space.groups == 1 else f"{space.width} x {space.groups}",
                *(" ".join(_places(space, role)) for role in ("producer", "follower", "consumer")),
                space.fixed or "",
            )
            for space in self
        ]


def _places(space: Space, role: str) -> Iterator[str]:
    for member in space.members:
        if member.role == role:
            at = [i for i, segment in enumerate(member.segments) if segment.space == space.name]
            yield member.module + ("" if len(member.segments) == 1 else str(at).replace(" ", ""))
