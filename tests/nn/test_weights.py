"""Masks and sample weights: padding is as if left out, a weight as if repeated."""

import copy

import pytest
import torch

import batchnorm
from batchnorm import functional
from batchnorm.errors import DeviceError, DTypeError, ShapeError
from batchnorm.nn import BatchNorm1d, BatchNorm2d, BatchNorm3d
from support.covering import covering

LAYERS = {1: BatchNorm1d, 2: BatchNorm2d, 3: BatchNorm3d}
SHAPES = [(12, 3), (4, 3, 7), (3, 4, 5, 6), (2, 3, 2, 3, 4)]
EPILOGUES = [
    {},
    {"activation": "relu"},
    {"activation": "leaky_relu", "negative_slope": 0.2},
    {"activation": "silu"},
]
DTYPES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2**-7}


def build(shape, **options):
    layer = LAYERS[max(len(shape) - 2, 1)](shape[1], **options)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 2, shape[1]))
        layer.bias.copy_(torch.linspace(0.5, -0.5, shape[1]))
    return layer


def rows(x, mask):
    """Return the values that are there as a dense (M, C): the unpadded computation."""
    return x.movedim(1, -1)[mask]


@pytest.mark.parametrize(
    ("shape", "options", "residual", "hostile", "training", "backend", "gathered"),
    covering(
        SHAPES, EPILOGUES, [False, True], [torch.inf, torch.nan], [True, False], ["eager", "cpu"],
        [True, False], strength=3,
    ),
    ids=lambda value: value.get("activation", "plain") if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_padding_does_not_matter(shape, options, residual, hostile, training, backend, gathered):
    """Output, all gradients and statistics are those of the values that are there.

    By gathering them, and by weights, as where nothing may wait for a device.
    """
    mask = torch.rand(shape[0], *shape[2:]) < 0.7
    mask.view(-1)[:3] = torch.tensor([True, True, False])
    padded = torch.randn(shape, dtype=torch.float64)
    padded.movedim(1, -1)[~mask] = hostile
    z = torch.full(shape, hostile, dtype=torch.float64)
    z.movedim(1, -1)[mask] = torch.randn(int(mask.sum()), shape[1], dtype=torch.float64)
    dy = torch.randn(shape, dtype=torch.float64)
    layer = build(shape, dtype=torch.float64, **options).train(training)
    dense = build((4, shape[1]), dtype=torch.float64, **options).train(training)
    found, wanted = [], []
    for out, one, x, added, g in (
        (found, layer, padded, z, dy),
        (wanted, dense, rows(padded, mask), rows(z, mask), rows(dy, mask)),
    ):
        inputs = [x.clone().requires_grad_(), added.clone().requires_grad_()]
        with batchnorm.backend(backend):
            kept = {"mask": mask} if one is layer else {}
            if one is layer and not gathered:
                kept["sample_weight"] = torch.ones(shape[0])
            y = one(inputs[0], inputs[1] if residual else None, **kept)
            y.backward(g)
        out += [y, inputs[0].grad, *([inputs[1].grad] if residual else [])]
        out += [one.weight.grad, one.bias.grad, one.running_mean, one.running_var]
        out += [one.num_batches_tracked]
    for full, part in zip(found, wanted, strict=True):
        if full.shape == shape:
            assert (full.movedim(1, -1)[~mask] == 0).all()
            full = rows(full, mask)  # noqa: PLW2901
        torch.testing.assert_close(full, part, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sequences_of_different_length(dtype):
    """The case people ask for: a padded batch of sequences."""
    lengths = torch.tensor([9, 3, 1, 6])
    mask = torch.arange(9) < lengths[:, None]
    x = (100 + torch.randn(4, 5, 9, dtype=torch.float64)).to(dtype).requires_grad_()
    y = BatchNorm1d(5, dtype=torch.float64 if dtype == torch.float64 else None)(x, mask=mask)
    assert y.dtype == dtype
    parts = rows(x.detach().double(), mask)
    wanted = (parts - parts.mean(0)) / (parts.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(
        rows(y.detach().double(), mask), wanted, rtol=DTYPES[dtype], atol=DTYPES[dtype] * 4
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_a_weight_is_a_number_of_copies(shape, masked):
    repeats = torch.arange(shape[0]) % 3
    repeats[0] = 2
    mask = torch.rand(shape[0], *shape[2:]) < 0.8 if masked else None
    layer = build(shape, dtype=torch.float64)
    other = copy.deepcopy(layer)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    dy = torch.randn(shape, dtype=torch.float64)
    copies = x.detach().repeat_interleave(repeats, 0).requires_grad_()
    repeated_mask = mask.repeat_interleave(repeats, 0) if masked else None
    y = layer(x, mask=mask, sample_weight=repeats)
    wanted = other(copies, mask=repeated_mask)
    torch.testing.assert_close(y.repeat_interleave(repeats, 0), wanted)
    torch.testing.assert_close(layer.running_mean, other.running_mean)
    torch.testing.assert_close(layer.running_var, other.running_var)
    # A loss that counts each sample as often.
    scale = repeats.double().reshape(-1, *(1,) * (x.ndim - 1))
    (y * dy * scale).sum().backward()
    (wanted * dy.repeat_interleave(repeats, 0)).sum().backward()
    owner = torch.arange(shape[0]).repeat_interleave(repeats)
    summed = torch.zeros_like(x).index_add(0, owner, copies.grad)
    torch.testing.assert_close(x.grad, summed, atol=1e-10, rtol=1e-7)
    torch.testing.assert_close(layer.weight.grad, other.weight.grad)


def test_real_weights_by_the_formula():
    x, w = torch.randn(8, 3, dtype=torch.float64), torch.rand(8, dtype=torch.float64) * 3
    y, moments = functional.normalize(x, sample_weight=w)
    mean = (w[:, None] * x).sum(0) / w.sum()
    var = (w[:, None] * (x - mean) ** 2).sum(0) / w.sum()
    torch.testing.assert_close(y, (x - mean) / (var + 1e-5).sqrt())
    torch.testing.assert_close(moments.count, w.sum())
    torch.testing.assert_close(moments.variance(1), var * w.sum() / (w.sum() - 1))


@pytest.mark.parametrize("left", [0, 1])
def test_too_few_values_move_nothing(left):
    layer, mask = BatchNorm1d(3), torch.zeros(8, dtype=torch.bool)
    mask[:left] = True
    x = torch.randn(8, 3, requires_grad=True)
    layer(x, mask=mask).sum().backward()
    assert layer.running_mean.tolist() == [0, 0, 0]
    assert layer.running_var.tolist() == [1, 1, 1]
    assert (layer.num_batches_tracked, layer.batches_skipped) == (0, 0)
    assert x.grad.isfinite().all()


def test_what_is_there_may_still_be_infinite():
    layer, x = BatchNorm1d(3), torch.randn(8, 3)
    x[0, 0] = torch.inf
    layer(x, mask=torch.ones(8, dtype=torch.bool))
    assert (layer.num_batches_tracked, layer.batches_skipped) == (0, 1)


def test_derivatives_by_differences():
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    w = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)

    def f(x, weight, bias):
        return functional.normalize(x, weight, bias, mask=mask, sample_weight=w, activation="silu")[
            0
        ]

    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((3, 2, 3), 2, 2)]
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (ShapeError, {"mask": torch.ones(4, 3, dtype=torch.bool)}, r"mask needs shape \(4, 5\)"),
        (ShapeError, {"mask": torch.ones(4, 1, 5, dtype=torch.bool)}, "leave out its channel"),
        (DTypeError, {"mask": torch.ones(4, 5)}, "mask needs to be bool"),
        (DeviceError, {"mask": torch.ones(4, 5, dtype=torch.bool, device="meta")}, "on the device"),
        (ShapeError, {"sample_weight": torch.ones(5)}, r"sample_weight needs shape \(4,\)"),
        (DTypeError, {"sample_weight": torch.ones(4, dtype=torch.bool)}, "needs a real dtype"),
        (DeviceError, {"sample_weight": torch.ones(4, device="meta")}, "on the device"),
    ],
)
def test_what_does_not_fit_is_refused(kind, options, words):
    layer = BatchNorm1d(3)
    with pytest.raises(kind, match=words):
        layer(torch.randn(4, 3, 5), **options)
    assert layer.num_batches_tracked == 0
