"""Each convention of docs/decisions/0001-conventions.md, in the same words."""

import pytest
import torch

from batchnorm import functional, nn


def after(steps, momentum, x):
    layer = nn.BatchNorm1d(1, momentum=momentum, dtype=torch.float64)
    for _ in range(steps):
        layer(x)
    return layer.running_mean.item(), layer.running_var.item()


X = torch.tensor([[9.0], [11.0], [10.0], [10.0]], dtype=torch.float64)  # biased variance 0.5


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
@pytest.mark.parametrize("momentum", [0.1, 0.01, 0.9])
def test_momentum_is_the_weight_of_the_new_batch(steps, momentum):
    left = (1 - momentum) ** steps
    mean, var = after(steps, momentum, X)
    assert mean == pytest.approx(10.0 * (1 - left), rel=1e-12)
    assert var == pytest.approx(left + 0.5 * 4 / 3 * (1 - left), rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
def test_momentum_none_is_the_cumulative_average(steps):
    layer = nn.BatchNorm1d(1, momentum=None, dtype=torch.float64)
    for step in range(steps):
        layer(X + step)
    assert layer.running_mean.item() == pytest.approx(10.0 + (steps - 1) / 2, rel=1e-12)
    assert layer.running_var.item() == pytest.approx(0.5 * 4 / 3, rel=1e-12)


def test_normalization_uses_the_biased_variance():
    y, _ = functional.normalize(X, eps=1e-300)
    assert y.square().mean().item() == pytest.approx(1.0, rel=1e-12)


def test_running_var_stores_the_unbiased_variance():
    assert after(1, 1.0, X)[1] == pytest.approx(0.5 * 4 / 3, rel=1e-12)


def test_eps_is_inside_the_square_root():
    y, _ = functional.normalize(X, eps=1.5)
    assert y[1].item() == pytest.approx(1 / (0.5 + 1.5) ** 0.5, rel=1e-12)


def test_count_is_the_number_of_values_per_channel():
    _, moments = functional.normalize(torch.randn(2, 3, 4, 5))
    assert moments.count.item() == 2 * 4 * 5
    assert moments.count.dtype == torch.int64


def test_eps_zero_is_refused_in_training_and_allowed_in_evaluation():
    with pytest.raises(ValueError, match="positive in training"):
        functional.batch_norm(X, None, None, training=True, eps=0.0)
    one = torch.ones(1, dtype=torch.float64)
    assert torch.equal(functional.batch_norm(X, 0 * one, one, eps=0.0), X)


def test_statistics_of_the_batch_are_float64():
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        _, moments = functional.normalize(torch.randn(4, 3).to(dtype))
        assert moments.mean.dtype == moments.m2.dtype == torch.float64
