"""A layer in evaluation as scale and shift, against the reference; measured where it is unknown."""

import numpy as np
import pytest
import torch
from torch import nn

import batchnorm.nn as ours
from batchnorm import reference
from batchnorm._model._affine import affine_of
from support.layers.laws import array
from support.models.surgery import FrozenBatchNorm2d, settle

SHAPE = (2, 5, 3, 3)


class Unknown(nn.BatchNorm2d):
    """A forward that does the same, but under another name."""

    def forward(self, x):
        return super().forward(x)


class Hidden(FrozenBatchNorm2d):
    """The eps stands in the forward, as in the frozen layers of transformers."""

    def __init__(self, channels):
        super().__init__(channels, eps=1e-5)
        del self.eps

    def forward(self, x):
        column = (1, -1, 1, 1)
        scale = self.weight.reshape(column) * (self.running_var.reshape(column) + 1e-5).rsqrt()
        return x * scale + (self.bias.reshape(column) - self.running_mean.reshape(column) * scale)


LAYERS = {
    "torch": nn.BatchNorm2d(5),
    "eps": nn.BatchNorm2d(5, eps=0.1),
    "no affine": nn.BatchNorm2d(5, affine=False),
    "no bias": ours.BatchNorm2d(5, bias=False),
    "ours": ours.BatchNorm2d(5),
    "activation": ours.BatchNorm2d(5, activation="relu"),
    "sync": nn.SyncBatchNorm(5),
    "unknown class": Unknown(5),
    "frozen": FrozenBatchNorm2d(5),
    "eps hidden": Hidden(5),
    "bfloat16": nn.BatchNorm2d(5).bfloat16(),
}


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_what_the_reference_computes(name):
    layer = settle(LAYERS[name]).eval()
    scale, shift = affine_of(layer, SHAPE)
    x = np.random.default_rng(0).normal(size=SHAPE)
    statistics = array(layer.running_mean), array(layer.running_var)
    weight, bias = array(layer.weight), array(layer.bias)
    eps = getattr(layer, "eps", 1e-5)
    expected = reference.inference(x, *statistics, weight, bias, eps)
    found = x * array(scale).reshape(-1, 1, 1) + array(shift).reshape(-1, 1, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, ours.BatchNorm2d, nn.SyncBatchNorm, Unknown])
def test_in_training_it_is_none(kind):
    layer = settle(kind(5))
    assert affine_of(layer, (1, 5, 1, 1)) is None
    assert layer.num_batches_tracked == 0


def test_the_modes_of_our_layers_decide():
    layer = settle(ours.BatchNorm2d(5))
    expected = affine_of(layer.eval(), SHAPE)
    assert affine_of(layer.adapt(), SHAPE) is None
    found = affine_of(layer.adapt(False).freeze().train(), SHAPE)
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_debiased_statistics_are_those_in_use():
    layer = ours.BatchNorm2d(5, debias=True, dtype=torch.float64)
    x = torch.randn(8, 5, 3, 3, dtype=torch.float64) * 3 + 50
    layer(x)
    scale, shift = affine_of(layer.eval(), SHAPE)
    column = (-1, 1, 1)
    torch.testing.assert_close(x * scale.reshape(column) + shift.reshape(column), layer(x))


def test_what_is_measured_is_exact_far_from_zero():
    """At an offset of 1e6 standard deviations, a slope measured around 0 would be off by 1e-4."""
    layer = settle(FrozenBatchNorm2d(5).double()).eval()
    layer.running_mean.add_(1e6)
    scale, shift = affine_of(layer, SHAPE)
    x = layer.running_mean.reshape(-1, 1, 1) + torch.randn(SHAPE, dtype=torch.float64)
    found = x * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)
    torch.testing.assert_close(found, layer(x), rtol=1e-8, atol=1e-8)


def test_a_frozen_layer_is_one_in_training_too():
    layer = settle(FrozenBatchNorm2d(5)).train()
    assert affine_of(layer, SHAPE) is not None


class Squared(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).square()


class Mixing(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).flip(1)


class OfBothSamples(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) + 0.1 * x.mean(0)


@pytest.mark.parametrize("kind", [Squared, Mixing, OfBothSamples])
def test_what_does_more_is_none(kind):
    assert affine_of(settle(kind(5)).eval(), SHAPE) is None


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 4), (1, 5, 2, 2, 2)], ids=str)
def test_other_dimensions(shape):
    n = max(len(shape) - 2, 1)
    base = getattr(nn, f"BatchNorm{n}d")
    unknown = type("Unknown", (base,), {"forward": lambda self, x: base.forward(self, x) * 1})
    layer = settle(unknown(5)).eval()
    read = settle(base(5)).eval()
    for found, expected in zip(affine_of(layer, shape), affine_of(read, shape), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
