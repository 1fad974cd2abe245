"""Norms against numbers worked out by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from batchnorm.errors import OptionError
from batchnorm.measure import norms


class Two(nn.Module):
    """L = 3 a₁ + 4 a₂ + 2 b + 0 c, so that the gradients are known everywhere."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Module()
        self.inner.a = nn.Parameter(torch.tensor([6.0, 8.0]))
        self.inner.b = nn.Parameter(torch.tensor([[0.0]]))
        self.c = nn.Parameter(torch.tensor([2.0]))

    def forward(self):
        return (self.inner.a * torch.tensor([3.0, 4.0])).sum() + 2 * self.inner.b.sum()


def measure(**options):
    return norms(Two(), None, forward=lambda model, _: model(), **options)


def row(record):
    return record.name, record.weight, record.gradient, record.update, record.ratio


def test_gradient_descent():
    record = measure(learning_rate=0.1)
    c, a, b = map(row, record.parameters)
    assert a == ("inner.a", 10.0, 5.0, pytest.approx(0.5, rel=1e-5), pytest.approx(0.05, rel=1e-5))
    assert b[:4] == ("inner.b", 0.0, 2.0, pytest.approx(0.2))
    assert np.isnan(b[4])
    assert c == ("c", 2.0, 0.0, 0.0, 0.0)
    assert record.loss == 50.0


def test_a_layer_is_its_parameters_together():
    whole, inner = measure(learning_rate=0.1).layers
    assert whole.name == ""
    assert row(inner)[:4] == (
        "inner", 10.0, pytest.approx(np.sqrt(29)), pytest.approx(0.1 * np.sqrt(29), rel=1e-5)
    )  # fmt: skip


def test_the_first_step_of_adam_has_the_learning_rate_in_every_value():
    record = measure(optimizer=partial(torch.optim.Adam, lr=0.01))
    assert record.parameters[1].update == pytest.approx(0.01 * np.sqrt(2), rel=1e-4)
    assert record.parameters[0].update == 0.0  # no gradient, so that Adam leaves it alone


def test_weight_decay_moves_only_what_the_loss_depends_on():
    record = measure(optimizer=partial(torch.optim.SGD, lr=0.1, weight_decay=0.5))
    assert record.parameters[1].update == pytest.approx(0.1 * np.hypot(3 + 3, 4 + 4), rel=1e-5)
    assert record.parameters[0].update == 0.0


def test_what_an_optimizer_would_do_is_what_it_does():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    batch, loss = (torch.randn(8, 3), torch.randn(8, 1)), nn.functional.mse_loss
    for _ in range(3):
        record = norms(model, batch, loss, optimizer=optimizer)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.zero_grad()
        loss(model(batch[0]), batch[1]).backward()
        optimizer.step()
        for found in record.parameters:
            now, was = model.get_parameter(found.name), before[found.name]
            assert found.gradient == pytest.approx(now.grad.norm().item(), rel=1e-5)
            assert found.update == pytest.approx((now - was).norm().item(), rel=1e-5)


def test_names_choose_layers():
    record = measure(learning_rate=0.1, names=["inner"])
    assert [layer.name for layer in record.layers] == ["inner"]
    assert [parameter.name for parameter in record.parameters] == ["inner.a", "inner.b"]
    with pytest.raises(OptionError, match=r"got 'inner.a': take them from '', 'inner'"):
        measure(learning_rate=0.1, names=["inner.a"])
