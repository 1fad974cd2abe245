"""Mixed precision: 16-bit activations, float32 parameters and statistics."""

import copy

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from batchnorm import reference
from batchnorm.errors import DTypeError
from batchnorm.nn import BatchNorm1d, BatchNorm2d
from support.layers.cases import TOLERANCE
from support.layers.laws import array, assert_close
from support.models.networks import Block, images, layers, resnet

every_dtype = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


def step(model, call, x, dtype):
    model.zero_grad()
    leaf = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        y = call(leaf)
        loss = y.float().square().mean()
    loss.backward()
    return [y.detach(), leaf.grad, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)], ids=str
)
def test_a_network_under_autocast(dtype):
    """Convolutions hand on 16 bits, the layers keep them, and what is kept is float32."""
    model = Block(3, 4)
    seen = []
    for layer in layers(model):
        layer.register_forward_hook(lambda _, x, y: seen.append((x[0].dtype, y.dtype)))
    x = images(6)
    found = step(model, model, x, dtype)
    assert seen == [(dtype, dtype)] * 3
    assert {g.dtype for g in found[1:]} == {torch.float32}
    held = [b.dtype for b in model.buffers() if b.is_floating_point()]
    assert set(held) == {torch.float32}
    torch.testing.assert_close(found[0].float(), model(x), rtol=0.1, atol=0.1)


@every_dtype
@pytest.mark.parametrize("training", [True, False])
def test_one_rounding(dtype, training):
    """The layer itself is as exact as its output can hold, at an offset too."""
    layer = BatchNorm2d(3, momentum=1.0)
    x = (images(8) + 30).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        y = layer.train(training)(x)
    statistics = array(layer.running_mean), array(layer.running_var)
    expected = (
        reference.forward(array(x)).y if training else reference.inference(array(x), *statistics)
    )
    assert_close(array(y), expected, dtype)
    if training:
        batch = reference.statistics(array(x))
        assert_close(statistics[0], batch.mean, torch.float32)
    assert TOLERANCE[dtype] > 1e-4


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@pytest.mark.parametrize(
    ("x_dtype", "residual_dtype"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)],
    ids=str,
)
def test_a_residual_of_another_dtype(x_dtype, residual_dtype, activation, training):
    """Under autocast it is added in the dtype of the input, and gets its gradient in its own."""
    layer = BatchNorm2d(3, activation=activation).train(training)
    x = images(6).to(x_dtype).requires_grad_()
    residual = images(6, seed=1).to(residual_dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = copy.deepcopy(layer)(x, residual)
    y.float().square().sum().backward()
    assert y.dtype == x_dtype
    assert (x.grad.dtype, residual.grad.dtype) == (x_dtype, residual_dtype)
    with torch.no_grad():
        wanted = layer(x.float(), residual.to(x_dtype).float())
    torch.testing.assert_close(y.float(), wanted, rtol=0.02, atol=0.02)


def test_outside_of_autocast_a_residual_of_another_dtype_is_refused():
    layer, x = BatchNorm1d(3), torch.randn(8, 3)
    with pytest.raises(DTypeError, match=r"residual needs the dtype of x, torch\.float32"):
        layer(x, x.bfloat16())
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        torch.autocast("cpu", enabled=False),
        pytest.raises(DTypeError, match=r"residual needs the dtype of x, torch\.float32"),
    ):
        layer(x, x.bfloat16())


@pytest.mark.parametrize("reentrant", [True, False])
def test_autocast_and_checkpoint(reentrant):
    """The recomputation runs under the autocast of its forward, and moves nothing."""
    model, twin, x = resnet(), resnet(), images(6)
    found = step(model, lambda x: checkpoint(model, x, use_reentrant=reentrant), x, torch.bfloat16)
    torch.testing.assert_close(found, step(twin, twin, x, torch.bfloat16))
    torch.testing.assert_close(dict(model.named_buffers()), dict(twin.named_buffers()))


def test_autocast_and_compile():
    torch.compiler.reset()
    model, twin, x = Block(3, 4), Block(3, 4), images(6)
    twin.load_state_dict(model.state_dict())
    call = torch.compile(model, fullgraph=True, backend="aot_eager")
    found = step(model, call, x, torch.bfloat16)
    wanted = step(twin, twin, x, torch.bfloat16)
    torch.testing.assert_close(found, wanted, rtol=2e-2, atol=1e-4)
    torch.testing.assert_close(dict(model.named_buffers()), dict(twin.named_buffers()))
    torch.compiler.reset()
