import pytest
import torch

from batchnorm import ops
from batchnorm.errors import BatchNormError
from batchnorm.kernels import Call, GradientCall
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


def freed(*shape, **place):
    tensor = torch.ones(*shape, **place)
    tensor.untyped_storage().resize_(0)
    return tensor


def cut(*shape):
    """A tensor whose storage ends within its last row."""
    tensor = torch.ones(*shape)
    tensor.untyped_storage().resize_(tensor.nbytes - 4)
    return tensor


X = torch.randn(64, 8)
FORWARDS = {
    "weight of 1 for 8": ({"weight": torch.ones(1)}, r"weight needs shape \(8,\)"),
    "bias of two dimensions": ({"bias": torch.ones(8, 1)}, r"bias needs shape \(8,\)"),
    "weight of integers": ({"weight": torch.ones(8).long()}, "weight needs a floating dtype"),
    "mean of 2": ({"mean": torch.zeros(2), "var": torch.ones(2)}, r"mean needs shape \(8,\)"),
    "mean without var": ({"mean": torch.zeros(8)}, "mean and var are given together"),
    "residual of fewer rows": ({"residual": X[:3]}, "residual needs the shape and dtype of x"),
    "residual of another dtype": ({"residual": X.double()}, "residual needs the shape and dtype"),
    "sparse weight": ({"weight": torch.ones(8).to_sparse()}, "weight needs to be a dense tensor"),
    "freed weight": ({"weight": freed(8)}, "weight .* needs its memory, got a storage freed"),
    "freed x": ({"x": freed(64, 8)}, "x .* needs its memory"),
    "cut x": ({"x": cut(64, 8)}, "x .* needs its memory, .* cut to 2044 bytes"),
    "cut residual": ({"residual": cut(64, 8)}, "residual .* needs its memory"),
    "integers": ({"x": X.long()}, "x needs a floating dtype"),
    "one dimension": ({"x": X[0]}, "x needs at least 2 dimensions"),
    "activation": ({"activation": "mish"}, "activation must be one of identity, relu"),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_a_forward_is_checked_before_an_address_is_taken(name):
    changed, message = FORWARDS[name]
    call = Call(**{"x": X, **changed})
    with pytest.raises(BatchNormError, match=message):
        torch.ops.batchnorm.forward(*call)


STATISTICS = torch.ones(3, 8, dtype=torch.float64)
BACKWARDS = {
    "float32 statistics": ({"statistics": STATISTICS.float()}, "statistics need to be those of"),
    "short statistics": ({"statistics": STATISTICS[:, :2].contiguous()}, r"got .* \(3, 2\)"),
    "two statistics": ({"statistics": STATISTICS[:2]}, r"float64 of shape \(3, 8\)"),
    "statistics in another order": (
        {"statistics": torch.ones(8, 3, dtype=torch.float64).T},
        "need to be contiguous",
    ),
    "freed statistics": ({"statistics": freed(3, 8, dtype=torch.float64)}, "needs its memory"),
    "fewer rows": ({"dy": X[:3]}, "dy needs the shape and dtype of x"),
    "dy of another dtype": ({"dy": X.double()}, "dy needs the shape and dtype of x"),
    "freed dy": ({"dy": freed(64, 8)}, "dy .* needs its memory"),
    "short mask": (
        {"mask": torch.ones(3, dtype=torch.uint8), "has_residual": True, "activation": "relu"},
        "mask needs to be that of the forward",
    ),
    "no residual": ({"has_residual": True, "activation": "silu"}, "needs the residual of the"),
    "weight of 1": ({"weight": torch.ones(1)}, r"weight needs shape \(8,\)"),
}


@pytest.mark.parametrize("name", BACKWARDS)
def test_a_backward_is_checked_before_an_address_is_taken(name):
    changed, message = BACKWARDS[name]
    usual = {"dy": X, "x": X, "weight": None, "bias": None, "residual": None, "mask": None}
    usual |= {"statistics": STATISTICS, "eps": 1e-5, "batch_statistics": True}
    with pytest.raises(BatchNormError, match=message):
        torch.ops.batchnorm.backward(*GradientCall(**{**usual, **changed}))
