"""Ghost batch normalization is the plain layer on one part after the other."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from batchnorm.errors import CountError, NonFiniteError, OptionError, ShapeError
from batchnorm.nn import BatchNorm1d, BatchNorm2d, GhostBatchNorm1d, GhostBatchNorm2d

OPTIONS = [
    {},
    {"activation": "relu"},
    {"momentum": None},
    {"correction": 0},
    {"debias": True},
    {"nonfinite": "raise"},
]


def twins(size, **options):
    """Return a ghost layer and a plain one with the same state."""
    ghost = GhostBatchNorm2d(3, size, dtype=torch.float64, **options)
    plain = BatchNorm2d(3, dtype=torch.float64, **options)
    with torch.no_grad():
        ghost.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        ghost.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    plain.load_state_dict(ghost.state_dict())
    return ghost, plain


@given(st.integers(1, 70), st.integers(1, 40))
def test_no_part_is_smaller_than_asked(n, size):
    layer = GhostBatchNorm1d(1, size, momentum=1.0)
    parts = max(n // size, 1)
    x = torch.arange(n).float().reshape(n, 1, 1).expand(n, 1, 2)
    layer(x)
    assert layer.num_batches_tracked == parts
    # With momentum 1 the running mean is that of the last part, which is the smallest.
    last = round(2 * (n - 1 - layer.running_mean.item())) + 1
    assert last == n // parts
    assert min(size, n) <= last <= -(-n // parts) <= last + 1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("given", ["", "residual", "mask", "sample_weight"])
def test_parts_are_batches_of_their_own(options, given):
    """Bit for bit: output, gradients and running statistics, and evaluation after it."""
    ghost, plain = twins(4, **options)
    x = torch.randn(14, 3, 5, 4, dtype=torch.float64) * 2 + 1
    companions = {
        "": {},
        "residual": {"residual": torch.randn_like(x)},
        "mask": {"mask": torch.rand(14, 5, 4) < 0.6},
        "sample_weight": {"sample_weight": torch.rand(14)},
    }[given]
    found = []
    for layer in (ghost, plain):
        x = x.detach().requires_grad_()
        if layer is ghost:
            y = layer(x, **companions)
        else:
            cut = {name: values.tensor_split(3) for name, values in companions.items()}
            parts = [
                layer(part, **{name: values[k] for name, values in cut.items()})
                for k, part in enumerate(x.tensor_split(3))
            ]
            y = torch.cat(parts)
        y.square().sum().backward()
        found.append([y, x.grad, layer.weight.grad, layer.bias.grad, *layer.buffers()])
        found[-1].append(layer.eval()(x, **companions))
    for mine, other in zip(*found, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("momentum", [0.1, 0.5])
def test_closed_form_of_the_running_statistics(momentum):
    layer = GhostBatchNorm1d(1, 2, momentum=momentum, dtype=torch.float64)
    means = torch.tensor([3.0, -1.0, 7.0, 2.0])
    x = torch.stack([means - 1, means + 1], 1).reshape(-1, 1).double()  # unbiased variance 2
    layer(x)
    left = (1 - momentum) ** 4
    weights = [momentum * (1 - momentum) ** (4 - k) for k in (1, 2, 3, 4)]
    wanted = sum(w * m for w, m in zip(weights, means.tolist(), strict=True))
    assert layer.running_mean.item() == pytest.approx(wanted, rel=1e-12)
    assert layer.running_var.item() == pytest.approx(left + 2 * (1 - left), rel=1e-12)


def test_evaluation_takes_any_batch_as_it_is():
    layer = GhostBatchNorm1d(3, 8)
    layer(torch.randn(64, 3))
    x = torch.randn(13, 3)
    one_by_one = torch.cat([layer.eval()(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(layer(x), one_by_one)
    x = torch.randn(64, 3)
    assert type(layer(x).grad_fn) is type(BatchNorm1d(3)(x).grad_fn), "nothing is put together"


def test_adapting_it_takes_the_batch_whole():
    layer = GhostBatchNorm1d(3, 4).eval().adapt()
    x = torch.randn(12, 3)
    torch.testing.assert_close(layer(x), BatchNorm1d(3)(x))


@pytest.mark.parametrize("n", [1, 8, 15])
def test_one_part_is_the_plain_layer_and_costs_nothing(n):
    """No copy of the output: what made it is the plain forward, and no concatenation."""
    ghost, plain = twins(8)
    x = torch.randn(n, 3, 2, 2, dtype=torch.float64)
    y, wanted = ghost(x), plain(x)
    assert torch.equal(y, wanted)
    assert type(y.grad_fn) is type(wanted.grad_fn)
    assert type(ghost(torch.cat([x] * 16)).grad_fn) is not type(wanted.grad_fn)


def test_only_a_part_that_is_not_finite_is_left_out():
    layer, plain = GhostBatchNorm1d(2, 4), BatchNorm1d(2)
    x = torch.randn(12, 2)
    x[5, 1] = torch.inf
    layer(x)
    for part in (x[:4], x[8:]):
        plain(part)
    assert layer.batches_skipped == 1
    assert layer.num_batches_tracked == 2
    assert torch.equal(layer.running_mean, plain.running_mean)


def test_a_part_that_is_not_finite_is_an_error_where_asked():
    """The parts before it have been taken in, as batches before it would have been."""
    layer = GhostBatchNorm1d(2, 4, nonfinite="raise")
    x = torch.randn(12, 2)
    x[5, 1] = torch.nan
    with pytest.raises(NonFiniteError, match=r"NaN or Inf in 1 of 2 channels \(1\)"):
        layer(x)
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize(
    ("n", "companions", "error", "text"),
    [
        (3, {}, CountError, r"every part .* input size \(3, 2\) in 3 parts: choose .* at least 2"),
        (4, {"residual": torch.ones(5, 2)}, ShapeError, r"residual needs the shape of x \(4, 2\)"),
        (4, {"mask": torch.ones(5).bool()}, ShapeError, r"mask needs shape \(4,\)"),
        (4, {"sample_weight": torch.ones(3)}, ShapeError, r"sample_weight needs shape \(4,\)"),
    ],
)
def test_errors_come_before_the_first_part_moves_anything(n, companions, error, text):
    layer = GhostBatchNorm1d(2, 1 if n == 3 else 2)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(error, match=text):
        layer(torch.randn(n, 2), **companions)
    assert all(torch.equal(layer.state_dict()[name], value) for name, value in before.items())


def test_parts_of_one_sample_with_many_values():
    """What instance normalization does, with running statistics."""
    layer = GhostBatchNorm2d(3, 1)
    x = torch.randn(5, 3, 6, 6)
    torch.testing.assert_close(layer(x), torch.nn.functional.instance_norm(x))


def test_a_recomputed_forward_moves_nothing():
    layer, other = GhostBatchNorm1d(3, 4), GhostBatchNorm1d(3, 4)
    x = torch.randn(12, 3, requires_grad=True)
    checkpoint(layer, x, use_reentrant=False).square().sum().backward()
    other(x)
    assert torch.equal(layer.running_mean, other.running_mean)
    assert layer.num_batches_tracked == 3


def test_frozen_it_takes_the_batch_whole():
    layer = GhostBatchNorm1d(3, 4).freeze().train()
    x = torch.randn(12, 3)
    torch.testing.assert_close(layer(x), x / (1 + 1e-5) ** 0.5)
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("size", [0, -4])
def test_a_size_that_is_not_positive_is_refused(size):
    with pytest.raises(OptionError, match=f"positive whole number, got {size}: the usual"):
        GhostBatchNorm2d(3, size)


def test_repr_tells_the_size():
    assert "virtual_batch_size=16" in repr(GhostBatchNorm2d(3, 16))
