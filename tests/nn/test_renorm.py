"""Batch renormalization against the paper's Algorithm 1, written out in NumPy."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

import batchnorm
from batchnorm import reference
from batchnorm.errors import ChannelError, CountError, OptionError
from batchnorm.nn import BatchNorm1d, BatchRenorm1d, BatchRenorm2d, RenormWarmup
from support.layers.cases import TOLERANCE
from support.layers.expected import array
from support.layers.laws import assert_close

COLUMN = (1, -1, 1, 1)


def algorithm_1(x, weight, bias, running, r_max, d_max, eps=1e-5):
    """Return y, and r and d, which the gradient takes as constants."""
    mu, sigma = running[0], np.sqrt(running[1] + eps)
    batch = reference.statistics(x)
    sigma_b = np.sqrt(batch.var + eps)
    r = np.clip(sigma_b / sigma, 1 / r_max, r_max)
    d = np.clip((batch.mean - mu) / sigma, -d_max, d_max)
    xhat = (x - batch.mean.reshape(COLUMN)) / sigma_b.reshape(COLUMN)
    y = (xhat * r.reshape(COLUMN) + d.reshape(COLUMN)) * weight.reshape(COLUMN)
    return y + bias.reshape(COLUMN), r, d


def build(dtype=torch.float64, **options):
    layer = BatchRenorm2d(3, dtype=dtype, **options)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        layer.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    return layer


def batch(seed, dtype=torch.float64):
    """Return a batch whose channels drift from step to step, the last one far and wide."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 3, 5, 2, generator=g, dtype=torch.float64)
    scale = torch.tensor([1.0, 0.1, 9.0]).reshape(COLUMN)
    shift = torch.tensor([0.0, 0.5, 30.0]).reshape(COLUMN)
    return (x * scale + shift * (1 + 0.1 * seed)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", ["eager", "cpu"])
def test_training_follows_the_algorithm_and_its_schedule(dtype, backend):
    """Output, gradients and running statistics of 12 steps, over the whole of a short warm-up."""
    parameters = torch.float64 if dtype == torch.float64 else torch.float32
    layer = build(parameters, warmup=RenormWarmup(plain=3, r=9, d=6))
    weight, bias = array(layer.weight), array(layer.bias)
    running = np.zeros(3), np.ones(3)
    clipped = set()
    for step in range(12):
        x, dy = batch(step, dtype).requires_grad_(), batch(step + 50, dtype)
        r_max = 1 + 2 * min(max(step - 3, 0) / 6, 1)
        d_max = 5 * min(max(step - 3, 0) / 3, 1)
        wanted, r, d = algorithm_1(array(x), weight, bias, running, r_max, d_max)
        layer.zero_grad()
        with batchnorm.backend(backend):
            y = layer(x)
            y.backward(dy)
        # The gradient is that of a plain layer with these scales and shifts.
        plain = reference.backward(array(dy), array(x), weight * r)
        assert_close(array(y), wanted, dtype, "y", looser=4)
        assert_close(array(x.grad), plain.dx, dtype, "dx", looser=4)
        dweight = plain.dweight * r + plain.dbias * d
        assert_close(array(layer.weight.grad), dweight, parameters, "dweight", looser=20)
        assert_close(array(layer.bias.grad), plain.dbias, parameters, "dbias", looser=20)
        running = reference.update_running(running, reference.statistics(array(x)), 0.1)
        assert_close(array(layer.running_mean), running[0], parameters, looser=4)
        assert_close(array(layer.running_var), running[1], parameters, looser=4)
        clipped |= {("r", bool(v)) for v in (r >= r_max) | (r <= 1 / r_max)}
        clipped |= {("d", bool(v)) for v in abs(d) >= d_max}
    assert len(clipped) == 4, "both bounds hold somewhere and do not hold somewhere"


@pytest.mark.parametrize("debias", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"activation": "silu"}, {"affine": False}, {"bias": False}]
)
def test_without_bounds_training_is_evaluation(options, debias):
    """The paper's identity: xhat r + d is the input under the running statistics."""
    layer = BatchRenorm2d(
        3,
        r_max=math.inf,
        d_max=math.inf,
        warmup=None,
        debias=debias,
        dtype=torch.float64,
        **options,
    )
    for step in range(3):
        layer(batch(step))
    x, residual = batch(7), batch(8)
    before = copy.deepcopy(layer).eval()
    torch.testing.assert_close(layer(x, residual), before(x, residual), rtol=1e-10, atol=1e-10)


def test_the_identity_holds_under_masks_and_weights():
    layer = BatchRenorm2d(3, r_max=math.inf, d_max=math.inf, warmup=None, dtype=torch.float64)
    layer(batch(0))
    x, mask, weight = batch(1), torch.rand(4, 5, 2) < 0.6, torch.tensor([1.0, 0.0, 2.0, 0.5])
    for companions in ({"mask": mask}, {"sample_weight": weight}):
        wanted = copy.deepcopy(layer).eval()(x, **companions)
        torch.testing.assert_close(layer(x, **companions), wanted, rtol=1e-10, atol=1e-10)


def test_no_gradient_passes_through_r_and_d():
    """Where both are at their bounds they are constants, and the differences see it too."""
    layer = build(warmup=None)
    layer.track_running_stats = False
    x = batch(3)[:, :, :2].clone() * torch.tensor([50.0, 500.0, 1.0]).reshape(COLUMN)
    x = (x + 1e3).requires_grad_()
    _, r, d = algorithm_1(array(x), np.ones(3), np.zeros(3), (np.zeros(3), np.ones(3)), 3, 5)
    assert set(r) == {3.0}
    assert set(d) == {5.0}
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


@pytest.mark.parametrize(
    ("steps", "r_max", "d_max"),
    [(0, 1, 0), (4_999, 1, 0), (5_000, 1, 0), (15_000, 1 + 2 / 3.5, 2.5), (25_000, 15 / 7, 5),
     (40_000, 3, 5), (10**9, 3, 5)],
)  # fmt: skip
def test_default_schedule_is_the_papers(steps, r_max, d_max):
    """Seen in the output: a wide batch far off has standard deviation r_max and mean d_max."""
    layer = BatchRenorm1d(1, dtype=torch.float64)
    layer.num_batches_tracked.fill_(steps)
    y = layer(1e4 * torch.randn(50, 1, dtype=torch.float64) + 1e6)
    assert y.std(correction=0).item() == pytest.approx(r_max, rel=1e-6)
    assert y.mean().item() == pytest.approx(d_max, rel=1e-6, abs=1e-9)


def test_the_running_statistics_before_the_batch_are_taken():
    layer = BatchRenorm1d(1, warmup=None, momentum=1.0, dtype=torch.float64)
    x = torch.tensor([[1.0], [5.0]], dtype=torch.float64)
    assert layer(x).flatten().tolist() == pytest.approx([1.0, 5.0], abs=1e-4)  # of 0 and 1
    assert layer(x).mean().item() == pytest.approx(0.0, abs=1e-9)  # of the batch before, the same


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_a_recomputed_forward_takes_the_statistics_of_the_first(use_reentrant):
    """Two calls of one layer, whose running statistics have moved when they are run again."""
    found = []
    for again in (False, True):
        layer = build(warmup=None)
        x = [batch(seed).requires_grad_() for seed in (1, 2)]
        if again:
            y = [checkpoint(layer, each, use_reentrant=use_reentrant) for each in x]
        else:
            y = [layer(each) for each in x]
        (y[0].sin() + y[1].cos()).sum().backward()
        found.append([x[0].grad, x[1].grad, layer.weight.grad, *layer.buffers()])
    torch.testing.assert_close(*found, rtol=1e-13, atol=1e-13)


def test_a_recomputed_forward_may_find_nothing_kept():
    """As of a layer that was copied in between: it takes the statistics as they are."""
    layer = build(warmup=None)
    x = batch(1).requires_grad_()
    y = checkpoint(layer, x, use_reentrant=False)
    layer._recent = None
    y.sum().backward()
    assert x.grad.isfinite().all()


def test_what_is_kept_for_recomputing_stays_out_of_copies_and_files():
    layer = build()
    layer(batch(0))
    assert len(layer._recent) == 1
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert other._recent is None
    for step in range(20):
        layer(batch(step))
    assert len(layer._recent) == 8


def test_an_empty_batch_has_gradients_of_zero():
    layer = build(warmup=None)
    for x, mask in ((batch(0)[:0], None), (batch(0), torch.zeros(4, 5, 2).bool())):
        layer.zero_grad()
        layer(x, mask=mask).sum().backward()
        assert layer.weight.grad.tolist() == layer.bias.grad.tolist() == [0.0] * 3
    assert layer.num_batches_tracked == 0


def test_a_batch_that_is_not_finite_is_left_out():
    layer = build(warmup=None)
    x = batch(0)
    x[1, 2, 0, 0] = torch.nan
    y = layer(x)
    assert y.isnan().any(3).any(2).any(0).tolist() == [False, False, True]
    assert layer.batches_skipped == 1
    assert layer(batch(1)).isfinite().all()


def test_frozen_and_in_evaluation_it_is_the_plain_layer():
    layer, plain = build(warmup=None), BatchNorm1d(3, dtype=torch.float64)
    layer(batch(0))
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(6, 3, dtype=torch.float64)
    wanted = plain.eval()(x)
    x = x.reshape(6, 3, 1, 1)
    assert torch.equal(layer.eval()(x).flatten(1), wanted)
    assert torch.equal(layer.freeze().train()(x).flatten(1), wanted)


def test_buffers_switched_off_leave_plain_normalization():
    layer = build(warmup=None)
    layer.running_mean = layer.running_var = None
    plain = BatchNorm1d(3, dtype=torch.float64)
    plain.load_state_dict(layer.state_dict(), strict=False)
    x = batch(0)
    torch.testing.assert_close(layer(x).flatten(2), plain(x.flatten(2)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"r_max": 0.9}, r"r_max must be at least 1 and d_max at least 0, got 0\.9 and 5"),
        ({"d_max": -1.0}, r"got 3\.0 and -1\.0: 1 and 0 are plain batch normalization"),
        ({"r_max": math.nan}, "got nan and"),
        ({"track_running_stats": False}, "needs running statistics, .*: leave it True"),
        ({"warmup": RenormWarmup(5, 5, 9)}, r"needs 0 <= plain < r and d, got RenormWarmup\(plain"),
        ({"warmup": RenormWarmup(-1, 5, 9)}, "needs 0 <= plain"),
        ({"d_max": math.inf}, r"finite bounds .* got r_max=3\.0 and d_max=inf: give finite ones"),
    ],
)
def test_options_out_of_range_are_refused(options, text):
    with pytest.raises(OptionError, match=text):
        BatchRenorm1d(3, **options)


def test_a_warm_up_needs_its_counter():
    layer = BatchRenorm1d(3)
    layer.num_batches_tracked = None
    with pytest.raises(OptionError, match="counts batches, got num_batches_tracked=None: leave"):
        layer(torch.randn(4, 3))
    layer.warmup = None
    assert layer(torch.randn(4, 3)).shape == (4, 3)


@pytest.mark.parametrize(
    ("x", "error"), [(torch.randn(4, 2), ChannelError), (torch.randn(1, 3), CountError)]
)
def test_errors_come_before_anything_moves(x, error):
    layer = BatchRenorm1d(3, warmup=None)
    with pytest.raises(error):
        layer(x)
    assert layer.num_batches_tracked == 0
    assert layer._recent is None


def test_16_bits_are_rounded_once():
    """Beside float32 parameters and in a converted layer."""
    for layer in (build(torch.float32, warmup=None), build(torch.float32, warmup=None).bfloat16()):
        x = batch(2, torch.bfloat16)
        weight, bias = array(layer.weight), array(layer.bias)
        wanted, *_ = algorithm_1(array(x), weight, bias, (np.zeros(3), np.ones(3)), 3, 5)
        y = array(layer(x))
        assert (abs(y - wanted) <= TOLERANCE[torch.bfloat16] * abs(wanted) + 1e-6).all()


def test_repr_tells_the_bounds():
    text = "r_max=3.0, d_max=5.0, warmup=RenormWarmup(plain=5000, r=40000, d=25000)"
    assert text in repr(BatchRenorm2d(3))
