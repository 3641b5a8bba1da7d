"""If these break, the baselines are not compared under equal conditions, or one of them cannot be run."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from cgap.training.config import load_config, parse_config  # noqa: E402
from cgap.training.loop import restructure  # noqa: E402
from cgap.training.schedule import Schedule  # noqa: E402
from cgap.training.state import new_state  # noqa: E402
from cgap.training.step import train_step  # noqa: E402

CONFIGS = {path.stem: path for path in (Path(__file__).parents[2] / "configs" / "baselines").glob("*.toml")}
WIDTHS = "runs/baselines/cgap-{seed}"
PRUNED = {"cgap", "cgap_flops", "l1", "soft_early", "slimming", "taylor", "taylor_flops"}


def test_baselines_differ_in_their_plasticity_alone():
    assert CONFIGS.keys() == PRUNED | {"dense", "scratch", "scratch_flops"}
    recipes = {name: load_config(path).model_dump() for name, path in CONFIGS.items()}
    for name, recipe in recipes.items():
        assert (recipe.pop("plasticity") is not None) == (name in PRUNED)
        assert (recipe["model"].pop("widths_from") == WIDTHS) == name.startswith("scratch")
    epochs = {name: recipe["optimiser"].pop("epochs") for name, recipe in recipes.items()}
    longer = {"cgap_flops": 17, "scratch_flops": 20, "taylor_flops": 16}  # the training MACs of the dense network
    assert epochs == dict.fromkeys(recipes, 10) | longer
    assert all(recipe == recipes["dense"] for recipe in recipes.values())
    for name in PRUNED:
        plasticity = load_config(CONFIGS[name]).plasticity
        assert plasticity.pruning.end == epochs["dense"] / 2
        assert (plasticity.pruning.target_macs, plasticity.pruning.target_params) == (0.5, None)
        assert plasticity.frozen == ("stem.conv", "*.conv2*")


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_baseline_runs_on_the_sample(name, tmp_path):
    """A step before each of its events, and one after them."""
    text = CONFIGS[name].read_text().replace('"cifar10"', '"sample"').replace("held_out = 5000", "held_out = 72")
    text = text.replace("protected_age = 150", "protected_age = 0").replace(WIDTHS, str(tmp_path))
    widths = {"stage1.0.conv1": 8, "stage3.2.conv1": 28}
    (tmp_path / "run.json").write_text(json.dumps({"status": "complete", "widths": widths}))
    config = parse_config(text, name)
    state = new_state(config)
    schedule = Schedule(config, 32, state.dense, state.cost)
    x, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    for event in schedule.events.values():
        train_step(config, state, x, labels)
        restructure(config, state, event)
    loss, _ = train_step(config, state, x, labels)
    assert loss > 0
    if name in PRUNED:
        assert 0.4 * state.dense.macs < state.cost.macs <= 0.5 * state.dense.macs
        assert all(width % 4 == 0 and width >= 8 for width in state.spaces.widths().values())
    if name.startswith("scratch"):
        assert {space: state.spaces[space].width for space in widths} == widths
