"""Damaged configurations, checkpoints, records and logs: each is read, or refused in one sentence.

Three hundred of them in `make test`, two thousand in `make test-long`: in time, within memory, and without a stray or
a lost file in the folder of the run.
"""

import json
import random
import shutil

import pytest

torch = pytest.importorskip("torch")

from cgap.training.compare import compare_runs  # noqa: E402
from cgap.training.config import load_config  # noqa: E402
from cgap.training.log import MetricsLog  # noqa: E402
from cgap.training.plot import read_history  # noqa: E402
from cgap.training.run import _resumed_record  # noqa: E402
from cgap.training.state import load_run, new_state, read_checkpoint, restore  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402
from tests.lowering.test_absurd_sizes import bounded  # noqa: E402

BATCH = 100
ODD = (
    *(b"", b"-1", b"0", b"1e999", b"nan", b"18446744073709551616", b"9" * 5000, b"true", b"null", b'"x"', b"[]", b"{}"),
    *(b"[" * 3000, b'{"a":' * 3000, b"\x00", b"\xff\xfe", b"\x1b[2J", b"\n[run]\n", b"x.y.z = 1\n", b'"evil:run"'),
)
VALUES = (
    *(None, True, -1, 0, 10**30, -(10**9), 0.5, float("nan"), float("inf"), "", "x" * 1000, "\x1b[2J", "$x_{", [], {}),
    *([1, 2], {"a": 1}, {"stage1.0.conv1": 10**9}),
)
TENSORS = (
    lambda t: torch.full_like(t, 0) / 0 if t.is_floating_point() else t,
    lambda t: t.reshape(-1),
    lambda t: t.double() if t.is_floating_point() else t.float(),
    lambda t: t[:0] if t.dim() else t,
    lambda t: torch.zeros(1).expand(10**8),
    lambda t: -t if t.dtype != torch.bool else t,
    lambda t: t.tolist() if t.numel() < 100 else t.numel(),
)


def damaged_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bits, pieces or words of it changed."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        size = chance.choice((1, 1, 4, 20, 200))
        piece = chance.choice(
            (b"", data[at : at + size] * 2, chance.choice(ODD), bytes(chance.randrange(256) for _ in range(3)))
        )
        data = data[:at] + piece + data[at + chance.choice((0, size)) :]
    return data[: chance.randrange(len(data) + 1)] if chance.random() < 0.05 else data


def leaves(value, place=()):
    """Every place in nested dictionaries and lists, as keys from the outside in."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from leaves(inner, (*place, key))


def damaged_value(document, chance: random.Random):
    """One place of it taken out, or given another value."""
    places = list(leaves(document))
    *outer, last = chance.choice(places)
    at = document
    for key in outer:
        at = at[key]
    if chance.random() < 0.2:
        del at[last]
    elif isinstance(at[last], torch.Tensor) and chance.random() < 0.7:
        at[last] = chance.choice(TENSORS)(at[last])
    else:
        at[last] = chance.choice(VALUES)
    return document


def damage(path, chance: random.Random) -> None:
    """Damage a file of a run's folder as text, or as what it says."""
    structured = chance.random() < 0.6
    if path.suffix == ".pt" and structured:
        torch.save(damaged_value(torch.load(path, weights_only=True), chance), path)
    elif path.suffix == ".json" and structured:
        path.write_text(json.dumps(damaged_value(json.loads(path.read_text()), chance)))
    elif path.suffix == ".jsonl" and structured:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in damaged_value(lines, chance)))
    else:
        path.write_bytes(damaged_bytes(path.read_bytes(), chance))


def read_everything(run, name) -> bool:
    """All that commands make of this file of a run; whether any of it was read."""
    read = 0
    for step in STEPS[name]:
        try:
            step(run)
            read += 1
        except UserError:
            continue
    return read > 0


def resume(run) -> None:
    config = load_config(run / "config.toml")
    if config.model.name == "resnet20" and config.data.dataset == "sample":
        state = new_state(config)
        state.identity = read_checkpoint(run / "checkpoint.pt").get("identity")
        MetricsLog(run / "metrics.jsonl").begin(restore(state, config, run / "checkpoint.pt"))


STEPS = {
    "config.toml": (
        lambda run: load_config(run / "config.toml"),
        lambda run: load_config(run / "config.toml", {"run.seed": "2"}),
    ),
    "checkpoint.pt": (load_run, resume),
    "run.json": (_resumed_record, read_history, lambda run: compare_runs([run])),
    "metrics.jsonl": (read_history, lambda run: MetricsLog(run / "metrics.jsonl").begin(9)),
}


@pytest.mark.slow
@pytest.mark.parametrize("batch", [*range(3), *(pytest.param(n, marks=pytest.mark.long) for n in range(3, 20))])
def test_no_folder_crashes_hangs_or_loses_files(batch, finished, tmp_path):
    """What would break: a traceback, a hang, or a folder that is another one after it was looked at.

    Of each file some are accepted and some refused: a fuzz whose files are all refused, or all harmless, tests nothing.
    """
    chance, accepted = random.Random(batch), {name: set() for name in STEPS}
    run = tmp_path / "out"
    run.mkdir()
    names = ("config.toml", "config.toml", "run.json", "metrics.jsonl", "checkpoint.pt")
    for index in range(BATCH):
        for name in set(names):
            shutil.copyfile(finished / name, run / name)
        name = names[index % len(names)]
        damage(run / name, chance)
        before = {path.name: path.read_bytes() for path in run.iterdir()}
        try:
            with bounded():
                accepted[name].add(read_everything(run, name))
        except Exception as error:
            raise AssertionError(f"batch {batch}, {name} {index}: {type(error).__name__}: {error}") from error
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert all(ends == {True, False} for ends in accepted.values()), accepted
