"""If these break, a run that learns from another one learns something else, or from nothing."""

import pytest

torch = pytest.importorskip("torch")

from cgap.training import loop  # noqa: E402
from cgap.training.config import Config, DistillationSection  # noqa: E402
from cgap.training.state import new_state  # noqa: E402
from cgap.training.step import distil, learn  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402


def test_nothing_is_left_to_learn_from_a_teacher_that_agrees():
    logits = torch.randn(5, 10)
    section = DistillationSection(teacher="x", weight=1.0, temperature=3.0)
    assert distil(torch.tensor(9.0), logits, logits, section).item() == pytest.approx(0, abs=1e-6)


def test_loss_is_the_weighted_mean_of_labels_and_softened_teacher():
    torch.manual_seed(0)
    logits, taught = torch.randn(4, 10), torch.randn(4, 10)
    section = DistillationSection(teacher="x", weight=0.25, temperature=2.0)
    p, q = (taught / 2).softmax(1), (logits / 2).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    expected = 0.75 * 1.5 + 0.25 * 4 * divergence
    assert distil(torch.tensor(1.5), logits, taught, section).item() == pytest.approx(expected.item(), rel=1e-5)


def taught_by(folder, epoch):
    teacher = DistillationSection(teacher=str(folder), epoch=epoch)
    return Config(run={"seed": 7}, model={"name": "resnet20"}, optimiser={"epochs": 9}, distillation=teacher)


def test_teacher_is_a_finished_run_from_its_epoch_on(finished):
    config = taught_by(finished, 3)
    assert loop.load_teacher(config.model_copy(update={"distillation": None}), 9) is None
    assert loop.load_teacher(config, 2) is None
    teacher = loop.load_teacher(config, 3)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())


def test_missing_teacher_is_named_with_its_seed(tmp_path):
    with pytest.raises(UserError, match="none-7: is not a run folder"):
        loop.load_teacher(taught_by(tmp_path / "none-{seed}", 0), 0)


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_teacher_computes_in_the_precision_of_the_run(finished, precision, dtype):
    config = taught_by(finished, 0)
    config = config.model_copy(update={"run": config.run.model_copy(update={"precision": precision})})
    teacher, state = loop.load_teacher(config, 0), new_state(config)
    seen = []
    teacher.stem.conv.register_forward_hook(lambda _module, _inputs, out: seen.append(out.dtype))
    learn(config, state, teacher, torch.randn(4, 3, 32, 32), torch.arange(4))
    assert seen == [dtype]
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad is not None for p in state.model.parameters())
