"""If these break, a mistyped configuration trains something other than what its author meant."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from cgap import cli
from cgap.training.config import load_config, parse_config, with_changes
from cgap.training.fields import all_fields
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
        ("events = 2\n", "", r"plasticity\.growth\.events: Field required"),
        ("events = 2", "events = 0", r"plasticity\.growth\.events"),
        ("events = 2", 'events = 2\npolicy = "clone"', r"plasticity\.growth\.policy: .*'pairs', 'split' or 'naive'"),
        ("target_macs = 0.18\ntarget_params = 0.2\n", "", r"plasticity\.pruning: has no target"),
        ("target_macs = 0.18", "target_cycles = 0.18", r"plasticity: pruning\.target_cycles and an accelerator"),
        ("seed_width = 0.125", "accelerator = {}", r"plasticity: pruning\.target_cycles and an accelerator"),
        ('name = "resnet20"', 'name = "resnet20"\nwidths_from = "runs/x"', r"leave out plasticity"),
        ("start = 3.25", "start = 1.3", r"plasticity: growth .*must follow in this order"),
        ("end = 4.5", "end = 6", r"pruning\.end must leave"),
        ("seed_width = 0.125", "granule = 3", r"plasticity\.granule"),
        (
            "seed_width = 0.125",
            'saliency = "hessian"',
            r"plasticity\.saliency: no saliency 'hessian': choose one of tay",
        ),
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


def test_a_seed_without_growth_is_refused(tiny):
    alone = tiny[: tiny.index("[plasticity.growth]")] + tiny[tiny.index("[plasticity.pruning]") :]
    with pytest.raises(UserError, match="seed_width is for growth"):
        parse_config(alone, "x")
    with pytest.raises(UserError, match=r"pruning\.start must come before"):
        parse_config(alone.replace("seed_width = 0.125", "").replace("start = 3.25", "start = 4.6"), "x")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.toml: cannot be read"):
        load_config(tmp_path / "none.toml")


def test_configuration_is_frozen(tiny):
    with pytest.raises(ValueError, match="frozen"):
        parse_config(tiny, "x").optimiser.epochs = 7  # type: ignore[misc]


def test_a_resumed_run_may_change_how_it_steps(tiny):
    before = parse_config(tiny, "x")
    after = with_changes(before, {"optimiser.learning_rate": "0.02", "optimiser.momentum": "0.8"})
    assert (after.optimiser.learning_rate, after.optimiser.momentum) == (0.02, 0.8)
    changed = {"learning_rate": 0.02, "momentum": 0.8}
    assert after == before.model_copy(update={"optimiser": before.optimiser.model_copy(update=changed)})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("optimiser.epochs", "9", r"can change optimiser\.learning_rate"),
        ("run.seed", "3", r"can change optimiser\.learning_rate"),
        ("optimiser.learning_rate", "-1", r"--set .*: optimiser\.learning_rate: Input should be greater"),
        ("optimiser.learning_rate", "fast", r"--set .*: optimiser\.learning_rate: Input should be a valid number"),
    ],
)
def test_other_changes_of_a_resumed_run_are_refused(tiny, field, value, message):
    with pytest.raises(UserError, match=message):
        with_changes(parse_config(tiny, "x"), {field: value})


def test_a_resumed_run_may_change_its_threads_where_the_file_has_no_such_section():
    before = parse_config('model.name = "resnet20"\noptimiser.epochs = 1', "x")
    assert with_changes(before, {"run.threads": "2"}).run.threads == 2


def test_dense_control_is_the_same_recipe_without_plasticity():
    grown, dense = (load_config(CONFIGS / f"{name}.toml").model_dump() for name in ("resnet20", "resnet20_dense"))
    assert grown.pop("plasticity")
    assert dense.pop("plasticity") is None
    assert grown == dense


def test_fields_can_be_set_anew(tiny_path):
    changes = {"run.seed": "9", "optimiser.averaging": "{ epoch = 4, learning_rate = 0.5 }", "model.name": "vgg16"}
    config = load_config(tiny_path, {**changes, "distillation.teacher": "runs/teacher-{seed}"})
    assert (config.run.seed, config.optimiser.averaging.epoch, config.model.name) == (9, 4, "vgg16")
    assert config.run.threads == load_config(tiny_path).run.threads
    assert config.needs() == (Path("runs/teacher-9"),)
    scratch = 'model = { name = "resnet20", widths_from = "runs/cgap-{seed}" }\n'
    assert parse_config(scratch + "run.seed = 4\noptimiser.epochs = 1", "x").needs() == (Path("runs/cgap-4"),)


@pytest.mark.parametrize(
    ("field", "message"),
    [("run.sede", r"run\.sede: no such field"), ("run.seed.x", "seed is not a section"), ("speed", "speed: no such")],
)
def test_a_change_that_fits_nowhere_is_named(tiny_path, field, message):
    with pytest.raises(UserError, match=message):
        load_config(tiny_path, {field: "1"})


def test_every_field_is_listed_with_its_meaning():
    listed = {field.name: field for field in all_fields()}
    assert all(field.description for field in listed.values())
    assert listed["optimiser.epochs"].default == "required"
    assert listed["optimiser.momentum"].kind == "number >= 0, < 1"
    assert listed["plasticity.granule"].kind == "whole number >= 2, <= 65536, multiple of 2"
    assert listed["plasticity.growth.policy"].kind == "pairs | split | naive"
    assert listed["[plasticity.growth]"].default == listed["optimiser.restart.period"].default == "none"


def test_the_command_lists_a_section(capsys):
    cli.training.list_fields("optimiser.ema")
    printed = capsys.readouterr().out
    assert "optimiser.ema.decay" in printed
    assert "optimiser.momentum" not in printed
    with pytest.raises(UserError, match="no section 'ema'"):
        cli.training.list_fields("ema")


def test_listed_defaults_are_the_ones_taken():
    """A configuration of every default, written as it is listed, is the one that leaves them all out."""
    least = ['model.name = "resnet20"', "optimiser.epochs = 1"]
    written = [
        f"{field.name} = {field.default}"
        for field in all_fields()
        if field.kind and field.default not in ("none", "required") and field.name.count(".") == 1
        and not field.name.startswith(("plasticity", "distillation"))
    ]  # fmt: skip
    assert len(written) > 10
    assert parse_config("\n".join([*least, *written]), "x") == parse_config("\n".join(least), "x")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("epochs = 6", "epocs = 6", r"optimiser\.epocs: no such field; did you mean epochs\?"),
        ("[plasticity.growth]", "[plasticity.growht]", r"plasticity\.growht: no such field; did you mean growth\?"),
        ('name = "resnet20"', 'name = "resnet21"', r"no network 'resnet21': did you mean 'resnet\d+'\?"),
        ("seed = 5", "seed = 18446744073709551616", r"run\.seed"),
        ("seed = 5", f"seed = {'9' * 5000}", r"is not TOML|run\.seed"),
        ("threads = 1", "threads = 1000000", r"run\.threads"),
        ("epochs = 6", "epochs = 100000000000000000000000000", r"optimiser\.epochs"),
        ("learning_rate = 0.05", "learning_rate = 1e999", r"optimiser\.learning_rate"),
        ("learning_rate = 0.05", "learning_rate = nan", r"optimiser\.learning_rate"),
        ("start = 1.25\ninterval = 0.5", "start = 1.25\ninterval = 1e999", r"growth\.interval"),
        ("events = 2", "events = 1000000000", r"growth\.events"),
        ("end = 4.5\ninterval = 0.5", "end = 4.5\ninterval = 1e-300", "interval: more than 10,000 events"),
        ("[run]", "x = " + "[" * 3000 + "\n[run]", r"nested (too|more than 100 levels) deep"),
        ("[run]", "\x00[run]", "is not TOML"),
    ],
)
def test_impossible_values_are_one_sentence(tiny, tmp_path, before, after, message):
    assert before in tiny
    path = tmp_path / "x.toml"
    path.write_text(tiny.replace(before, after))
    for changes in ({}, {"run.seed": "3"}):
        if "seed" in before and changes:
            continue
        with pytest.raises(UserError, match=message) as caught:
            load_config(path, changes)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self/mem", "/"])
def test_what_is_no_file_is_not_read(path):
    with pytest.raises(UserError, match=f"^{path}: "):
        load_config(Path(path))


def test_a_large_file_is_not_read(tmp_path):
    (tmp_path / "x.toml").write_text("#" * (1 << 20) + "\n")
    with pytest.raises(UserError, match="larger than 1 MiB"):
        load_config(tmp_path / "x.toml")


@pytest.mark.parametrize("change", ["run.seed.x", "run..seed", ".", "model.name.a.b", "run"])
def test_a_change_of_no_field_is_one_sentence(tiny_path, change):
    with pytest.raises(UserError):
        load_config(tiny_path, {change: "1"})
