"""The loops over the values of rows: what `_rows` does to one row, or to several at once."""

import numpy as np
from numba import njit

from . import _context as at
from ._memory import (
    FLOAT64,
    get,
    load,
    offset,
    pointer,
    put,
    rounded,
    store,
)
from ._values import (
    IDENTITY,
    SUMS,
    VALUES,
    activate,
    affine_of,
    centred,
    slope_at,
    split,
)


@njit(forceinline=True, fastmath=VALUES)
def add_moments(x, n, shift, sum1, sum2):
    for i in range(n):
        d = np.float64(load(x, i) - get(shift, i))
        put(sum1, i, get(sum1, i) + d)
        put(sum2, i, get(sum2, i) + d * d)


@njit(forceinline=True, fastmath=VALUES)
def add_moments_of_eight(x, stride, n, shift, sum1, sum2):
    """Add eight rows: together in the type of the arithmetic, and then to the float64 sums."""
    x1, x2, x3 = offset(x, stride), offset(x, 2 * stride), offset(x, 3 * stride)
    x4, x5, x6 = offset(x, 4 * stride), offset(x, 5 * stride), offset(x, 6 * stride)
    x7 = offset(x, 7 * stride)
    for i in range(n):
        origin = get(shift, i)
        d0, d1 = load(x, i) - origin, load(x1, i) - origin
        d2, d3 = load(x2, i) - origin, load(x3, i) - origin
        d4, d5 = load(x4, i) - origin, load(x5, i) - origin
        d6, d7 = load(x6, i) - origin, load(x7, i) - origin
        ones = ((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7))
        low = (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
        high = (d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7)
        put(sum1, i, get(sum1, i) + np.float64(ones))
        put(sum2, i, get(sum2, i) + np.float64(low + high))


@njit(fastmath=SUMS)
def exact_moments(c, x, channel, shift):
    """Return the two sums of a channel, all in float64: for squares that float32 cannot hold."""
    sum1, sum2 = 0.0, 0.0
    length, channels = c[at.LENGTH], c[at.CHANNELS]
    for position in range(c[at.COUNT] // length):
        start = (position * channels + channel) * length
        for i in range(length):
            d = np.float64(load(x, start + i)) - shift
            sum1 += d
            sum2 += d * d
    return sum1, sum2


@njit(fastmath=SUMS)
def exact_products(c, g, x, residual, channel, affine, added, activation, alpha):
    """Return the two sums of a channel's gradient, all in float64."""
    sum1, sum2 = 0.0, 0.0
    length, channels = c[at.LENGTH], c[at.CHANNELS]
    scale, bias = affine
    high, low = split(x, load(pointer(c[at.MEAN], FLOAT64), channel))
    for position in range(c[at.COUNT] // length):
        start = (position * channels + channel) * length
        for i in range(start, start + length):
            value, d = load(g, i), centred(load(x, i), high, low)
            if activation != IDENTITY:
                z = affine_of(d, scale, bias)
                if added:
                    z = z + load(residual, i)
                value = value * slope_at(z, activation, alpha)
            sum1 += np.float64(value)
            sum2 += np.float64(value) * np.float64(d)
    return sum1, sum2


@njit(forceinline=True, fastmath=VALUES)
def find_shift(c, x, first, n, shift):
    """Write what each column's sums are taken around: the mean of a few rows, spread evenly.

    One row would do in exact arithmetic; the mean of several keeps a single outlier from costing
    digits.
    """
    rows, columns = max(c[at.ROWS], 1), c[at.COLUMNS]
    samples = min(max(rows // 16, 1), 16)
    part = rounded(x, 1.0 / samples)
    for i in range(n):
        put(shift, i, rounded(x, 0.0))
    for sample in range(samples):
        row = offset(x, sample * rows // samples * columns + first)
        for i in range(n):
            put(shift, i, get(shift, i) + load(row, i) * part)


@njit(forceinline=True, fastmath=VALUES)
def normalize(x, residual, y, n, high, low, scale, bias, has_residual, activation, alpha):
    for i in range(n):
        z = affine_of(centred(load(x, i), get(high, i), get(low, i)), get(scale, i), get(bias, i))
        if has_residual:
            z = z + load(residual, i)
        store(y, i, activate(z, activation, alpha))


@njit(forceinline=True, fastmath=VALUES)
def gradient(g, x, residual, i, columns, added, activation, alpha):
    """Return the gradient before the activation, and the centred input."""
    high, low, scale, bias = columns
    value, d = load(g, i), centred(load(x, i), get(high, i), get(low, i))
    if activation != IDENTITY:
        z = affine_of(d, get(scale, i), get(bias, i))
        if added:
            z = z + load(residual, i)
        value = value * slope_at(z, activation, alpha)
    return value, d


@njit(forceinline=True, fastmath=VALUES)
def add_gradients(g, x, residual, n, columns, sum1, sum2, added, activation, alpha):
    for i in range(n):
        value, d = gradient(g, x, residual, i, columns, added, activation, alpha)
        put(sum1, i, get(sum1, i) + np.float64(value))
        put(sum2, i, get(sum2, i) + np.float64(value) * np.float64(d))


@njit(forceinline=True, fastmath=VALUES)
def add_gradients_of_four(g, x, residual, stride, n, columns, sum1, sum2, added, activation, alpha):
    """Add four rows: together in the type of the arithmetic, and then to the float64 sums."""
    g1, g2, g3 = offset(g, stride), offset(g, 2 * stride), offset(g, 3 * stride)
    x1, x2, x3 = offset(x, stride), offset(x, 2 * stride), offset(x, 3 * stride)
    r1, r2, r3 = (
        offset(residual, stride),
        offset(residual, 2 * stride),
        offset(residual, 3 * stride),
    )
    for i in range(n):
        v0, d0 = gradient(g, x, residual, i, columns, added, activation, alpha)
        v1, d1 = gradient(g1, x1, r1, i, columns, added, activation, alpha)
        v2, d2 = gradient(g2, x2, r2, i, columns, added, activation, alpha)
        v3, d3 = gradient(g3, x3, r3, i, columns, added, activation, alpha)
        put(sum1, i, get(sum1, i) + np.float64((v0 + v1) + (v2 + v3)))
        put(sum2, i, get(sum2, i) + np.float64((v0 * d0 + v1 * d1) + (v2 * d2 + v3 * d3)))


@njit(forceinline=True, fastmath=VALUES)
def input_gradient(
    g, x, residual, dx, dresidual, n, columns, factors, flows, added, activation, alpha
):
    """Write dx, and dresidual where it is not known yet; `flows` through the statistics or not."""
    of_g, of_x, constant = factors
    for i in range(n):
        value, d = gradient(g, x, residual, i, columns, added, activation, alpha)
        if added:
            store(dresidual, i, value)
        if flows:
            store(dx, i, get(of_g, i) * value + (get(of_x, i) * d + get(constant, i)))
        else:
            store(dx, i, get(of_g, i) * value)
