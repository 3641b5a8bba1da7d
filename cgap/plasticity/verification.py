"""Tries what tracing found: a network at other widths must run, and compute what it computed before.

A trace shows neither numbers that a forward has written down for one width, nor what only eval mode reaches.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from cgap.plasticity.spaces import Spaces
from cgap.plasticity.surgery import IndexMap, surgery
from fpga_model.errors import UserError

_BATCH = 2
_TOLERANCE: Mapping[torch.dtype, float] = {torch.float64: 1e-6, torch.float32: 1e-3}
_SEED = 1


def fix_what_differs(model: nn.Module, spaces: Spaces, input_shape: tuple[int, ...]) -> None:
    """Fix every plastic space with which a copy of `model` at another width fails, or computes something else.

    The copies have up to three more channels in each space that nothing reads. They are compared in train and eval
    mode, without dropout; where a forward has another source of chance, that mode is only run. The model stays as it
    is, and so does the state of the random number generator.

    Raises UserError if the network does not run or cannot be copied.
    """
    with torch.random.fork_rng(devices=[]):
        trial = _Trial(model, input_shape)
        names = list(spaces.widths())
        if not trial.fault(spaces, names):
            return
        for name in names:
            fault = trial.fault(spaces, [name])
            if fault:
                spaces[name].fixed = f"at another width the network {fault}"
        rest = list(spaces.widths())
        fault = trial.fault(spaces, rest)
        for name in rest if fault else ():
            spaces[name].fixed = f"together with others at other widths the network {fault}"


class _Trial:
    """A copy of a network with random parameters, and what it computes."""

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...]) -> None:
        kind = type(model).__name__
        for dtype in (torch.float64, torch.float32):
            try:
                self._model = copy.deepcopy(model).cpu().to(dtype)
            except RuntimeError as error:
                raise UserError(
                    f"{kind}: cannot be copied, so it can be neither tried nor trained ({error})"
                ) from error
            self._dtype = dtype
            self._disturb()
            torch.manual_seed(_SEED)
            self._x = torch.randn(_BATCH, *input_shape, dtype=dtype)
            try:
                self._expected = self._outputs(copy.deepcopy(self._model), _SEED)
                break
            except (RuntimeError, TypeError, ValueError) as error:  # a forward may insist on float32
                if dtype == torch.float32:
                    raise UserError(
                        f"{kind}: does not run on an input of shape {input_shape} in train and eval mode ({error})"
                    ) from error

    @torch.no_grad()
    def _disturb(self) -> None:
        """Move parameters away from values that hide things, such as zero."""
        torch.manual_seed(_SEED)
        for parameter in self._model.parameters():
            if parameter.is_floating_point():
                parameter += 0.05 * torch.randn_like(parameter)

    @torch.no_grad()
    def _outputs(self, model: nn.Module, seed: int) -> dict[bool, list[Tensor]]:
        """All tensors that a network makes in train and then in eval mode, which gives it other statistics."""
        made = {}
        for training in (True, False):
            model.train(training)
            for module in model.modules():
                if isinstance(module, _DropoutNd):
                    module.eval()
            torch.manual_seed(seed)
            made[training] = list(_tensors(model(self._x)))
        return made

    def fault(self, spaces: Spaces, names: Iterable[str]) -> str | None:
        """What happens if these spaces are wider; None: nothing does."""
        model, wider = copy.deepcopy(self._model), copy.deepcopy(spaces)
        for number, name in enumerate(names):
            _widen(model, wider, name, 1 + number % 3)
        try:
            outputs = self._outputs(model, _SEED)
        except Exception as error:  # whatever a user's forward raises
            reason = str(error).strip().splitlines() or [type(error).__name__]
            return f"fails ({reason[0][:160]})"
        differs = [mode for mode, then in self._expected.items() if not self._same(then, outputs[mode])]
        if not differs:
            return None
        again = self._outputs(copy.deepcopy(self._model), _SEED + 1)
        if all(not self._same(self._expected[mode], again[mode]) for mode in differs):
            return None  # it is chance that differs
        return "computes something else"

    def _same(self, expected: list[Tensor], found: list[Tensor]) -> bool:
        return [t.shape for t in expected] == [t.shape for t in found] and all(
            torch.allclose(b, a, rtol=0, atol=_TOLERANCE[self._dtype] * (1 + float(a.abs().max())), equal_nan=True)
            for a, b in zip(expected, found, strict=True)
            if a.numel() and a.is_floating_point()
        )


@torch.no_grad()
def _widen(model: nn.Module, spaces: Spaces, name: str, channels: int) -> None:
    """Append copies of the first channels, and make all that reads a channel ignore them."""
    width = spaces[name].width
    parents = tuple(channel % width for channel in range(channels))
    surgery(model, spaces, name, IndexMap.append(width, channels, parents))
    for member in spaces[name].of("consumer"):
        weight = model.get_submodule(member.module).weight
        assert isinstance(weight, Tensor)
        for run, repeat in spaces.runs(member, name):
            weight[:, run.start + width * repeat : run.stop] = 0


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors of a network's output, whatever holds them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
