"""Finds the channel spaces of a plain `nn.Module` by tracing it and following every tensor's channels along.

Where an operation's channels cannot be followed, what it reads and makes is fixed in width, and the rest stays plastic.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from cgap.plasticity.spaces import ChannelPad, Member, Role, Segment, Space, Spaces
from cgap.plasticity.verification import fix_what_differs
from fpga_model.errors import UserError

_SAME_CHANNELS_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.GELU, nn.Sigmoid, nn.Tanh,
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
    nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ConstantPad2d, nn.Upsample, nn.Mish, nn.Softplus,
    nn.Hardtanh, nn.SELU, nn.CELU,
)  # fmt: skip
_SAME_CHANNELS = frozenset([
    "relu", "relu_", "relu6", "leaky_relu", "elu", "silu", "hardswish", "hardsigmoid", "gelu", "sigmoid", "tanh",
    "dropout", "contiguous", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "clamp",
    "float", "neg", "abs", "exp", "square", "sqrt", "pow", "mish", "softplus", "hardtanh", "selu", "interpolate",
    "clone", "detach",
])  # fmt: skip
_ARITHMETIC = frozenset(("add", "add_", "iadd", "sub", "isub", "mul", "mul_", "imul", "truediv", "div"))
_RESHAPES = frozenset(["flatten", "view", "reshape", "squeeze", "unsqueeze"])
_NORMS = (nn.BatchNorm2d, nn.BatchNorm1d, nn.InstanceNorm2d)
_TENSORS = frozenset(["weight", "bias", "running_mean", "running_var", "num_batches_tracked"])
"""Parameters and buffers that surgery re-indexes, or need not; a module with others is not one it can resize."""
_BATCH = 2


class _Channels:
    """Channels under construction: a union-find node that may also be cut in two."""

    def __init__(self, width: int, origin: str, fixed: str | None = None) -> None:
        self.width = width
        self.origin = origin
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
        self.parts = (
            _Channels(at, self.origin, self.fixed),
            _Channels(self.width - at, self.origin, self.fixed),
        )

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


class _UnfollowedError(Exception):
    """Why the channels of an operation's result are not known."""


class _Tracer(fx.Tracer):
    """Traces into modules until their forward cannot be traced: those it takes for one operation."""

    record_stack_traces = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ChannelPad) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        before = set(self.graph.nodes)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:  # whatever a user's forward raises on a proxy
            for node in reversed([node for node in self.graph.nodes if node not in before]):
                if node.op != "get_attr":  # the tracer remembers those and would use them again
                    self.graph.erase_node(node)
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)


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
                if node in self.values:
                    self.values[node].fix("output")
        elif isinstance(result, torch.Tensor):
            n.meta["shape"] = tuple(result.shape)
            try:
                self.values[n] = self._follow(n, args, result)
            except _UnfollowedError as error:
                self.values[n] = self._frozen(n, str(error), result)
        elif n.op != "get_attr" and any(torch.is_tensor(part) for part in _flat(result)):
            self._frozen(n, f"the operation '{_name(n)}', which makes several tensors", torch.zeros(0))
        return result

    def _frozen(self, node: fx.Node, why: str, result: torch.Tensor) -> _Value:
        """A result of fixed width, made from operands that are fixed with it."""
        where = f"{_owner(node)}: {why}"
        for operand in node.all_input_nodes:
            if operand in self.values:
                self.values[operand].fix(where)
        return self._new(result.shape[1] if result.dim() > 1 else result.numel(), str(node.name), where)

    def _follow(self, node: fx.Node, args: tuple[object, ...], result: torch.Tensor) -> _Value:
        if node.op == "placeholder":
            return self._new(result.shape[1], "input", "input")
        if node.op == "get_attr":
            raise self._refuse("a parameter that no module owns")
        if node.op == "call_module":
            return self._module(node, self.model.get_submodule(str(node.target)), result)
        return self._function(node, args, result)

    def _module(self, node: fx.Node, module: nn.Module, result: torch.Tensor) -> _Value:
        path, value = str(node.target), self._only_input(node)
        if isinstance(module, nn.Conv2d):
            return self._convolution(path, module, value)
        if isinstance(module, nn.Linear):
            if result.dim() != 2:
                raise self._refuse("a Linear on more than rows [N, features]")
            return self._dense(path, value, module.out_features)
        if isinstance(module, _NORMS) or (isinstance(module, nn.PReLU) and module.num_parameters > 1):
            self.uses.append(_Use(path, "follower", value))
            return value
        if isinstance(module, ChannelPad):
            if not module.extra:
                return value
            extra = self._new(module.extra, path)
            self.uses.append(_Use(path, "padding", extra))
            return _Value(value.parts + extra.parts)
        if isinstance(module, nn.Flatten) and module.start_dim == 1:
            return self._reshaped(node, value, result)
        if isinstance(module, (nn.Softmax, nn.LogSoftmax)):
            value.fix("softmax")
            return value
        if isinstance(module, (*_SAME_CHANNELS_MODULES, nn.PReLU)):
            return value
        raise self._refuse(f"a {type(module).__name__}")

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
        out = self._new(module.out_channels, path)
        out.parts[0][0].groups = groups
        self.uses += [_Use(path, "consumer", value, groups), _Use(path, "producer", out)]
        return out

    def _dense(self, path: str, value: _Value, outputs: int) -> _Value:
        out = self._new(outputs, path)
        self.uses += [_Use(path, "consumer", value), _Use(path, "producer", out)]
        return out

    def _function(self, node: fx.Node, args: tuple[object, ...], result: torch.Tensor) -> _Value:
        name = _name(node)
        if name in _ARITHMETIC:
            return self._arithmetic(node, result)
        if name in ("cat", "concat", "concatenate"):
            return self._concatenation(node, args, result)
        if name == "expand_as":
            return self._expanded(node)
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
        raise self._refuse(f"the operation '{name}'")

    def _reshaped(self, node: fx.Node, value: _Value, result: torch.Tensor) -> _Value:
        """Layout that keeps batch and channels apart from the rest: [N, C, H, W] -> [N, C * H * W], [N, C], ..."""
        entries, source = value.entries(), node.all_input_nodes[0].meta["shape"]
        spatial = torch.Size(source[2:]).numel()
        if result.dim() > 1 and result.shape[0] == _BATCH:
            if result.shape[1] == entries:
                return value
            if result.dim() == 2 and result.shape[1] == entries * spatial:
                return value.repeated(spatial)
        raise self._refuse(f"the operation '{_name(node)}' from {list(source)} to {list(result.shape)}")

    def _reduced(self, node: fx.Node, args: tuple[object, ...], value: _Value) -> _Value:
        axes = args[1] if len(args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis"))
        rank = len(node.all_input_nodes[0].meta["shape"])
        listed = axes if isinstance(axes, (tuple, list)) else [axes]
        if not all(isinstance(axis, int) and axis % rank > 1 for axis in listed):
            raise self._refuse(f"the operation '{_name(node)}' over axes {axes}")
        return value

    def _pad(self, node: fx.Node, args: tuple[object, ...], value: _Value) -> _Value:
        """Zero channels before and after the others; their number is the forward's own, so it cannot change."""
        amounts = args[1] if len(args) > 1 else node.kwargs.get("pad")
        if not isinstance(amounts, (tuple, list)) or not all(isinstance(a, int) for a in amounts) or any(amounts[6:]):
            raise self._refuse(f"the padding {amounts}")
        before, after = (*amounts[4:6], 0, 0)[:2]
        if min(before, after) < 0:
            raise self._refuse(f"the padding {amounts}")
        extras = [
            self._new(count, str(node.name), "constant channel padding").parts if count else ()
            for count in (before, after)
        ]
        return _Value(extras[0] + value.parts + extras[1])

    def _concatenation(self, node: fx.Node, args: tuple[object, ...], result: torch.Tensor) -> _Value:
        axis = args[1] if len(args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        if axis not in (1, 1 - result.dim()):
            raise self._refuse(f"a concatenation on axis {axis}")
        operands = node.args[0] if node.args else node.kwargs["tensors"]
        if not isinstance(operands, (tuple, list)) or any(operand not in self.values for operand in operands):
            raise self._refuse("a concatenation of what one operation makes")
        return _Value(tuple(part for operand in operands for part in self.values[operand].parts))

    def _arithmetic(self, node: fx.Node, result: torch.Tensor) -> _Value:
        """Channel c of every operand is channel c of the result; a single channel counts for all and stays single."""
        united: list[_Value] = []
        parameter = False
        for operand in node.all_input_nodes:
            if operand not in self.values:
                continue
            value, shape = self.values[operand], operand.meta["shape"]
            if result.dim() < 2:
                raise self._refuse(f"the operation '{_name(node)}' on numbers")
            aligned = (1,) * (result.dim() - len(shape)) + shape
            if aligned[1] == 1 < result.shape[1]:
                value.fix("one channel for all")
            elif operand.op == "get_attr":
                parameter = parameter or aligned[1] > 1
            elif len(shape) != result.dim() or aligned[1] != value.entries():
                raise self._refuse(f"the operation '{_name(node)}' that broadcasts over channels")
            else:
                united.append(value)
        if not united:
            raise self._refuse(f"the operation '{_name(node)}' on parameters or numbers")
        if any(value.entries() != united[0].entries() for value in united):
            raise self._refuse(f"the operation '{_name(node)}' on channels of different extent")
        for other in united[1:]:
            _unite(united[0], other)
        if parameter:
            united[0].fix(f"{_owner(node)}: a parameter that no module owns")
        return united[0]

    def _expanded(self, node: fx.Node) -> _Value:
        """`x.expand_as(y)`: y's channels, which are x's too unless x has one for all."""
        operands = [operand for operand in node.all_input_nodes if operand in self.values]
        if len(operands) != 2 or any(len(o.meta["shape"]) != len(operands[1].meta["shape"]) for o in operands):
            raise self._refuse("the operation 'expand_as' to another number of axes")
        value, like = (self.values[operand] for operand in operands)
        if value.entries() == like.entries():
            _unite(value, like)
        else:
            value.fix("one channel for all")
        return like

    def _new(self, width: int, origin: str, fixed: str | None = None) -> _Value:
        self.all.append(_Channels(width, origin, fixed))
        return _Value(((self.all[-1], 1),))

    def _only_input(self, node: fx.Node) -> _Value:
        inputs = [self.values[n] for n in node.all_input_nodes if n in self.values]
        if len(inputs) != 1:
            raise self._refuse(f"the operation '{_name(node)}' on {len(inputs)} tensors")
        return inputs[0]

    def _refuse(self, what: str) -> _UnfollowedError:
        return _UnfollowedError(f"channels cannot be followed through {what}")


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
    own = [line for line in lines if "/torch/" not in line[0] and line[0] != __file__]
    return f"{path} ({own[-1][0]}:{own[-1][1]})" if own else path


def _keeps_channels(index: object) -> bool:
    """Whether `x[index]` leaves batch and channels whole."""
    return isinstance(index, tuple) and len(index) > 2 and all(i == slice(None) for i in index[:2])


def _flat(value: object) -> Iterator[object]:
    """What is in lists, tuples and dictionaries of any depth."""
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from _flat(part)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    else:
        yield value


def find_spaces(model: nn.Module, input_shape: tuple[int, ...] = (3, 32, 32)) -> Spaces:
    """Find the channel spaces of `model` for inputs [N, *input_shape].

    Arithmetic on two tensors unites the spaces they have; where one of them is padded with zero channels or
    concatenated, the other is cut likewise. The spaces of the input and the output are fixed, and so are those at an
    operation whose channels cannot be followed, of a module that is called twice, shares a weight or computes it from
    others, and all with which a copy of the network at other widths fails or computes something else in train or eval
    mode; `Space.fixed` says why. A space is named after the first module that makes it, with the segment's number where
    that module makes several, and `input`.

    Raises UserError where the network cannot be traced at all, does not run on such inputs, or cannot be copied.
    """
    training, like = model.training, next(model.parameters())
    try:
        model.train()  # what is there in training only is found, too
        tracer = _Tracer()
        traced = fx.GraphModule(model, tracer.trace(model))
    except Exception as error:  # whatever a user's forward raises on a proxy
        raise UserError(f"{type(model).__name__}: its forward cannot be traced ({error})") from error
    finally:
        model.train(training)
    finder = _Finder(traced, model)
    model.eval()
    try:
        with torch.no_grad():
            finder.run(torch.zeros(_BATCH, *input_shape, device=like.device, dtype=like.dtype))
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{type(model).__name__}: does not run on an input of shape {input_shape} ({error})") from error
    finally:
        model.train(training)
    spaces = _named(_resizable(model, finder.uses), finder.all)
    fix_what_differs(model, spaces, input_shape)
    return spaces


def _resizable(model: nn.Module, uses: list[_Use]) -> list[_Use]:
    """The parts of modules that are called once, with the channels of all modules fixed that surgery cannot resize."""
    owners: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(f"{path}.{name}")
    calls = Counter((use.module, use.role) for use in uses)
    for use in uses:
        module = model.get_submodule(use.module)
        tied = [names for p in module.parameters() if len(names := owners[id(p)]) > 1]
        computed = {name for name, _ in (*module.named_parameters(), *module.named_buffers())} - _TENSORS
        if calls[use.module, use.role] > 1:
            use.value.fix(f"{use.module}: is called more than once")
        elif tied:
            use.value.fix(f"{' and '.join(tied[0])} are one parameter")
        elif computed and not isinstance(module, ChannelPad):
            use.value.fix(f"{use.module}: computes its weight from {', '.join(sorted(computed))}")
    return [use for use in uses if calls[use.module, use.role] == 1]


def _named(uses: list[_Use], everything: list[_Channels]) -> Spaces:
    """The spaces that the channels have become."""
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
    taken = Counter(names.values())
    for leaf in leaves:
        if leaf not in names:
            names[leaf] = f"{leaf.origin}[{taken[leaf.origin]}]" if taken[leaf.origin] else leaf.origin
            taken[leaf.origin] += 1
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
        if mine or leaf.origin == "input":
            fixed = leaf.fixed or (None if any(m.role == "consumer" for m in mine) else "nothing reads it")
            spaces.spaces[name] = Space(name, leaf.width // leaf.groups, mine, leaf.groups, fixed)
    return spaces
