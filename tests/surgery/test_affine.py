"""A layer in evaluation as scale and shift, against the reference; measured where it is unknown."""

import numpy as np
import pytest
import torch
from torch import nn

import batchnorm.nn as ours
from batchnorm import reference
from batchnorm.surgery._affine import affine_of
from laws import array
from surgery_models import FrozenBatchNorm2d, settle

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


def test_a_layer_without_running_statistics_is_none():
    assert affine_of(nn.BatchNorm2d(5, track_running_stats=False).eval(), SHAPE) is None
