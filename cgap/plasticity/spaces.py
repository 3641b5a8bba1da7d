"""Channel spaces: the sets of tensor axes that index the same channels, found by tracing a plain `nn.Module`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import fx, nn

from fpga_model.errors import UserError

Role = Literal["producer", "follower", "consumer"]


@dataclass(frozen=True)
class Member:
    """One module's part in a space.

    A producer's outputs, a follower's per-channel parameters and buffers, or a consumer's inputs are the space's
    channels. A consumer behind a flatten sees every channel as `repeat` consecutive inputs.
    """

    module: str
    role: Role
    repeat: int = 1

    @property
    def axis(self) -> int:
        """The axis of the module's `weight` that the channels index."""
        return 1 if self.role == "consumer" else 0

    def tensors(self, module: nn.Module) -> Iterator[tuple[str, int]]:
        """(name, axis) of every parameter and buffer of `module` that this member makes follow the channels."""
        yield "weight", self.axis
        if self.role != "consumer":
            yield from ((name, 0) for name in ("bias", "running_mean", "running_var") if hasattr(module, name))


@dataclass
class Space:
    """Channels `0 .. width-1` and everything that is indexed by them. `fixed` says why it may not be resized, if so."""

    name: str
    width: int
    members: list[Member]
    fixed: str | None = None

    def of(self, role: Role) -> list[Member]:
        """The members that have this role."""
        return [m for m in self.members if m.role == role]


@dataclass
class Spaces:
    """Every channel space of a network, in order of execution, and the paddings that embed one in another.

    `embeddings` are (narrow, wide) names: channel i of the narrow space is channel i of the wide one.
    """

    spaces: dict[str, Space]
    embeddings: list[tuple[str, str]] = field(default_factory=list)

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

    def table(self) -> str:
        """One line a space: name, width, producers -> followers -> consumers, and why it is fixed."""
        head = ("space", "width", "producers", "followers", "consumers", "fixed")
        rows = [head]
        for space in self:
            roles = (" ".join(m.module for m in space.of(r)) for r in ("producer", "follower", "consumer"))
            rows.append((space.name, str(space.width), *roles, space.fixed or ""))  # type: ignore[arg-type]
        columns = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, columns, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *(f"{narrow} is embedded in {wide}" for narrow, wide in self.embeddings)])


@dataclass
class _Axis:
    """A space under construction (union-find node): the channel axis of some traced tensors."""

    width: int
    members: list[Member] = field(default_factory=list)
    fixed: str | None = None
    parent: _Axis | None = None

    def root(self) -> _Axis:
        node = self
        while node.parent is not None:
            node = node.parent
        return node


@dataclass(frozen=True)
class _Value:
    """What tracing knows of a tensor: its channel axis, and how many consecutive entries a channel takes up."""

    axis: _Axis
    repeat: int = 1


_SAME_CHANNELS_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Hardswish, nn.GELU, nn.Sigmoid, nn.Tanh, nn.Identity, nn.Dropout,
    nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
_SAME_CHANNELS_FUNCTIONS: frozenset[Callable[..., object]] = frozenset(
    [F.relu, torch.relu, F.dropout, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d]
)
_ADDITIONS: frozenset[Callable[..., object]] = frozenset([operator.add, operator.iadd, torch.add])


class _Finder(fx.Interpreter):
    """Runs the traced network once on an empty batch of the right shape and follows the channel axes along."""

    def __init__(self, traced: fx.GraphModule, model: nn.Module) -> None:
        super().__init__(traced)
        self.extra_traceback = False
        self.model = model
        self.axes: list[_Axis] = []
        self.embeddings: list[tuple[_Axis, _Axis]] = []
        self.values: dict[fx.Node, _Value] = {}
        self.order = {str(node.target): i for i, node in enumerate(traced.graph.nodes) if node.op == "call_module"}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.op == "output":
            for node in n.all_input_nodes:
                self._fix(self.values[node].axis, "output")
        elif isinstance(result, torch.Tensor) and n.op != "get_attr":
            self.values[n] = self._follow(n, result)
        return result

    def _follow(self, node: fx.Node, result: torch.Tensor) -> _Value:
        if node.op == "placeholder":
            axis = self._new(result.shape[1])
            self._fix(axis, "input")
            return _Value(axis)
        if node.op == "call_module":
            return self._module(node, self.model.get_submodule(str(node.target)), result)
        return self._function(node, result)

    def _module(self, node: fx.Node, module: nn.Module, result: torch.Tensor) -> _Value:
        path, value = str(node.target), self._only_input(node)
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            if isinstance(module, nn.Conv2d) and module.groups != 1:
                raise self._refuse(node, f"a convolution with groups={module.groups}")
            self._join(value.axis, Member(path, "consumer", value.repeat))
            axis = self._new(module.weight.shape[0])
            self._join(axis, Member(path, "producer"))
            return _Value(axis)
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)) and value.repeat == 1:
            self._join(value.axis, Member(path, "follower"))
            return value
        if isinstance(module, nn.Flatten) and module.start_dim == 1:
            return self._flatten(value, result)
        if isinstance(module, _SAME_CHANNELS_MODULES):
            return value
        raise self._refuse(node, f"a {type(module).__name__}")

    def _function(self, node: fx.Node, result: torch.Tensor) -> _Value:
        target = node.target
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        if target in _ADDITIONS or name in ("add", "add_"):
            return self._add(node)
        value = self._only_input(node)
        if target in _SAME_CHANNELS_FUNCTIONS or name in ("relu", "relu_", "contiguous"):
            return value
        if target is operator.getitem and _keeps_channels(node.args[1]):
            return value
        if name == "mean" and value.repeat == 1 and result.shape[1] == value.axis.root().width:
            return value
        if name == "flatten" and (node.args[1:2] or (node.kwargs.get("start_dim", 0),))[0] == 1:
            return self._flatten(value, result)
        if name == "pad" or target is F.pad:
            return self._pad(node, value, result)
        raise self._refuse(node, f"the operation '{name}'")

    def _flatten(self, value: _Value, result: torch.Tensor) -> _Value:
        return _Value(value.axis, result.shape[1] // value.axis.root().width)

    def _pad(self, node: fx.Node, value: _Value, result: torch.Tensor) -> _Value:
        """Zero channels at the end embed the narrow space in a wide one; both keep their widths for now."""
        amounts = node.args[1] if len(node.args) > 1 else node.kwargs["pad"]
        assert isinstance(amounts, (tuple, list))
        if len(amounts) <= 4 or not any(amounts[4:]):
            return value
        if amounts[4] or any(amounts[6:]):
            raise self._refuse(node, "channel padding other than at the end")
        wide = self._new(result.shape[1])
        self._fix(value.axis, "channel padding")
        self._fix(wide, "channel padding")
        self.embeddings.append((value.axis, wide))
        return _Value(wide)

    def _add(self, node: fx.Node) -> _Value:
        values = [self.values[n] for n in node.all_input_nodes if n in self.values]
        roots = [v.axis.root() for v in values]
        if len(values) != len(node.args) or len({r.width for r in roots}) > 1 or len({v.repeat for v in values}) > 1:
            raise self._refuse(node, "an addition that broadcasts")
        first = roots[0]
        for other in roots[1:]:
            if other is not first:
                other.parent = first
                first.members += other.members
                first.fixed = first.fixed or other.fixed
        return values[0]

    def _new(self, width: int) -> _Axis:
        self.axes.append(_Axis(width))
        return self.axes[-1]

    def _join(self, axis: _Axis, member: Member) -> None:
        axis.root().members.append(member)

    def _fix(self, axis: _Axis, why: str) -> None:
        axis.root().fixed = axis.root().fixed or why

    def _only_input(self, node: fx.Node) -> _Value:
        inputs = [self.values[n] for n in node.all_input_nodes if n in self.values]
        if len(inputs) != 1:
            raise self._refuse(node, f"an operation on {len(inputs)} tensors")
        return inputs[0]

    def _refuse(self, node: fx.Node, what: str) -> UserError:
        return UserError(f"{_owner(node)}: channels cannot be followed through {what}")


def _owner(node: fx.Node) -> str:
    """Path of the module that a traced node belongs to, for messages."""
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(entry[0]) if isinstance(entry, tuple) else str(entry) for entry in stack.values()]
    return paths[-1] if paths and paths[-1] else str(node.name)


def _keeps_channels(index: object) -> bool:
    """Whether `x[index]` leaves batch and channels whole."""
    return isinstance(index, tuple) and len(index) > 2 and all(i == slice(None) for i in index[:2])


def find_spaces(model: nn.Module, input_shape: tuple[int, ...] = (3, 32, 32)) -> Spaces:
    """Find the channel spaces of `model` for inputs [N, *input_shape].

    A residual addition unites the spaces it adds; a channel padding embeds one in another. Spaces of the input,
    the logits and both sides of a padding are fixed. Names are those of the first producer, `input` for the input.
    Raises UserError, naming the module, where the network cannot be traced or the channels cannot be followed.
    """
    try:
        traced = fx.symbolic_trace(model)
    except Exception as error:  # whatever a user's forward raises on a proxy
        raise UserError(f"{type(model).__name__}: its forward cannot be traced ({error})") from error
    finder = _Finder(traced, model)
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad():
            finder.run(torch.zeros(1, *input_shape, device=device))
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{type(model).__name__}: does not run on an input of shape {input_shape} ({error})") from error
    finally:
        model.train(training)
    _refuse_shared(finder.axes)
    named: dict[int, str] = {}
    spaces: dict[str, Space] = {}
    for axis in finder.axes:
        if axis.parent is None:
            axis.members.sort(key=lambda m: finder.order[m.module])
            producers = [m.module for m in axis.members if m.role == "producer"]
            name = producers[0] if producers else "input"
            named[id(axis)] = name
            spaces[name] = Space(name, axis.width, axis.members, axis.fixed)
    embeddings = [(named[id(a.root())], named[id(b.root())]) for a, b in finder.embeddings]
    return Spaces(spaces, embeddings)


def _refuse_shared(axes: list[_Axis]) -> None:
    seen: set[tuple[str, str]] = set()
    for member in (m for axis in axes if axis.parent is None for m in axis.members):
        if (member.module, member.role) in seen:
            raise UserError(f"{member.module}: is called more than once, so its channels have no single meaning")
        seen.add((member.module, member.role))
