"""If these break, phases overlap, targets are not reached, or the learning rate does not end at zero."""

import pytest

pytest.importorskip("torch")

from cgap.plasticity import Cost
from cgap.training.config import parse_config
from cgap.training.schedule import Schedule

DENSE, SEED = Cost(1000, 500), Cost(100, 50)


@pytest.fixture
def tiny(tiny):
    """The run without its averaging."""
    return "".join(line for line in tiny.splitlines(keepends=True) if not line.startswith("averaging"))


@pytest.fixture
def schedule(tiny):
    return Schedule(parse_config(tiny, "tiny"), 12, DENSE, SEED)


def test_phases_follow_each_other(schedule):
    phases = [schedule.phase(step) for step in range(schedule.steps)]
    assert [phases[0], phases[15], phases[39], phases[54]] == ["seed", "grow", "prune", "recover"]
    assert list(dict.fromkeys(phases)) == ["seed", "grow", "prune", "recover"]


def test_events_approach_their_targets(schedule):
    grown = [event for event in schedule.events.values() if event.kind == "grow"]
    pruned = [event for event in schedule.events.values() if event.kind == "prune"]
    assert [round(event.macs) for event in grown] == [175, 250]
    assert [e.macs for e in pruned] == sorted((e.macs for e in pruned), reverse=True)
    assert (round(pruned[-1].macs), round(pruned[-1].params)) == (180, 100)
    assert max(schedule.events) == 54


def test_pruning_alone_starts_dense_and_soft_pruning_keeps_to_the_final_budget(tiny):
    alone = tiny.replace("seed_width = 0.125\n", "")
    alone = alone[: alone.index("[plasticity.growth]")] + alone[alone.index("[plasticity.pruning]") :]
    alone = alone.replace("start = 3.25", "start = 2.5").replace("target_params = 0.2\n", "target_cycles = 0.5\n")
    alone = alone.replace("[plasticity]", "[plasticity]\naccelerator = {}")
    dense = Cost(1000, 500, 4000)
    schedule = Schedule(parse_config(alone, "alone"), 12, dense, dense)
    assert list(dict.fromkeys(map(schedule.phase, range(schedule.steps)))) == ["train", "prune", "recover"]
    assert [(step, event.kind, event.budget.macs) for step, event in schedule.events.items()] == [
        (36, "prune", 795),
        (42, "prune", 590),
        (48, "prune", 385),
        (54, "prune", 180),
    ]
    assert [event.budget.cycles for event in schedule.events.values()] == [3500, 3000, 2500, 2000]
    assert {event.budget.params for event in schedule.events.values()} == {float("inf")}
    soft = Schedule(parse_config(alone.replace("end =", 'method = "soft"\nend ='), "soft"), 12, dense, dense)
    assert [(event.kind, event.budget.macs) for event in soft.events.values()] == [("zero", 180)] * 3 + [("prune", 180)]


def test_learning_rate_warms_up_and_ends_at_zero(schedule):
    rates = [schedule.learning_rate(step) for step in range(schedule.steps)]
    assert rates[0] == pytest.approx(0.05 / 12)
    assert max(rates) == pytest.approx(rates[11]) == pytest.approx(0.05)
    assert rates[11:] == sorted(rates[11:], reverse=True)
    assert rates[-1] < 1e-4


def test_a_restart_prolongs_a_run_without_changing_its_beginning(tiny):
    once = Schedule(parse_config(tiny, "tiny"), 12, DENSE, SEED)
    more = tiny.replace("epochs = 6", "epochs = 9\nrestart = { epoch = 6, learning_rate = 0.02 }")
    twice = Schedule(parse_config(more, "tiny"), 12, DENSE, SEED)
    assert twice.events == once.events
    assert [twice.learning_rate(step) for step in range(72)] == [once.learning_rate(step) for step in range(72)]
    assert twice.learning_rate(72) == pytest.approx(0.02)
    assert twice.learning_rate(107) < 1e-4


def test_restarts_may_recur_and_the_last_cosine_ends_with_the_run(tiny):
    more = tiny.replace("epochs = 6", "epochs = 11\nrestart = { epoch = 6, learning_rate = 0.02, period = 3 }")
    schedule = Schedule(parse_config(more, "tiny"), 12, DENSE, SEED)
    assert schedule.learning_rate(72) == schedule.learning_rate(108) == pytest.approx(0.02)
    assert max(schedule.learning_rate(107), schedule.learning_rate(131)) < 1e-4
    assert schedule.learning_rate(90) == schedule.learning_rate(120) == pytest.approx(0.01)


def test_averaging_walks_at_a_constant_rate_after_the_same_run(tiny):
    once = Schedule(parse_config(tiny, "tiny"), 12, DENSE, SEED)
    more = tiny.replace("epochs = 6", "epochs = 8\naveraging = { epoch = 6, learning_rate = 0.02, interval = 10 }")
    longer = Schedule(parse_config(more, "tiny"), 12, DENSE, SEED)
    assert [longer.learning_rate(step) for step in range(72)] == [once.learning_rate(step) for step in range(72)]
    assert {longer.learning_rate(step) for step in range(72, 96)} == {0.02}
    assert [step for step in range(97) if longer.averages(step)] == [82, 92, 96]
    assert not any(once.averages(step) for step in range(73))


def test_dense_control_has_one_phase_and_no_events(tiny):
    schedule = Schedule(parse_config(tiny.split("[plasticity]")[0], "dense"), 12, DENSE, DENSE)
    assert schedule.events == {}
    assert {schedule.phase(step) for step in range(schedule.steps)} == {"train"}
