"""What torch's own conversion of batch normalization loses in silence, beside ours.

Reported in github.com/pytorch/pytorch/issues/187298 and
github.com/huggingface/pytorch-image-models/issues/1254.
"""

import pytest
import torch
from torch import nn

import batchnorm.nn as ours
from batchnorm.errors import SurgeryError
from batchnorm.surgery import convert
from support.models.foreign import BatchNormAct2d

torchs = nn.SyncBatchNorm.convert_sync_batchnorm


def image():
    return torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))


class Doubled(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_forward_of_its_own():
    model, x = nn.Sequential(Doubled(3)).eval(), image()
    expected = model(x)
    with pytest.raises(SurgeryError, match=r"0: .*\.Doubled may have a forward of its own"):
        convert(model)
    assert torch.equal(model(x), expected)
    torch.testing.assert_close(2 * torchs(model)(x), expected)  # torch forgets the factor


def test_an_activation_that_is_part_of_the_layer():
    model, x = nn.Sequential(BatchNormAct2d(3, nn.ReLU())).eval(), image()
    expected = model(x)
    convert(model)
    torch.testing.assert_close(model(x), expected)
    assert expected.min() == 0
    forgotten = torchs(nn.Sequential(BatchNormAct2d(3, nn.ReLU())).eval())
    assert forgotten(x).min() < 0


def test_hooks():
    calls = []

    def build():
        model = nn.Sequential(nn.BatchNorm2d(3)).eval()
        model[0].register_forward_hook(lambda *_: calls.append(1))
        return model

    torchs(build())(image())
    assert calls == []
    model = build()
    convert(model)
    model(image())
    assert calls == [1]


def test_lazy_layers():
    model = torchs(nn.Sequential(nn.LazyBatchNorm2d()))
    assert model[0].num_features == 0  # and stays so
    with pytest.raises(ValueError, match="use an uninitialized parameter"):
        model(image())
    model = nn.Sequential(nn.LazyBatchNorm2d())
    convert(model)
    model(image())
    assert model[0].num_features == 3


def test_a_layer_without_bias():
    assert torchs(nn.Sequential(nn.BatchNorm2d(3, bias=False)))[0].bias is None
    model = nn.Sequential(nn.BatchNorm2d(3, bias=False))
    convert(model)
    assert model[0].bias is None


def test_the_objects():
    layer = nn.BatchNorm2d(3)
    model = nn.Sequential(layer)
    model.watched = [layer]
    assert torchs(model)[0] is not layer  # the list, a hook, a second name hold the dead one
    model[0] = layer
    convert(model)
    assert model[0] is layer is model.watched[0]
    assert type(layer) is ours.BatchNorm2d
