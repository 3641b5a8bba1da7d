"""Throughput of the training loop against a plain PyTorch loop, and what growth and pruning cost of a run.

    python -m benchmarks.training [CONFIG] [--rounds 10] [--steps 5] [--threads 1] [--ways [--busy 1]]

Images are random; the network, batch size, precision and layout are those of CONFIG (configs/resnet20.toml). Processor
seconds, so that other work on the machine counts little. The loops take turns, `--steps` steps a round, at the dense
network: ours with everything that a run does in a step (crops and mirrors, saliency, loss and hits; a distillation's
teacher is left out), the plain ones without saliency, cropping either by our function or an image at a time like a
data loader. Then all events of CONFIG are carried out; the `--steps` steps after each stand for all until the next.

With `--ways` instead: wall and processor time of a step at the final widths, with one and two threads that wait by
spinning or passively, and with `run.compile`; each way is a process of its own (OpenMP reads its settings once), and
they take turns. `--busy` processes compete with them for the cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cgap.data import Images, dataset
from cgap.training.batches import as_input, augment, training_batches
from cgap.training.compiling import compile_network
from cgap.training.config import Config, load_config
from cgap.training.loop import restructure
from cgap.training.schedule import Schedule
from cgap.training.state import RunState, build_network, make_optimizer, new_state
from cgap.training.step import train_step

RUN_IMAGES = 45_000
"""Training images of the run whose cost is told: CIFAR-10 less those held out."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, default=Path("configs/resnet20.toml"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ways", action="store_true")
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--step-on-demand", choices=["eager", "compiled"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = load_config(arguments.config)
    if arguments.step_on_demand:
        step_on_demand(config, arguments.steps, compiled=arguments.step_on_demand == "compiled")
        return
    if arguments.ways:
        ways(arguments.config, arguments.rounds, arguments.steps, arguments.busy)
        return
    throughput(config, arguments.rounds, arguments.steps)
    events(config, arguments.steps)


def throughput(config: Config, rounds: int, steps: int) -> None:
    """Print images per processor second of each loop, and ours over each plain one (medians over the rounds)."""
    images = random_images(config, steps)
    loops = {
        "ours": ours(config, images),
        "plain, crops by the batch": plain(config, images, by_the_batch),
        "plain, crops by the image": plain(config, images, by_the_image),
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for i in range(rounds + 1):  # the first round warms up
        for name, epoch in loops.items():
            begin = time.process_time()
            epoch()
            if i:
                seconds[name].append(time.process_time() - begin)
    count = len(images)
    print("| loop | images per CPU second | ours over it |\n|---|---|---|")
    for name, times in seconds.items():
        ratio = median(other / mine for mine, other in zip(seconds["ours"], times, strict=True))
        print(f"| {name} | {count / median(times):.1f} | {ratio:.3f} |")


def random_images(config: Config, batches: int) -> Images:
    data, generator = dataset(config.data.dataset), torch.Generator().manual_seed(1)
    count = batches * config.optimiser.batch_size
    pixels = torch.randint(0, 256, (count, *data.shape), generator=generator, dtype=torch.uint8)
    return Images(pixels.numpy(), torch.randint(0, data.classes, (count,), generator=generator).byte().numpy())


def ours(config: Config, images: Images) -> Callable[[], None]:
    """An epoch of this project's loop at the dense network."""
    assert config.plasticity
    state = new_state(
        config.model_copy(update={"plasticity": config.plasticity.model_copy(update={"seed_width": 1.0})})
    )

    def epoch() -> None:
        for x, labels in training_batches(images, config, 0, state.generator):
            train_step(config, state, x, labels)

    return epoch


def plain(config: Config, images: Images, crop: Callable[[Tensor, Config], Tensor]) -> Callable[[], None]:
    """An epoch of a loop as in PyTorch's examples, at the dense network."""
    torch.manual_seed(config.run.seed)
    model = build_network(config)[0].to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(model, config)
    criterion = nn.CrossEntropyLoss(label_smoothing=config.optimiser.label_smoothing)
    pixels, labels = torch.from_numpy(images.images), torch.from_numpy(images.labels).long()
    bfloat16 = config.run.precision == "bfloat16"

    def epoch() -> None:
        for chosen in torch.randperm(len(pixels)).split(config.optimiser.batch_size):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = model(as_input(crop(pixels[chosen], config)))
            loss = criterion(logits.float(), labels[chosen])
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


def by_the_batch(pixels: Tensor, config: Config) -> Tensor:
    return augment(pixels, config.data, torch.default_generator)


def by_the_image(pixels: Tensor, config: Config) -> Tensor:
    pad, size = config.data.crop_padding, pixels.shape[2:]
    out = []
    for image in pixels:
        y, x = torch.randint(0, 2 * pad + 1, (2,)).tolist()
        wide = F.pad(image.float()[None], (pad, pad, pad, pad), mode="reflect")[0].to(torch.uint8)
        cropped = wide[:, y : y + size[0], x : x + size[1]]
        out.append(cropped.flip(2) if config.data.flip and torch.rand(()) < 0.5 else cropped)
    return torch.stack(out)


def events(config: Config, steps: int) -> None:
    """Carry out a run's events; print what they, saliency and all steps of the run cost."""
    state = new_state(config)
    steps_per_epoch = RUN_IMAGES // config.optimiser.batch_size
    schedule = Schedule(config, steps_per_epoch, state.dense, state.cost)
    batches = endless(config, random_images(config, steps), state)
    times = {"steps": 0.0, "saliency": 0.0, "events": 0.0}
    update = state.saliency.update

    def timed_update() -> None:
        begin = time.process_time()
        update()
        measured.append(time.process_time() - begin)

    measured: list[float] = []
    state.saliency.update = timed_update  # type: ignore[method-assign]
    for first, last in pairwise([0, *sorted(schedule.events), schedule.steps]):
        if first in schedule.events:
            begin = time.process_time()
            restructure(config, state, schedule.events[first])
            times["events"] += time.process_time() - begin
        measured.clear()
        taken = []
        state.epoch = first // steps_per_epoch
        for _ in range(steps):
            x, labels = next(batches)
            begin = time.process_time()
            train_step(config, state, x, labels)
            taken.append(time.process_time() - begin)
        times["steps"] += (last - first) * median(taken)
        times["saliency"] += (last - first) * (median(measured) if measured else 0.0)
    share = {name: f"{100 * value / (times['steps'] + times['events']):.2f} %" for name, value in times.items()}
    print("\n| of a run | CPU seconds | share |\n|---|---|---|")
    print(f"| {len(schedule.events)} events | {times['events']:.2f} | {share['events']} |")
    print(f"| saliency until pruning ends | {times['saliency']:.1f} | {share['saliency']} |")
    print(f"| all steps | {times['steps']:.1f} | {share['steps']} |")


def ways(config: Path, rounds: int, steps: int, busy: int) -> None:
    """Print milliseconds of a step, wall and processor time, of each way to take it (medians over the rounds)."""
    undecided = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    processes = {}
    for threads in (1, 2):
        for how in ("spinning", "passively", "passively, compiled"):
            command = [sys.executable, "-m", "benchmarks.training", str(config)]
            options = [f"--steps={steps}", f"--threads={threads}", "--step-on-demand"]
            options.append("compiled" if how.endswith("compiled") else "eager")
            environment = undecided if how == "spinning" else {**undecided, "OMP_WAIT_POLICY": "passive"}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = subprocess.Popen([*command, *options], env=environment, text=True, bufsize=1, **pipes)
            processes[threads, how] = process
            process.stdout.readline()  # it is ready
    neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    times: dict[tuple[int, str], list[tuple[float, float]]] = {way: [] for way in processes}
    try:
        for _ in range(rounds):
            for way, process in processes.items():
                process.stdin.write("step\n")
                wall, cpu = map(float, process.stdout.readline().split())
                times[way].append((wall, cpu))
    finally:
        for process in [*processes.values(), *neighbours]:
            process.kill()
            process.wait()
    print("| threads | they wait | `run.compile` | wall ms | CPU ms |\n|---|---|---|---|---|")
    for (threads, how), taken in times.items():
        walls, cpus = zip(*taken, strict=True)
        spread = f"{min(walls):.0f} to {max(walls):.0f}, median {median(walls):.0f}"
        compiled = "yes" if how.endswith("compiled") else "no"
        print(f"| {threads} | {how.partition(',')[0]} | {compiled} | {spread} | {median(cpus):.0f} |")


def step_on_demand(config: Config, steps: int, compiled: bool) -> None:
    """Bring a run to its final widths; then for each line read, time `steps` steps and print (wall, CPU) ms of one."""
    assert config.plasticity
    pruning = config.plasticity.pruning.model_copy(update={"protected_age": 0})  # its events follow each other at once
    config = config.model_copy(update={"plasticity": config.plasticity.model_copy(update={"pruning": pruning})})
    state = new_state(config)
    images = random_images(config, steps)
    schedule = Schedule(config, RUN_IMAGES // config.optimiser.batch_size, state.dense, state.cost)
    batches = endless(config, images, state)
    for step in sorted(schedule.events):
        train_step(config, state, *next(batches))
        restructure(config, state, schedule.events[step])
    state.epoch = config.optimiser.epochs - 1
    if compiled:
        compile_network(config, state)
    for _ in range(2 * steps):
        train_step(config, state, *next(batches))
    print("ready", flush=True)
    while sys.stdin.readline():
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            train_step(config, state, *next(batches))
        taken = time.perf_counter() - wall, time.process_time() - cpu
        print(*(1e3 * seconds / steps for seconds in taken), flush=True)


def endless(config: Config, images: Images, state: RunState) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from training_batches(images, config, 0, state.generator)


if __name__ == "__main__":
    main()
