"""The loops over a chunk of a plane: what `_planes` does to a run of one channel's values."""

import numpy as np
from numba import njit

from ._memory import (
    like,
    load,
    store,
)
from ._values import (
    HUGE,
    IDENTITY,
    SUMS,
    TINY,
    VALUES,
    activate,
    affine_of,
    centred,
    distance,
    slope_at,
)


@njit(forceinline=True, fastmath=SUMS)
def total(x, n):
    total = like(load(x, 0), 0.0)
    for i in range(n):
        total += load(x, i)
    return total


@njit(forceinline=True, fastmath=VALUES)
def centre_of(x, n):
    """Return about the mean; any value will do, and a value it is where the sum overflows."""
    centre = total(x, n) / like(load(x, 0), n)
    return centre if abs(np.float64(centre)) < HUGE else load(x, 0)


@njit(forceinline=True, fastmath=SUMS)
def around(x, n, centre):
    """Return the sums of x - centre and of its square, in the type of the arithmetic."""
    sum1 = like(centre, 0.0)
    sum2 = like(centre, 0.0)
    for i in range(n):
        d = distance(load(x, i), centre)
        sum1 += d
        sum2 += d * d
    return sum1, sum2


@njit(fastmath=SUMS)
def around_in_float64(x, n, centre):
    """Return the same in float64: for squares that float32 cannot hold."""
    sum1, sum2 = 0.0, 0.0
    for i in range(n):
        d = np.float64(load(x, i)) - np.float64(centre)
        sum1 += d
        sum2 += d * d
    return sum1, sum2


@njit(forceinline=True)
def constant(x, n, centre, sum1, sum2):
    """Whether both sums are zero because all values are equal, and not because squares vanished."""
    return sum1 == 0.0 and sum2 == 0.0 and load(x, 0) == centre and load(x, n - 1) == centre


@njit(fastmath=VALUES)
def moments_again(x, n):
    """Return the sums around the chunk's own mean, and that mean: for a chunk unlike the last.

    The chunk lies in the first-level cache, so it is cheap to go over it again.
    """
    centre = centre_of(x, n)
    sum1, sum2 = around(x, n, centre)
    wide1, wide2 = np.float64(sum1), np.float64(sum2)
    if not TINY < wide2 < HUGE and not constant(x, n, centre, wide1, wide2):
        wide1, wide2 = around_in_float64(x, n, centre)
    return wide1, wide2, centre


@njit(forceinline=True, fastmath=VALUES)
def moments(x, n, shift, centre):
    """Return the sums of x - shift and of its square over a chunk, and a centre for the next.

    Taken around `centre` in the type of the arithmetic, which is exact enough while the chunk's
    mean lies within three of its standard deviations from it.
    """
    sum1, sum2 = around(x, n, centre)
    wide1, wide2 = np.float64(sum1), np.float64(sum2)
    near = wide1 * wide1 <= 0.9 * n * wide2 and TINY < wide2 < HUGE
    if not near and not constant(x, n, centre, wide1, wide2):
        wide1, wide2, centre = moments_again(x, n)
    step = np.float64(centre) - shift
    return wide1 + n * step, wide2 + step * (2.0 * wide1 + n * step), centre


@njit(forceinline=True, fastmath=VALUES)
def normalize(x, residual, y, n, mean, affine, has_residual, activation, alpha):
    high, low = mean
    scale, bias = affine
    for i in range(n):
        z = affine_of(centred(load(x, i), high, low), scale, bias)
        if has_residual:
            z = z + load(residual, i)
        store(y, i, activate(z, activation, alpha))


@njit(forceinline=True, fastmath=VALUES)
def gradient(g, d, residual, i, affine, added, activation, alpha):
    """Return the gradient before the activation; `d` is the centred input."""
    scale, bias = affine
    value = load(g, i)
    if activation != IDENTITY:
        z = affine_of(d, scale, bias)
        if added:
            z = z + load(residual, i)
        value = value * slope_at(z, activation, alpha)
    return value


@njit(forceinline=True, fastmath=SUMS)
def products(g, x, residual, n, mean, affine, added, activation, alpha):
    """Return the sums of g and of g times the centred input, in the type of the arithmetic."""
    high, low = mean
    sum1, sum2 = like(high, 0.0), like(high, 0.0)
    for i in range(n):
        d = centred(load(x, i), high, low)
        value = gradient(g, d, residual, i, affine, added, activation, alpha)
        sum1 += value
        sum2 += value * d
    return sum1, sum2


@njit(fastmath=SUMS)
def products_in_float64(g, x, residual, n, mean, affine, added, activation, alpha):
    high, low = mean
    sum1, sum2 = 0.0, 0.0
    for i in range(n):
        d = centred(load(x, i), high, low)
        value = gradient(g, d, residual, i, affine, added, activation, alpha)
        sum1 += np.float64(value)
        sum2 += np.float64(value) * np.float64(d)
    return sum1, sum2


@njit(forceinline=True, fastmath=VALUES)
def gradient_sums(g, x, residual, n, mean, affine, added, activation, alpha):
    sum1, sum2 = products(g, x, residual, n, mean, affine, added, activation, alpha)
    wide1, wide2 = np.float64(sum1), np.float64(sum2)
    if not (abs(wide1) < HUGE and abs(wide2) < HUGE):
        return products_in_float64(g, x, residual, n, mean, affine, added, activation, alpha)
    return wide1, wide2


@njit(forceinline=True, fastmath=VALUES)
def input_gradient(
    g, x, residual, dx, dresidual, n, mean, affine, factors, flows, added, activation, alpha
):
    """Write dx, and dresidual where it is not known yet; `flows` through the statistics or not."""
    high, low = mean
    of_g, of_x, constant = factors
    for i in range(n):
        d = centred(load(x, i), high, low)
        value = gradient(g, d, residual, i, affine, added, activation, alpha)
        if added:
            store(dresidual, i, value)
        if flows:
            store(dx, i, of_g * value + (of_x * d + constant))
        else:
            store(dx, i, of_g * value)
