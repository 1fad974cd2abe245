"""The specification against itself, against differences, and against values worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchnorm import reference

shapes = st.lists(st.integers(1, 5), min_size=2, max_size=5).filter(
    lambda shape: shape[0] * int(np.prod(shape[2:])) > 1
)


def draw(shape, seed=0):
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(2, shape[1]))
    return rng.normal(1.0, 3.0, shape), rng.normal(size=shape), weight, bias


@given(shapes, st.sampled_from([1e-12, 1e-5, 1.0]), st.integers(0, 9))
def test_the_chain_of_partial_derivatives_is_the_closed_form(shape, eps, seed):
    x, dy, weight, _ = draw(shape, seed)
    closed = reference.backward(dy, x, weight, eps)
    chain = reference.backward_chain(dy, x, weight, eps)
    scale = 1 / np.sqrt(reference.statistics(x).var.min() + eps)
    for a, b in zip(closed, chain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * max(1.0, scale))


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3), (2, 3, 2, 2)])
def test_backward_is_the_slope_of_forward(shape):
    x, dy, weight, bias = draw(shape)

    def loss(x, weight, bias):
        return (dy * reference.forward(x, weight, bias).y).sum()

    found = reference.backward(dy, x, weight)
    for position, gradient in enumerate(found):
        inputs = [x, weight, bias]
        slope = np.empty_like(inputs[position])
        for index in np.ndindex(slope.shape):
            sides = []
            for step in (1e-6, -1e-6):
                moved = [value.copy() for value in inputs]
                moved[position][index] += step
                sides.append(loss(*moved))
            slope[index] = (sides[0] - sides[1]) / 2e-6
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-7)


def test_backward_of_inference_is_its_slope():
    x, dy, weight, bias = draw((4, 3))
    mean, var = np.array([0.5, -1.0, 2.0]), np.array([1.0, 4.0, 0.25])
    found = reference.inference_backward(dy, x, mean, var, weight)
    unit = reference.inference(np.ones((1, 3)), mean, var, weight, bias)
    zero = reference.inference(np.zeros((1, 3)), mean, var, weight, bias)
    np.testing.assert_allclose(found.dx, dy * (unit - zero))
    xhat = reference.inference(x, mean, var)
    np.testing.assert_allclose(found.dweight, (dy * xhat).sum(0))
    np.testing.assert_allclose(found.dbias, dy.sum(0))


def test_output_has_mean_bias_and_deviation_weight():
    x, _, weight, bias = draw((200, 3, 4))
    y = reference.forward(x, weight, bias, eps=0.0).y
    np.testing.assert_allclose(y.mean((0, 2)), bias, atol=1e-12)
    np.testing.assert_allclose(y.std((0, 2)), abs(weight), rtol=1e-12)


def test_weight_and_bias_can_restore_the_identity():
    x, *_ = draw((50, 3))
    batch = reference.statistics(x)
    y = reference.forward(x, np.sqrt(batch.var + 1e-5), batch.mean).y
    np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
@pytest.mark.parametrize("momentum", [0.1, 0.01, 1.0])
def test_running_statistics_follow_the_closed_form(steps, momentum):
    """After n equal batches: what is left of the start is (1 - momentum)^n."""
    batch = reference.Statistics(5, np.array([10.0]), np.array([4.0]))
    running = (np.zeros(1), np.ones(1))
    for _ in range(steps):
        running = reference.update_running(running, batch, momentum)
    left = (1 - momentum) ** steps
    np.testing.assert_allclose(running[0], 10.0 * (1 - left), rtol=1e-12)
    np.testing.assert_allclose(running[1], left + 4.0 * 5 / 4 * (1 - left), rtol=1e-12)


def test_population_estimate_is_unbiased():
    """Algorithm 2 over many batches of 4 finds the variance that each batch underestimates."""
    rng = np.random.default_rng(0)
    batches = [reference.statistics(rng.normal(3.0, 2.0, (4, 1))) for _ in range(20_000)]
    mean, var = reference.population(batches)
    assert abs(mean[0] - 3.0) < 0.02
    assert abs(var[0] - 4.0) < 0.06  # without m/(m-1) it would be 3.0


@pytest.mark.parametrize(
    ("counts", "found"), [([4, 3], r"\[3, 4\]"), ([], r"\[\]"), ([1, 1], r"\[1\]")]
)
def test_population_refuses_what_it_cannot_average(counts, found):
    batches = [reference.Statistics(n, np.zeros(1), np.ones(1)) for n in counts]
    with pytest.raises(ValueError, match=f"got sizes {found}: leave the ragged batch out"):
        reference.population(batches)


def test_non_finite_values_stay_in_their_channel():
    x, *_ = draw((6, 3))
    x[2, 1] = np.inf
    with np.errstate(invalid="ignore"):
        y = reference.forward(x).y
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()
