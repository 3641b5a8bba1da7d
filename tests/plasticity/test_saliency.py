"""If these break, channels are ranked by something other than what their loss would cost."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap.plasticity import SALIENCIES, TaylorSaliency, find_spaces, grow, saliency_class  # noqa: E402
from fpga_model.errors import UserError  # noqa: E402


def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4))


def test_saliency_is_the_sum_over_members_of_weight_times_gradient():
    model = two_layers()
    saliency = TaylorSaliency(model, find_spaces(model, (3, 4, 4)))
    expected = torch.zeros(6)
    for _ in range(3):
        model.zero_grad()
        model(torch.randn(5, 3, 4, 4)).logsumexp(1).sum().backward()
        conv, bn, fc = model[0], model[1], model[4]
        expected += (conv.weight * conv.weight.grad).sum((1, 2, 3)).abs()
        expected += (bn.weight * bn.weight.grad + bn.bias * bn.bias.grad).abs()
        expected += (fc.weight * fc.weight.grad).reshape(4, 6, 4).sum((0, 2)).abs()
        saliency.update()
    state = saliency.states["0"]
    assert torch.allclose(state.score(), expected / 3, rtol=1e-4, atol=1e-6)
    assert state.age.tolist() == [3.0] * 6


def test_first_order_change_of_the_loss_when_a_channel_fades():
    model = two_layers().double()
    x = torch.randn(5, 3, 4, 4, dtype=torch.double)
    loss = model(x).logsumexp(1).sum()
    loss.backward()
    fc, step = model[4].weight, 1e-6
    predicted = (fc * fc.grad).reshape(4, 6, 4).sum((0, 2))
    with torch.no_grad():
        fc[:, 4:8] *= 1 - step
        change = (model.train()(x).logsumexp(1).sum() - loss) / -step
    assert torch.allclose(change, predicted[1], rtol=1e-3, atol=1e-6)


def test_forgetting_keeps_the_ages():
    model = two_layers()
    saliency = TaylorSaliency(model, find_spaces(model, (3, 4, 4)))
    model(torch.randn(5, 3, 4, 4)).sum().backward()
    saliency.update()
    saliency.forget()
    assert not saliency.states["0"].score().any()
    assert saliency.states["0"].age.tolist() == [1.0] * 6


def backward(model, x):
    """A training step's passes."""
    model.zero_grad()
    model.train()(x).logsumexp(1).sum().backward()


def measured(name, model, batches, generator=None):
    saliency = SALIENCIES[name](model, find_spaces(model, (3, 4, 4)), generator)
    for x in batches:
        backward(model, x)
        saliency.update()
    return saliency.states["0"].score()


def test_weights_are_ranked_by_what_they_are_now():
    model, batches = two_layers(), torch.randn(2, 5, 3, 4, 4)
    with torch.no_grad():
        model[1].weight.normal_()
    filters = model[0].weight.detach().flatten(1)
    assert torch.allclose(measured("magnitude", model, batches), filters.abs().sum(1))
    assert torch.allclose(measured("euclidean", model, batches), filters.square().sum(1).sqrt())
    assert torch.equal(measured("batch_norm", model, batches), model[1].weight.detach().abs())


def test_activations_are_those_behind_the_batch_norm_in_training_steps():
    model, batches = two_layers(), torch.randn(2, 5, 3, 4, 4)
    expected = sum(model[1](model[0](x)).abs().mean((0, 2, 3)) for x in batches) / 2
    saliency = SALIENCIES["activation"](model, find_spaces(model, (3, 4, 4)))
    for x in batches:
        backward(model, x)
        with torch.no_grad():
            model.eval()(x + 100)
            model.train()(x + 100)
        saliency.update()
    assert torch.allclose(saliency.states["0"].score(), expected.detach(), rtol=1e-5)


def test_activations_of_producers_without_a_batch_norm():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4))
    x = torch.randn(5, 3, 4, 4)
    assert torch.allclose(measured("activation", model, [x]), model[0](x).abs().mean((0, 2, 3)))


def test_chance_is_the_generators():
    model, batches = two_layers(), torch.randn(2, 5, 3, 4, 4)
    draws = [measured("random", model, batches, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("name", SALIENCIES)
def test_measuring_changes_no_step_and_goes_on_after_surgery(resnet, name):
    model, spaces = resnet
    x, generator = torch.randn(4, 3, 32, 32), torch.Generator().manual_seed(0)
    backward(model, x)
    expected = [p.grad.clone() for p in model.parameters()]
    saliency = SALIENCIES[name](model, spaces, generator)
    backward(model, x)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), expected, strict=True))
    saliency.update()
    for space in spaces.plastic():
        grow(model, spaces, space.name, 2, state=saliency.states[space.name], generator=generator)
    saliency.forget()
    backward(model, x)
    saliency.update()
    for space in spaces.plastic():
        state = saliency.states[space.name]
        assert state.score().shape == (space.width,)
        assert (state.score() > 0).sum() > space.width // 2
        assert state.age.tolist() == [2.0] * (space.width - 2) + [1.0] * 2
    saliency.check()


def test_a_space_without_a_batch_norm_cannot_be_ranked_by_it():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4))
    with pytest.raises(UserError, match=r"channel space 0 has no batch norm .*plasticity\.frozen"):
        SALIENCIES["batch_norm"](model, find_spaces(model, (3, 4, 4)))


def test_worth_that_is_not_a_number_is_refused():
    model = two_layers()
    saliency = TaylorSaliency(model, find_spaces(model, (3, 4, 4)))
    backward(model, torch.full((2, 3, 4, 4), float("nan")))
    saliency.update()
    with pytest.raises(UserError, match="channel space 0: its saliency is not finite"):
        saliency.check()


def test_a_measure_of_ones_own_is_one_class(tmp_path, monkeypatch):
    """The one that the documentation shows."""
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    example = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "own_saliency.py").write_text(example + "\ndef function(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = two_layers()
    saliency = saliency_class("own_saliency:Readers")(model, find_spaces(model, (3, 4, 4)))
    saliency.update()
    assert torch.allclose(saliency.states["0"].score(), model[4].weight.abs().sum(0).reshape(6, 4).sum(1))
    for name, message in (("own_saliency:function", "not a class"), ("own_saliency:None_", "cannot be imported")):
        with pytest.raises(UserError, match=message):
            saliency_class(name)
