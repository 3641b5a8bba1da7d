"""Networks to operate on."""

import pytest


@pytest.fixture
def resnet():
    """(network after a few training steps' worth of batch statistics, its spaces)."""
    torch = pytest.importorskip("torch")
    from cgap import zoo
    from cgap.plasticity import find_spaces

    torch.manual_seed(3)
    model = zoo.build("resnet20", widths=(8, 8, 16), inner=(4, 8, 4, 8, 4, 8, 4, 8, 12))
    return settle(model, torch.randn(16, 3, 32, 32)), find_spaces(model)


def settle(model, x):
    """Give batch norms statistics, scales and shifts that differ from their initial ones."""
    import torch

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
        model.train()
        for _ in range(3):
            model(x)
    return model.eval()
