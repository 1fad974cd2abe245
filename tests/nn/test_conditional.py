"""Scale and shift given with the input, or by the class of each sample."""

import copy

import pytest
import torch

from batchnorm.errors import ChannelError, DeviceError, DTypeError, OptionError, ShapeError
from batchnorm.functional import modulate
from batchnorm.nn import (
    BatchNorm1d,
    BatchNorm2d,
    ClassConditionalBatchNorm1d,
    ClassConditionalBatchNorm2d,
    ConditionalBatchNorm1d,
    ConditionalBatchNorm2d,
)


def saved(module):
    return copy.deepcopy(module.state_dict())


def same(module, before):
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_one_scale_for_all_samples_is_the_plain_layer(dtype, activation):
    """Bit for bit, in the same single pass."""
    plain = BatchNorm2d(3, activation=activation)
    with torch.no_grad():
        plain.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        plain.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    layer = ConditionalBatchNorm2d(3, activation=activation)
    weight, bias = (p.detach().clone().requires_grad_() for p in plain.parameters())
    x, residual = torch.randn(2, 4, 3, 5, 5).to(dtype)
    y, wanted = layer(x, weight, bias, residual), plain(x, residual)
    assert type(y.grad_fn) is type(wanted.grad_fn)
    for out in (y, wanted):
        out.float().square().sum().backward()
    assert torch.equal(y, wanted)
    assert torch.equal(weight.grad, plain.weight.grad)
    assert torch.equal(bias.grad, plain.bias.grad)
    assert torch.equal(layer.running_var, plain.running_var)


@pytest.mark.parametrize("weight", [None, (3,), (4, 3)])
@pytest.mark.parametrize("bias", [None, (3,), (4, 3)])
def test_every_combination_of_scales_and_shifts(weight, bias):
    layer = ConditionalBatchNorm2d(3, dtype=torch.float64)
    x = torch.randn(4, 3, 5, 2, dtype=torch.float64)
    w, b = (None if s is None else torch.randn(s, dtype=torch.float64) for s in (weight, bias))
    xhat = torch.nn.functional.batch_norm(x, None, None, training=True)
    wanted = xhat if w is None else xhat * w.expand(4, 3)[..., None, None]
    wanted = wanted if b is None else wanted + b.expand(4, 3)[..., None, None]
    torch.testing.assert_close(layer(x, w, b), wanted)


def test_the_state_is_that_of_a_plain_layer_without_scale_and_shift():
    theirs, layer = torch.nn.BatchNorm1d(3, affine=False), ConditionalBatchNorm1d(3)
    layer(torch.randn(8, 3), torch.randn(8, 3), None)
    theirs.load_state_dict(layer.state_dict(), strict=True)
    assert isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)
    assert list(layer.parameters()) == []


@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("each", [True, False])
def test_under_autocast_a_network_may_give_16_bits(x_dtype, each):
    layer, net = ConditionalBatchNorm1d(3), torch.nn.Linear(5, 3)
    x = torch.randn(8, 3).to(x_dtype)
    with torch.autocast("cpu", torch.bfloat16):
        weight = net(torch.randn(8, 5))
        assert weight.dtype == torch.bfloat16
        weight = weight if each else weight[0]
        y = layer(x, weight, weight)
    assert y.dtype == x_dtype
    wide = layer(x.float(), weight.float(), weight.float())
    torch.testing.assert_close(y.float(), wide, rtol=2**-8, atol=1e-6)
    y.float().sum().backward()
    assert net.weight.grad.isfinite().all()


def test_padding_does_not_reach_any_gradient():
    layer = ConditionalBatchNorm1d(3, activation="silu")
    x, residual = torch.randn(2, 4, 3, 6)
    mask = torch.ones(4, 6).bool()
    mask[1, 3:] = False
    x[1, :, 3:], residual[1, :, 3:] = torch.nan, torch.inf
    given = [t.requires_grad_() for t in (x, torch.randn(4, 3), torch.randn(4, 3), residual)]
    y = layer(*given, mask=mask)
    y.sum().backward()
    assert y[1, :, 3:].count_nonzero() == 0
    assert all(t.grad.isfinite().all() for t in given)
    assert layer.running_var.isfinite().all()


@pytest.mark.parametrize(
    ("x", "weight", "error", "text"),
    [
        (torch.randn(4, 3), torch.ones(5, 3), ChannelError, r"\(4, 3\) for .* got \(5, 3\)"),
        (torch.randn(4, 3), torch.ones(2), ChannelError, r"or \(3,\) for all samples, got \(2,\)"),
        (torch.randn(4, 3), torch.ones(4, 3, 1), ChannelError, "each channel, not for each pos"),
        (torch.randn(4, 3), torch.ones(4, 3).double(), DTypeError, "float64 beside torch.float32"),
        (torch.randn(4, 3), torch.ones(4, 3).bfloat16(), DTypeError, "got torch.bfloat16 beside"),
        (torch.randn(4, 3), torch.ones(4, 3).int(), DTypeError, "got torch.int32 beside"),
        (torch.randn(4, 3), torch.ones(4, 3, device="meta"), DeviceError, "got meta: move them"),
        (torch.ones(4, 3).int(), torch.ones(4, 3), DTypeError, "floating dtype"),
        (torch.randn(4, 3, 1, 1), torch.ones(4, 3), ShapeError, "expected 2D or 3D input"),
        (torch.randn(4, 2), torch.ones(4, 2), ChannelError, r"got \(3,\)"),
    ],
)
def test_wrong_scales_change_nothing(x, weight, error, text):
    layer = ConditionalBatchNorm1d(3)
    before = saved(layer)
    for given in ((weight, None), (None, weight)):
        with pytest.raises(error, match=text):
            layer(x, *given)
    assert same(layer, before)


@pytest.mark.parametrize("companions", [{"residual": torch.ones(3, 3)}, {"mask": torch.ones(4, 1)}])
def test_wrong_companions_change_nothing(companions):
    layer = ConditionalBatchNorm1d(3)
    before = saved(layer)
    with pytest.raises(ShapeError):
        layer(torch.randn(4, 3), torch.ones(4, 3), None, **companions)
    assert same(layer, before)


def test_modulate_checks_its_companions():
    with pytest.raises(ShapeError, match="residual needs the shape"):
        modulate(torch.ones(4, 3), None, None, residual=torch.ones(4, 1))


# -------------------------------------------------------------------------------- by classes


def test_at_first_all_classes_are_the_plain_layer():
    layer, plain = ClassConditionalBatchNorm1d(3, 4), BatchNorm1d(3)
    x = torch.randn(8, 3)
    torch.testing.assert_close(layer(x, torch.arange(8) % 4), plain(x))
    assert list(layer.state_dict()) == list(plain.state_dict())
    assert layer.weight.shape == layer.bias.shape == (4, 3)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_only_the_classes_that_are_there_learn(dtype):
    layer = ClassConditionalBatchNorm2d(3, 4)
    labels = torch.tensor([0, 2, 2, 0, 2], dtype=dtype)
    layer(torch.randn(5, 3, 2, 2), labels).square().sum().backward()
    assert layer.weight.grad.any(1).tolist() == [True, False, True, False]
    assert layer.bias.grad.shape == (4, 3)


def test_all_classes_share_the_statistics():
    layer, plain = ClassConditionalBatchNorm1d(3, 4), BatchNorm1d(3)
    x = torch.randn(8, 3) + 3
    layer(x, torch.arange(8) % 4)
    plain(x)
    assert torch.equal(layer.running_mean, plain.running_mean)


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        (torch.tensor([0, 1, 4, 0]), IndexError, "out of range"),
        (torch.tensor([0, 1, -1, 0]), IndexError, "out of range"),
        (torch.tensor([0, 1, 1]), ShapeError, r"\(4,\), one class .* got \(3,\)"),
        (torch.eye(4), ShapeError, r"got \(4, 4\): flatten them, or take the argmax"),
        (torch.zeros(4), DTypeError, r"int64, got torch.float32: .* labels.long\(\)"),
    ],
)
def test_wrong_labels_change_nothing(labels, error, text):
    layer = ClassConditionalBatchNorm1d(3, 4)
    before = saved(layer)
    with pytest.raises(error, match=text):
        layer(torch.randn(4, 3), labels)
    assert same(layer, before)


def test_parameters_can_be_set_to_their_start():
    layer = ClassConditionalBatchNorm1d(3, 4)
    torch.nn.init.normal_(layer.weight)
    layer.reset_parameters()
    assert torch.equal(layer.weight, torch.ones(4, 3))


def test_no_classes_are_refused():
    with pytest.raises(OptionError, match="num_classes must be positive, got 0"):
        ClassConditionalBatchNorm1d(3, 0)


def test_repr():
    assert "num_classes=4" in repr(ClassConditionalBatchNorm1d(3, 4))
    assert "affine=False" in repr(ConditionalBatchNorm1d(3))
