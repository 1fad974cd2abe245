"""The contract: what every batch normalization layer of this package must keep.

A law takes a layer's constructor and a case, and asserts. Each compares with the reference, which
knows nothing of PyTorch.
"""

import copy
import io

import numpy as np
import torch

from batchnorm import reference
from cases import TOLERANCE, Case


def build(layer_type, case: Case, seed: int = 2):
    """Return a layer with parameters that are not the identity."""
    layer = layer_type(case.channels, **case.options())
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64) + 0.5)
    return layer


def array(tensor):
    return None if tensor is None else tensor.detach().to(torch.float64).numpy()


def assert_close(found, expected, dtype, what="", looser=1.0):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}"
    error = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    worst = error.max(initial=0.0)
    assert worst <= looser * TOLERANCE[dtype], f"{what}: error {worst:.3g}"


def output(layer_type, case):
    layer, x = build(layer_type, case), case.x()
    expected = reference.forward(array(x), array(layer.weight), array(layer.bias), case.eps).y
    y = layer(x)
    assert y.dtype == x.dtype
    assert_close(array(y), expected, case.dtype, "output")


def gradients(layer_type, case):
    layer, x, dy = build(layer_type, case), case.x().requires_grad_(), case.dy()
    expected = reference.backward(array(dy), array(x), array(layer.weight), case.eps)
    layer(x).backward(dy)
    _check_gradients(layer, x, expected, case)


def evaluation(layer_type, case):
    """Output and gradients under population statistics."""
    layer, x, dy = build(layer_type, case), case.x().requires_grad_(), case.dy()
    layer.eval()
    if case.tracked:
        with torch.no_grad():
            layer.running_mean.add_(0.3)
            layer.running_var.mul_(1.7)
        statistics = (array(layer.running_mean), array(layer.running_var))
        weight, bias = array(layer.weight), array(layer.bias)
        y = reference.inference(array(x), *statistics, weight, bias, case.eps)
        expected = reference.inference_backward(array(dy), array(x), *statistics, weight, case.eps)
    else:
        y = reference.forward(array(x), array(layer.weight), array(layer.bias), case.eps).y
        expected = reference.backward(array(dy), array(x), array(layer.weight), case.eps)
    found = layer(x)
    assert_close(array(found), y, case.dtype, "output")
    found.backward(dy)
    _check_gradients(layer, x, expected, case)


def _check_gradients(layer, x, expected, case):
    assert x.grad.dtype == x.dtype
    assert_close(array(x.grad), expected.dx, case.dtype, "dx", looser=4)
    # The parameters are summed over all values, in their own precision.
    for name in ("weight", "bias"):
        parameter = getattr(layer, name)
        if parameter is not None:
            assert parameter.grad.dtype == parameter.dtype
            found, wanted = array(parameter.grad), getattr(expected, f"d{name}")
            assert_close(found, wanted, parameter.dtype, f"d{name}", looser=4)


def buffers(layer_type, case):
    """The running statistics after three batches."""
    layer = build(layer_type, case)
    mean, var = np.zeros(case.channels), np.ones(case.channels)
    for step in range(3):
        x = case.x(seed=step)
        layer(x)
        momentum = 1 / (step + 1) if case.momentum is None else case.momentum
        batch = reference.statistics(array(x))
        mean, var = reference.update_running((mean, var), batch, momentum)
    if not case.tracked:
        assert list(layer.buffers()) == []
        return
    dtype = layer.running_mean.dtype
    assert dtype == case.parameter_dtype
    assert_close(array(layer.running_mean), mean, dtype, "running_mean")
    assert_close(array(layer.running_var), var, dtype, "running_var")
    assert layer.num_batches_tracked.item() == (0 if case.empty else 3)


def layout(layer_type, case):
    """The output has the strides torch gives it, the gradient those of the input."""
    layer, x = build(layer_type, case), case.x()
    assert layer(x).stride() == torch.empty_like(x).stride()
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad.stride() == torch.empty_like(x).stride()


def input_untouched(layer_type, case):
    layer, x = build(layer_type, case), case.x()
    before = x.clone()
    for training in (True, False):
        layer.train(training)(x)
        assert torch.equal(x, before)


def second_derivative(layer_type, case):
    for training in (True, False):
        layer = build(layer_type, case).train(training)
        x = case.x().requires_grad_()
        inputs = (x, *layer.parameters())
        keys = [name for name, _ in layer.named_parameters()]

        def function(x, *parameters, layer=layer, keys=keys):
            values = dict(zip(keys, parameters, strict=True))
            return torch.func.functional_call(layer, values, (x,))

        if training:
            layer.track_running_stats = False  # gradcheck calls many times
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


def state_round_trip(layer_type, case, torch_type):
    """`state_dict` loads strictly, in both directions, and nothing is lost."""
    ours, theirs = build(layer_type, case), torch_type(case.channels, **case.options())
    ours(case.x())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    again = layer_type(case.channels, **case.options())
    again.load_state_dict(theirs.state_dict(), strict=True)
    for name, value in ours.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
        assert again.state_dict()[name].dtype == value.dtype


def copies(layer_type, case):
    """A deep copy and a saved and loaded layer do what the original does."""
    layer, x = build(layer_type, case), case.x()
    layer(x)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert torch.equal(other(x), copy.deepcopy(layer)(x))
        assert other.state_dict().keys() == layer.state_dict().keys()


LAWS = [output, gradients, evaluation, buffers, layout, input_untouched]
