"""A training run as a folder: config.toml, metrics.jsonl, checkpoint.pt and run.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cgap.boundary.files import remove_leftovers, write_atomic, writing
from cgap.boundary.imports import require_trust
from cgap.boundary.locks import locked
from cgap.boundary.terminal import console
from cgap.data import dataset
from cgap.plasticity import Cost
from cgap.training.batches import Split, load_split, load_test
from cgap.training.board import Board
from cgap.training.compiling import compile_network
from cgap.training.config import CHANGEABLE, Config, load_config, parse_config, read_text, with_changes
from cgap.training.log import MetricsLog, write_json
from cgap.training.loop import evaluate, train_epochs
from cgap.training.plot import can_plot, plot_run
from cgap.training.record import code_version, machine, read_record, weights_hash
from cgap.training.schedule import Schedule
from cgap.training.state import RunState, new_state, restore, run_identity
from cgap.training.teacher import check_teacher
from cgap.training.workers import Workers, idle_threads, join, leave
from fpga_model.errors import UserError

LOCK = ".lock"
"""File in a run's folder that the process which trains there holds locked, so that it has the folder to itself."""

PROGRESS = (
    TextColumn("{task.description}"),
    BarColumn(bar_width=10),
    TextColumn("loss {task.fields[loss]}  {task.fields[accuracy]}  {task.fields[widths]}"),
    TimeRemainingColumn(),
)


def train(
    config: Path,
    out: Path | None = None,
    resume: bool = False,
    changes: Mapping[str, str] | None = None,
    *,
    trust: bool = False,
) -> Path:
    """Carry out the run that `config` describes in the folder `out` (by default `runs/<config's name>`).

    `changes` are fields that differ from the file, such as {"run.seed": "2"}; a new run's folder has them in its copy.
    With `resume`, an interrupted run goes on from its last checkpoint exactly as if it had not been interrupted,
    and a finished one is left alone; changes of CHANGEABLE fields then hold from there on, also when the run is
    resumed again. Code that only a run's own folder names is run if `trust` is true. Returns the folder.

    Raises UserError for a bad configuration, an occupied folder, one in which another process is training, missing
    data or a loss that is not finite. A run that could not begin leaves nothing.

    Started by torchrun, its processes train the one network together (see `Workers`).
    """
    changes = changes or {}
    text = read_text(config, changes)
    settings = parse_config(text, str(config))
    folder = out or Path("runs") / config.stem
    if resume and (folder / "config.toml").exists() and config.samefile(folder / "config.toml"):
        require_trust(folder, settings.own_code(), trust=trust)
    workers = join(settings.run)
    try:
        with _claim(folder, config, text, changes, resume) if workers.is_main else nullcontext():
            workers.wait()
            if _begun(folder):
                text = read_text(folder / "config.toml")
                settings = parse_config(text, str(folder / "config.toml"))
            _go_on(settings, text, folder, changes, workers, trust=trust)
    finally:
        leave(workers)
    return folder


def _begun(folder: Path) -> bool:
    """Whether a run in this folder has come as far as its first step."""
    return any((folder / name).exists() for name in ("run.json", "checkpoint.pt"))


def _go_on(
    begun_with: Config, text: str, folder: Path, changes: Mapping[str, str], workers: Workers, *, trust: bool
) -> None:
    """Carry out the run in `folder` from its beginning or its last checkpoint, unless it is finished.

    Nothing is written there before everything is checked.
    """
    checkpoint = folder / "checkpoint.pt"
    record = _resumed_record(folder) if _begun(folder) else _first_record(begun_with)
    before, threads = _as_resumed(begun_with, record)
    asked = {field: value for field, value in changes.items() if field in CHANGEABLE}
    settings = with_changes(before, asked)
    if record["status"] == "complete":
        if settings != before:
            raise UserError(f"{folder}: is a finished run, which --set cannot change")
        if workers.is_main:
            _draw(folder)  # it may have been ended between its record and its figure
        return
    kept = threads if settings.run.threads == before.run.threads else 0
    torch.set_num_threads(settings.run.threads or kept or idle_threads())
    state = new_state(settings)
    seed, hashes = state.cost, dataset(settings.data.dataset, settings.data.size).hashes()
    if record.setdefault("data_sha256", hashes) != hashes:
        raise UserError(f"{folder}: the files of {settings.data.dataset} have changed since the run began")
    check_teacher(settings, hashes, trust=trust)
    split = load_split(settings.data)
    steps = _steps_per_epoch(settings, split, workers)
    schedule = Schedule(settings, steps, state.dense, seed)
    state.identity = run_identity(begun_with, hashes)
    log = MetricsLog(folder / "metrics.jsonl", writes=workers.is_main)
    lines = restore(state, settings, checkpoint) if checkpoint.exists() else 0
    if state.step != state.epoch * steps:
        raise UserError(f"{checkpoint}: says {state.step} steps after {state.epoch} epochs of {steps} steps")
    if workers.is_main:
        log.begin(lines)
    state.workers = workers
    state.move(workers.device)
    workers.synchronise(state.model)
    if settings.run.compile:
        compile_network(settings, state)
    session = {"from_epoch": state.epoch, "changes": asked if settings != before else {}}
    record["sessions"].append({**session, "code": code_version(), "machine": machine(workers)})
    if workers.is_main:
        write_atomic(folder / "config.toml", text)
        write_json(folder / "run.json", record)
        log.board = Board(folder / "tensorboard") if settings.run.tensorboard else None
    log.truncate(lines)
    with Progress(*PROGRESS, console=console(stderr=True), disable=not workers.is_main) as progress:
        train_epochs(settings, state, schedule, split, log, folder, progress)
    if workers.is_main:
        write_json(folder / "run.json", {**record, **_final_record(settings, state, seed, folder)})
        _draw(folder)


def _draw(folder: Path) -> None:
    """The figure of a finished run, where it is not there yet and can be drawn."""
    if can_plot() and not (folder / "figure.png").exists():
        plot_run(folder, folder / "figure.png")


def _steps_per_epoch(settings: Config, split: Split, workers: Workers) -> int:
    steps = len(split.train) // settings.optimiser.batch_size
    if not steps:
        raise UserError(f"optimiser.batch_size: {settings.optimiser.batch_size} exceeds the {len(split.train)} images")
    if settings.optimiser.batch_size % workers.count:
        raise UserError(
            f"optimiser.batch_size: {settings.optimiser.batch_size} is no multiple of {workers.count} workers"
        )
    return steps


@contextmanager
def _claim(folder: Path, path: Path, text: str, changes: Mapping[str, str], resume: bool) -> Iterator[None]:
    """Make the folder, and keep other processes from training in it; a run that did not begin leaves nothing.

    Raises UserError if one trains there already, or if it holds another run or something else.
    """
    remove_leftovers(folder)
    if not (folder / "config.toml").exists() and folder.exists() and any(f.name != LOCK for f in folder.iterdir()):
        raise UserError(f"{folder}: is not empty and not a run; choose another --out")
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / LOCK, f"{folder}: another process is training in it; wait for its end, or stop it first"):
            _check_configuration(folder, path, text, changes, resume)
            yield
    finally:
        for each in missing:
            with suppress(OSError):  # it is in use by now
                each.rmdir()


def _check_configuration(folder: Path, path: Path, text: str, changes: Mapping[str, str], resume: bool) -> None:
    """Refuse a folder that holds another run."""
    copy = folder / "config.toml"
    if not copy.exists():
        return
    if _begun(folder) and not resume:
        raise UserError(f"{folder}: holds a run already; continue it with --resume or choose another --out")
    changed = with_changes(load_config(copy), {field: changes[field] for field in CHANGEABLE if field in changes})
    if changed == parse_config(text, str(path)):
        return
    if not _begun(folder):
        raise UserError(f"{copy}: is another configuration, whose run never began; remove it or choose another --out")
    raise UserError(
        f"{path}: differs from {copy}, so the run in {folder} cannot be resumed with it; "
        f"a resumed run can change {', '.join(CHANGEABLE)} with --set, and nothing else"
    )


def _resumed_record(folder: Path) -> dict[str, Any]:
    """The record of a run that goes on, with what older versions did not write."""
    try:
        record = read_record(folder)
        sessions = [{"changes": {}, **session} for session in record["sessions"]]
        record = {**record, "status": str(record["status"]), "sessions": sessions}
        for session in sessions:
            threads = session["machine"]["threads"]
            if type(threads) is not int or threads < 1 or not isinstance(session["changes"], dict):
                raise ValueError(f"a session with {threads!r:.40} threads and changes {session['changes']!r:.40}")
        return record
    except (UserError, ValueError, KeyError, TypeError) as error:
        path = folder / "run.json"
        raise UserError(f"{path}: is not the record of a run, so it cannot be resumed ({error})") from error


def _as_resumed(begun_with: Config, record: dict[str, Any]) -> tuple[Config, int]:
    """A run's configuration after the changes of its sessions, and its threads; 0 before the first session.

    A resumed run must have the threads that it began with, or was last given, to be the same bit for bit.
    """
    settings, threads = begun_with, 0
    for session in record["sessions"]:
        before, settings = settings, with_changes(settings, session["changes"])
        if not threads or settings.run.threads != before.run.threads:
            threads = session["machine"]["threads"]
    return settings, threads


def _first_record(settings: Config) -> dict[str, Any]:
    weights = settings.model.weights
    return {
        "status": "running",
        "model": settings.model.name,
        "dataset": settings.data.dataset,
        "seed": settings.run.seed,
        "config": settings.model_dump(),
        **({"weights_sha256": weights_hash(Path(weights))} if weights else {}),
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
