"""If these break, the network that a run ends with is not the average that its configuration asks for."""

import pytest

torch = pytest.importorskip("torch")

from cgap.plasticity import IndexMap, grow, surgery  # noqa: E402
from cgap.training import run  # noqa: E402
from cgap.training.averaging import follow, moving_average  # noqa: E402
from cgap.training.config import parse_config  # noqa: E402
from cgap.training.state import new_state, read_checkpoint  # noqa: E402
from tests.training.conftest import SHORT  # noqa: E402
from tests.training.test_run import log_of, same  # noqa: E402

DECAY = 0.7
NAME = "stage1.0.conv1"
EMA = SHORT.replace("epochs = 3", f"epochs = 3\nema = {{ decay = {DECAY} }}")


@pytest.fixture
def state():
    return new_state(parse_config(EMA, "ema"))


def walk(state, steps):
    """Random steps of everything that is averaged; the values after each, by name."""
    seen = []
    for _ in range(steps):
        for tensor in state.model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
        follow(state, DECAY)
        seen.append({name: value.clone() for name, value in state.model.state_dict().items()})
    return seen


def mean(values):
    weights = [DECAY**i for i in reversed(range(len(values)))]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def test_weights_and_statistics_are_averaged(state):
    seen = walk(state, 4)
    average = moving_average(state).state_dict()
    assert average.keys() == seen[0].keys()
    for name, value in average.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, mean([values[name] for values in seen]), msg=name)
    assert same(state.model.state_dict(), seen[-1])


def test_a_channels_average_is_over_its_own_life(state):
    before = walk(state, 3)
    width = state.spaces[NAME].width
    channels = state.saliency.states[NAME]
    generator = torch.Generator().manual_seed(1)
    grow(state.model, state.spaces, NAME, 4, state=channels, optimizer=state.optimizer, generator=generator)
    surgery(
        state.model,
        state.spaces,
        NAME,
        IndexMap.keep([1, 2, width, width + 1]),
        state=channels,
        optimizer=state.optimizer,
    )
    after = walk(state, 2)
    average = moving_average(state).state_dict()
    for name, axis in [
        (f"{NAME}.weight", 0), ("stage1.0.bn1.weight", 0), ("stage1.0.bn1.running_mean", 0),
        ("stage1.0.bn1.running_var", 0), ("stage1.0.conv2.weight", 1),
    ]:  # fmt: skip
        survivors = [values[name].narrow(axis, 1, 2) for values in before]
        survivors += [values[name].narrow(axis, 0, 2) for values in after]
        newborns = [values[name].narrow(axis, 2, 2) for values in after]
        expected = torch.cat([mean(survivors), mean(newborns)], axis)
        torch.testing.assert_close(average[name], expected, msg=name)


def test_a_split_leaves_the_network_at_its_averages_as_it_was(state):
    walk(state, 3)
    x = torch.randn(4, 3, 32, 32)
    before = moving_average(state)(x).detach()
    generator = torch.Generator().manual_seed(1)
    for name, channels in state.saliency.states.items():
        grow(
            state.model, state.spaces, name, 3, state=channels, optimizer=state.optimizer, generator=generator,
            policy="split",
        )  # fmt: skip
    torch.testing.assert_close(moving_average(state)(x), before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))
    width = state.spaces[NAME].width
    held = state.optimizer.state[state.model.get_submodule(NAME).weight]
    assert all(value.shape[0] == width for value in held.values())


def test_a_run_ends_as_its_average_and_resumes_bit_for_bit(tmp_path, interrupt):
    config = tmp_path / "ema.toml"
    config.write_text(EMA.replace("held_out = 8", "held_out = 8\ncutout = 8"))
    whole, cut = run.train(config, tmp_path / "whole"), tmp_path / "cut"
    interrupt(20)
    with pytest.raises(KeyboardInterrupt):
        run.train(config, cut)
    run.train(config, cut, resume=True)
    content = read_checkpoint(whole / "checkpoint.pt")
    assert same(read_checkpoint(cut / "checkpoint.pt"), content)
    assert log_of(cut) == log_of(whole)
    assert {line["event"] for line in log_of(whole) if "event" in line} == {"grow", "prune"}
    assert all(line["changed"] for line in log_of(whole) if "event" in line)
    moving = content["moving"]["stage1.0.bn1.weight"]
    assert torch.equal(content["model"]["stage1.0.bn1.weight"], moving["ema"] / moving["ema_weight"])
    assert torch.equal(content["model"]["stage1.0.bn1.running_var"], moving["ema_var"] / moving["ema_weight"])
