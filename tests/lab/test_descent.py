import pytest
import torch

from batchnorm.lab.running._descent import Descent


def two_layers():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).double()


def gradients(model, step):
    x = torch.full((5, 3), 0.1 * step, dtype=torch.float64)
    return torch.autograd.grad(model(x).square().sum(), list(model.parameters()))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_is_torchs_own_descent_with_decay_on_matrices_alone(momentum, decay):
    ours, theirs = two_layers(), two_layers()
    settings = {"rate": 0.05, "momentum": momentum, "decay": decay}
    descent = Descent.of(settings, list(ours.parameters()))
    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    biases = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": biases}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=momentum)
    for step in range(6):
        descent.step(gradients(ours, step))
        for parameter, gradient in zip(theirs.parameters(), gradients(theirs, step), strict=True):
            parameter.grad = gradient
        optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_velocities_come_back():
    model = two_layers()
    first = Descent(list(model.parameters()), rate=0.1, momentum=0.5)
    first.step(gradients(model, 1))
    second = Descent(list(model.parameters()), rate=0.1, momentum=0.5)
    second.restore(first.state())
    for one, other in zip(first.state().values(), second.state().values(), strict=True):
        assert torch.equal(one, other)
        assert one.abs().sum() > 0
    assert Descent(list(model.parameters()), rate=0.1).state() == {}


@pytest.mark.parametrize(("batch", "moved"), [(8, 0.01), (32, 0.04)])
def test_the_rate_grows_with_the_mini_batch_where_it_is_meant_to(batch, moved):
    weight = torch.nn.Parameter(torch.zeros(1))
    settings = {"rate": 0.08, "rate_batch": 64, "batch": batch}
    Descent.of(settings, [weight]).step([torch.ones(1)])
    assert weight.item() == pytest.approx(-moved)
