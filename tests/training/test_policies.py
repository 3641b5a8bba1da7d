"""If these break, a policy does not do in a run what it does alone, or such a run cannot be resumed."""

import json

import pytest

torch = pytest.importorskip("torch")

from cgap.training import loop, run  # noqa: E402
from cgap.training.config import parse_config  # noqa: E402
from cgap.training.state import new_state, read_checkpoint  # noqa: E402
from cgap.zoo import build  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402
from tests.training.test_run import log_of, same  # noqa: E402

OPTIONS = "options = { widths = [8, 8, 16] }"
START = """
[run]
seed = 5
threads = 1

[model]
name = "resnet20"
@OPTIONS
{model}

[data]
dataset = "sample"
held_out = 136

[optimiser]
{optimiser}
epochs = 4
batch_size = 16
learning_rate = 0.05
""".replace("@OPTIONS", OPTIONS)

PRUNING = """
[plasticity]
{plasticity}

[plasticity.pruning]
start = 0.5
end = 2.5
interval = 0.5
target_macs = 0.6
min_width = 4
protected_age = 0
{pruning}
"""

POLICIES = {
    "soft": (
        'saliency = "euclidean"\nfrozen = ["stem.conv", "*.conv2*"]',
        'method = "soft"\nranking = "layer"',
    ),
    "two-level": ('saliency = "activation"', "weights = { target = 0.5 }"),
    "slimming": ('saliency = "batch_norm"\nsparsity = 0.01', ""),
    "random": ('saliency = "random"', ""),
    "adamw": ("", "", "", 'kind = "adamw"'),
}


def text(plasticity="", pruning="", model="", optimiser="", whole=START + PRUNING):
    values = {"plasticity": plasticity, "pruning": pruning, "model": model, "optimiser": optimiser}
    for name, value in values.items():
        whole = whole.replace("{" + name + "}", value)
    return whole


def written(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.toml").write_text(content)
    return folder / "policy.toml"


@pytest.fixture(scope="module", params=POLICIES)
def pruned(request, tmp_path_factory):
    """(policy, folder of a run that prunes by it)."""
    config = written(tmp_path_factory.mktemp(request.param), text(*POLICIES[request.param]))
    return request.param, run.train(config, config.parent / "out")


def test_a_policys_run_killed_resumes_bit_for_bit(pruned, tmp_path, interrupt):
    name, finished = pruned
    interrupt(10)
    config = written(tmp_path, text(*POLICIES[name]))
    with pytest.raises(KeyboardInterrupt):
        run.train(config, tmp_path / "out")
    torch.manual_seed(99)
    run.train(config, tmp_path / "out", resume=True)
    assert log_of(tmp_path / "out") == log_of(finished)
    assert same(read_checkpoint(tmp_path / "out" / "checkpoint.pt"), read_checkpoint(finished / "checkpoint.pt"))


def test_a_policys_run_starts_dense_and_meets_its_budget(pruned):
    name, finished = pruned
    record, content = json.loads((finished / "run.json").read_text()), read_checkpoint(finished / "checkpoint.pt")
    network, events = record["network"], record["history"]
    assert network["macs"] <= 0.6 * network["dense_macs"]
    assert [line["phase"] for line in log_of(finished) if "epoch" in line] == ["prune", "prune", "recover", "recover"]
    if name == "soft":
        assert [event["event"] for event in events] == ["zero"] * 3 + ["prune"]
        assert not any(event["changed"] for event in events[:-1])
        # The same number of filters, in the same spaces, as the last event cuts.
        cut = {space: before - after for space, (before, after) in events[-1]["changed"].items()}
        assert len(cut) == 9
        assert all(event["zeroed"] == cut for event in events[:-1])
    if name == "two-level":
        weights = {path: content["model"][path] for path in content["masks"]}
        gone = sum(int((value == 0).sum()) for value in weights.values())
        assert gone == sum(int((~mask).sum()) for mask in content["masks"].values()) == events[-1]["masked"]
        assert 0 < gone < sum(value.numel() for value in weights.values())
        assert all(not weights[path][~mask].any() for path, mask in content["masks"].items())


def test_filters_most_of_whose_weights_are_gone_go_first():
    config = parse_config(text(*POLICIES["two-level"]), "x")
    state = new_state(config)
    loop.train_step(config, state, torch.randn(16, 3, 32, 32), torch.arange(16) % 10)
    filters = state.model.stage1[0].conv1.weight.detach().clone()
    state.masks["stage1.0.conv1.weight"][[0, 3, 5, 6]] = False
    state.saliency.states["stage1.0.conv1"].saliency[[0, 3, 5, 6]] = 1e9
    happened = loop.restructure(config, state, loop.Event("prune", state.dense.macs - 1, float("inf")))
    assert happened["changed"] == {"stage1.0.conv1": [8, 4]}
    assert torch.equal(state.model.stage1[0].conv1.weight, filters[[1, 2, 4, 7]])
    assert happened["masked"] == 0


def test_the_penalty_ends_with_pruning(tmp_path):
    config = parse_config(text('saliency = "batch_norm"\nsparsity = 10.0'), "x")
    x, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    shrunk = {}
    for epoch in (2, 3):
        state = new_state(config)
        state.epoch = epoch
        loop.train_step(config, state, x, labels)
        shrunk[epoch] = state.model.stage1[0].bn1.weight.mean().item()
    assert shrunk[2] < 0.2 < 0.8 < shrunk[3]


def test_the_seed_is_drawn_as_a_part_of_the_dense_network(tiny):
    inner = tiny.replace("seed_width = 0.125", 'seed_width = 0.125\nfrozen = ["stem.conv", "*.conv2*"]')
    inner = inner.replace("target_macs = 0.18\ntarget_params = 0.2", "target_macs = 0.5")
    seed = new_state(parse_config(inner, "x")).model
    torch.manual_seed(5)
    dense = build("resnet20")
    for block, whole in ((seed.stage3[1], dense.stage3[1]), (seed.stage1[2], dense.stage1[2])):
        width = len(block.conv1.weight)
        assert width == max(4, len(whole.conv1.weight) // 8)
        assert torch.equal(block.conv1.weight, whole.conv1.weight[:width])
        assert torch.equal(block.conv2.weight, whole.conv2.weight[:, :width])


def test_scratch_control_has_the_final_widths_and_nothing_else_of_the_run(finished, tmp_path):
    one = START.replace("epochs = 4", "epochs = 1").replace(OPTIONS, "").replace("{optimiser}", "")
    config = written(tmp_path, text(model=f'widths_from = "{finished}"', whole=one))
    record = json.loads((run.train(config, tmp_path / "out") / "run.json").read_text())
    theirs = json.loads((finished / "run.json").read_text())
    assert record["widths"] == theirs["widths"]
    assert record["network"] == theirs["network"]
    assert record["history"] == []
    state = new_state(parse_config(config.read_text(), "x"))
    learnt = read_checkpoint(finished / "checkpoint.pt")["model"]
    assert not any(torch.equal(p, learnt[n]) for n, p in state.model.named_parameters() if p.dim() > 1)
    bound = state.model.fc.in_features**-0.5
    assert 0.8 * bound < state.model.fc.weight.abs().max() <= bound
    other = config.read_text().replace("resnet20", "vgg16")
    with pytest.raises(UserError, match=r"no channel space 'stem\.conv'"):
        new_state(parse_config(other, "x"))


def test_scratch_control_that_is_wider_than_the_dense_network_is_alive(tmp_path):
    """A run may grow beyond the dense widths; what its control gets there is drawn like everything else."""
    widths = {"stem.conv": 16, "stage1.0.conv1": 24}
    (tmp_path / "run.json").write_text(json.dumps({"status": "complete", "widths": widths}))
    one = START.replace(OPTIONS, "").replace("{optimiser}", "")
    model = new_state(parse_config(text(model=f'widths_from = "{tmp_path}"', whole=one), "x")).model
    block = model.stage1[0]
    assert block.conv1.out_channels == block.bn1.num_features == 24
    assert torch.equal(block.bn1.weight, torch.ones(24))
    assert torch.equal(block.bn1.running_var, torch.ones(24))
    assert block.conv1.weight.flatten(1).norm(dim=1).min() > 0.3
    assert not torch.equal(block.conv1.weight[:8], block.conv1.weight[16:])
    assert block.conv2.weight[:, 16:].abs().mean() > 0.01


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, r"model\.widths_from: there is no finished run"),
        ("{", "is not JSON"),
        ('{"status": "running"}', r"model\.widths_from: there is no finished run"),
        ('{"status": "complete", "widths": {"fc": -1}}', r"model\.widths_from: .*does not say"),
    ],
)
def test_scratch_control_of_no_finished_run(tmp_path, record, message):
    if record is not None:
        (tmp_path / "run.json").write_text(record)
    with pytest.raises(UserError, match=message):
        new_state(parse_config(text(model=f'widths_from = "{tmp_path}"', whole=START), "x"))


@pytest.mark.parametrize(
    ("plasticity", "pruning", "message"),
    [
        ("", "target_params = 0.05", r"target_params: 0\.05 .* cannot be reached; .* the least is 0\.\d+"),
        ("granule = 64", "", r"target_macs: 0\.6 .* cannot be reached; .*granule 64 .* the least is 1\.0000"),
        ('frozen = ["*"]', "", "every channel space keeps its width"),
    ],
)
def test_a_target_that_cannot_be_reached_is_refused_at_the_start(plasticity, pruning, message):
    with pytest.raises(UserError, match=message):
        new_state(parse_config(text(plasticity, pruning), "x"))


def test_a_run_prunes_to_predicted_cycles(tmp_path):
    config = parse_config(text("accelerator = {}", "target_cycles = 0.7").replace("target_macs = 0.6\n", ""), "x")
    state = new_state(config)
    dense, params = state.dense, state.cost.params
    loop.train_step(config, state, torch.randn(16, 3, 32, 32), torch.arange(16) % 10)
    happened = loop.restructure(config, state, loop.Event("prune", float("inf"), float("inf"), 0.7 * dense.cycles))
    assert happened["cycles"] == state.cost.cycles <= 0.7 * dense.cycles
    widths = state.spaces.widths()
    restored = [state.cost_model({**widths, name: widths[name] + 4}) for name in happened["changed"]]
    assert any(cost.cycles > 0.7 * dense.cycles for cost in restored)  # the last granule that went had to go
    assert state.cost.params < params


@pytest.mark.parametrize("policy", ["pairs", "split"])
def test_a_run_grows_by_its_policy_without_changing_the_network(tiny, policy):
    config = parse_config(tiny.replace("events = 2", f'events = 2\npolicy = "{policy}"'), "x")
    state = new_state(config)
    x = torch.randn(4, 3, 32, 32)
    loop.train_step(config, state, x, torch.arange(4))
    with torch.no_grad():
        before = state.model.eval()(x)
        happened = loop.restructure(config, state, loop.Event("grow", 4 * state.cost.macs, 0))
        after = state.model.eval()(x)
    assert happened["changed"]
    assert (after - before).abs().max() < 1e-5 * (1 + before.abs().max())
    # Only the split leaves the newborns' filters what their parents' are.
    weight = next(state.model.get_submodule(name).weight for name in happened["changed"] if name.endswith("conv1"))
    old = next(old for name, (old, _) in happened["changed"].items() if name.endswith("conv1"))
    same = (weight[old:, None] == weight[None, :old]).flatten(2).all(2).any(1)
    assert bool(same.all()) == (policy == "split")
