"""`cgap explore`: every accelerator that a part holds, by the analytic model; the best of them by the simulator.

Configurations of one array and port are one piece of work. Finished pieces are kept in `designs.jsonl`, so that an
exploration that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cgap import __version__
from cgap.app import models
from cgap.app.plan import build_name
from cgap.app.target_file import target_text
from cgap.boundary.files import write_atomic, writing
from cgap.lowering import ImportOptions, import_onnx
from fpga_model.errors import UserError
from fpga_model.explore.design import Design, confirm, evaluate_group, groups
from fpga_model.explore.front import Band, exact_front, front
from fpga_model.explore.space import Configuration, Space
from fpga_model.graph import LayerGraph
from fpga_model.machine.platform import Platform, load_platform

Progress = Callable[[int, int], None]
"""Told how many configurations are done, and of how many."""


@dataclass(frozen=True)
class Wishes:
    """What a design must keep to: latency in ms, DSP and memory blocks of the part; None where it does not matter."""

    target_ms: float | None = None
    max_dsp: int | None = None
    max_bram: int | None = None

    def allow(self, design: Design) -> bool:
        """Whether a design keeps to them."""
        pairs = (
            (design.latency_ms, self.target_ms),
            (design.dsp, self.max_dsp),
            (design.blocks, self.max_bram),
        )
        return all(limit is None or value <= limit for value, limit in pairs)


@dataclass(frozen=True)
class ExploreRequest:
    """What `cgap explore` is asked for, for one network and one platform.

    Attributes:
        model, platform: names, or paths of files.
        space: sizes that are combined.
        wishes: what the best design must keep to.
        confirm: how many of the best the simulator confirms; None: all that may be on the front, so that it is exact.
        jobs: processes.
        scheduler: address of a Dask scheduler whose workers do the work instead.
        out: the folder; build/explore/MODEL-PLATFORM when None.
    """

    model: str
    platform: str
    space: Space = field(default_factory=Space)
    wishes: Wishes = field(default_factory=Wishes)
    confirm: int | None = 5
    jobs: int = 1
    scheduler: str = ""
    out: Path | None = None
    reading: ImportOptions = field(default_factory=ImportOptions)


@dataclass(frozen=True)
class Exploration:
    """What was found.

    Attributes:
        model, platform: of it.
        configurations: how many fit the part; refused: of these, how many do not hold the network.
        reused: how many were known from an earlier call.
        cpu_seconds: of this process.
        front: the Pareto front, fastest first; those that the simulator has run carry its cycles.
        best: of the designs that keep to the wishes: without a target the fastest, with one that of least share of the
            part. None if no design does.
        closest: the fastest design that keeps to all but the target; told where there is no best.
    """

    model: str
    platform: Platform
    configurations: int
    refused: int
    reused: int
    cpu_seconds: float
    front: list[Design]
    best: Design | None
    closest: Design | None
    folder: Path

    def to_json(self) -> dict[str, Any]:
        """For `json.dump`."""
        return {
            "tool": f"cgap {__version__}",
            "model": self.model,
            "platform": self.platform.name,
            "units": {"dsp": self.platform.dsp_name, "blocks": self.platform.block.name},
            "configurations": self.configurations,
            "refused": self.refused,
            "front": [design.to_json() for design in self.front],
            "best": None if self.best is None else self.best.to_json(),
        }


def explore(request: ExploreRequest, progress: Progress = lambda done, total: None) -> Exploration:
    """Explore one network on one platform; writes `designs.jsonl`, `front.json` and `best.toml` into its folder.

    Raises:
        UserError: the input is at fault, no configuration fits, or a package that is asked for is missing.
    """
    started = time.process_time()
    platform = load_platform(request.platform)
    graph = import_onnx(models.resolve(request.model), options=request.reading).graph
    configurations = request.space.configurations(graph, platform)
    name = build_name(request.model)
    folder = request.out or Path("build") / "explore" / f"{name}-{platform.name}"
    pieces = list(groups(configurations))
    designs, refused, reused = _run(request, graph, platform, pieces, folder / "designs.jsonl", progress)
    if not designs:
        raise UserError(
            f"network {graph.name!r} fits none of the {len(configurations):,} accelerators that {platform.name} holds; "
            f"its widest layer needs deeper pages than the part has memory for"
        )
    found = _confirmed(request, graph, platform, designs)
    best, closest = choose(found, request.wishes, platform)
    result = Exploration(
        model=name,
        platform=platform,
        configurations=len(configurations),
        refused=refused,
        reused=reused,
        cpu_seconds=time.process_time() - started,
        front=front(found) if request.confirm is not None else found,
        best=best,
        closest=closest,
        folder=folder,
    )
    write_atomic(folder / "front.json", json.dumps(result.to_json(), indent=1) + "\n")
    if best is None:
        (folder / "best.toml").unlink(missing_ok=True)  # of an earlier call that asked for less
    else:
        comment = f"{name} on {platform.name}: {best.latency_ms:.3f} ms, {best.dsp} {platform.dsp_name}, {best.blocks} "
        comment += f"{platform.block.name}. Made by cgap explore; use it as cgap hls {name} --config best.toml"
        write_atomic(folder / "best.toml", target_text(request.platform, best.configuration, comment))
    return result


def _confirmed(request: ExploreRequest, graph: LayerGraph, platform: Platform, designs: list[Design]) -> list[Design]:
    """The front, or with `confirm` all designs with the best of the front simulated."""

    def simulated(design: Design) -> Design:
        return confirm(graph, platform, design)

    if request.confirm is None:
        return exact_front(designs, Band(), simulated)
    allowed = front([design for design in designs if request.wishes.allow(design)])
    wanted = allowed or front(designs)
    if allowed and request.wishes.target_ms is not None:
        wanted = sorted(allowed, key=lambda design: _share(design, platform))
    chosen = {id(design) for design in wanted[: request.confirm]}
    return [simulated(design) if id(design) in chosen else design for design in designs]


def _share(design: Design, platform: Platform) -> float:
    """The largest share that a design takes of a resource."""
    pairs = [
        (design.dsp, platform.dsp),
        (design.blocks, platform.block.count),
        (design.lut, platform.lut),
        (design.ff, platform.ff),
    ]
    return max(needed / there for needed, there in pairs)


def choose(designs: Sequence[Design], wishes: Wishes, platform: Platform) -> tuple[Design | None, Design | None]:
    """(best, closest): see `Exploration`. Those that the simulator has run come first."""
    allowed = [design for design in designs if wishes.allow(design)]
    others = Wishes(None, wishes.max_dsp, wishes.max_bram)
    closest = min((d for d in designs if others.allow(d)), key=lambda d: d.objectives, default=None)

    def order(design: Design) -> tuple[Any, ...]:
        open_ = design.simulated_cycles is None
        if wishes.target_ms is None:
            return open_, *design.objectives
        return open_, _share(design, platform), *design.objectives

    return min(allowed, key=order, default=None), closest


# --- the work -----------------------------------------------------------------------------------------------------


def _run(
    request: ExploreRequest,
    graph: LayerGraph,
    platform: Platform,
    pieces: list[list[Configuration]],
    path: Path,
    progress: Progress,
) -> tuple[list[Design], int, int]:
    """Designs of all pieces, in their order; how many configurations hold no network, and how many were known."""
    basis = json.dumps([__version__, graph.to_json(), asdict(platform)], sort_keys=True)
    keys = [_key(basis, piece) for piece in pieces]
    known = _read(path, set(keys))
    reused = sum(len(piece) for key, piece in zip(keys, pieces, strict=True) if key in known)
    done, total = reused, sum(len(piece) for piece in pieces)
    progress(done, total)
    left = [(key, piece) for key, piece in zip(keys, pieces, strict=True) if key not in known]
    tasks = [(key, graph, platform, piece) for key, piece in left]
    sizes = {key: len(piece) for key, piece in left}
    with writing(path), _appending(path) as append:
        for key, designs, refused in _results(tasks, request.jobs, request.scheduler):
            known[key] = designs, refused
            append({"key": key, "refused": refused, "designs": [design.to_json() for design in designs]})
            done += sizes[key]
            progress(done, total)
    found = [design for key in keys for design in known[key][0]]
    return found, sum(known[key][1] for key in keys), reused


def _key(basis: str, piece: list[Configuration]) -> str:
    return hashlib.sha256((basis + json.dumps([c.to_json() for c in piece])).encode()).hexdigest()


def _read(path: Path, keys: set[str]) -> dict[str, tuple[list[Design], int]]:
    """The finished pieces of an earlier call; a line that a kill cut short is passed over."""
    found: dict[str, tuple[list[Design], int]] = {}
    if path.is_file():
        for line in path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
                if entry["key"] in keys:
                    found[entry["key"]] = [Design.from_json(d) for d in entry["designs"]], entry["refused"]
            except (ValueError, KeyError, TypeError):
                continue
    return found


@contextmanager
def _appending(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Adds lines to a file, each whole before the next."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")  # ends what a kill cut short

        def append(entry: dict[str, Any]) -> None:
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()

        yield append


Task = tuple[str, LayerGraph, Platform, list[Configuration]]
Result = tuple[str, list[Design], int]


def _results(tasks: Sequence[Task], jobs: int, scheduler: str) -> Iterator[Result]:
    """Results as they come: in this process, in several, or on the workers of a Dask scheduler."""
    if scheduler:
        yield from _on_dask(tasks, scheduler)
    elif jobs <= 1 or len(tasks) <= 1:
        yield from map(_work, tasks)
    else:
        from joblib import Parallel, delayed

        yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(_work)(task) for task in tasks)


def _work(task: Task) -> Result:
    """One piece, in whatever process."""
    key, graph, platform, piece = task
    return key, *evaluate_group(graph, platform, piece)


def _on_dask(tasks: Sequence[Task], scheduler: str) -> Iterator[Result]:
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise UserError("--scheduler needs Dask: pip install 'cgap[dask]'") from error
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error})") from error
    with client:
        futures = client.map(_work, list(tasks), pure=False)
        for _, result in as_completed(futures, with_results=True):
            yield result


def cores() -> int:
    """Processes that make sense here."""
    return max(1, len(os.sched_getaffinity(0)))


def explore_all(
    requests: Iterable[ExploreRequest], progress: Callable[[ExploreRequest], Progress]
) -> Iterator[Exploration]:
    """Explore several, one after the other; each may use all processes."""
    for request in requests:
        yield explore(request, progress(request))
