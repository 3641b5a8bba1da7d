"""Everything that changes during a run, and how it is saved and restored."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from cgap import zoo
from cgap.boundary.files import write_atomic
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

FORMAT = 1
EMA_WEIGHT = "ema_weight"
"""Key in the optimizer's state; keys of all that belongs to exponential moving averages begin with `ema`."""


@dataclass
class RunState:
    """A run between two steps: network, optimizer, saliency, random numbers and progress."""

    model: nn.Module
    spaces: Spaces
    cost_model: CostModel
    dense: Cost
    dense_widths: dict[str, int]
    capacity: dict[str, int]
    optimizer: SGD
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

    def move(self, device: torch.device) -> None:
        """Bring everything that is computed with to a device; parameters stay the same objects."""
        self.model.to(device)
        for values in self.optimizer.state.values():
            for key, value in values.items():
                values[key] = value.to(device) if isinstance(value, Tensor) else value
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
    from cgap.training.export import export_model  # which imports this module

    accelerator = Accelerator.parse(section.array, page_depth=section.page_depth)
    with TemporaryDirectory() as folder:
        export_model(model, Path(folder) / "dense.onnx", input_shape)
        graph = import_onnx(Path(folder) / "dense.onnx").graph
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


def make_optimizer(model: nn.Module, config: Config) -> SGD:
    """Nesterov SGD; weight decay on matrices and kernels, not on batch norms and biases."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimiser = config.optimiser
    groups = [{"params": decayed, "weight_decay": optimiser.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return SGD(groups, lr=optimiser.learning_rate, momentum=optimiser.momentum, nesterov=optimiser.momentum > 0)


def save_checkpoint(path: Path, state: RunState, log_lines: int) -> None:
    """Write the whole state atomically, as tensors and plain values only (loadable with `weights_only=True`)."""
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    momentum = {names[p]: s["momentum_buffer"] for p, s in state.optimizer.state.items() if "momentum_buffer" in s}
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
        "widths": state.spaces.widths(),
        "model": state.model.state_dict(),
        "momentum": momentum,
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
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the file may be anybody's: there is no list of what unpickling can stumble over
        raise UserError(f"{path}: is not a readable checkpoint ({type(error).__name__}: {error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise UserError(f"{path}: is not a checkpoint of format {FORMAT}, but of {str(found)[:20]}")
    return content


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


def restore(state: RunState, config: Config, path: Path) -> int:
    """Bring a new run to what is saved in `path`, continuing bit for bit; returns the number of metrics lines by then.

    Raises UserError if it cannot be read or is not of a run with this configuration.
    """
    content = read_checkpoint(path)
    shape = dataset(config.data.dataset, config.data.size).shape
    restore_network(state.model, state.spaces, shape, content, path)
    to_layout(state.model, shape)
    state.optimizer = make_optimizer(state.model, config)
    try:
        return _restore_learnt(state, content, moving=config.optimiser.ema is not None)
    except _MISFITS as error:
        raise UserError(f"{path}: does not fit a run of its config.toml ({error})") from error


def _restore_learnt(state: RunState, content: dict[str, Any], *, moving: bool) -> int:
    """Everything but the network itself; returns the number of metrics lines."""
    parameters = dict(state.model.named_parameters())
    for name, momentum in content["momentum"].items():
        state.optimizer.state[parameters[name]]["momentum_buffer"] = _shaped(momentum, parameters[name].shape)
    for name, parameter in parameters.items() if moving else ():
        averages = content["moving"][name]
        state.optimizer.state[parameter].update({k: _shaped(v, parameter.shape) for k, v in averages.items()})
    for name in state.saliency.states:
        width, channels = torch.Size([state.spaces[name].width]), content["channels"][name]
        state.saliency.states[name] = ChannelState(**{k: _shaped(v, width) for k, v in channels.items()})
    torch.set_rng_state(content["random"]["default"])
    state.generator.set_state(content["random"]["run"])
    progress = content["progress"]
    state.epoch, state.step = int(progress["epoch"]), int(progress["step"])
    state.wall_seconds, state.cpu_seconds = progress["wall_seconds"], progress["cpu_seconds"]
    state.history = content["history"]
    mean = content.get("mean", {"parameters": {}, "count": 0})
    state.mean = {name: _shaped(value, parameters[name].shape) for name, value in mean["parameters"].items()}
    state.averaged = mean["count"]
    masks = content.get("masks", {})
    state.masks = {name: _shaped(masks[name], parameters[name].shape) for name in state.masks}
    return int(progress["log_lines"])


def _shaped(value: Tensor, shape: torch.Size) -> Tensor:
    if value.shape != shape:
        raise ValueError(f"a tensor of shape {list(value.shape)} where {list(shape)} belongs")
    return value


def load_run(run: Path) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of a run's last checkpoint, in eval mode, and the shape of the images it reads.

    Raises UserError if `run` is not a run folder, has no checkpoint yet, or its parts do not fit each other.
    """
    if not (run / "config.toml").is_file():
        raise UserError(f"{run}: is not a run folder (no config.toml)")
    checkpoint = run / "checkpoint.pt"
    if not checkpoint.is_file():
        raise UserError(f"{run}: has no checkpoint yet; there is one after each epoch")
    model, spaces, shape = build_network(load_config(run / "config.toml"))
    restore_network(model, spaces, shape, read_checkpoint(checkpoint), checkpoint)
    return model.eval(), shape
