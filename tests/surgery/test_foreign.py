"""Layers of other packages are known by name, state and numbers."""

import copy

import pytest
import torch
from torch import nn

import batchnorm.nn as ours
from batchnorm.errors import SurgeryError
from batchnorm.surgery import convert, unfreeze
from support.models.foreign import (
    BatchNormAct2d,
    DetrFrozenBatchNorm2d,
    FrozenBatchNormAct2d,
    OldFrozenBatchNorm2d,
)
from support.models.surgery import FrozenBatchNorm2d, settle, snapshot

ACTIVATIONS = [
    (None, None),
    (nn.ReLU(inplace=True), "relu"),
    (nn.SiLU(), "silu"),
    (nn.LeakyReLU(0.2), "leaky_relu"),
]


def batch(step=0):
    g = torch.Generator().manual_seed(step)
    return torch.randn(4, 3, 5, 4, dtype=torch.float64, generator=g)


@pytest.mark.parametrize(("act", "word"), ACTIVATIONS)
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}, {"eps": 1e-2}])
def test_an_activated_layer_becomes_one_of_ours(act, word, options):
    layer = settle(BatchNormAct2d(3, act, dtype=torch.float64, **options))
    twin = copy.deepcopy(layer)
    [change] = convert(layer).changes
    assert change.detail == "from support.models.foreign.BatchNormAct2d"
    assert type(layer) is ours.BatchNorm2d
    assert layer.activation == word
    assert list(layer.children()) == []
    for step, training in enumerate((True, False, True)):
        expected = twin.train(training)(batch(step))
        torch.testing.assert_close(layer.train(training)(batch(step)), expected)
    assert layer.state_dict().keys() == twin.state_dict().keys()
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], value)


@pytest.mark.parametrize(
    "build",
    [
        FrozenBatchNorm2d,
        lambda c: FrozenBatchNorm2d(c, eps=1e-3),
        DetrFrozenBatchNorm2d,
        FrozenBatchNormAct2d,
        lambda c: FrozenBatchNormAct2d(c, nn.ReLU()),
    ],
)
def test_a_frozen_layer_becomes_a_frozen_one_of_ours(build):
    layer = settle(build(3).double())
    twin, state = copy.deepcopy(layer), dict(layer.state_dict(keep_vars=True))
    convert(layer)
    assert type(layer) is ours.BatchNorm2d
    assert layer.frozen
    for training in (True, False):
        torch.testing.assert_close(layer.train(training)(batch()), twin(batch()))
    assert layer.num_batches_tracked == 0
    assert not any(parameter.requires_grad for parameter in layer.parameters())
    for name, tensor in state.items():
        assert getattr(layer, name).data_ptr() == tensor.data_ptr()  # no memory of its own
    unfreeze(layer)
    layer.train()(batch()).sum().backward()
    assert layer.weight.grad is not None


def dropping():
    return BatchNormAct2d(3, nn.ReLU(), nn.Dropout())


def hooked():
    layer = BatchNormAct2d(3, nn.ReLU())
    layer.act.register_forward_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (dropping, "it drops values (Dropout) between normalization and activation"),
        (hooked, "one of its parts has hooks"),
        (lambda: BatchNormAct2d(3, nn.Mish()), "its activation Mish is none that our layers have"),
        (lambda: OldFrozenBatchNorm2d(3), "it computes something else than its name says"),
    ],
)
def test_what_ours_cannot_do_is_left_alone(build, words):
    model = nn.Sequential(build())
    before = snapshot(model)
    [change] = convert(model).left
    assert change.detail == words
    assert snapshot(model) == before


def test_a_look_alike_with_other_state_is_unknown():
    layer = FrozenBatchNorm2d(3)
    layer.register_buffer("more", torch.zeros(3))
    with pytest.raises(SurgeryError, match="FrozenBatchNorm2d may have a forward of its own"):
        convert(nn.Sequential(layer))


def test_a_clash_of_attributes_is_refused():
    layer = FrozenBatchNorm2d(3)
    layer.frozen = True
    with pytest.raises(SurgeryError, match="attributes of its own that our layer uses: frozen"):
        convert(nn.Sequential(layer))


def test_looking_at_a_layer_leaves_no_trace():
    """The proof runs the layer's own forward, on a twin."""
    layer, calls = BatchNormAct2d(3, nn.ReLU()), []
    layer.register_forward_hook(lambda *_: calls.append("called"))
    before = snapshot(layer)
    layer.act.eval()
    with pytest.raises(SurgeryError):
        convert(nn.Sequential(layer, nn.BatchNorm2d(3).train(), Other(3)))
    assert calls == []
    assert not layer.act.training
    layer.act.train()
    assert snapshot(layer) == before


class Other(nn.BatchNorm2d):
    pass
