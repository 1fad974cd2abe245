import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batchnorm import Moments, functional, reference
from batchnorm.errors import ChannelError, CountError, DTypeError, OptionError, ShapeError
from support.layers import laws


def test_takes_torch_s_own_arguments():
    x, mean, var = torch.randn(6, 3), torch.randn(3), torch.rand(3)
    weight, bias = torch.randn(3), torch.randn(3)
    for training in (True, False):
        results = []
        for function in (functional.batch_norm, torch.nn.functional.batch_norm):
            m, v = mean.clone(), var.clone()
            results.append((function(x, m, v, weight, bias, training, 0.3, 1e-3), m, v))
        torch.testing.assert_close(*results)


def test_normalize_mutates_nothing_and_returns_the_moments():
    x, weight, bias = torch.randn(4, 3, 5), torch.randn(3), torch.randn(3)
    before = [t.clone() for t in (x, weight, bias)]
    y, moments = functional.normalize(x, weight, bias, eps=1e-3)
    for tensor, old in zip((x, weight, bias), before, strict=True):
        assert torch.equal(tensor, old)
    expected = functional.batch_norm(x, None, None, weight, bias, training=True, eps=1e-3)
    assert torch.equal(y, expected)
    whole = Moments.of(x)
    assert moments.count == whole.count == 20
    torch.testing.assert_close(moments.mean, whole.mean)
    torch.testing.assert_close(moments.m2, whole.m2)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((torch.randn(3),), {}, ShapeError, r"at least 2 dim.*\(3,\).*unsqueeze"),
        ((torch.randn(2, 3), torch.ones(2)), {}, ChannelError, r"shape \(3,\).*got \(2,\)"),
        ((torch.randn(2, 3), torch.ones(1, 3)), {}, ChannelError, r"got \(1, 3\)"),
        ((torch.randn(1, 3),), {}, CountError, r"more than 1 value.*got input size \(1, 3\)"),
        ((torch.ones(2, 3, dtype=torch.int32),), {}, DTypeError, "int32: convert it with"),
        ((torch.ones(2, 3, dtype=torch.complex64),), {}, DTypeError, "complex64"),
        ((torch.randn(2, 3), torch.ones(3).double()), {}, DTypeError, "float64 beside torch.fl"),
        ((torch.randn(2, 3),), {"eps": 0.0}, OptionError, "positive in training, got 0.0"),
        ((torch.randn(2, 3),), {"eps": float("nan")}, OptionError, "positive .* got nan"),
    ],
)
def test_errors(arguments, options, error, text):
    with pytest.raises(error, match=text):
        functional.normalize(*arguments, **options)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"running_mean": torch.zeros(3, dtype=torch.int64)}, "floating dtype, got torch.int64"),
        ({"num_batches_tracked": torch.tensor(0.0)}, "one int64, got 1 of torch.float32"),
        ({"num_batches_tracked": torch.zeros(2, dtype=torch.int64)}, "one int64, got 2 of"),
    ],
)
def test_buffers_of_a_wrong_kind(changed, text):
    state = {"running_mean": torch.zeros(3), "running_var": torch.ones(3), **changed}
    with pytest.raises(DTypeError, match=text):
        functional.batch_norm(torch.randn(4, 3), **state, training=True)


@pytest.mark.parametrize("momentum", [0.1, torch.tensor(0.1)])
def test_counts_the_batches_in_training_only(momentum):
    mean, var, counter = torch.zeros(3), torch.ones(3), torch.tensor(5)
    for x, training in (
        (torch.randn(4, 3), True),
        (torch.randn(4, 3), False),
        (torch.ones(0, 3), True),
    ):
        functional.batch_norm(
            x, mean, var, training=training, momentum=momentum, num_batches_tracked=counter
        )
    assert counter == 6


def test_buffers_made_in_inference_mode():
    with torch.inference_mode():
        mean, var = torch.zeros(3), torch.ones(3)
        functional.batch_norm(torch.randn(40, 3) + 5, mean, var, training=True, momentum=1.0)
    assert (mean > 3).all()


def test_half_precision_parameters_or_float32_ones_go_with_a_half_precision_input():
    x = torch.randn(8, 3).bfloat16()
    for dtype in (torch.bfloat16, torch.float32):
        weight = torch.ones(3, dtype=dtype, requires_grad=True)
        y, _ = functional.normalize(x, weight)
        y.sum().backward()
        assert y.dtype == torch.bfloat16
        assert weight.grad.dtype == dtype
    with pytest.raises(DTypeError, match=r"float16 beside torch.bfloat16"):
        functional.normalize(x, torch.ones(3, dtype=torch.float16))


@pytest.mark.parametrize("buffer", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_running_statistics_of_any_dtype(dtype, buffer):
    x = torch.randn(50, 3).to(dtype)
    mean, var = torch.zeros(3, dtype=buffer), torch.ones(3, dtype=buffer)
    functional.batch_norm(x, mean, var, training=True, momentum=0.5)
    expected = reference.update_running(
        (np.zeros(3), np.ones(3)), reference.statistics(x.double().numpy()), 0.5
    )
    # No better than the buffer, and no better than the sums of an input below float64.
    exact = buffer if dtype == torch.float64 or buffer != torch.float64 else torch.float32
    laws.assert_close(laws.array(mean), expected[0], exact, looser=2)
    laws.assert_close(laws.array(var), expected[1], exact, looser=2)
    assert functional.batch_norm(x, mean, var).dtype == dtype


def test_momentum_may_be_a_tensor():
    x = torch.randn(8, 3)
    found = []
    for momentum in (0.25, torch.tensor(0.25)):
        mean, var = torch.zeros(3), torch.ones(3)
        functional.batch_norm(x, mean, var, training=True, momentum=momentum)
        found.append((mean, var))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-7)


finite = st.floats(-1e6, 1e6, width=32)
arrays = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=5, max_side=6), elements=finite
)


@given(arrays, st.sampled_from([1e-12, 1e-5, 1.0]))
def test_any_finite_input(x, eps):
    """Hypothesis looks for shapes and values that break the forward or the backward."""
    if x.shape[0] * int(np.prod(x.shape[2:])) < 2:
        return
    dy = np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape)
    tensor = torch.from_numpy(x.copy()).requires_grad_()
    y, _ = functional.normalize(tensor, eps=eps)
    y.backward(torch.from_numpy(dy))
    expected, gradients = reference.forward(x, eps=eps), reference.backward(dy, x, eps=eps)
    # In float64, a channel of equal values is as exact as its mean; invstd multiplies what is left.
    slack = 1e-15 * np.abs(x).max() * expected.invstd.max()
    assert (
        np.abs(y.detach().numpy() - expected.y).max()
        <= 2e-6 * (1 + np.abs(expected.y).max()) + slack
    )
    bound = 1e-5 * expected.invstd.max() * max(1.0, np.abs(expected.xhat).max()) ** 2
    assert np.abs(tensor.grad.numpy() - gradients.dx).max() <= bound * (1 + slack)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_non_finite_values_propagate_as_in_the_reference(value, dtype):
    x = torch.randn(4, 3, 5)
    x[1, 1, 2] = value
    x = x.to(dtype).requires_grad_()
    y, moments = functional.normalize(x)
    with np.errstate(invalid="ignore"):
        expected = reference.forward(laws.array(x))
        gradients = reference.backward(np.ones(x.shape), laws.array(x))
    assert np.array_equal(np.isnan(laws.array(y)), np.isnan(expected.y))
    y.backward(torch.ones_like(y))
    assert np.array_equal(np.isnan(laws.array(x.grad)), np.isnan(gradients.dx))
    assert moments.mean.isfinite().tolist() == np.isfinite(expected.statistics.mean).tolist()
