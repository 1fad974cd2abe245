"""Activations: values and derivatives of each backend against NumPy, and their odd inputs."""

import numpy as np
import pytest
import torch
from numba import njit

from batchnorm import kernels
from batchnorm.kernels import _activations
from support.layers.expected import ACTIVATIONS, KINKS, SLOPES

NAMES = _activations.NAMES
TAILS = [-80.0, -30.0, -9.5, 30.0, 80.0, 1e-6, -1e-6, 3e-3, -1e-3]
GRID = np.concatenate([np.linspace(-9, 9, 4801), TAILS])
EPSILON = {torch.float64: 2.0**-52, torch.float32: 2.0**-23}
DTYPES = [torch.float64, torch.float32]


def grid(name, dtype):
    """Return points away from the kinks, in whole vectors."""
    away = np.all([abs(GRID - kink) > 1e-3 for kink in KINKS.get(name, (1e9,))], axis=0)
    found = np.resize(GRID[away], 32 * (away.sum() // 32 + 1))
    return torch.from_numpy(found).to(dtype)


def by_vectors(z, name):
    """Apply the compiled formulas, each to a vector at a time."""
    module = pytest.importorskip("batchnorm.kernels._cpu._activations")
    from batchnorm.kernels._cpu._memory import FLOAT32, FLOAT64, pointer
    from batchnorm.kernels._cpu._vectors import like, load, splat, store, width

    number, activate, backed = module.NUMBERS[name], module.activate, module.backed
    storage = FLOAT64 if z.dtype == torch.float64 else FLOAT32

    @njit(error_model="numpy")
    def run(source, values, slopes, n):
        x, y, g = pointer(source, storage), pointer(values, storage), pointer(slopes, storage)
        for i in range(0, n, width(x)):
            v = load(x, i, None, splat(x, 0.0))
            store(y, i, None, activate(v, number, 0.01))
            store(g, i, None, backed(like(v, 1.0), v, number, 0.01))

    values, slopes = torch.empty_like(z), torch.empty_like(z)
    run(z.data_ptr(), values.data_ptr(), slopes.data_ptr(), z.numel())
    return values, slopes


def by_torch(z, name):
    return _activations.activate(z, name, 0.01), _activations.slope_at(z, name, 0.01)


WAYS = {"eager": by_torch, "cpu": by_vectors}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("backend", kernels.available())
def test_values_and_derivatives(backend, dtype, name):
    z = grid(name, dtype)
    exact = z.double().numpy()
    for found, formulas in zip(WAYS[backend](z, name), (ACTIVATIONS, SLOPES), strict=True):
        wanted = formulas[name](exact)
        # In units of the last place of the input or the result, whichever is larger.
        unit = EPSILON[dtype] * np.maximum(np.maximum(abs(wanted), abs(exact)), 1e-30)
        worst = (abs(found.double().numpy() - wanted) / unit).max()
        assert worst < 8, worst


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backend", kernels.available())
def test_odd_inputs_are_treated_as_by_torch(backend, name):
    odd = [torch.nan, torch.inf, -torch.inf, 0.0, -3.0, 3.0, 6.0, 1e30, -1e30]
    z = torch.tensor(odd + [0.5] * (32 - len(odd)), requires_grad=True)
    wanted = _activations.activate(z, name, 0.01)
    (slopes,) = torch.autograd.grad(wanted.sum(), z)
    y, g = WAYS[backend](z.detach(), name)
    there = wanted.isfinite()
    torch.testing.assert_close(y[there], wanted[there].detach())
    assert not y[~there].isfinite().any()
    there = slopes.isfinite() & z.isfinite()  # torch's own is NaN at a large one of gelu_tanh
    torch.testing.assert_close(g[there], slopes[there])
    assert g[z.isfinite()].isfinite().all()
    assert y[0].isnan()


@pytest.mark.parametrize("name", NAMES)
def test_the_derivative_has_derivatives(name):
    z = torch.linspace(-4.3, 7.1, 40, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: _activations.activate(z, name, 0.2), z)

    def slope(z):  # constant in pieces where it has no derivative of its own
        return _activations.slope_at(z, name, 0.2) + 0 * z

    assert torch.autograd.gradcheck(slope, z)
    far = torch.tensor([-800.0, 800.0], dtype=torch.float64, requires_grad=True)
    (second,) = torch.autograd.grad(slope(far).sum(), far)
    assert second.isfinite().all()
