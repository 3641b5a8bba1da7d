"""If these break, channels are ranked by something other than what their loss would cost."""

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap.plasticity import TaylorSaliency, find_spaces  # noqa: E402


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
