"""Decorrelation: what whitening is by definition, its invariances, and its derivatives."""

import copy

import pytest
import torch

from batchnorm import functional
from batchnorm.errors import CountError, NonFiniteError, OptionError, ShapeError
from batchnorm.functional import Comoments, whitening_matrix
from batchnorm.nn import (
    BatchNorm1d,
    DecorrelatedBatchNorm1d,
    DecorrelatedBatchNorm2d,
    DecorrelatedBatchNorm3d,
    accumulate_statistics,
)
from support.layers.cases import lay_out

METHODS = ("zca", "cholesky")
LAYERS = {2: DecorrelatedBatchNorm1d, 4: DecorrelatedBatchNorm2d, 5: DecorrelatedBatchNorm3d}


def mixed(*shape, seed=0):
    """Return an input whose channels are correlated, off zero and of different scales."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=g, dtype=torch.float64)
    mix = torch.randn(shape[1], shape[1], generator=g, dtype=torch.float64)
    x = torch.einsum("nc...,dc->nd...", x, mix + 2 * torch.eye(shape[1]))
    return x + torch.arange(shape[1]).reshape(1, -1, *(1,) * (len(shape) - 2))


def covariance(y):
    """Return the biased covariance of the channels, by its definition."""
    return torch.cov(y.movedim(1, 0).flatten(1), correction=0)


def layer_for(x, **options):
    return LAYERS[x.ndim](x.shape[1], **{"eps": 1e-14, "dtype": torch.float64, **options})


# -------------------------------------------------------------------------- what whitening is


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((40, 4), "contiguous"),
        ((40, 4), "strided"),
        ((10, 4, 3, 2), "channels_last"),
        ((10, 4, 3, 2), "transposed"),
        ((6, 4, 2, 2, 3), "contiguous"),
        ((6, 4, 2, 2, 3), "channels_last"),
    ],
    ids=str,
)
def test_the_output_is_white(method, shape, layout):
    x = lay_out(mixed(*shape), layout)
    y = layer_for(x, method=method)(x).detach()
    assert (covariance(x) - torch.eye(4)).abs().max() > 1, "it was not white before"
    torch.testing.assert_close(covariance(y), torch.eye(4).double(), rtol=0, atol=1e-10)
    assert y.movedim(1, 0).flatten(1).mean(1).abs().max() < 1e-10
    assert y.stride() == torch.empty_like(x).stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_are_rounded_once(dtype):
    x = mixed(50, 4).to(dtype)
    y = DecorrelatedBatchNorm1d(4)(x)
    wanted = DecorrelatedBatchNorm1d(4, dtype=torch.float64)(x.double())
    assert y.dtype == dtype
    assert torch.equal(y, wanted.to(dtype))


def test_zca_is_symmetric_and_cholesky_lower_triangular():
    matrix = covariance(mixed(40, 5))
    zca, cholesky = (whitening_matrix(matrix, method) for method in METHODS)
    torch.testing.assert_close(zca, zca.mT, rtol=1e-12, atol=1e-12)
    assert torch.linalg.eigvalsh(zca).min() > 0
    assert torch.equal(cholesky, cholesky.tril())
    for w in (zca, cholesky):
        torch.testing.assert_close(w @ matrix @ w.mT, torch.eye(5).double(), rtol=0, atol=1e-10)


def test_no_whitening_changes_less_than_zca():
    """Of all outputs that are white, that of standardized channels is the nearest to them."""
    x = BatchNorm1d(4, affine=False, dtype=torch.float64)(mixed(40, 4))
    y = layer_for(x)(x).detach()
    for seed in range(20):
        torch.manual_seed(seed)
        rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
        other = y @ rotation
        torch.testing.assert_close(covariance(other), torch.eye(4).double(), rtol=0, atol=1e-10)
        assert (other - x).square().sum() >= (y - x).square().sum()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_shift_and_scale_of_the_input_do_not_matter(method, training):
    x = mixed(40, 4)
    wanted, found = (
        accumulated(layer_for(x, method=method, momentum=1.0), [given]).train(training)(given)
        for given in (x, 100 + 7 * x)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_zca_turns_with_the_input():
    x = mixed(40, 4)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    wanted = layer_for(x)(x) @ rotation
    torch.testing.assert_close(layer_for(x)(x @ rotation), wanted, rtol=1e-9, atol=1e-9)


def test_cholesky_does_not_see_what_earlier_channels_add_to_later_ones():
    x = mixed(40, 4)
    adding = torch.randn(4, 4, dtype=torch.float64).tril(-1) + torch.diag(torch.rand(4) + 0.5)
    wanted = layer_for(x, method="cholesky")(x)
    found = layer_for(x, method="cholesky")(x @ adding.mT)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_groups_are_apart(method):
    x = mixed(40, 6)
    y = layer_for(x, method=method, groups=2)(x)
    for part in (slice(3), slice(3, 6)):
        alone = x[:, part]
        torch.testing.assert_close(y[:, part], layer_for(alone, method=method)(alone))
    assert covariance(y.detach())[:3, 3:].abs().max() > 0.1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", [{"groups": 6}, {"shrinkage": 1.0}], ids=str)
def test_without_covariances_it_is_batch_normalization(method, options):
    x = mixed(40, 6)
    y = DecorrelatedBatchNorm1d(6, method=method, dtype=torch.float64, **options)(x)
    torch.testing.assert_close(y, BatchNorm1d(6, dtype=torch.float64)(x), rtol=1e-12, atol=1e-12)


def test_shrinkage_is_the_share_of_the_diagonal():
    x = mixed(40, 3)
    y = layer_for(x, shrinkage=0.25)(x).detach()
    before = covariance(x)
    w = whitening_matrix(0.75 * before + 0.25 * before.diag().diag())
    torch.testing.assert_close(covariance(y), w @ before @ w.mT)


def test_scale_and_shift():
    x = mixed(40, 3)
    layer = layer_for(x)
    plain = layer(x).detach()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        layer.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    torch.testing.assert_close(layer(x), plain * layer.weight + layer.bias)


# ----------------------------------------------------------------------- running statistics


def accumulated(layer, batches):
    with accumulate_statistics(layer):
        for batch in batches:
            layer(batch)
    return layer


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_whitens_by_the_covariance_of_the_population(method):
    """Batches of different sizes, merged: the unbiased covariance of all values."""
    x = mixed(60, 4)
    layer = layer_for(x, method=method, momentum=1.0)
    accumulated(layer, x.split([10, 30, 20]))
    torch.testing.assert_close(layer.running_cov[0], torch.cov(x.T), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.running_mean, x.mean(0), rtol=1e-12, atol=1e-12)
    y = layer.eval()(x).detach()
    torch.testing.assert_close(covariance(y), 59 / 60 * torch.eye(4).double(), rtol=0, atol=1e-10)
    one_by_one = torch.cat([layer(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(one_by_one, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_covariance_moves_as_a_running_variance_does(momentum):
    layer = DecorrelatedBatchNorm1d(4, momentum=momentum, groups=2, dtype=torch.float64)
    wanted = torch.eye(4, dtype=torch.float64)
    for step in range(5):
        x = mixed(20, 4, seed=step)
        layer(x)
        share = momentum or 1 / (step + 1)
        wanted = torch.lerp(wanted, torch.cov(x.T), share)
    torch.testing.assert_close(layer.running_cov[0], wanted[:2, :2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.running_cov[1], wanted[2:, 2:], rtol=1e-12, atol=1e-12)
    assert layer.num_batches_tracked == 5


def test_comoments_merge_to_those_of_the_whole():
    x = mixed(30, 6) + 1e4
    whole = Comoments.of(x, groups=2)
    parts = [Comoments.of(part, groups=2) for part in (x[:1], x[1:20], x[20:20], x[20:])]
    found = parts[0].merge(*parts[1:])
    for mine, other in zip(found, whole, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(found.moments().variance(1), x.var(0), rtol=1e-11, atol=1e-11)


def test_untracked_it_always_takes_the_batch():
    layer = DecorrelatedBatchNorm1d(3, track_running_stats=False, dtype=torch.float64)
    x = mixed(20, 3)
    assert torch.equal(layer(x), layer.eval()(x))
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_frozen_after_16_bits_were_forced_on_its_buffers():
    layer = DecorrelatedBatchNorm1d(3)
    layer(mixed(20, 3).float())
    layer.running_cov = layer.running_cov.bfloat16()
    layer.freeze().train()(mixed(20, 3).float())
    assert layer.running_cov.dtype == torch.float32
    assert "frozen=True" in repr(layer)


# -------------------------------------------------------------------------------- derivatives


def white(n, c):
    """Return an input that is white already: all eigenvalues of its covariance are equal."""
    x = torch.randn(n, c, dtype=torch.float64)
    u, _, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return u * n**0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [mixed, white])
@pytest.mark.parametrize("options", [{}, {"shrinkage": 0.3}, {"eps": 0.5}], ids=str)
def test_derivatives_are_exact_at_equal_eigenvalues_too(method, make, options):
    x = make(8, 3).requires_grad_()
    layer = layer_for(x, method=method, track_running_stats=False, **options)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


@pytest.mark.parametrize("method", METHODS)
def test_third_derivatives(method):
    x = mixed(5, 2).requires_grad_()
    layer = layer_for(x, method=method, track_running_stats=False)

    def gradient(x):
        return torch.autograd.grad(layer(x).sin().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(gradient, (x,))


def test_torchs_own_eigendecomposition_fails_there():
    """Why the derivative is not left to it."""
    matrix = torch.eye(3, dtype=torch.float64, requires_grad=True)
    values, vectors = torch.linalg.eigh(matrix)
    (vectors / values.sqrt() @ vectors.mT).square().sum().backward()
    assert not matrix.grad.isfinite().all()
    matrix.grad = None
    whitening_matrix(matrix).square().sum().backward()
    torch.testing.assert_close(matrix.grad, -torch.eye(3).double())


@pytest.mark.parametrize("method", METHODS)
def test_transforms_see_through_it(method):
    x = mixed(3, 8, 2)
    matrices = torch.stack([covariance(each) for each in x])

    def loss(matrix):
        return whitening_matrix(matrix, method).sin().sum()

    each = torch.func.vmap(torch.func.grad(loss))(matrices)
    for found, matrix in zip(each, matrices, strict=True):
        torch.testing.assert_close(found, torch.func.grad(loss)(matrix))


# ------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("shape", "options", "text"),
    [
        ((3, 3), {}, r"decorrelating 3 channels .* \(3, 3\) with 3: use .* shrinkage above 0"),
        ((2, 6), {"groups": 3}, "decorrelating 2 channels needs more than 2 values"),
        ((1, 3), {"shrinkage": 0.5}, "more than 1 value per channel"),
        ((1, 3), {"groups": 3}, "more than 1 value per channel"),
    ],
)
def test_too_few_values_are_refused(shape, options, text):
    layer = DecorrelatedBatchNorm1d(shape[1], **options)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(CountError, match=text):
        layer(torch.randn(shape))
    assert all(torch.equal(layer.state_dict()[name], value) for name, value in before.items())
    assert layer.eval()(torch.randn(shape)).isfinite().all()


@pytest.mark.parametrize(
    ("shape", "options"), [((4, 3), {}), ((3, 3), {"shrinkage": 0.1}), ((2, 3), {"groups": 3})]
)
def test_enough_values_are_taken(shape, options):
    assert DecorrelatedBatchNorm1d(3, **options)(torch.randn(shape)).isfinite().all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_batch_that_is_not_finite_is_refused(method, bad):
    layer = DecorrelatedBatchNorm1d(3, method=method)
    x = torch.randn(8, 3)
    x[2, 1] = bad
    with pytest.raises(NonFiniteError, match="needs to be finite, got one with a NaN or an Inf"):
        layer(x)
    assert layer.num_batches_tracked == 0
    assert layer.running_cov.isfinite().all()


def test_zca_takes_eigenvalues_that_rounding_left_below_zero():
    v = torch.randn(50, 4, 1, dtype=torch.float64)
    singular = v @ v.mT
    assert torch.linalg.eigvalsh(singular).min() < -1e-20
    assert whitening_matrix(singular, eps=1e-20).isfinite().all()


def test_a_covariance_that_is_not_positive_is_refused():
    with pytest.raises(OptionError, match=r"positive for method='cholesky', .* larger eps"):
        whitening_matrix(torch.ones(2, 2).double(), "cholesky")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "pca"}, "one of zca, cholesky, got 'pca'"),
        ({"groups": 2}, "divide the number of channels, 3, got 2"),
        ({"groups": 0}, "got 0: groups=1 decorrelates all"),
        ({"shrinkage": 1.5}, r"from 0 to 1, got 1\.5: 0 decorrelates fully"),
    ],
)
def test_options_out_of_range_are_refused(options, text):
    with pytest.raises(OptionError, match=text):
        DecorrelatedBatchNorm1d(3, **options)


def test_functional_wants_the_covariance_of_the_groups():
    mean, cov = torch.zeros(4), torch.eye(4).reshape(1, 4, 4)
    x = torch.randn(5, 4)
    y, batch = functional.decorrelate(x, mean, cov, eps=0.0)
    assert torch.equal(y, x)
    assert batch is None
    with pytest.raises(ShapeError, match=r"\(2, 2, 2\) for 2 groups .* got \(1, 4, 4\)"):
        functional.decorrelate(x, mean, cov, groups=2)
