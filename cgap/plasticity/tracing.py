"""Finds the channel spaces of a plain `nn.Module` by tracing it and following every tensor's channels along."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import fx, nn

from cgap.plasticity.spaces import ChannelPad, Member, Role, Segment, Space, Spaces
from fpga_model.errors import UserError

_SAME_CHANNELS_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.GELU, nn.Sigmoid, nn.Tanh,
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
    nn.ZeroPad2d, nn.ReflectionPad2d, nn.Upsample,
)  # fmt: skip
_SAME_CHANNELS = frozenset([
    "relu", "relu_", "relu6", "leaky_relu", "elu", "silu", "hardswish", "hardsigmoid", "gelu", "sigmoid", "tanh",
    "dropout", "contiguous", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "clamp",
    "float", "neg",
])  # fmt: skip
_ARITHMETIC = frozenset(("add", "add_", "iadd", "sub", "isub", "mul", "mul_", "imul", "truediv", "div"))
_RESHAPES = frozenset(["flatten", "view", "reshape", "squeeze", "unsqueeze"])
_BATCH = 2


class _Channels:
    """Channels under construction: a union-find node that may also be cut in two."""

    def __init__(self, width: int, fixed: str | None = None) -> None:
        self.width = width
        self.groups = 1
        self.fixed = fixed
        self.parent: _Channels | None = None
        self.parts: tuple[_Channels, _Channels] | None = None

    def leaves(self) -> list[_Channels]:
        """The undivided nodes that these channels are now, in order."""
        node = self
        while node.parent is not None:
            node = node.parent
        return [node] if node.parts is None else [leaf for part in node.parts for leaf in part.leaves()]

    def fix(self, why: str) -> None:
        self.fixed = self.fixed or why

    def split(self, at: int) -> None:
        self.parts = _Channels(at, self.fixed), _Channels(self.width - at, self.fixed)

    def take(self, other: _Channels) -> None:
        """Become one with `other`, which has the same width."""
        if self.groups != other.groups and 1 not in (self.groups, other.groups):
            self.fix("convolutions of different groups")
        self.groups = max(self.groups, other.groups)
        self.fixed = self.fixed or other.fixed
        other.parent = self


@dataclass(frozen=True)
class _Value:
    """What tracing knows of a tensor: its channels in order, and how many consecutive entries each takes up."""

    parts: tuple[tuple[_Channels, int], ...]

    def leaves(self) -> list[tuple[_Channels, int]]:
        return [(leaf, repeat) for channels, repeat in self.parts for leaf in channels.leaves()]

    def entries(self) -> int:
        return sum(leaf.width * repeat for leaf, repeat in self.leaves())

    def repeated(self, times: int) -> _Value:
        return _Value(tuple((channels, repeat * times) for channels, repeat in self.parts))

    def fix(self, why: str) -> None:
        for leaf, _ in self.leaves():
            leaf.fix(why)


@dataclass(frozen=True)
class _Use:
    """A module's part in spaces, to become a Member."""

    module: str
    role: Role
    value: _Value
    groups: int = 1


class _Tracer(fx.Tracer):
    record_stack_traces = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ChannelPad) or super().is_leaf_module(m, module_qualified_name)


class _Finder(fx.Interpreter):
    """Runs the traced network once on zeros and follows the channels along."""

    def __init__(self, traced: fx.GraphModule, model: nn.Module) -> None:
        super().__init__(traced)
        self.extra_traceback = False
        self.model = model
        self.values: dict[fx.Node, _Value] = {}
        self.uses: list[_Use] = []
        self.all: list[_Channels] = []

    def run_node(self, n: fx.Node) -> object:
        args, _ = self.fetch_args_kwargs_from_env(n)
        result = super().run_node(n)
        if n.op == "output":
            for node in n.all_input_nodes:
                self.values[node].fix("output")
        elif n.op == "get_attr" and isinstance(result, torch.Tensor):
            raise self._refuse(n, "a parameter that no module owns")
        elif isinstance(result, torch.Tensor):
            n.meta["shape"] = tuple(result.shape)
            self.values[n] = self._follow(n, args, result)
        elif n.op != "get_attr" and isinstance(result, (tuple, list)) and any(torch.is_tensor(r) for r in result):
            raise self._refuse(n, f"the operation '{_name(n)}', which makes several tensors")
        return result

    def _follow(self, node: fx.Node, args: tuple[object, ...], result: torch.Tensor) -> _Value:
        if node.op == "placeholder":
            value = self._new(result.shape[1])
            value.fix("input")
            return value
        if node.op == "call_module":
            return self._module(node, self.model.get_submodule(str(node.target)), result)
        return self._function(node, args, result)

    def _module(self, node: fx.Node, module: nn.Module, result: torch.Tensor) -> _Value:
        path, value = str(node.target), self._only_input(node)
        if isinstance(module, nn.Conv2d):
            return self._convolution(path, module, value)
        if isinstance(module, nn.Linear):
            if result.dim() != 2:
                raise self._refuse(node, "a Linear on more than rows [N, features]")
            return self._dense(path, value, module.out_features)
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)) or (
            isinstance(module, nn.PReLU) and module.num_parameters > 1
        ):
            self.uses.append(_Use(path, "follower", value))
            return value
        if isinstance(module, ChannelPad):
            if not module.extra:
                return value
            extra = self._new(module.extra)
            self.uses.append(_Use(path, "padding", extra))
            return _Value(value.parts + extra.parts)
        if isinstance(module, nn.Flatten) and module.start_dim == 1:
            return self._reshaped(node, value, result)
        if isinstance(module, (nn.Softmax, nn.LogSoftmax)):
            value.fix("softmax")
            return value
        if isinstance(module, (*_SAME_CHANNELS_MODULES, nn.PReLU)):
            return value
        raise self._refuse(node, f"a {type(module).__name__}")

    def _convolution(self, path: str, module: nn.Conv2d, value: _Value) -> _Value:
        groups = module.groups
        if groups == 1:
            return self._dense(path, value, module.out_channels)
        if groups == module.in_channels:
            value = value.repeated(module.out_channels // groups)
            self.uses.append(_Use(path, "follower", value))
            return value
        leaves, why = value.leaves(), f"{groups} groups of {path}"
        if len(leaves) > 1 or leaves[0][1] > 1 or leaves[0][0].groups not in (1, groups):
            value.fix(why)
        leaves[0][0].groups = groups
        out = self._new(module.out_channels)
        out.parts[0][0].groups = groups
        self.uses += [_Use(path, "consumer", value, groups), _Use(path, "producer", out)]
        return out

    def _dense(self, path: str, value: _Value, outputs: int) -> _Value:
        out = self._new(outputs)
        self.uses += [_Use(path, "consumer", value), _Use(path, "producer", out)]
        return out

    def _function(self, node: fx.Node, args: tuple[object, ...], result: torch.Tensor) -> _Value:
        name = _name(node)
        if name in _ARITHMETIC:
            return self._arithmetic(node, result)
        if name in ("cat", "concat", "concatenate"):
            return self._concatenation(node, args, result)
        value = self._only_input(node)
        if name in _SAME_CHANNELS:
            return value
        if name == "getitem" and _keeps_channels(args[1]):
            return value
        if name in ("softmax", "log_softmax"):
            value.fix("softmax")
            return value
        if name in _RESHAPES:
            return self._reshaped(node, value, result)
        if name in ("mean", "amax"):
            return self._reduced(node, args, value)
        if name == "pad":
            return self._pad(node, args, value)
        raise self._refuse(node, f"the operation '{name}'")

    def _reshaped(self, node: fx.Node, value: _Value, result: torch.Tensor) -> _Value:
        """Layout that keeps batch and channels apart from the rest: [N, C, H, W] -> [N, C * H * W], [N, C], ..."""
        entries, source = value.entries(), node.all_input_nodes[0].meta["shape"]
        spatial = torch.Size(source[2:]).numel()
        if result.dim() > 1 and result.shape[0] == _BATCH:
            if result.shape[1] == entries:
                return value
            if result.dim() == 2 and result.shape[1] == entries * spatial:
                return value.repeated(spatial)
        raise self._refuse(node, f"the operation '{_name(node)}' from {list(source)} to {list(result.shape)}")

    def _reduced(self, node: fx.Node, args: tuple[object, ...], value: _Value) -> _Value:
        axes = args[1] if len(args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis"))
        rank = len(node.all_input_nodes[0].meta["shape"])
        listed = axes if isinstance(axes, (tuple, list)) else [axes]
        if not all(isinstance(axis, int) and axis % rank > 1 for axis in listed):
            raise self._refuse(node, f"the operation '{_name(node)}' over axes {axes}")
        return value

    def _pad(self, node: fx.Node, args: tuple[object, ...], value: _Value) -> _Value:
        """Zero channels before and after the others; their number is the forward's own, so it cannot change."""
        amounts = args[1] if len(args) > 1 else node.kwargs.get("pad")
        if not isinstance(amounts, (tuple, list)) or not all(isinstance(a, int) for a in amounts) or any(amounts[6:]):
            raise self._refuse(node, f"the padding {amounts}")
        before, after = (*amounts[4:6], 0, 0)[:2]
        if min(before, after) < 0:
            raise self._refuse(node, f"the padding {amounts}")
        extras = [self._new(count, "constant channel padding").parts if count else () for count in (before, after)]
        return _Value(extras[0] + value.parts + extras[1])

    def _concatenation(self, node: fx.Node, args: tuple[object, ...], result: torch.Tensor) -> _Value:
        axis = args[1] if len(args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        if axis not in (1, 1 - result.dim()):
            raise self._refuse(node, f"a concatenation on axis {axis}")
        operands = node.args[0] if node.args else node.kwargs["tensors"]
        assert isinstance(operands, (tuple, list))
        return _Value(tuple(part for operand in operands for part in self.values[operand].parts))

    def _arithmetic(self, node: fx.Node, result: torch.Tensor) -> _Value:
        """Channel c of every operand is channel c of the result."""
        values = [
            self.values[n] for n in (*node.args, *node.kwargs.values()) if isinstance(n, fx.Node) and n in self.values
        ]
        if not values:
            raise self._refuse(node, f"the operation '{_name(node)}' on numbers")
        if any(value.entries() != values[0].entries() for value in values):
            raise self._refuse(node, f"the operation '{_name(node)}' that broadcasts over channels")
        for other in values[1:]:
            _unite(values[0], other)
        return values[0]

    def _new(self, width: int, fixed: str | None = None) -> _Value:
        self.all.append(_Channels(width, fixed))
        return _Value(((self.all[-1], 1),))

    def _only_input(self, node: fx.Node) -> _Value:
        inputs = [self.values[n] for n in node.all_input_nodes if n in self.values]
        if len(inputs) != 1:
            raise self._refuse(node, f"the operation '{_name(node)}' on {len(inputs)} tensors")
        return inputs[0]

    def _refuse(self, node: fx.Node, what: str) -> UserError:
        return UserError(f"{_owner(node)}: channels cannot be followed through {what}")


def _unite(a: _Value, b: _Value) -> None:
    """Make the channels of `a` those of `b`, cutting where one has a boundary and the other none."""
    while True:
        for (x, times), (y, other) in zip(a.leaves(), b.leaves(), strict=False):
            if x is y and times == other:
                continue
            if times != other:
                why = "arithmetic on channels of different extent"
                a.fix(why)
                b.fix(why)
                return
            if x.width == y.width:
                x.take(y)
            elif max(x, y, key=lambda c: c.width).groups > 1:
                a.fix("groups beside a channel padding")
                b.fix("groups beside a channel padding")
                return
            else:
                max(x, y, key=lambda c: c.width).split(min(x.width, y.width))
            break
        else:
            return


def _name(node: fx.Node) -> str:
    target = node.target
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _owner(node: fx.Node) -> str:
    """Path of the module that a traced node belongs to, and the line of its forward, for messages."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(entry[0]) if isinstance(entry, tuple) else str(entry) for entry in stack.values()]
    path = str(node.target) if node.op == "call_module" else (paths[-1] if paths and paths[-1] else str(node.name))
    lines = re.findall(r'File "(.+?)", line (\d+)', node.stack_trace or "")
    own = [line for line in lines if "/torch/" not in line[0]]
    return f"{path} ({own[-1][0]}:{own[-1][1]})" if own else path


def _keeps_channels(index: object) -> bool:
    """Whether `x[index]` leaves batch and channels whole."""
    return isinstance(index, tuple) and len(index) > 2 and all(i == slice(None) for i in index[:2])


def find_spaces(model: nn.Module, input_shape: tuple[int, ...] = (3, 32, 32)) -> Spaces:
    """Find the channel spaces of `model` for inputs [N, *input_shape].

    Arithmetic on two tensors unites the spaces they have; where one of them is padded with zero channels or
    concatenated, the other is cut likewise. The spaces of the input and the output are fixed. A space is named
    after the first module that makes it, with the segment's number where that module makes several, and `input`.

    Raises UserError, naming the module and the line, where the network cannot be traced or the channels cannot be
    followed.
    """
    try:
        tracer = _Tracer()
        traced = fx.GraphModule(model, tracer.trace(model))
    except Exception as error:  # whatever a user's forward raises on a proxy
        raise UserError(f"{type(model).__name__}: its forward cannot be traced ({error})") from error
    finder = _Finder(traced, model)
    training, like = model.training, next(model.parameters())
    model.eval()
    try:
        with torch.no_grad():
            finder.run(torch.zeros(_BATCH, *input_shape, device=like.device, dtype=like.dtype))
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{type(model).__name__}: does not run on an input of shape {input_shape} ({error})") from error
    finally:
        model.train(training)
    return _named(finder.uses, finder.all)


def _named(uses: list[_Use], everything: list[_Channels]) -> Spaces:
    """The spaces that the channels have become."""
    _refuse_shared(uses)
    leaves = list(dict.fromkeys(leaf for channels in everything for leaf in channels.leaves()))
    for leaf in leaves:
        if leaf.fixed:
            leaf.groups = 1
    names: dict[_Channels, str] = {}
    for use in uses:
        if use.role in ("producer", "padding"):
            parts = use.value.leaves()
            for number, (leaf, _) in enumerate(parts):
                names.setdefault(leaf, use.module if len(parts) == 1 else f"{use.module}[{number}]")
    for number, leaf in enumerate(leaf for leaf in leaves if leaf not in names):
        names[leaf] = f"input[{number}]" if number else "input"
    members = [
        Member(
            use.module,
            use.role,
            tuple(Segment(names[leaf], repeat, leaf.groups) for leaf, repeat in use.value.leaves()),
            use.groups if all(leaf.groups == use.groups for leaf, _ in use.value.leaves()) else 1,
        )
        for use in uses
    ]
    spaces = Spaces()
    for leaf in leaves:
        name = names[leaf]
        mine = [member for member in members if any(segment.space == name for segment in member.segments)]
        spaces.spaces[name] = Space(name, leaf.width // leaf.groups, mine, leaf.groups, leaf.fixed)
    return spaces


def _refuse_shared(uses: list[_Use]) -> None:
    seen: set[tuple[str, Role]] = set()
    for use in uses:
        if (use.module, use.role) in seen:
            raise UserError(f"{use.module}: is called more than once, so its channels have no single meaning")
        seen.add((use.module, use.role))
