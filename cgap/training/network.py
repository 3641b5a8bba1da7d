"""What a run needs of a user's network: one tensor of logits, its own scale of pixels, weights, and a memory layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fpga_model.errors import UserError

_MOST_BYTES = 2 << 30


class Selected(nn.Module):
    """A network of several outputs as one of a single output: that of a place in a tuple, or of a name.

    A network may make several in train mode only.
    """

    def __init__(self, network: nn.Module, output: int | str) -> None:
        super().__init__()
        self.network = network
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the chosen output."""
        made: Any = self.network(x)
        several = isinstance(made, (tuple, list, Mapping))
        return made[self.output] if several else made


class Normalised(nn.Module):
    """A network that reads (pixel / 255 - mean) / std behind the one scale that images come in, (pixel - 128) / 128."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        means, stds = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        self.register_buffer("scale", 128 / 255 / stds)
        self.register_buffer("shift", (128 / 255 - means) / stds)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> what the network makes of it."""
        made: Tensor = self.network(x * self.scale + self.shift)
        return made


def published(model: nn.Module) -> nn.Module:
    """The network as its author wrote it, in what a run has put around it."""
    while isinstance(model, (Normalised, Selected)):
        model = model.network
    return model


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a network the weights of a `state_dict` file, without executing anything in it.

    The dictionary may lie under `state_dict` or `model`, and its names may begin with `module.`; they and all shapes
    must be the network's (batch norms' counters may be missing). Raises UserError if the file cannot be read or does
    not fit.
    """
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise UserError(f"model.weights: {path}: cannot be read (no file of at most {_MOST_BYTES >> 30} GiB)")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the file may be anybody's: there is no list of what unpickling can stumble over
        raise UserError(f"model.weights: {path}: cannot be read ({type(error).__name__}: {error})") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"model.weights: {path}: is not a state_dict, which has a tensor for every name")
    given = {str(name).removeprefix("module."): value for name, value in content.items()}
    own = model.state_dict()
    given = {**{name: value for name, value in own.items() if name.endswith("num_batches_tracked")}, **given}
    for what, names in (
        ("does not have", [name for name in own if name not in given]),
        ("has besides the network's", [name for name in given if name not in own]),
        (
            "has in other shapes",
            [name for name, value in own.items() if name in given and given[name].shape != value.shape],
        ),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(
                f"model.weights: {path}: {what} {', '.join(names[:3])}{more}; it is of another network, or "
                f"model.options differ"
            )
    model.load_state_dict(given)


def require_logits(model: nn.Module, name: str, shape: tuple[int, ...], classes: int) -> None:
    """Raise UserError unless `model` makes logits [N, classes] of images [N, *shape] in train and in eval mode.

    Leaves the model as it is, batch-norm statistics included.
    """
    for training in (True, False):
        try:
            made = _tried(model, torch.zeros(2, *shape), training)
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            raise UserError(f"model {name}: does not run on images {list(shape)} ({error})") from error
        if not isinstance(made, (Tensor, Mapping, tuple, list)):
            raise UserError(f"model {name}: makes a {type(made).__name__}, and a tensor of logits is needed")
        if not isinstance(made, Tensor):
            places = list(made) if isinstance(made, Mapping) else list(range(len(made)))
            raise UserError(f"model {name}: makes several outputs; choose one with model.output, of {places}")
        if tuple(made.shape) != (2, classes):
            raise UserError(
                f"model {name}: makes {list(made.shape[1:])} numbers an image, and the data has {classes} classes; see "
                f"model.options"
            )


def to_layout(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Lay a network out channels last, which is faster, unless its forward runs on contiguous images only."""
    model.to(memory_format=torch.channels_last)
    x = torch.zeros(2, *shape, device=next(model.parameters()).device)
    if _contiguous not in model._forward_pre_hooks.values():
        with suppress(RuntimeError):
            for training in (True, False):
                _tried(model, x.contiguous(memory_format=torch.channels_last), training)
            return model
        model.register_forward_pre_hook(_contiguous)
    return model.to(memory_format=torch.contiguous_format)


def _contiguous(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.contiguous() for x in inputs)


@torch.no_grad()
def _tried(model: nn.Module, x: Tensor, training: bool) -> Any:
    """What a network makes; its mode, its buffers and the random numbers to come stay as they are."""
    was, kept = model.training, {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]):
            return model.train(training)(x)
    finally:
        model.train(was)
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])
