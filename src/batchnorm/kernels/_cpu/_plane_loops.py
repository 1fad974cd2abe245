"""Loops over a chunk of a plane: a run of one channel's values, for `_planes`.

`n` is the length of the chunk, and `last` the mask of what is left of it behind whole vectors.
What is read next lies `ahead`, where that is not just behind the chunk.
"""

import numpy as np
from numba import njit

from batchnorm.kernels._cpu._chunks import (
    gradient_at,
    input_gradient_at,
    last_vector,
    moved,
    normalize_at,
    whole,
)
from batchnorm.kernels._cpu._masks import first
from batchnorm.kernels._cpu._memory import get, inlined, offset, rounded
from batchnorm.kernels._cpu._values import FAR, HUGE, TINY
from batchnorm.kernels._cpu._vectors import fma, like, load, prefetch, splat, total, wide, width


@inlined
def centre_of(x, n, rows, stride):
    """Return about the mean; any value will do, and a value it is where the sum overflows."""
    sums, none = splat(x, 0.0), splat(x, 0.0)
    for row in range(rows):
        for i in range(0, n, width(x)):
            sums = sums + load(offset(x, row * stride), i, first(x, n - i), none)
    centre = total(sums) / (n * rows)
    return centre if abs(centre) < HUGE else np.float64(get(x, 0))


@inlined
def around(x, n, last, rows, stride, ahead, centre):
    """Return the sums of x - centre and of its square over some rows of a chunk."""
    origin, end = splat(x, centre), whole(x, n)
    sum1, sum2 = splat(x, 0.0), splat(x, 0.0)
    for row in range(rows):
        here = offset(x, row * stride)
        for i in range(0, end, width(x)):
            if ahead:
                prefetch(here, i + ahead)
            d = load(here, i, None, origin) - origin
            sum1, sum2 = sum1 + d, fma(d, d, sum2)
        if end < n:
            if ahead:
                prefetch(here, end + ahead)
            d = load(here, end, last, origin) - origin
            sum1, sum2 = sum1 + d, fma(d, d, sum2)
    return total(sum1), total(sum2)


@njit(error_model="numpy")
def around_in_float64(x, n, rows, stride, centre):
    """Return the same, all in float64: for squares that float32 cannot hold."""
    sum1, sum2 = wide(splat(x, 0.0)), wide(splat(x, 0.0))
    origin = like(sum1, centre)
    for row in range(rows):
        for i in range(0, n, width(x)):
            here = load(offset(x, row * stride), i, first(x, n - i), splat(x, centre))
            d = wide(here) - origin
            sum1, sum2 = sum1 + d, fma(d, d, sum2)
    return total(sum1), total(sum2)


@inlined
def constant(x, n, rows, stride, centre, sum1, sum2):
    """Whether both sums are zero because all values are equal, and not because squares vanished."""
    end = (rows - 1) * stride + n - 1
    return sum1 == 0.0 and sum2 == 0.0 and get(x, 0) == centre and get(x, end) == centre


@njit(error_model="numpy")
def moments_again(x, n, last, rows, stride):
    """Return the sums around a chunk's own mean, and that mean: for a chunk unlike the last.

    The chunk lies in the first-level cache, so it is cheap to go over it again.
    """
    centre = np.float64(rounded(x, centre_of(x, n, rows, stride)))
    sum1, sum2 = around(x, n, last, rows, stride, 0, centre)
    alike = constant(x, n, rows, stride, centre, sum1, sum2)
    if not TINY < sum2 < HUGE and not alike:
        sum1, sum2 = around_in_float64(x, n, rows, stride, centre)
    return sum1, sum2, centre


@inlined
def moments(x, n, last, rows, stride, ahead, shift, centre):
    """Return the sums of x - shift and of its square over a chunk, and a centre for the next.

    Taken around `centre` in the type of the arithmetic, which is exact enough while the chunk's
    mean lies within three of its standard deviations from it.
    """
    sum1, sum2 = around(x, n, last, rows, stride, ahead, centre)
    count = n * rows
    near = sum1 * sum1 <= FAR * count * sum2 and TINY < sum2 < HUGE
    if not near and not constant(x, n, rows, stride, centre, sum1, sum2):
        sum1, sum2, centre = moments_again(x, n, last, rows, stride)
    step = centre - shift
    return sum1 + count * step, sum2 + step * (2.0 * sum1 + count * step), centre


@inlined
def normalize(n, last, line, places, y, tail):
    """Write y."""
    end = whole(places.x, n)
    for i in range(0, end, width(places.x)):
        normalize_at(i, None, line, places, y, tail)
    if end < n:
        again = last_vector(places.x, n, tail)
        if again >= 0:
            normalize_at(again, None, line, places, y, tail)
        else:
            normalize_at(end, last, line, places, y, tail)


@inlined
def gradient_sums(n, last, rows, strides, ahead, line, places, dy, tail):
    """Return the sums of g and of g times the centred input over some rows of a chunk.

    `strides` from row to row: of the values, and of the words of the mask.
    """
    x, (stride, words_on) = places.x, strides
    end = whole(x, n)
    sum1, sum2 = splat(x, 0.0), splat(x, 0.0)
    for row in range(rows):
        here, gradient = moved(places, row * stride, row * words_on), offset(dy, row * stride)
        for i in range(0, end, width(x)):
            if ahead:
                prefetch(here.x, i + ahead)
                prefetch(gradient, i + ahead)
            g, d = gradient_at(i, None, line, here, gradient, tail)
            sum1, sum2 = sum1 + g, fma(g, d, sum2)
        if end < n:
            if ahead:
                prefetch(here.x, end + ahead)
                prefetch(gradient, end + ahead)
            g, d = gradient_at(end, last, line, here, gradient, tail)
            sum1, sum2 = sum1 + g, fma(g, d, sum2)
    return total(sum1), total(sum2)


@njit(error_model="numpy")
def gradient_sums_in_float64(n, rows, strides, line, places, dy, tail):
    """Return the same with their products and sums in float64."""
    x, (stride, words_on) = places.x, strides
    sum1, sum2 = wide(splat(x, 0.0)), wide(splat(x, 0.0))
    for row in range(rows):
        here, gradient = moved(places, row * stride, row * words_on), offset(dy, row * stride)
        for i in range(0, n, width(x)):
            g, d = gradient_at(i, first(x, n - i), line, here, gradient, tail)
            sum1, sum2 = sum1 + wide(g), fma(wide(g), wide(d), sum2)
    return total(sum1), total(sum2)


@inlined
def input_gradient(n, last, line, factors, flows, places, dy, targets, tail):
    """Write dx, and dresidual where there is a residual."""
    end = whole(places.x, n)
    for i in range(0, end, width(places.x)):
        input_gradient_at(i, None, line, factors, flows, places, dy, targets, tail)
    if end < n:
        again = last_vector(places.x, n, tail)
        if again >= 0:
            input_gradient_at(again, None, line, factors, flows, places, dy, targets, tail)
        else:
            input_gradient_at(end, last, line, factors, flows, places, dy, targets, tail)
