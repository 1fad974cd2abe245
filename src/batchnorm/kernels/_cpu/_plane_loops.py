"""The loops over a chunk of a plane: what `_planes` does to a run of one channel's values."""

import numpy as np
from numba import njit

from ._chunks import gradient_at, input_gradient_at, normalize_at
from ._masks import first
from ._memory import get, inlined, rounded
from ._values import HUGE, TINY
from ._vectors import fma, like, load, splat, total, wide, width


@inlined
def whole(x, n):
    """Return how many of `n` values are in whole vectors."""
    return n - n % width(x)


@inlined
def centre_of(x, n):
    """Return about the mean; any value will do, and a value it is where the sum overflows."""
    sums, end = splat(x, 0.0), whole(x, n)
    for i in range(0, end, width(x)):
        sums = sums + load(x, i, None, sums)
    if end < n:
        sums = sums + load(x, end, first(x, n - end), splat(x, 0.0))
    centre = total(sums) / n
    return centre if abs(centre) < HUGE else np.float64(get(x, 0))


@inlined
def around(x, n, centre):
    """Return the sums of x - centre and of its square."""
    origin, end = splat(x, centre), whole(x, n)
    sum1, sum2 = splat(x, 0.0), splat(x, 0.0)
    for i in range(0, end, width(x)):
        d = load(x, i, None, origin) - origin
        sum1, sum2 = sum1 + d, fma(d, d, sum2)
    if end < n:
        d = load(x, end, first(x, n - end), origin) - origin
        sum1, sum2 = sum1 + d, fma(d, d, sum2)
    return total(sum1), total(sum2)


@inlined
def around_in_float64(x, n, centre):
    """Return the same, all in float64: for squares that float32 cannot hold."""
    sum1, sum2 = wide(splat(x, 0.0)), wide(splat(x, 0.0))
    origin, end = like(sum1, centre), whole(x, n)
    for i in range(0, end, width(x)):
        d = wide(load(x, i, None, splat(x, 0.0))) - origin
        sum1, sum2 = sum1 + d, fma(d, d, sum2)
    if end < n:
        d = wide(load(x, end, first(x, n - end), splat(x, centre))) - origin
        sum1, sum2 = sum1 + d, fma(d, d, sum2)
    return total(sum1), total(sum2)


@inlined
def constant(x, n, centre, sum1, sum2):
    """Whether both sums are zero because all values are equal, and not because squares vanished."""
    return sum1 == 0.0 and sum2 == 0.0 and get(x, 0) == centre and get(x, n - 1) == centre


@njit(error_model="numpy")
def moments_again(x, n):
    """Return the sums around the chunk's own mean, and that mean: for a chunk unlike the last.

    The chunk lies in the first-level cache, so it is cheap to go over it again.
    """
    centre = np.float64(rounded(x, centre_of(x, n)))
    sum1, sum2 = around(x, n, centre)
    if not TINY < sum2 < HUGE and not constant(x, n, centre, sum1, sum2):
        sum1, sum2 = around_in_float64(x, n, centre)
    return sum1, sum2, centre


@inlined
def moments(x, n, shift, centre):
    """Return the sums of x - shift and of its square over a chunk, and a centre for the next.

    Taken around `centre` in the type of the arithmetic, which is exact enough while the chunk's
    mean lies within three of its standard deviations from it.
    """
    sum1, sum2 = around(x, n, centre)
    near = sum1 * sum1 <= 0.9 * n * sum2 and TINY < sum2 < HUGE
    if not near and not constant(x, n, centre, sum1, sum2):
        sum1, sum2, centre = moments_again(x, n)
    step = centre - shift
    return sum1 + n * step, sum2 + step * (2.0 * sum1 + n * step), centre


@inlined
def normalize(n, line, x, residual, y, bits, has_residual, masked, activation, alpha):
    end = whole(x, n)
    for i in range(0, end, width(x)):
        normalize_at(i, None, line, x, residual, y, bits, has_residual, masked, activation, alpha)
    if end < n:
        mask = first(x, n - end)
        normalize_at(end, mask, line, x, residual, y, bits, has_residual, masked, activation, alpha)


@inlined
def gradient_sums(n, line, x, residual, dy, bits, has_residual, masked, activation, alpha):
    """Return the sums of g and of g times the centred input."""
    end = whole(x, n)
    sum1, sum2 = splat(x, 0.0), splat(x, 0.0)
    for i in range(0, end, width(x)):
        g, d = gradient_at(
            i, None, line, x, residual, dy, bits, has_residual, masked, activation, alpha
        )
        sum1, sum2 = sum1 + g, fma(g, d, sum2)
    if end < n:
        mask = first(x, n - end)
        g, d = gradient_at(
            end, mask, line, x, residual, dy, bits, has_residual, masked, activation, alpha
        )
        sum1, sum2 = sum1 + g, fma(g, d, sum2)
    return total(sum1), total(sum2)


@njit(error_model="numpy")
def gradient_sums_in_float64(
    n, line, x, residual, dy, bits, has_residual, masked, activation, alpha
):
    """Return the same with their products and sums in float64."""
    sum1, sum2 = wide(splat(x, 0.0)), wide(splat(x, 0.0))
    for i in range(0, n, width(x)):
        mask = first(x, n - i)
        g, d = gradient_at(
            i, mask, line, x, residual, dy, bits, has_residual, masked, activation, alpha
        )
        sum1, sum2 = sum1 + wide(g), fma(wide(g), wide(d), sum2)
    return total(sum1), total(sum2)


@inlined
def input_gradient(
    n, line, factors, flows, x, residual, dy, bits, dx, dresidual, has_residual, masked,
    activation, alpha,
):  # fmt: skip
    """Write dx, and dresidual where there is a residual."""
    end = whole(x, n)
    for i in range(0, end, width(x)):
        input_gradient_at(
            i, None, line, factors, flows, x, residual, dy, bits, dx, dresidual, has_residual,
            masked, activation, alpha,
        )  # fmt: skip
    if end < n:
        mask = first(x, n - end)
        input_gradient_at(
            end, mask, line, factors, flows, x, residual, dy, bits, dx, dresidual, has_residual,
            masked, activation, alpha,
        )  # fmt: skip
