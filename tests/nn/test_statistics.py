"""The running statistics: what may enter them, how precisely, and from which step on."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import batchnorm
from batchnorm import functional
from batchnorm.errors import DTypeError, NonFiniteError, OptionError
from batchnorm.nn import BatchNorm1d, BatchNorm2d, LazyBatchNorm1d

BACKENDS = ["eager", "cpu"]
HOSTILE = [torch.inf, -torch.inf, torch.nan]


def state(layer):
    return layer.running_mean, layer.running_var, layer.num_batches_tracked, layer.batches_skipped


def same(layer, before):
    return all(torch.equal(a, b) for a, b in zip(state(layer), before, strict=True))


# ---------------------------------------------------------------------------- not finite


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 3, 3), (16, 5, 32, 32)], ids=str)
def test_a_batch_that_is_not_finite_is_skipped_whole(backend, value, momentum, shape):
    layer = BatchNorm2d(5, momentum=momentum)
    layer._ndims = (2, 4)
    good, bad = torch.randn(2, *shape).unbind()
    bad.select(1, 3)[0] = value
    with batchnorm.backend(backend):
        layer(good)
        mean, var, *_ = before = [t.clone() for t in state(layer)]
        layer(bad)
        assert torch.equal(layer.running_mean, mean), "no channel may move"
        assert torch.equal(layer.running_var, var)
        assert (layer.num_batches_tracked, layer.batches_skipped) == (1, 1)
        layer(good)
        layer(good)
    alone = copy.deepcopy(layer)
    alone.reset_running_stats()
    assert alone.batches_skipped == 0
    with batchnorm.backend(backend):
        for _ in range(3):
            alone(good)
    assert layer.num_batches_tracked == 3
    assert torch.equal(alone.running_mean, layer.running_mean), "as if it had not been"
    assert len(before) == 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_float32_cannot_hold_is_skipped_too(backend):
    layer = BatchNorm1d(2, dtype=torch.float64)
    layer.running_var = layer.running_var.float()
    x = torch.tensor([[1e25, 1.0], [-1e25, 2.0]], dtype=torch.float64)
    with batchnorm.backend(backend):
        layer(x)
    assert layer.batches_skipped == 1
    assert layer.running_var.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_border_of_what_a_buffer_holds(backend, dtype):
    """The kernel's comparison and the rounding of torch agree on what becomes infinite."""
    largest = torch.finfo(dtype).max
    for value in (largest, largest * (1 + torch.finfo(dtype).eps / 8), largest * 1.01):
        mean, var = torch.zeros(1, dtype=dtype), torch.ones(1, dtype=torch.float64)
        counter = torch.tensor(0)
        x = torch.tensor([[value], [value]], dtype=torch.float64)
        with batchnorm.backend(backend):
            functional.batch_norm(
                x, mean, var, training=True, momentum=1.0, num_batches_tracked=counter
            )
        fits = bool(torch.tensor(value, dtype=torch.float64).to(dtype).isfinite())
        assert counter == int(fits)
        assert mean.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("momentum", [1.0, torch.tensor(1.0), None])
def test_nothing_is_left_of_what_was(backend, momentum):
    """At momentum 1, and for the first of a cumulative average: not even an infinity."""
    layer, x = BatchNorm1d(3, momentum=momentum), torch.randn(8, 3)
    layer.running_mean.fill_(torch.inf)
    layer.running_var.fill_(torch.nan)
    with batchnorm.backend(backend):
        layer(x)
    torch.testing.assert_close(layer.running_mean, x.mean(0))
    torch.testing.assert_close(layer.running_var, x.var(0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_propagate_is_what_torch_does(backend):
    ours, theirs = BatchNorm1d(3, nonfinite="propagate"), torch.nn.BatchNorm1d(3)
    x = torch.randn(8, 3)
    x[2, 1] = torch.inf
    with batchnorm.backend(backend):
        ours(x)
    theirs(x)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, equal_nan=True)
    assert ours.running_var[1].isnan()
    assert (ours.num_batches_tracked, ours.batches_skipped) == (1, 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_raise_names_the_channels_and_changes_nothing(backend):
    layer = BatchNorm1d(9, nonfinite="raise")
    x = torch.randn(8, 9)
    with batchnorm.backend(backend):
        layer(x)
        assert layer.num_batches_tracked == 1
        before = [t.clone() for t in state(layer)]
        x[0, 1:8] = torch.nan
        with pytest.raises(
            NonFiniteError, match=r"Inf in 7 of 9 channels \(1, 2, 3, 4, 5, \.\.\.\)"
        ):
            layer(x)
    assert same(layer, before)


@given(
    values=st.lists(
        st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=6, max_size=6
    ),
    backend=st.sampled_from(BACKENDS),
)
def test_the_buffers_stay_finite_whatever_comes(values, backend):
    layer = BatchNorm1d(2)
    with batchnorm.backend(backend):
        layer(torch.tensor(values, dtype=torch.float32).reshape(3, 2))
    assert torch.stack(state(layer)[:2]).isfinite().all()
    assert layer.num_batches_tracked + layer.batches_skipped == 1


def test_an_unknown_word_is_refused():
    with pytest.raises(OptionError, match="nonfinite must be one of skip, propagate, raise"):
        BatchNorm1d(3, nonfinite="ignore")
    with pytest.raises(OptionError, match="correction must be 0 or 1, got 2"):
        BatchNorm1d(3, correction=2)
    x = torch.randn(4, 2)
    with pytest.raises(DTypeError, match="batches_skipped needs to be one int64"):
        functional.batch_norm(x, None, None, training=True, batches_skipped=torch.tensor(0.0))
    with pytest.raises(OptionError, match="momentum=None averages all batches so far"):
        functional.batch_norm(x, torch.zeros(2), torch.ones(2), training=True, momentum=None)


# ------------------------------------------------------------------------------- float32


CASTS = {
    "half": lambda layer: layer.half(),
    "bfloat16": lambda layer: layer.bfloat16(),
    "to": lambda layer: layer.to(torch.bfloat16),
    "type": lambda layer: layer.type(torch.float16),
    "made": lambda layer: type(layer)(3, dtype=torch.bfloat16),
}


@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_the_statistics_stay_float32(cast):
    layer = BatchNorm1d(3)
    layer(torch.randn(8, 3))
    before = layer.running_mean.clone()
    layer = cast(layer)
    assert layer.running_mean.dtype == layer.running_var.dtype == torch.float32
    assert layer.weight.dtype in (torch.float16, torch.bfloat16)
    assert layer.num_batches_tracked.dtype == layer.batches_skipped.dtype == torch.int64
    assert torch.equal(layer.running_mean, before) or layer.num_batches_tracked == 0
    layer(torch.randn(8, 3).to(layer.weight.dtype)).sum().backward()


def test_double_is_double():
    assert BatchNorm1d(3).double().running_mean.dtype == torch.float64
    assert BatchNorm1d(3).double().float().running_mean.dtype == torch.float32


@pytest.mark.parametrize("way", ["data", "assign"])
def test_a_cast_past_the_module_is_mended(way):
    layer = BatchNorm1d(3)
    if way == "data":
        for buffer in layer.buffers():
            if buffer.is_floating_point():
                buffer.data = buffer.data.bfloat16()
    else:
        state = torch.nn.BatchNorm1d(3).bfloat16().state_dict()
        layer.load_state_dict(state, assign=True)
    assert layer.running_mean.dtype == torch.bfloat16
    layer(torch.randn(8, 3).to(layer.weight.dtype))
    assert layer.running_mean.dtype == layer.running_var.dtype == torch.float32


def test_lazy_layers_keep_float32_too():
    for layer in (LazyBatchNorm1d(dtype=torch.float16), LazyBatchNorm1d().half()):
        assert layer(torch.randn(8, 3).half()).dtype == torch.float16
        assert layer.running_mean.dtype == torch.float32


def test_small_steps_are_not_lost():
    layer = BatchNorm1d(1, momentum=0.01).bfloat16()
    x = torch.full((2, 1), 10.0).bfloat16()
    for _ in range(1000):
        layer(x)
    expected = 10 * (1 - 0.99**1000)
    assert layer.running_mean.item() == pytest.approx(expected, rel=1e-5)


# -------------------------------------------------------------------------------- debias


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
@pytest.mark.parametrize("momentum", [0.01, 0.1, 0.5, 1.0, None])
def test_debiased_statistics_are_the_weighted_average(steps, momentum):
    """The closed form: weights proportional to momentum · (1 - momentum)^(steps after)."""
    rng = np.random.default_rng(steps)
    batches = [rng.normal(50, 10, (8, 2)) for _ in range(steps)]
    layer = BatchNorm1d(2, momentum=momentum, debias=True, dtype=torch.float64)
    for batch in batches:
        layer(torch.from_numpy(batch))
    age = np.arange(steps)[::-1]
    weights = np.ones(steps) if momentum is None else (1 - momentum) ** age
    if momentum == 1.0:
        weights = (age == 0).astype(float)
    weights = weights / weights.sum()
    mean = sum(w * b.mean(0) for w, b in zip(weights, batches, strict=True))
    var = sum(w * b.var(0, ddof=1) for w, b in zip(weights, batches, strict=True))
    x = torch.from_numpy(rng.normal(50, 10, (4, 2)))
    wanted = (x.numpy() - mean) / np.sqrt(var + layer.eps)
    np.testing.assert_allclose(layer.eval()(x).detach().numpy(), wanted, rtol=1e-9)


# ---------------------------------------------------------------------------- conventions


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("correction", [0, 1])
def test_correction_is_what_the_running_variance_divides_by(backend, correction):
    layer = BatchNorm1d(3, momentum=1.0, correction=correction, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64)
    with batchnorm.backend(backend):
        layer(x)
    torch.testing.assert_close(layer.running_var, x.var(0, correction=correction))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("strided", [False, True])
def test_the_cumulative_average_counts_with_the_counter(backend, strided):
    mean, var = (
        (torch.zeros(6)[::2], torch.ones(6)[::2])
        if strided
        else (
            torch.zeros(3),
            torch.ones(3),
        )
    )
    counter, batches = torch.tensor(0), [torch.randn(4, 3) for _ in range(7)]
    with batchnorm.backend(backend):
        for x in batches:
            functional.batch_norm(
                x, mean, var, training=True, momentum=None, num_batches_tracked=counter
            )
    assert counter == 7
    torch.testing.assert_close(mean, torch.stack([x.mean(0) for x in batches]).mean(0))
    torch.testing.assert_close(var, torch.stack([x.var(0) for x in batches]).mean(0))


def test_update_running_is_what_training_does():
    layer, x = BatchNorm1d(3), torch.randn(8, 3)
    mean, var, counter = torch.zeros(3), torch.ones(3), torch.tensor(0)
    _, moments = functional.normalize(x)
    functional.update_running_(mean, var, moments, num_batches_tracked=counter)
    layer(x)
    torch.testing.assert_close(mean, layer.running_mean)
    torch.testing.assert_close(var, layer.running_var)
    assert counter == 1
