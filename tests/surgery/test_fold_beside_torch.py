"""What torch's own functions for folding do wrong in torch 2.13, beside ours on the same layers."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from batchnorm.surgery import fold
from support.models.surgery import settle


def difference(y, expected):
    return ((y - expected).abs().max() / expected.abs().max()).item()


def pair(linear, norm):
    return settle(nn.Sequential(linear, norm)).eval().double()


def assert_ours_is_right(model, x):
    y = model(x)
    assert len(fold(model, x).done) == 1
    assert difference(model(x), y) <= 1e-12


def test_grouped_transposed_convolution():
    model = pair(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6))
    with pytest.raises(RuntimeError, match="must match the size of tensor"):
        fuse_conv_bn_eval(*copy.deepcopy(model), transpose=True)
    assert_ours_is_right(model, torch.randn(2, 4, 5, 5).double())


def test_transposed_convolution_without_being_told():
    """Torch scales the inputs instead of the outputs unless `transpose=True` is remembered."""
    model, x = pair(nn.ConvTranspose2d(4, 4, 3), nn.BatchNorm2d(4)), torch.randn(2, 4, 5, 5)
    fused = fuse_conv_bn_eval(*copy.deepcopy(model))
    assert difference(fused(x.double()), model(x.double())) > 0.1
    assert_ours_is_right(model, x.double())


def test_without_weight_and_bias():
    linear = pair(nn.Linear(4, 5), nn.BatchNorm1d(5, affine=False))
    with pytest.raises(TypeError, match="NoneType"):
        fuse_linear_bn_eval(*copy.deepcopy(linear))
    assert_ours_is_right(linear, torch.randn(6, 4).double())


def test_linear_on_sequences():
    """Torch folds dimension 1, the length, into the features where both are equal."""
    model, x = pair(nn.Linear(4, 5), nn.BatchNorm1d(5)), torch.randn(2, 5, 4).double()
    fused = fuse_linear_bn_eval(*copy.deepcopy(model))
    assert difference(fused(x), model(x)) > 0.1
    y = model(x)
    assert len(fold(model, x).left) == 1
    assert torch.equal(model(x), y)


def test_a_new_bias_learns():
    model = pair(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    assert not fuse_conv_bn_eval(*copy.deepcopy(model)).bias.requires_grad
    fold(model, torch.randn(2, 3, 5, 5).double())
    assert model[0].bias.requires_grad
