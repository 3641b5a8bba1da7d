"""A training run as a folder: config.toml, metrics.jsonl, checkpoint.pt and run.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cgap.data import dataset
from cgap.files import write_atomic
from cgap.plasticity import Cost
from cgap.training.batches import load_split, load_test
from cgap.training.config import Config, load_config, parse_config, read_text
from cgap.training.log import MetricsLog, write_json
from cgap.training.loop import evaluate, train_epochs
from cgap.training.record import code_version, machine
from cgap.training.schedule import Schedule
from cgap.training.state import RunState, new_state, restore
from fpga_model.errors import UserError


def train(
    config: Path, out: Path | None = None, resume: bool = False, changes: Mapping[str, str] | None = None
) -> Path:
    """Carry out the run that `config` describes in the folder `out` (by default `runs/<config's name>`).

    `changes` are fields that differ from the file, such as {"run.seed": "2"}; the folder's copy has them. With
    `resume`, an interrupted run goes on from its last checkpoint exactly as if it had not been interrupted, and a
    finished one is left alone. Returns the folder. Raises UserError for a bad configuration, an occupied folder,
    missing data or a loss that is not finite.
    """
    text = read_text(config, changes)
    settings = parse_config(text, str(config))
    folder = out or Path("runs") / config.stem
    _claim(folder, config, text, settings, resume)
    if settings.run.threads:
        torch.set_num_threads(settings.run.threads)
    split = load_split(settings.data)
    steps = len(split.train) // settings.optimiser.batch_size
    if not steps:
        raise UserError(f"optimiser.batch_size: {settings.optimiser.batch_size} exceeds the {len(split.train)} images")
    log = MetricsLog(folder / "metrics.jsonl")
    state = new_state(settings)
    seed = state.cost
    schedule = Schedule(settings, steps, state.dense, seed)
    record_path, checkpoint = folder / "run.json", folder / "checkpoint.pt"
    if resume and checkpoint.exists():
        state, lines = restore(settings, checkpoint)
        log.truncate(lines)
        record = json.loads(record_path.read_text())
        if record["status"] == "complete":
            return folder
    else:
        log.truncate(0)
        record = _first_record(settings)
    record["sessions"].append({"from_epoch": state.epoch, "code": code_version(), "machine": machine()})
    write_json(record_path, record)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        train_epochs(settings, state, schedule, split, log, folder, progress)
    write_json(record_path, {**record, **_final_record(settings, state, seed, folder)})
    return folder


def _claim(folder: Path, path: Path, text: str, settings: Config, resume: bool) -> None:
    """Make the folder and copy the configuration there; refuse one that holds another run."""
    copy = folder / "config.toml"
    if copy.exists():
        if not resume:
            raise UserError(f"{folder}: holds a run already; continue it with --resume or choose another --out")
        if load_config(copy) != settings:
            raise UserError(f"{path}: differs from {copy}, so the run in {folder} cannot be resumed with it")
    elif folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty and not a run; choose another --out")
    else:
        write_atomic(copy, text.encode())


def _first_record(settings: Config) -> dict[str, Any]:
    return {
        "status": "running",
        "model": settings.model.name,
        "dataset": settings.data.dataset,
        "seed": settings.run.seed,
        "config": settings.model_dump(),
        "data_sha256": dataset(settings.data.dataset, settings.data.size).hashes(),
        "sessions": [],
    }


def _final_record(settings: Config, state: RunState, seed: Cost, folder: Path) -> dict[str, Any]:
    """The results. This is the one place that reads the test set."""
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    held_out = [line["held_out_accuracy"] for line in epochs if "epoch" in line]
    test = load_test(settings.data)
    accuracy = evaluate(state.model, test)
    return {
        "status": "complete",
        "epochs": state.epoch,
        "steps": state.step,
        "wall_seconds": round(state.wall_seconds, 1),
        "cpu_seconds": round(state.cpu_seconds, 1),
        "accuracy": {"test_images": len(test), "test": accuracy.percent, "held_out": held_out[-1]},
        "network": _network(state.cost, state.dense),
        "training_macs": _training_macs(settings, state, seed),
        "widths": {space.name: space.width for space in state.spaces},
        "history": state.history,
    }


def _training_macs(settings: Config, state: RunState, seed: Cost) -> int:
    """Forward multiply-accumulates of all training images, at the widths that the network had at each step."""
    changes = [(event["step"], event["macs"]) for event in state.history]
    steps = [0, *(step for step, _ in changes), state.step]
    macs = [seed.macs, *(macs for _, macs in changes)]
    spans = (end - start for start, end in pairwise(steps))
    return settings.optimiser.batch_size * sum(span * each for span, each in zip(spans, macs, strict=True))


def _network(cost: Cost, dense: Cost) -> dict[str, int]:
    network = {"macs": cost.macs, "params": cost.params, "dense_macs": dense.macs, "dense_params": dense.params}
    return {**network, "cycles": cost.cycles, "dense_cycles": dense.cycles} if dense.cycles else network
