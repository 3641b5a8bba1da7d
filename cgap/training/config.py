"""What a training run is: one frozen, typed configuration read from TOML."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fpga_model.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunSection(_Section):
    """Where and how the run executes."""

    seed: int = Field(0, ge=0, description="seeds initial weights, batch order, augmentation and newborns")
    threads: int = Field(0, ge=0, description="PyTorch threads; 0: as many as cores were idle when the run began")
    device: Literal["cpu", "cuda", "auto"] = Field("cpu", description="that computes; auto: CUDA where there is one")
    tensorboard: bool = Field(False, description="also write the metrics as TensorBoard's event files")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of activations in training (autocast)")


class ModelSection(_Section):
    """The network at its dense widths."""

    name: str = Field(description="a network of `cgap.zoo`, or your own as MODULE:CALLABLE")
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of its constructor")


class DataSection(_Section):
    """What it learns from."""

    dataset: str = Field("cifar10", description="a name, 'sample' for trials with 300 shipped images, or folder:PATH")
    size: int = Field(32, ge=4, description="pixels that images of a folder are scaled to")
    held_out: int = Field(5000, ge=1, description="training images kept back for every choice")
    crop_padding: int = Field(4, ge=0, le=16, description="reflected border in pixels that random crops may reach into")
    flip: bool = Field(True, description="mirror half of the images")
    cutout: int = Field(0, ge=0, le=256, description="side in pixels of a grey square put anywhere; 0: none")


class RestartSection(_Section):
    """Further cosines to zero after the first: more epochs for a run that turned out to need them."""

    epoch: int = Field(ge=1, description="at which the first cosine has reached zero")
    learning_rate: float = Field(gt=0, description="that further ones start from")
    period: int | None = Field(None, ge=1, description="epochs of a further one; none: a single one to the end")
    crop_padding: int | None = Field(None, ge=0, le=16, description="data.crop_padding from then on; none: as before")


class AveragingSection(_Section):
    """Stochastic weight averaging: the network becomes the mean of its weights on a walk at constant learning rate."""

    epoch: int = Field(ge=0, description="at which it begins; it lasts to the end of the run")
    learning_rate: float = Field(gt=0)
    interval: int = Field(50, ge=1, description="optimiser steps between the weights that are averaged")


class EmaSection(_Section):
    """Exponential moving average: the network becomes the mean of its latest weights and batch-norm statistics."""

    decay: float = Field(gt=0, lt=1, description="of what is in the average, at every step")


class OptimiserSection(_Section):
    """SGD with Nesterov momentum; linear warm-up, then a cosine to zero, then optionally further ones and averaging."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(0.1, gt=0, description="at the peak")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0, description="of convolution and linear weights only")
    warmup_epochs: float = Field(1.0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    restart: RestartSection | None = None
    averaging: AveragingSection | None = None
    ema: EmaSection | None = None

    @model_validator(mode="after")
    def _restarts_in_time(self) -> OptimiserSection:
        if self.restart and self.restart.epoch >= self.epochs:
            raise ValueError(f"restart.epoch {self.restart.epoch} must come before the last epoch")
        if self.averaging and not (self.restart.epoch if self.restart else 0) < self.averaging.epoch < self.epochs:
            raise ValueError(f"averaging.epoch {self.averaging.epoch} must come after any restart and before the end")
        if self.averaging and self.ema:
            raise ValueError("averaging and ema exclude each other: the network can become one mean only")
        return self


class GrowthSection(_Section):
    """Growth events at `start`, `start + interval`, ... (in epochs)."""

    start: float = Field(ge=0)
    interval: float = Field(gt=0)
    events: int = Field(ge=1)
    target_macs: float = Field(gt=0, le=4, description="of the dense network's MACs, neared evenly")
    rate: float = Field(0.5, gt=0, description="most that one space grows in one event, of its width")
    capacity: float = Field(1.0, gt=0, description="widest that one space may get, of its dense width")
    noise: float = Field(0.5, ge=0, description="of a newborn's filter, relative to its parent's spread")


class PruningSection(_Section):
    """Pruning events from `start` to `end` (in epochs), every `interval`."""

    start: float = Field(ge=0)
    end: float = Field(gt=0)
    interval: float = Field(gt=0)
    target_macs: float = Field(gt=0, description="of the dense network's MACs, at most, at the end")
    target_params: float = Field(gt=0, description="of the dense network's weights, at most, at the end")
    min_width: int = Field(8, ge=1, description="no space falls below it")
    protected_age: int = Field(150, ge=0, description="batches for which a newborn is not ranked")


class DistillationSection(_Section):
    """Learning from a finished run besides the labels (Hinton et al., 2015), on the same augmented images."""

    teacher: str = Field(description="the finished run's folder")
    epoch: int = Field(0, ge=0, description="at which it begins")
    weight: float = Field(0.8, gt=0, le=1, description="of the teacher against the labels")
    temperature: float = Field(2.0, gt=0, description="that softens both networks' outputs")


class PlasticitySection(_Section):
    """Start from a seed, grow, prune; without this section the network is trained as it is."""

    seed_width: float = Field(0.25, gt=0, le=1, description="of each plastic space's dense width")
    granule: int = Field(4, ge=2, multiple_of=2, description="channels that come and go at once: the accelerator's Pof")
    frozen: tuple[str, ...] = Field((), description="shell patterns of channel spaces that keep their dense width")
    growth: GrowthSection
    pruning: PruningSection

    @model_validator(mode="after")
    def _in_order(self) -> PlasticitySection:
        grown = self.growth.start + (self.growth.events - 1) * self.growth.interval
        if not grown < self.pruning.start < self.pruning.end:
            raise ValueError(f"growth (until epoch {grown:g}), pruning.start, pruning.end must follow in this order")
        return self


class Config(_Section):
    """A whole training run."""

    run: RunSection = RunSection()
    model: ModelSection
    data: DataSection = DataSection()
    optimiser: OptimiserSection
    plasticity: PlasticitySection | None = None
    distillation: DistillationSection | None = None

    @model_validator(mode="after")
    def _ends(self) -> Config:
        if self.plasticity and self.plasticity.pruning.end >= self.optimiser.epochs:
            raise ValueError("plasticity.pruning.end must leave some of optimiser.epochs for recovery")
        return self

    def data_in(self, epoch: int) -> DataSection:
        """How the training images are drawn in `epoch`, counted from 0."""
        restart = self.optimiser.restart
        if restart is None or restart.crop_padding is None or epoch < restart.epoch:
            return self.data
        return self.data.model_copy(update={"crop_padding": restart.crop_padding})


CHANGEABLE = ("learning_rate", "warmup_epochs", "momentum", "weight_decay", "label_smoothing")
"""Fields of [optimiser] that a resumed run may change: its timetable and its checkpoint do not rest on them."""


def load_config(path: Path) -> Config:
    """Read a configuration.

    Raises UserError, naming the file and the field, if it cannot be read, is not TOML, or has an unknown,
    missing or impossible field.
    """
    try:
        return parse_config(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def parse_config(text: str, name: str) -> Config:
    """`load_config` for text; `name` is used in messages."""
    try:
        return _validated(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{name}: is not TOML: {error}") from error


def with_changes(config: Config, changes: Sequence[str]) -> Config:
    """The configuration after assignments in TOML, such as `optimiser.learning_rate=0.05`, in their order.

    Raises UserError for an assignment that is not TOML, names no field of CHANGEABLE, or has an impossible value.
    """
    for change in changes:
        try:
            assigned = tomllib.loads(change)
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"--set {change}: is not of the form optimiser.learning_rate=0.05") from error
        fields = assigned.pop("optimiser", None)
        if assigned or not isinstance(fields, dict) or not fields.keys() <= set(CHANGEABLE):
            known = ", ".join(f"optimiser.{field}" for field in CHANGEABLE)
            raise UserError(f"--set {change}: a resumed run can change {known}, and nothing else")
        values = config.model_dump()
        config = _validated({**values, "optimiser": {**values["optimiser"], **fields}}, f"--set {change}")
    return config


def _validated(values: dict[str, Any], name: str) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "configuration"
        what = "no such field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise UserError(f"{name}: {field}: {what}") from error
