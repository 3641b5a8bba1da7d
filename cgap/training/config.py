"""What a training run is: one frozen, typed configuration read from TOML."""

from __future__ import annotations

import sys
from collections.abc import Mapping, MutableMapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import tomlkit
import tomlkit.exceptions
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cgap import zoo
from cgap.boundary.files import MIB
from cgap.boundary.files import read_text as read_file
from cgap.data.datasets import names as dataset_names
from cgap.plasticity import SALIENCIES
from cgap.plasticity.growth import POLICIES
from fpga_model.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_TEXT_LIMIT = MIB
_MOST_EPOCHS = 1_000_000
_MOST_EVENTS = 10_000


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RunSection(_Section):
    """Where and how the run executes."""

    seed: int = Field(
        0, ge=0, lt=1 << 63, description="random seed of initial weights, batch order, augmentation and newborns"
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="PyTorch threads; 0: as many as cores were idle when the run began with this value",
    )
    device: Literal["cpu", "cuda", "auto"] = Field("cpu", description="device to train on; auto: CUDA if there is one")
    tensorboard: bool = Field(False, description="also write the metrics as TensorBoard's event files")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="precision of activations in training (autocast)"
    )
    compile: bool = Field(
        False, description="run the network through torch.compile after the last event; needs a C++ compiler, CPU only"
    )


class ModelSection(_Section):
    """The network at its dense widths."""

    name: str = Field(description=f"{', '.join(zoo.names())}, or your own as MODULE:CALLABLE")
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the network's constructor")
    output: int | str | None = Field(None, description="index or name of the output to train, if there are several")
    weights: str | None = Field(None, description="a state_dict file of the dense network to start from")
    widths_from: str | None = Field(None, description="folder of a finished run: train its final widths from scratch")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if ":" not in name and name not in zoo.names():
            close = get_close_matches(name, zoo.names(), 1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(zoo.names())}"
            raise ValueError(f"no network {name!r}: {hint} (or MODULE:CALLABLE)")
        return name


class DataSection(_Section):
    """What the network learns from."""

    dataset: str = Field(
        "cifar10",
        description=f"{', '.join(dataset_names())}, or folder:PATH; sample is 300 shipped images for trials",
    )
    size: int = Field(32, ge=4, le=1024, description="images of a folder are scaled to this many pixels a side")
    mean: tuple[float, ...] | None = Field(
        None, description="per channel, for a network that reads (pixel / 255 - mean) / std; needs std"
    )
    std: tuple[float, ...] | None = Field(
        None, description="per channel; without mean and std a network reads (pixel - 128) / 128"
    )
    held_out: int = Field(5000, ge=1, le=1 << 31, description="training images held out for all choices")
    crop_padding: int = Field(4, ge=0, le=16, description="width in pixels of the reflected border for random crops")
    flip: bool = Field(True, description="mirror half of the images")
    cutout: int = Field(0, ge=0, le=256, description="side in pixels of a grey square at a random place; 0: none")

    @model_validator(mode="after")
    def _scaled(self) -> DataSection:
        mean, std = self.mean or (), self.std or ()
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ValueError("mean and std belong together: give both, a value for each channel, std above 0")
        return self


class RestartSection(_Section):
    """Further cosines to zero after the first: more epochs for a run that turned out to need them."""

    epoch: int = Field(ge=1, le=_MOST_EPOCHS, description="epoch in which the first cosine has reached zero")
    learning_rate: float = Field(gt=0, le=1e6, description="learning rate from which further cosines start")
    period: int | None = Field(
        None, ge=1, le=_MOST_EPOCHS, description="epochs of each further cosine; none: a single one to the end"
    )
    crop_padding: int | None = Field(None, ge=0, le=16, description="data.crop_padding from then on; none: as before")


class AveragingSection(_Section):
    """Stochastic weight averaging: the network becomes the mean of its weights at a constant learning rate."""

    epoch: int = Field(
        ge=0, le=_MOST_EPOCHS, description="epoch at which averaging begins; it lasts to the end of the run"
    )
    learning_rate: float = Field(gt=0, le=1e6, description="constant learning rate while averaging")
    interval: int = Field(50, ge=1, le=1 << 31, description="optimiser steps between two weights that are averaged")


class EmaSection(_Section):
    """Exponential moving average: the network becomes the mean of its latest weights and batch-norm statistics."""

    decay: float = Field(gt=0, lt=1, description="decay of the average at every step")


class OptimiserSection(_Section):
    """SGD or AdamW; linear warm-up, then a cosine to zero, then optionally further ones and averaging."""

    kind: Literal["sgd", "adamw"] = Field("sgd", description="SGD with Nesterov momentum, or AdamW")
    epochs: int = Field(ge=1, le=_MOST_EPOCHS, description="epochs of the whole run")
    batch_size: int = Field(128, ge=2, le=1 << 20, description="images per step, over all processes")
    learning_rate: float = Field(0.1, gt=0, le=1e6, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum, or AdamW's beta1; 0: none")
    second_momentum: float = Field(0.999, ge=0, lt=1, description="AdamW's beta2")
    weight_decay: float = Field(5e-4, ge=0, le=1e6, description="weight decay of convolution and linear weights only")
    warmup_epochs: float = Field(
        1.0, ge=0, le=_MOST_EPOCHS, description="epochs in which the learning rate rises from zero, part of `epochs`"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each label spread over all classes")
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

    start: float = Field(ge=0, le=_MOST_EPOCHS, description="epoch of the first event")
    interval: float = Field(gt=0, le=_MOST_EPOCHS, description="epochs between events")
    events: int = Field(ge=1, le=_MOST_EVENTS, description="number of events")
    target_macs: float = Field(gt=0, le=4, description="share of the dense network's MACs, approached evenly")
    policy: Literal["pairs", "split", "naive"] = Field(
        "pairs", description="how new channels are made, see docs/training.md"
    )
    rate: float = Field(0.5, gt=0, le=64, description="largest growth of a space in one event, as a share of its width")
    capacity: float = Field(1.0, gt=0, le=64, description="largest width of a space, as a share of its dense width")
    noise: float | None = Field(
        None,
        ge=0,
        le=1e6,
        description="noise of a newborn's filter relative to its parent's spread, or of a split's ratio; none: "
        + ", ".join(f"{usual.noise:g} in {name}" for name, usual in POLICIES.items()),
    )


class WeightsSection(_Section):
    """Two-level pruning: the smallest weights are masked first, and filters that are mostly masked go first."""

    target: float = Field(gt=0, lt=1, description="share of plastic filters' weights that are masked at the last event")
    filter_share: float = Field(
        0.7, gt=0, le=1, description="masked share from which a filter is removed before all others"
    )


class PruningSection(_Section):
    """Pruning events at `start + interval`, ..., `end` (in epochs), to at least one of the targets."""

    start: float = Field(
        ge=0, le=_MOST_EPOCHS, description="epoch from which the budget falls, one interval before the first event"
    )
    end: float = Field(gt=0, le=_MOST_EPOCHS, description="epoch of the last event, at which the targets are met")
    interval: float = Field(
        gt=0, le=_MOST_EPOCHS, description="epochs between events, rounded to a whole number of them"
    )
    target_macs: float | None = Field(
        None, gt=0, le=4, description="largest share of the dense network's MACs at the end"
    )
    target_params: float | None = Field(
        None, gt=0, le=4, description="largest share of the dense network's weights at the end"
    )
    target_cycles: float | None = Field(
        None, gt=0, le=4, description="largest share of the dense network's predicted cycles at the end"
    )
    ranking: Literal["global", "layer"] = Field(
        "global",
        description="global: remove granules where it pays best; layer: keep the same share of every dense width",
    )
    method: Literal["cut", "soft"] = Field(
        "cut",
        description="cut: remove filters at every event; soft: set them to zero, and remove them at the last event",
    )
    weights: WeightsSection | None = None
    min_width: int = Field(8, ge=1, le=1 << 16, description="smallest width of a space")
    protected_age: int = Field(150, ge=0, le=1 << 31, description="batches for which a newborn cannot be pruned")

    @model_validator(mode="after")
    def _has_a_target(self) -> PruningSection:
        if self.target_macs is None and self.target_params is None and self.target_cycles is None:
            raise ValueError("has no target: give target_macs, target_params or target_cycles")
        if (self.end - self.start) / self.interval > _MOST_EVENTS:
            raise ValueError(f"interval: more than {_MOST_EVENTS:,} events between start and end")
        return self


class DistillationSection(_Section):
    """Learning from a finished run besides the labels (Hinton et al., 2015), on the same augmented images."""

    teacher: str = Field(description="folder of the finished run that is the teacher")
    epoch: int = Field(0, ge=0, le=_MOST_EPOCHS, description="epoch at which distillation begins")
    weight: float = Field(0.8, gt=0, le=1, description="weight of the teacher; the labels have the rest")
    temperature: float = Field(2.0, gt=0, le=1e6, description="temperature that softens both networks' outputs")


class AcceleratorSection(_Section):
    """The accelerator for `pruning.target_cycles`, which counts one image under the resident schedule."""

    platform: str = Field("zcu104", description="name of a platform, or the path of a .toml file")
    array: str = Field("8x8x4", description="Pox x Poy x Pof, such as 8x8x4")
    page_depth: int = Field(512, ge=1, le=1 << 20, description="words in a bank of a feature page")


class PlasticitySection(_Section):
    """Start from a seed network, grow, prune; without growth, prune from the dense network.

    Without this section the network is trained unchanged.
    """

    seed_width: float = Field(
        0.25, gt=0, le=1, description="share of each plastic width that the seed network has; only with growth"
    )
    granule: int = Field(
        4,
        ge=2,
        le=1 << 16,
        multiple_of=2,
        description="channels that are added or removed at once: the accelerator's Pof",
    )
    frozen: tuple[str, ...] = Field((), description="shell patterns of channel spaces that keep their dense width")
    saliency: str = Field("taylor", description="how channels are ranked: a name, or your own class as MODULE:CLASS")
    sparsity: float = Field(
        0.0, ge=0, le=1e6, description="L1 penalty on plastic batch norms' scales until pruning ends"
    )
    accelerator: AcceleratorSection | None = None
    growth: GrowthSection | None = None
    pruning: PruningSection

    @field_validator("saliency")
    @classmethod
    def _known(cls, name: str) -> str:
        if ":" not in name and name not in SALIENCIES:
            raise ValueError(f"no saliency {name!r}: choose one of {', '.join(SALIENCIES)}, or MODULE:CLASS")
        return name

    @model_validator(mode="after")
    def _in_order(self) -> PlasticitySection:
        growth, pruning = self.growth, self.pruning
        if (self.accelerator is None) != (pruning.target_cycles is None):
            raise ValueError("pruning.target_cycles and an accelerator section belong together: give both or neither")
        if growth is None and "seed_width" in self.model_fields_set:
            raise ValueError("seed_width is for growth: without a growth section the network starts dense")
        if growth is None and not pruning.start < pruning.end:
            raise ValueError("pruning.start must come before pruning.end")
        grown = growth.start + (growth.events - 1) * growth.interval if growth else 0
        if growth and not grown < pruning.start < pruning.end:
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
        if self.model.weights and self.model.widths_from:
            raise ValueError("model.weights and model.widths_from exclude each other: the latter draws weights anew")
        if self.model.weights and self.plasticity and self.plasticity.growth and self.plasticity.seed_width < 1:
            raise ValueError("model.weights with growth wants plasticity.seed_width = 1: a seed would cut most of them")
        if self.plasticity and self.model.widths_from:
            raise ValueError("model.widths_from is for a network of fixed widths: leave out plasticity")
        return self

    def needs(self) -> tuple[Path, ...]:
        """Folders of finished runs that this one reads; `{seed}` in their names stands for its seed."""
        names = (self.distillation.teacher if self.distillation else None, self.model.widths_from)
        return tuple(self.run_folder(name) for name in names if name)

    def own_code(self) -> tuple[str, ...]:
        """Names of the user's own code, which building and training the network runs."""
        names = (self.model.name, self.plasticity.saliency if self.plasticity else "")
        return tuple(name for name in names if ":" in name)

    def run_folder(self, name: str) -> Path:
        """A run folder named in this configuration, `{seed}` in it filled in."""
        return Path(name.replace("{seed}", str(self.run.seed)))

    def data_in(self, epoch: int) -> DataSection:
        """How the training images are drawn in `epoch`, counted from 0."""
        restart = self.optimiser.restart
        if restart is None or restart.crop_padding is None or epoch < restart.epoch:
            return self.data
        return self.data.model_copy(update={"crop_padding": restart.crop_padding})


CHANGEABLE = (
    "optimiser.learning_rate",
    "optimiser.warmup_epochs",
    "optimiser.momentum",
    "optimiser.weight_decay",
    "optimiser.label_smoothing",
    "run.threads",
    "run.compile",
)
"""Fields that a resumed run may change: its timetable and its checkpoint do not rest on them."""


def load_config(path: Path, changes: Mapping[str, str] | None = None) -> Config:
    """Read a configuration, with `changes` (see `read_text`).

    Raises UserError, naming the file and the field, if it cannot be read, is not TOML, or has an unknown,
    missing or impossible field.
    """
    return parse_config(read_text(path, changes), str(path))


def read_text(path: Path, changes: Mapping[str, str] | None = None) -> str:
    """A configuration file's text, its fields in `changes` ("section.field": value in TOML) set anew.

    A value that is no TOML is taken for a string. Comments stay. Raises UserError if it cannot be read, or if a
    change names no place in it.
    """
    text = read_file(path, _TEXT_LIMIT)
    if not changes:
        return text
    try:
        document = tomlkit.parse(text)
    except _NOT_TOML as error:
        raise UserError(f"{path}: is not TOML: {_reason(error)}") from error
    for field, value in changes.items():
        *sections, name = field.split(".")
        table: Any = document
        for section in sections:
            table = table.setdefault(section, tomlkit.table()) if isinstance(table, MutableMapping) else None
            if not isinstance(table, MutableMapping):
                raise UserError(f"{path}: {field}: {section} is not a section")
        try:
            table[name] = tomlkit.value(value)
        except _NOT_TOML:
            table[name] = value
    return tomlkit.dumps(document)


_NOT_TOML = (ValueError, TypeError, RecursionError, tomlkit.exceptions.TOMLKitError)
"""What text that is no TOML leads to: besides the parsers' own errors, numbers of too many digits, nesting too deep."""


def _reason(error: Exception) -> str:
    return "its brackets are nested too deeply" if isinstance(error, RecursionError) else str(error)


def parse_config(text: str, name: str) -> Config:
    """`load_config` for text; `name` is used in messages."""
    try:
        values = tomllib.loads(text)
    except _NOT_TOML as error:
        raise UserError(f"{name}: is not TOML: {_reason(error)}") from error
    return _validated(values, name)


def with_changes(config: Config, changes: Mapping[str, str]) -> Config:
    """The configuration after changes of CHANGEABLE fields. Raises UserError for other ones and impossible values."""
    for field, value in changes.items():
        if field not in CHANGEABLE:
            raise UserError(f"--set {field}: a resumed run can change {', '.join(CHANGEABLE)}, and nothing else")
        values = config.model_dump(exclude_unset=True)
        section, name = field.split(".")
        config = _validated({**values, section: {**values.get(section, {}), name: value}}, f"--set {field}={value}")
    return config


def _validated(values: dict[str, Any], name: str) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        # A misspelt field comes before what is missing without it.
        first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        field = ".".join(str(part) for part in first["loc"]) or "configuration"
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            close = get_close_matches(str(first["loc"][-1]), _fields_beside(first["loc"]), 1)
            what = "no such field" + (f"; did you mean {close[0]}?" if close else "; see `cgap fields`")
        raise UserError(f"{name}: {field}: {what}") from error


def _fields_beside(location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the section in which a field was found."""
    section: Any = Config
    for part in location[:-1]:
        options = get_args(section.model_fields[part].annotation) or (section.model_fields[part].annotation,)
        section = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(section.model_fields)
