"""Everything that changes during a run, and how it is saved and restored."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW

from cgap import zoo
from cgap.boundary.files import MIB, write_atomic
from cgap.boundary.imports import require_trust
from cgap.boundary.locks import scratch
from cgap.data import dataset
from cgap.plasticity import (
    ChannelState,
    Cost,
    CostModel,
    Masks,
    Saliency,
    Spaces,
    find_spaces,
    least_widths,
    new_masks,
    resize_to,
    saliency_class,
)
from cgap.plasticity.cycles import CycleModel
from cgap.training.config import AcceleratorSection, Config, PlasticitySection, load_config
from cgap.training.network import Normalised, Selected, load_weights, published, require_logits, to_layout
from cgap.training.record import read_record
from cgap.training.schedule import final_budget
from cgap.training.workers import Workers
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform

FORMAT = 2
MOST_BYTES = 2 << 30
"""Largest checkpoint that is read."""
_MOST_STRUCTURE = 64 * MIB
"""Largest part of a checkpoint that is not the numbers of its tensors."""
EMA_WEIGHT = "ema_weight"
"""Key in the optimizer's state; keys of all that belongs to exponential moving averages begin with `ema`."""


@dataclass
class RunState:
    """A run between two steps: network, optimizer, saliency, random numbers and progress.

    `identity` is that of the run, which its checkpoints carry (see `run_identity`). `compiled` runs `model` in steps
    after the last event, where the run asks for it.
    """

    model: nn.Module
    spaces: Spaces
    cost_model: CostModel
    dense: Cost
    dense_widths: dict[str, int]
    capacity: dict[str, int]
    optimizer: SGD | AdamW
    saliency: Saliency
    generator: torch.Generator
    epoch: int = 0
    step: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    mean: dict[str, Tensor] = field(default_factory=dict)
    averaged: int = 0
    masks: Masks = field(default_factory=dict)
    workers: Workers = field(default_factory=Workers)
    identity: str = ""
    compiled: Callable[[Tensor], Tensor] | None = None

    def move(self, device: torch.device) -> None:
        """Bring everything that is computed with to a device; parameters stay the same objects."""
        self.model.to(device)
        for values in self.optimizer.state.values():
            for key, value in values.items():
                values[key] = value.to(device) if isinstance(value, Tensor) and key != "step" else value
        for channels in self.saliency.states.values():
            for key, value in vars(channels).items():
                setattr(channels, key, value.to(device) if isinstance(value, Tensor) else value)
        self.mean = {name: value.to(device) for name, value in self.mean.items()}
        self.masks = {name: mask.to(device) for name, mask in self.masks.items()}

    @property
    def cost(self) -> Cost:
        """Cost at the present widths."""
        return self.cost_model(self.spaces.widths())


def new_state(config: Config) -> RunState:
    """A run before its first step: dense, or at its seed widths, which are the first channels of the dense network.

    A filter behind a batch norm learns at a rate over its squared norm, and newborns have their parents' norm, so the
    seed's filters are drawn for the widths that they will grow to.
    """
    torch.manual_seed(config.run.seed)
    model, spaces, shape = build_network(config)
    if config.model.weights:
        load_weights(published(model), Path(config.model.weights))
    spaces.freeze(config.plasticity.frozen if config.plasticity else (), "frozen")
    dense_widths = spaces.widths()
    plasticity = config.plasticity
    cycles = (
        cycle_model(plasticity.accelerator, model, spaces, shape) if plasticity and plasticity.accelerator else None
    )
    cost_model = CostModel(model, spaces, shape, cycles)
    dense = cost_model(dense_widths)
    capacity: dict[str, int] = {}
    if plasticity and plasticity.growth:
        granule = plasticity.granule
        share, most = plasticity.seed_width, plasticity.growth.capacity
        seeds = {n: min(w, max(granule, round(share * w / granule) * granule)) for n, w in dense_widths.items()}
        resize_to(model, spaces, seeds)
        capacity = {n: max(seeds[n], round(most * w)) for n, w in dense_widths.items()}
    if plasticity:
        _check_reachable(plasticity, spaces, cost_model, dense)
    if config.model.widths_from:
        resize_to(model, spaces, final_widths(config.run_folder(config.model.widths_from)))
        _initialise(model)
    to_layout(model, shape)
    optimizer = make_optimizer(model, config)
    generator = torch.Generator().manual_seed(config.run.seed)
    saliency = saliency_class(plasticity.saliency if plasticity else "taylor")(model, spaces, generator)
    masks = new_masks(model, spaces) if plasticity and plasticity.pruning.weights else {}
    return RunState(
        model, spaces, cost_model, dense, dense_widths, capacity, optimizer, saliency, generator, masks=masks
    )


def cycle_model(
    section: AcceleratorSection, model: nn.Module, spaces: Spaces, input_shape: tuple[int, ...]
) -> CycleModel:
    """Cycles of a network on an accelerator, as a function of its widths. Raises UserError if there is no telling."""
    from cgap.lowering import import_onnx
    from cgap.training.export import export_model  # needs onnxscript, which most runs do without

    accelerator = Accelerator.parse(section.array, page_depth=section.page_depth)
    with scratch() as folder:
        export_model(model, folder / "dense.onnx", input_shape)
        graph = import_onnx(folder / "dense.onnx").graph
    return CycleModel(graph, spaces, accelerator, load_platform(section.platform))


def _check_reachable(plasticity: PlasticitySection, spaces: Spaces, cost_model: CostModel, dense: Cost) -> None:
    """Raise UserError for a target that is not met even where every space is as narrow as it may get."""
    if not spaces.plastic():
        raise UserError("plasticity: every channel space keeps its width, so there is nothing to grow or prune")
    pruning = plasticity.pruning
    least = cost_model(least_widths(spaces, plasticity.granule, pruning.min_width))
    over = least.over(final_budget(pruning, dense))
    for what, excess in zip(("macs", "params", "cycles"), over, strict=True):
        if excess:
            share = getattr(least, what) / getattr(dense, what)
            raise UserError(
                f"plasticity.pruning.target_{what}: {getattr(pruning, f'target_{what}'):g} of the dense network cannot "
                f"be reached; with min_width {pruning.min_width}, granule {plasticity.granule} and the frozen spaces "
                f"the least is {share:.4f}"
            )


def final_widths(run: Path) -> dict[str, int]:
    """Width of every channel space of a finished run's network. Raises UserError if it is not one."""
    record = read_record(run)
    if record.get("status") != "complete":
        raise UserError(f"model.widths_from: there is no finished run in {run}")
    widths = record.get("widths")
    if not isinstance(widths, dict) or not all(type(width) is int and 0 < width < 1 << 16 for width in widths.values()):
        raise UserError(f"model.widths_from: {run / 'run.json'} does not say its network's widths")
    return widths


def _initialise(model: nn.Module) -> None:
    """Draw all weights anew for the widths they have."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    zoo.initialise(model)


def build_network(config: Config) -> tuple[nn.Module, Spaces, tuple[int, ...]]:
    """The dense network, its channel spaces, and the shape of the images it reads.

    Only what may have other widths than the dense network is traced; else there are no spaces. Raises UserError if it
    does not make one logit for each class of the data.
    """
    data = dataset(config.data.dataset, config.data.size)
    model = zoo.build(config.model.name, **config.model.options)
    if config.model.output is not None:
        model = Selected(model, config.model.output)
    if config.data.mean and config.data.std:
        if len(config.data.mean) != data.shape[0]:
            raise UserError(f"data.mean: has {len(config.data.mean)} values, the images have {data.shape[0]} channels")
        model = Normalised(model, config.data.mean, config.data.std)
    require_logits(model, config.model.name, data.shape, data.classes)
    plastic = config.plasticity is not None or config.model.widths_from is not None
    return model, find_spaces(model, data.shape) if plastic else Spaces(), data.shape


def run_identity(config: Config, data_sha256: Mapping[str, str]) -> str:
    """What tells a run from others: a digest of the configuration that it began with, seed included, and its data."""
    begun = config.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps([begun, dict(data_sha256)], sort_keys=True).encode()).hexdigest()


ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of a parameter: steps taken (a number), and two tensors of the parameter's shape."""


def make_optimizer(model: nn.Module, config: Config) -> SGD | AdamW:
    """Nesterov SGD or AdamW; weight decay on matrices and kernels, not on batch norms and biases."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimiser = config.optimiser
    groups = [{"params": decayed, "weight_decay": optimiser.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if optimiser.kind == "adamw":
        return AdamW(groups, lr=optimiser.learning_rate, betas=(optimiser.momentum, optimiser.second_momentum))
    return SGD(groups, lr=optimiser.learning_rate, momentum=optimiser.momentum, nesterov=optimiser.momentum > 0)


def save_checkpoint(path: Path, state: RunState, log_lines: int) -> None:
    """Write the whole state atomically, as tensors and plain values only (loadable with `weights_only=True`)."""
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    momentum = {names[p]: s["momentum_buffer"] for p, s in state.optimizer.state.items() if "momentum_buffer" in s}
    adam = {
        names[p]: {key: s[key] for key in ADAM_STATE} for p, s in state.optimizer.state.items() if ADAM_STATE[-1] in s
    }
    channels = {
        name: {"saliency": s.saliency, "batches": s.batches, "age": s.age} for name, s in state.saliency.states.items()
    }
    moving = {
        names[p]: {key: value for key, value in s.items() if key.startswith("ema")}
        for p, s in state.optimizer.state.items()
        if EMA_WEIGHT in s
    }
    content = {
        "format": FORMAT,
        "identity": state.identity,
        "widths": state.spaces.widths(),
        "model": state.model.state_dict(),
        "momentum": momentum,
        "adam": adam,
        "channels": channels,
        "random": {"default": torch.get_rng_state(), "run": state.generator.get_state()},
        "progress": {
            "epoch": state.epoch,
            "step": state.step,
            "wall_seconds": state.wall_seconds,
            "cpu_seconds": state.cpu_seconds,
            "log_lines": log_lines,
        },
        "history": state.history,
        "mean": {"parameters": state.mean, "count": state.averaged},
        "masks": state.masks,
        "moving": moving,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint without executing anything in it.

    Raises UserError if it is missing, damaged, or of another format.
    """
    _check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the file may be anybody's: there is no list of what unpickling can stumble over
        raise UserError(
            f"{path}: is not a readable checkpoint ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not isinstance(content, dict) or content.get("format") not in (1, FORMAT):
        found = content.get("format") if isinstance(content, dict) else None
        raise UserError(f"{path}: is not a checkpoint of format {FORMAT}, but of {str(found)[:20]}")
    return content


def _check_archive(path: Path) -> None:
    """Raise UserError unless the file is an archive that unpacks to no more than its own size."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: is not a file of at most {MOST_BYTES >> 30} GiB")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(f"{path}: is not a readable checkpoint ({error})") from error
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise UserError(f"{path}: is not a readable checkpoint (it unpacks to more than it holds)")
    if any(member.file_size > _MOST_STRUCTURE for member in members if member.filename.endswith(".pkl")):
        raise UserError(
            f"{path}: is not a readable checkpoint (larger than {_MOST_STRUCTURE >> 20} MiB without tensors)"
        )


def first_line(error: Exception) -> str:
    """The first line of a message, of bounded length."""
    return (str(error).strip().splitlines() or [""])[0][:200]


_MISFITS = (LookupError, RuntimeError, TypeError, AttributeError, ValueError, OverflowError)
"""What content of another network, or of nobody's, can lead to."""


def restore_network(
    model: nn.Module, spaces: Spaces, shape: tuple[int, ...], content: dict[str, Any], path: Path
) -> None:
    """Give a network the widths and values of a checkpoint; raises UserError where they do not fit.

    Nothing is made that is larger than the file: its widths must be those of values that it holds.
    """
    try:
        numbers = sum(value.untyped_storage().nbytes() // value.element_size() for value in content["model"].values())
        if spaces.spaces:
            if CostModel(model, spaces, shape)(content["widths"]).params > numbers:
                raise ValueError("its widths are not those of its values")
            resize_to(model, spaces, content["widths"])
        model.load_state_dict(content["model"])
    except _MISFITS as error:
        raise UserError(f"{path}: does not fit the network of its config.toml ({error})") from error
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all() or (name.endswith("running_var") and (value < 0).any()):
            raise UserError(f"{path}: {name} holds NaN, infinity or an impossible value: the file is damaged")


def restore(state: RunState, config: Config, path: Path) -> int:
    """Bring a new run to what is saved in `path`, continuing bit for bit; returns the number of metrics lines by then.

    Raises UserError if it cannot be read or is not of a run with this configuration.
    """
    content = read_checkpoint(path)
    if content.get("identity") != state.identity:
        what = (
            "belongs to another run, of another configuration, seed or data"
            if "identity" in content
            else ("was written by an older version, whose runs this one does not resume")
        )
        raise UserError(f"{path}: {what}: put this run's own back, or begin anew in another folder")
    shape = dataset(config.data.dataset, config.data.size).shape
    restore_network(state.model, state.spaces, shape, content, path)
    to_layout(state.model, shape)
    state.optimizer = make_optimizer(state.model, config)
    try:
        return _restore_learnt(state, content, config)
    except _MISFITS as error:
        raise UserError(f"{path}: does not fit a run of its config.toml ({error})") from error


def _restore_learnt(state: RunState, content: dict[str, Any], config: Config) -> int:
    """Everything but the network itself; returns the number of metrics lines."""
    parameters = dict(state.model.named_parameters())
    for name, momentum in content["momentum"].items():
        state.optimizer.state[parameters[name]]["momentum_buffer"] = _like(parameters[name], momentum)
    for name, moments in content["adam"].items() if config.optimiser.kind == "adamw" else ():
        step, *tensors = (moments[key] for key in ADAM_STATE)
        kept = state.optimizer.state[parameters[name]]
        kept["step"] = torch.tensor(float(_whole(int(_checked(step, torch.Size(), torch.float32)), 0, _MOST_STEPS)))
        kept.update({key: _like(parameters[name], value) for key, value in zip(ADAM_STATE[1:], tensors, strict=True)})
        if (kept["exp_avg_sq"] < 0).any():
            raise ValueError(f"{name}: mean of squares below zero")
    for name, parameter in parameters.items() if config.optimiser.ema is not None else ():
        averages = content["moving"][name]
        state.optimizer.state[parameter].update({k: _like(parameter, v) for k, v in averages.items()})
    for name, fresh in state.saliency.states.items():
        width, channels = torch.Size([state.spaces[name].width]), content["channels"][name]
        kinds = {key: value.dtype for key, value in vars(fresh).items()}
        values = {key: _checked(value, width, kinds[key]) for key, value in channels.items()}
        state.saliency.states[name] = ChannelState(**values)
    torch.set_rng_state(content["random"]["default"])
    state.generator.set_state(content["random"]["run"])
    progress, epochs = content["progress"], config.optimiser.epochs
    state.epoch = _whole(progress["epoch"], 0, epochs)
    state.step = _whole(progress["step"], state.epoch, _MOST_STEPS)
    state.wall_seconds, state.cpu_seconds = (_seconds(progress[key]) for key in ("wall_seconds", "cpu_seconds"))
    state.history = _history(content["history"], state.step)
    mean = content["mean"]
    state.mean = {name: _like(parameters[name], value) for name, value in mean["parameters"].items()}
    state.averaged = _whole(mean["count"], 0, state.step)
    masks = content["masks"]
    state.masks = {name: _checked(masks[name], parameters[name].shape, torch.bool) for name in state.masks}
    return _whole(progress["log_lines"], state.epoch, _MOST_STEPS)


_MOST_STEPS = 1 << 40


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    return _checked(value, parameter.shape, parameter.dtype)


def _checked(value: Tensor, shape: torch.Size, kind: torch.dtype) -> Tensor:
    if value.shape != shape:
        raise ValueError(f"a tensor of shape {list(value.shape)} where {list(shape)} belongs")
    if value.dtype != kind:
        raise ValueError(f"a tensor of {value.dtype} where {kind} belongs")
    if not torch.isfinite(value).all():
        raise ValueError("a tensor that holds NaN or infinity")
    return value


def _whole(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.40} where a whole number from {least} to {most} belongs")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r:.40} where seconds belong")
    return float(value)


def _history(events: list[dict[str, Any]], last: int) -> list[dict[str, Any]]:
    """Events in their order, as the run's record will hold them."""
    before = 0
    for event in events:
        before = _whole(event["step"], before, last)
        _whole(event["macs"], 1, 1 << 60)
    json.dumps(events, allow_nan=False)
    return events


def load_run(run: Path, *, trust: bool = False) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of a run's last checkpoint, in eval mode, and the shape of the images it reads.

    Raises UserError if `run` is not a run folder, has no checkpoint yet, its parts do not fit each other, or its
    configuration names code of its own and `trust` is false.
    """
    if not (run / "config.toml").is_file():
        raise UserError(f"{run}: is not a run folder (no config.toml)")
    checkpoint = run / "checkpoint.pt"
    if not checkpoint.is_file():
        raise UserError(f"{run}: has no checkpoint yet; there is one after each epoch")
    config = load_config(run / "config.toml")
    require_trust(run, config.own_code(), trust=trust)
    model, spaces, shape = build_network(config)
    restore_network(model, spaces, shape, read_checkpoint(checkpoint), checkpoint)
    return model.eval(), shape
