"""A run small enough for a test: the shipped sample, six epochs of twelve steps, every phase in it."""

import pytest

TINY = """
[run]
seed = 5
threads = 1

[model]
name = "resnet20"

[data]
dataset = "sample"
held_out = 8

[optimiser]
epochs = 6
batch_size = 16
learning_rate = 0.05
label_smoothing = 0.05
averaging = { epoch = 5, learning_rate = 0.01, interval = 5 }

[plasticity]
seed_width = 0.125

[plasticity.growth]
start = 1.25
interval = 0.5
events = 2
target_macs = 0.25

[plasticity.pruning]
start = 3.25
end = 4.5
interval = 0.5
target_macs = 0.18
target_params = 0.2
min_width = 4
protected_age = 5
"""

SHORT = (
    "".join(line for line in TINY.splitlines(keepends=True) if not line.startswith("averaging"))
    .replace("epochs = 6", "epochs = 3")
    .replace("start = 1.25\ninterval = 0.5\nevents = 2", "start = 0.5\ninterval = 0.5\nevents = 1")
    .replace("start = 3.25\nend = 4.5", "start = 1.5\nend = 2.0")
    .replace("target_macs = 0.18", "target_macs = 0.1")
)
"""Three epochs with one growth and one pruning."""


@pytest.fixture
def tiny():
    """The run's configuration as TOML."""
    return TINY


@pytest.fixture
def tiny_path(tmp_path, tiny):
    """The run's configuration as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(tiny)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a whole tiny run, its configuration beside it."""
    pytest.importorskip("torch")
    from cgap.training import run

    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.toml").write_text(TINY)
    return run.train(folder / "tiny.toml", folder / "out")


@pytest.fixture
def interrupt(monkeypatch):
    """Call it with numbers of steps, counted from 1 over all sessions: each is interrupted before it is taken."""

    def install(*at):
        from cgap.training import loop

        step, steps = loop.train_step, 0

        def interrupted(*args):
            nonlocal steps
            steps += 1
            if steps in at:
                raise KeyboardInterrupt
            return step(*args)

        monkeypatch.setattr(loop, "train_step", interrupted)

    return install
