"""Every backend against the eager one in float64, itself tested against the reference."""

import numpy as np
import pytest
import torch

from batchnorm import kernels, reference
from batchnorm.errors import BackendError
from batchnorm.kernels import (
    Call,
    GradientCall,
    RunningStats,
    _activations,
    _eager,
    _select,
)
from support.layers.cases import TOLERANCE, lay_out
from support.layers.expected import ACTIVATIONS as ACTIVATIONS_OF
from support.layers.expected import KINKS

BACKENDS = kernels.available()
ACTIVATIONS = ["identity", "relu", "leaky_relu", "silu"]

# Each picks another way through the compiled kernels.
SHAPES = [
    ((7, 3), "contiguous"),  # few channels: several positions side by side, and a tail
    ((501, 5), "contiguous"),
    ((301, 2, 10), "contiguous"),  # the same for short sequences of few channels
    ((60, 100), "contiguous"),
    ((3000, 40), "contiguous"),  # many rows: shared between threads
    ((33, 70, 7, 7), "contiguous"),  # short planes: blocks of columns
    ((4, 3, 31, 33), "contiguous"),  # long planes, fewer channels than threads need
    ((2, 40, 40, 40), "contiguous"),
    ((5, 20, 9, 11), "channels_last"),
    ((2, 5, 3, 7, 9), "channels_last"),
    ((5, 4, 6, 7), "transposed"),
    ((5, 4, 6, 7), "strided"),
]
TABLE = (
    [(torch.float32, a, r) for a in ACTIVATIONS for r in (False, True)]
    + [(torch.bfloat16, a, r) for a, r in (("identity", False), ("relu", True), ("silu", True))]
    + [(torch.float64, a, r) for a, r in (("identity", False), ("leaky_relu", True))]
    + [(torch.float16, "identity", False)]
    + [
        pytest.param(dtype, name, residual, marks=pytest.mark.slow)
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
        for name in _activations.NAMES
        if name not in ACTIVATIONS
        for residual in (False, True)
    ]
)


def wide(tensor):
    return None if tensor is None else tensor.double()


def compare(found, expected, dtype, *, looser=1.0, what=""):
    found, expected = found.double(), expected.double()
    scale = expected.abs().clamp(min=1.0)
    worst = ((found - expected).abs() / scale).max().item()
    assert worst <= looser * TOLERANCE[dtype], f"{what}: {worst:.3g}"


@pytest.mark.parametrize(("dtype", "activation", "has_residual"), TABLE, ids=str)
@pytest.mark.parametrize(("shape", "layout"), SHAPES, ids=str)
@pytest.mark.parametrize("population", [False, True])
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "eager"])
def test_agrees_with_eager_in_float64(
    backend, shape, layout, dtype, activation, has_residual, population
):
    module, channels = _select._load(backend), shape[1]
    x = lay_out(torch.randn(shape).to(dtype), layout)
    residual = lay_out(torch.randn(shape).to(dtype), layout) if has_residual else None
    parameters = torch.float64 if dtype == torch.float64 else torch.float32
    weight, bias = torch.randn(2, channels, dtype=parameters)
    mean = torch.randn(channels, dtype=parameters) if population else None
    var = torch.rand(channels, dtype=parameters) + 0.5 if population else None
    call = Call(x, weight, bias, mean, var, 1e-5, residual, activation, 0.2)
    found = module.forward(call)
    widened = call._replace(
        x=wide(x), weight=wide(weight), bias=wide(bias), residual=wide(residual)
    )
    wanted = _eager.forward(widened)
    assert found.y.stride() == torch.empty_like(x).stride()
    compare(found.y, wanted.y, dtype, looser=1.5, what="y")
    compare(found.statistics, wanted.statistics, torch.float32, what="statistics")

    dy = torch.randn(shape).to(dtype)
    # Where the derivative jumps, an input that rounds to the other side is no error of backward.
    ends = [
        float(ACTIVATIONS_OF[activation](np.array(float(kink))))
        for kink in KINKS.get(activation, ())
    ]
    near = sum(((wanted.y - end).abs() < 1e-2 for end in ends), wanted.y.isnan())
    dy = dy.masked_fill(near, 0.0)
    wants_residual = has_residual and activation != "identity"
    kept = residual if _activations.needs_residual(activation) else None
    options = 1e-5, not population, wants_residual, activation, 0.2
    got = module.backward(
        GradientCall(dy, x, weight, bias, kept, found.statistics, found.mask, *options)
    )
    inputs = (wide(tensor) for tensor in (dy, x, weight, bias, kept))
    due = _eager.backward(GradientCall(*inputs, wanted.statistics, wanted.mask, *options))
    compare(got.dx, due.dx, dtype, looser=6, what="dx")
    assert got.dx.stride() == torch.empty_like(x).stride()
    if wants_residual:
        compare(got.dresidual, due.dresidual, dtype, looser=2, what="dresidual")
    for name in ("dweight", "dbias"):
        # Sums of m terms, each rounded once in the type of the arithmetic.
        looser = 4 * (x.numel() / channels) ** 0.5
        parts = torch.float64 if dtype == torch.float64 else torch.float32
        compare(getattr(got, name), getattr(due, name), parts, looser=looser, what=name)


HOSTILE = {
    "constant": lambda x: torch.full_like(x, 3e4),
    "zeros": torch.zeros_like,
    "huge": lambda x: x * 1e30,
    "huge and offset": lambda x: x * 1e20 + 1e22,
    "tiny": lambda x: x * 1e-30,
    "first value far off": lambda x: x.clone().index_fill_(0, torch.tensor([0]), 1e3),
    "one outlier": lambda x: x.flatten().index_fill(0, torch.tensor([5]), 1e6).reshape(x.shape),
    "samples apart": lambda x: x + 100 * torch.arange(len(x)).reshape(-1, *(1,) * (x.ndim - 1)),
    "infinite": lambda x: x.flatten().index_fill(0, torch.tensor([5]), torch.inf).reshape(x.shape),
    "nan": lambda x: x.flatten().index_fill(0, torch.tensor([5]), torch.nan).reshape(x.shape),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize(("shape", "layout"), SHAPES[:10], ids=str)
def test_hostile_values(backend, hostile, shape, layout):
    x = lay_out(HOSTILE[hostile](torch.randn(shape)), layout)
    out = _select._load(backend).forward(Call(x))
    with np.errstate(invalid="ignore"):
        expected = reference.forward(x.numpy())
    y, due = out.y.double().numpy(), expected.y
    assert np.array_equal(np.isnan(y), np.isnan(due))
    fine = ~np.isnan(due)
    # In units of the largest value: one outlier among m values is sqrt(m) deviations away.
    assert np.abs(y - due)[fine].max(initial=0) <= 2e-6 * max(1, np.abs(due[fine]).max(initial=0))
    finite = np.isfinite(expected.statistics.var)
    ratio = out.statistics[1].numpy()[finite] / np.where(
        expected.statistics.var[finite] == 0, 1, expected.statistics.var[finite]
    )
    wanted = (expected.statistics.var[finite] != 0).astype(float)
    if hostile not in ("constant", "zeros"):
        np.testing.assert_allclose(ratio, wanted, atol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [1e25, torch.inf, torch.nan])
def test_hostile_gradients(backend, value):
    for shape in ((6, 4), (4, 3, 20, 20), (40, 20, 3, 3)):
        module, x = _select._load(backend), torch.randn(shape)
        out = module.forward(Call(x))
        dy = torch.randn(shape)
        dy.view(-1)[7] = value
        found = module.backward(
            GradientCall(dy, x, None, None, None, out.statistics, None, 1e-5, True)
        )
        with np.errstate(invalid="ignore"):
            expected = reference.backward(dy.numpy(), x.numpy())
        for name in ("dx", "dweight", "dbias"):
            a, b = getattr(found, name).double().numpy(), getattr(expected, name)
            assert np.array_equal(np.isnan(a), np.isnan(b)), name
            fine = np.isfinite(b)
            assert np.array_equal(np.isfinite(a), fine), name
            scale = max(1.0, np.abs(b[fine]).max(initial=0.0))
            assert np.abs(a[fine] - b[fine]).max(initial=0.0) <= 1e-5 * scale


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mask_of_another_backend_is_refused(backend):
    x = torch.randn(4, 3, 5, 5)
    module = _select._load(backend)
    out = module.forward(Call(x, residual=x, activation="relu"))
    other = out.mask.clone()
    other[-1] = 7
    for mask in (other, None):
        call = GradientCall(x, x, None, None, None, out.statistics, mask, 1e-5, True, True, "relu")
        with pytest.raises(BackendError, match="needs the backend of its forward"):
            module.backward(call)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("momentum", [0.1, 1.0, torch.tensor(0.3)])
@pytest.mark.parametrize("shape", [(9, 5), (9, 5, 3, 3), (3, 5, 40, 40), (40_000, 5)], ids=str)
def test_running_statistics(backend, dtype, momentum, shape):
    module = _select._load(backend)
    x = torch.randn(shape, dtype=torch.float64)
    batch = reference.forward(x.numpy()).statistics
    for step in (1, 2):  # dense, and with holes between the values
        mean = torch.randn(5 * step).to(dtype)[::step]
        var, counter = torch.rand(5 * step).to(dtype)[::step], torch.tensor(7)
        wanted = reference.update_running((mean.double(), var.double()), batch, float(momentum))
        versions = mean._version, var._version, counter._version
        running = RunningStats(mean, var, counter, momentum)
        module.forward(Call(x), running)
        assert counter == 8
        found = mean._version, var._version, counter._version
        assert all(a > b for a, b in zip(found, versions, strict=True)), "autograd has to see it"
        compare(mean, torch.from_numpy(wanted[0]), dtype, looser=2)
        compare(var, torch.from_numpy(wanted[1]), dtype, looser=2)
    alone = RunningStats(None, var.clone(), None, 1.0)
    module.forward(Call(x), alone)
    unbiased = torch.from_numpy(batch.var) * batch.count / (batch.count - 1)
    compare(alone.var, unbiased, dtype, looser=2)
