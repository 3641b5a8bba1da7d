"""If these break, a mistyped configuration trains something other than what its author meant."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from cgap.training.config import load_config, parse_config, with_changes
from fpga_model.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size", "batchsize", r"x\.toml: optimiser\.batchsize: no such field"),
        ("[plasticity.growth]", "[plasticity.grow]", r"plasticity\.grow"),
        ("epochs = 6", 'epochs = "six"', r"optimiser\.epochs"),
        ("epochs = 6", "", r"optimiser\.epochs: Field required"),
        ("learning_rate = 0.05", "learning_rate = -1", r"optimiser\.learning_rate"),
        ("start = 3.25", "start = 1.3", r"plasticity: growth .*must follow in this order"),
        ("end = 4.5", "end = 6", r"pruning\.end must leave"),
        ("seed_width = 0.125", "granule = 3", r"plasticity\.granule"),
        (
            "epochs = 6",
            "epochs = 6\nrestart = {epoch = 6, learning_rate = 0.1}",
            r"optimiser: restart\.epoch 6 must come",
        ),
        ("epoch = 5", "epoch = 6", r"optimiser: averaging\.epoch 6 must come"),
        ("interval = 5 }", "interval = 5 }\nema = { decay = 0.99 }", "averaging and ema exclude each other"),
        ("[model]", "[model", "is not TOML"),
    ],
)
def test_mistakes_are_named(tiny, old, new, message):
    with pytest.raises(UserError, match=message):
        parse_config(tiny.replace(old, new, 1), "x.toml")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.toml: cannot be read"):
        load_config(tmp_path / "none.toml")


def test_configuration_is_frozen(tiny):
    with pytest.raises(ValueError, match="frozen"):
        parse_config(tiny, "x").optimiser.epochs = 7  # type: ignore[misc]


def test_a_resumed_run_may_change_how_it_steps(tiny):
    before = parse_config(tiny, "x")
    after = with_changes(before, ["optimiser.learning_rate = 0.1", "optimiser={learning_rate=0.02, momentum=0.8}"])
    assert (after.optimiser.learning_rate, after.optimiser.momentum) == (0.02, 0.8)
    changed = {"learning_rate": 0.02, "momentum": 0.8}
    assert after == before.model_copy(update={"optimiser": before.optimiser.model_copy(update=changed)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learning_rate", "is not of the form"),
        ("optimiser.epochs=9", r"can change optimiser\.learning_rate"),
        ("run.seed=3", r"can change optimiser\.learning_rate"),
        ("optimiser=3", r"can change optimiser\.learning_rate"),
        ("optimiser.learning_rate=-1", r"--set .*: optimiser\.learning_rate: Input should be greater"),
    ],
)
def test_other_changes_of_a_resumed_run_are_refused(tiny, change, message):
    with pytest.raises(UserError, match=message):
        with_changes(parse_config(tiny, "x"), [change])


def test_dense_control_is_the_same_recipe_without_plasticity():
    grown, dense = (load_config(CONFIGS / f"{name}.toml").model_dump() for name in ("resnet20", "resnet20_dense"))
    assert grown.pop("plasticity")
    assert dense.pop("plasticity") is None
    assert grown == dense
