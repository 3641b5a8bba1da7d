"""If these break, what a run shows of itself (terminal, TensorBoard, figure) is not what its metrics say."""

import json

import pytest

torch = pytest.importorskip("torch")

from cgap.app.models import pretrained_folder  # noqa: E402
from cgap.training import (  # noqa: E402
    board,
    plot,
    run,
)
from cgap.training.log import MetricsLog  # noqa: E402
from cgap.training.loop import short_widths  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402
from tests.training.test_run import log_of  # noqa: E402


def test_widths_are_short_however_many_there_are():
    assert short_widths({"a": 8, "b": 16}) == "8/16"
    assert short_widths({str(i): 4 + i for i in range(54)}) == "4..57, 1647 in all"


def test_history_is_that_of_the_metrics(finished):
    history = plot.read_history(finished)
    pruned = 46 / 12  # the first of two prunings, half-way between 3.25 and 4.5
    assert history.phases == [("seed", 0, 1.25), ("grow", 1.25, pruned), ("prune", pruned, 4.5), ("recover", 4.5, 6)]
    record, events = json.loads((finished / "run.json").read_text()), [e for e in log_of(finished) if "event" in e]
    assert [at for at, _ in history.widths] == [0, *(event["step"] / 12 for event in events), 6]
    assert [widths for _, widths in history.widths[1:]] == [*(e["widths"] for e in events), events[-1]["widths"]]
    assert set(history.widths[0][1].values()) == {4, 8}
    assert [cost["macs"] for _, cost in history.cost] == [*(e["macs"] for e in events), record["network"]["macs"]]
    assert history.test == record["accuracy"]["test"]


@pytest.mark.parametrize("name", ["resnet20", "resnet20_dense"])
def test_history_of_the_shipped_networks(tmp_path, name):
    for suffix, target in ((".json", "run.json"), (".metrics.jsonl", "metrics.jsonl")):
        (tmp_path / target).write_bytes((pretrained_folder() / f"{name}{suffix}").read_bytes())
    history = plot.read_history(tmp_path)
    end = json.loads((tmp_path / "run.json").read_text())["epochs"]
    expected = [("train", 0, end)] if name == "resnet20_dense" else [
        ("seed", 0, 0.5), ("grow", 0.5, 5.5), ("prune", 5.5, 10), ("recover", 10, end)
    ]  # fmt: skip
    assert [phase for phase, *_ in history.phases] == [phase for phase, *_ in expected]
    for (_, *times), (_, *right) in zip(history.phases, expected, strict=True):
        assert times == pytest.approx(right, abs=0.01)


def test_a_finished_run_has_its_figure_and_another_can_be_drawn(finished, tmp_path):
    pytest.importorskip("matplotlib")
    assert (finished / "figure.png").read_bytes().startswith(b"\x89PNG")
    plot.plot_run(finished, tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    assert text.startswith("<?xml")
    assert "<!-- MACs an image, millions -->" in text
    assert "<!-- stage3.2.conv1, " in text


def test_a_figure_of_many_spaces_has_a_scale_instead_of_names(finished, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "run.json").write_bytes((finished / "run.json").read_bytes())
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.get("widths", {}).update({f"more.{i}": 4 + i for i in range(20)})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    plot.plot_run(tmp_path, tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    assert "<!-- space, from input to output -->" in text
    assert "<!-- stage3.2.conv1, " not in text


def test_what_cannot_be_drawn_is_named(finished, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="is not the folder of a training run"):
        plot.plot_run(tmp_path, tmp_path / "x.png")
    with pytest.raises(UserError, match=r"x\.gif: can be a \.png, a \.svg, a \.pdf file"):
        plot.plot_run(finished, tmp_path / "x.gif")
    (tmp_path / "run.json").write_bytes((finished / "run.json").read_bytes())
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(UserError, match="nothing to draw before its first epoch"):
        plot.plot_run(tmp_path, tmp_path / "x.png")
    monkeypatch.setattr(plot, "can_plot", lambda: False)
    with pytest.raises(UserError, match="needs Matplotlib"):
        plot.plot_run(finished, tmp_path / "x.png")


def test_tensorboard_shows_the_metrics_and_nothing_that_a_kill_left(finished, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    first = MetricsLog(tmp_path / "metrics.jsonl", board=board.Board(tmp_path / "board"))
    for line in [*lines[:5], {"epoch": 99, "train_loss": 9.0}]:
        first.append(line)
    second = MetricsLog(tmp_path / "metrics.jsonl", board=board.Board(tmp_path / "board"))
    second.truncate(5)
    for line in lines[5:]:
        second.append(line)
    events = EventAccumulator(str(tmp_path / "board"), size_guidance={"scalars": 0})
    events.Reload()
    losses = [(line["epoch"], line["train_loss"]) for line in lines if "epoch" in line]
    assert [e.step for e in events.Scalars("train_loss")] == [epoch for epoch, _ in losses]
    assert [e.value for e in events.Scalars("train_loss")] == pytest.approx([loss for _, loss in losses])
    widths = [line["widths"]["stage3.0.conv1"] for line in lines if "event" in line]
    assert [e.value for e in events.Scalars("widths/stage3.0.conv1")] == widths


def test_missing_tensorboard_is_named_before_the_run(tiny_path, tmp_path, monkeypatch):
    tiny_path.write_text(tiny_path.read_text().replace("threads = 1", "threads = 1\ntensorboard = true"))
    monkeypatch.setattr(board.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'cgap\[tensorboard\]'"):
        run.train(tiny_path, tmp_path / "out")
