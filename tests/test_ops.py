import pytest
import torch

from batchnorm import ops
from batchnorm.kernels import Call
from support.covering import covering
from support.layers.cases import EXACT, NOT_EMPTY, Case


def arguments(case, *, population, requires_grad):
    x = case.x().requires_grad_(requires_grad)
    c, dtype = case.channels, case.parameter_dtype
    place = {"dtype": dtype, "device": case.device}
    weight = torch.randn(c, **place, requires_grad=requires_grad) if case.affine else None
    bias = torch.randn(c, **place, requires_grad=requires_grad) if case.affine else None
    mean = torch.randn(c, **place) if population else None
    var = torch.rand(c, **place) + 0.5 if population else None
    return x, weight, bias, mean, var, case.eps


@pytest.mark.parametrize("case", NOT_EMPTY[::8], ids=str)
@pytest.mark.parametrize("population", [False, True])
def test_opcheck(case, population):
    """Schema, fake kernel (shapes, dtypes, strides), autograd registration, AOT tracing."""
    requires_grad = case.dtype in (torch.float64, torch.float32)
    args = arguments(case, population=population, requires_grad=requires_grad)
    torch.library.opcheck(torch.ops.batchnorm.forward.default, args)


@pytest.mark.parametrize("case", EXACT[::8], ids=str)
@pytest.mark.parametrize("batch_statistics", [False, True])
def test_opcheck_backward(case, batch_statistics):
    x, weight, bias, *_ = arguments(case, population=False, requires_grad=False)
    _, statistics, _ = ops.forward(Call(x, weight, bias, eps=case.eps))
    args = (case.dy(), x, weight, bias, None, statistics, None, case.eps, batch_statistics)
    torch.library.opcheck(torch.ops.batchnorm.backward.default, args)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_opcheck_fused(activation, layout):
    case = Case((3, 4, 5, 6), layout=layout)
    args = arguments(case, population=False, requires_grad=True)
    residual = case.x(seed=3).requires_grad_()
    torch.library.opcheck(torch.ops.batchnorm.forward.default, (*args, residual, activation, 0.2))


def plain(x, weight, bias, mean, var, eps):
    """Batch normalization by torch's own differentiable operations."""
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *(1,) * (x.ndim - 2))
    mean = x.mean(axes) if mean is None else mean
    var = (x - mean.reshape(shape)).square().mean(axes) if var is None else var
    y = (x - mean.reshape(shape)) / torch.sqrt(var + eps).reshape(shape)
    return y if weight is None else y * weight.reshape(shape) + bias.reshape(shape)


# An operator knows nothing of what only a layer has.
SEEN_BY_OPERATORS = [
    case
    for case in EXACT
    if case.layout == "contiguous" and case.tracked and case.momentum == 0.1 and case.bias
]


@pytest.mark.parametrize(
    ("case", "population", "order", "dispatched"),
    covering(SEEN_BY_OPERATORS, [False, True], [1, 2, 3], [False, True], strength=2),
    ids=str,
)
def test_derivatives_of_any_order(case, population, order, dispatched):
    """Equal to those of the plain operations, up to the third (pytorch#186256 is 14 % off)."""
    args = arguments(case, population=population, requires_grad=True)
    x, weight, bias, *_ = args
    inputs = [t for t in (x, weight, bias) if t is not None]

    def derivative(function):
        g = torch.Generator().manual_seed(0)
        value = function(*args).cos().sum()
        for _ in range(order):
            grads = torch.autograd.grad(value, inputs, create_graph=True, materialize_grads=True)
            value = sum((g_ * torch.randn(g_.shape, generator=g)).sum() for g_ in grads)
        return grads

    if dispatched:
        found = derivative(lambda *a: torch.ops.batchnorm.forward(*a)[0])
    else:
        found = derivative(lambda *a: ops.forward(Call(*a)).y)
    for a, b in zip(found, derivative(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9 * max(1.0, b.abs().max().item()))


def test_statistics_carry_no_gradient():
    x = torch.randn(4, 3, requires_grad=True)
    out = ops.forward(Call(x))
    assert out.y.requires_grad
    assert not out.statistics.requires_grad


@pytest.mark.parametrize("wanted", ["x", "weight", "bias"])
def test_only_what_is_asked_for_gets_a_gradient(wanted):
    tensors = {"x": torch.randn(4, 3), "weight": torch.ones(3), "bias": torch.zeros(3)}
    tensors[wanted].requires_grad_()
    ops.forward(Call(*tensors.values())).y.square().sum().backward()
    assert [name for name, t in tensors.items() if t.grad is not None] == [wanted]


def test_in_place_change_of_the_input_is_noticed():
    x = torch.randn(4, 3, requires_grad=True)
    inner = x * 1.0
    y = ops.forward(Call(inner)).y
    inner.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
