"""A queue of runs: several configurations, each with several seeds, a few at a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cgap.boundary.processes import Tool
from cgap.training.config import load_config
from cgap.training.record import is_complete, read_finished
from fpga_model.errors import UserError

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """One run: a configuration with one seed, in a folder of its own."""

    config: Path
    seed: int
    folder: Path
    needs: tuple[Path, ...]
    """Folders of finished runs that it reads."""

    @property
    def command(self) -> list[str]:
        """What carries it out, or goes on with it."""
        seed = ["--set", f"run.seed={self.seed}"]
        return [sys.executable, "-m", "cgap", "train", str(self.config), *seed, "--out", str(self.folder), "--resume"]

    @property
    def log(self) -> Path:
        """Where its output goes: beside its folder."""
        return self.folder.with_name(self.folder.name + ".log")


def plan_jobs(configs: Sequence[Path], seeds: Sequence[int], out: Path) -> list[Job]:
    """Every configuration with every seed, in folders `out/NAME-SEED`; all of a seed before the next.

    Raises UserError for a bad configuration, for two of one name, and where a run needs another that is neither
    finished nor in the queue.
    """
    names = [config.stem for config in configs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two configurations are called {twice[0]}: their runs would share a folder")
    jobs = [
        Job(config, seed, out / f"{config.stem}-{seed}", load_config(config, {"run.seed": str(seed)}).needs())
        for seed in seeds
        for config in configs
    ]
    folders = {job.folder.resolve() for job in jobs}
    for job in jobs:
        for need in job.needs:
            if need.resolve() not in folders and not is_complete(need):
                raise UserError(f"{job.config}: needs the run {need}, which is neither finished nor in the queue")
    return jobs


def run_queue(jobs: Sequence[Job], at_once: int, say: Callable[[str], None]) -> list[Job]:
    """Carry out jobs, `at_once` of them at a time, each as a process; finished ones are left alone.

    A job starts when the runs it needs are finished. A job that fails holds up only those that need it. Interrupted,
    it stops its processes; called again, everything goes on from its last checkpoint. Returns the jobs that are not
    finished.
    """
    waiting = [job for job in jobs if not is_complete(job.folder)]
    say(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are finished")
    running: dict[Job, Tool] = {}
    failed: list[Job] = []
    try:
        while waiting or running:
            ready = [job for job in waiting if all(map(is_complete, job.needs))]
            for job in ready[: at_once - len(running)]:
                waiting.remove(job)
                say(f"{job.folder.name}: starts, output in {job.log}")
                running[job] = _start(job)
            if not running:
                break
            time.sleep(POLL_SECONDS)
            for job, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[job]
                if code:
                    failed.append(job)
                    say(f"{job.folder.name}: failed, see the end of {job.log}")
                else:
                    say(f"{job.folder.name}: {read_finished(job.folder)['accuracy']['test']:.2f} % of the test images")
    finally:
        for process in running.values():
            process.ask_to_end()
        for process in running.values():
            process.stop()
    for job in waiting:
        say(f"{job.folder.name}: cannot start, because a run it needs is not finished")
    return [*failed, *waiting]


def _start(job: Job) -> Tool:
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        return Tool(job.command, log)
