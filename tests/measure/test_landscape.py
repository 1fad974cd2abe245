"""The landscape of a quadratic, whose smoothness is the curvature along the gradient."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import batchnorm
from batchnorm.errors import OptionError
from batchnorm.measure import loss_landscape

CURVATURES = np.array([0.3, 1.0, 4.0])
RANGES = {"VGG": np.linspace(0.5, 4, 8), "linear network": np.linspace(0.01, 30, 50)}


class Quadratic(nn.Module):
    """L(w) = ½ Σ c w², with some of w in a parameter of their own."""

    def __init__(self, start):
        super().__init__()
        self.some = nn.Parameter(torch.tensor(start[:1], dtype=torch.float64))
        self.others = nn.Parameter(torch.tensor(start[1:], dtype=torch.float64))

    def forward(self):
        w = torch.cat([self.some, self.others])
        return (torch.from_numpy(CURVATURES) * w.square()).sum() / 2


def measure(start, **options):
    options = {"learning_rate": 0.1, **options}
    return loss_landscape(Quadratic(start), None, forward=lambda m, _: m(), **options)


@pytest.mark.parametrize("multiples", RANGES.values(), ids=list(RANGES))
def test_a_quadratic_has_its_closed_form(multiples):
    start = np.array([1.0, -2.0, 0.5])
    record = measure(start, multiples=multiples)
    gradient = CURVATURES * start
    assert record.loss == pytest.approx((CURVATURES * start**2).sum() / 2, rel=1e-14)
    assert record.gradient == pytest.approx(np.linalg.norm(gradient), rel=1e-14)
    assert len(record.points) == len(multiples)
    for point, step in zip(record.points, 0.1 * multiples, strict=True):
        there = start - step * gradient
        change = np.linalg.norm(step * CURVATURES * gradient)
        assert point.step == step
        assert point.distance == pytest.approx(step * np.linalg.norm(gradient), rel=1e-12)
        assert point.loss == pytest.approx((CURVATURES * there**2).sum() / 2, rel=1e-12)
        assert point.gradient_change == pytest.approx(change, rel=1e-12)
        assert point.relative_change == pytest.approx(change / np.linalg.norm(gradient), rel=1e-12)
    beta = np.linalg.norm(CURVATURES * gradient) / np.linalg.norm(gradient)
    assert record.effective_smoothness == pytest.approx(beta, rel=1e-9)


@pytest.mark.parametrize("direction", range(3))
def test_along_an_eigenvector_the_smoothness_is_its_curvature(direction):
    start = np.eye(3)[direction] * 2
    beta = measure(start).effective_smoothness
    assert beta == pytest.approx(CURVATURES[direction], rel=1e-12)


def test_the_smoothness_is_at_most_the_largest_curvature():
    for start in np.random.default_rng(0).normal(size=(20, 3)):
        assert measure(start).effective_smoothness <= CURVATURES.max() * (1 + 1e-12)


def test_ranges_are_the_least_and_largest_of_the_points():
    record = measure([1.0, -2.0, 0.5], multiples=[4.0, 0.5, 1.0])
    for name, range_ in [
        ("loss", record.loss_range),
        ("gradient_change", record.gradient_predictiveness),
        ("relative_change", record.relative_predictiveness),
    ]:
        values = [getattr(point, name) for point in record.points]
        assert range_ == (min(values), max(values))


def test_the_usual_multiples_are_those_of_the_paper():
    steps = [point.step / 0.1 for point in measure([1.0, 1.0, 1.0]).points]
    assert (steps[0], steps[-1]) == (0.5, 4.0)


@pytest.mark.parametrize("family", [nn, batchnorm.nn], ids=["torch", "ours"])
def test_dropout_and_statistics_are_the_same_at_every_point(family):
    model = nn.Sequential(nn.Linear(4, 8), family.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1))
    batch = torch.randn(32, 4), torch.randn(32, 1)
    nn.init.ones_(model[1].bias)  # so that no parameter is 0, which a tiny step would move
    loss = nn.functional.mse_loss
    record = loss_landscape(model, batch, loss, learning_rate=1e-30)
    assert record.loss_range == (record.loss, record.loss)
    assert record.gradient_predictiveness == (0.0, 0.0)
    assert np.isnan(record.effective_smoothness)
    assert record.as_dict()["effective_smoothness"] is None


def test_before_a_batch_norm_the_gradient_falls_as_the_weight_grows():
    """The output does not change with the scale of the weight, so L(aW) has gradient G/a."""
    model = nn.Sequential(nn.Linear(4, 8, bias=False), batchnorm.nn.BatchNorm1d(8)).double()
    batch = torch.randn(64, 4).double(), torch.randn(64, 8).double()
    model[1].requires_grad_(False)
    loss = nn.functional.mse_loss
    model[1].eps = 1e-12
    model[1].train()
    small = loss_landscape(model, batch, loss, learning_rate=0.1)
    model[0].weight.data.mul_(3)
    large = loss_landscape(model, batch, loss, learning_rate=0.1 * 9)
    assert large.gradient == pytest.approx(small.gradient / 3, rel=1e-6)
    assert large.loss_range == pytest.approx(small.loss_range, rel=1e-6)
    assert large.effective_smoothness == pytest.approx(small.effective_smoothness / 9, rel=1e-6)


def test_a_loss_that_overflows_on_the_way_is_reported():
    model = nn.Linear(1, 1, bias=False)
    record = loss_landscape(
        model, None, learning_rate=1e30, forward=lambda m, _: m.weight.pow(4).sum()
    )
    assert np.isinf(record.points[-1].loss)
    assert json.loads(json.dumps(record.as_dict(), allow_nan=False))["points"][-1]["loss"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": -1.0}, r"learning_rate must be positive and finite, got -1.0: take"),
        ({"multiples": []}, r"multiples must be positive and finite, .* got \[\]: take numpy"),
        ({"multiples": [1.0, 0.0]}, r"multiples must be .* got \[1.0, 0.0\]: take numpy"),
        ({"multiples": [float("nan")]}, r"multiples must be .* got \[nan\]: take numpy"),
    ],
)
def test_errors_at_the_door(options, message):
    with pytest.raises(OptionError, match=message):
        measure([1.0, 1.0, 1.0], **options)
