"""Loops over the values of rows, for `_rows`.

For the sums the same columns are taken of each row of a strip, so that they stay in registers.
What is written is written a row at a time, in the order of memory.
"""

import numpy as np
from numba import njit

from batchnorm.kernels._cpu import _context as at
from batchnorm.kernels._cpu._chunks import (
    gradient_at,
    input_gradient_at,
    last_vector,
    moved,
    normalize_at,
    whole,
    words,
)
from batchnorm.kernels._cpu._masks import WORD, first, where
from batchnorm.kernels._cpu._memory import get, inlined, offset, put, rounded
from batchnorm.kernels._cpu._vectors import (
    accumulate,
    fma,
    like,
    load,
    prefetch,
    splat,
    store,
    total,
    wide,
    width,
)

# In sums of float64 LLVM may choose the order; NaN and infinity survive.
SUMS = {"reassoc", "contract", "nsz"}


@inlined
def line_at(i, columns):
    """Return three numbers of each column, from the arrays that hold them."""
    a, b, c = columns
    none = splat(a, 0.0)
    return load(a, i, None, none), load(b, i, None, none), load(c, i, None, none)


@inlined
def _moments_at(i, mask, x, stride, rows, shift, sums):
    sum1, sum2 = sums
    origin = load(shift, i, None, splat(shift, 0.0))
    ones, twos = splat(x, 0.0), splat(x, 0.0)
    for row in range(rows):
        prefetch(x, row * stride + i + width(x))
        d = load(offset(x, row * stride), i, mask, origin) - origin
        ones, twos = ones + d, fma(d, d, twos)
    accumulate(sum1, i, ones)
    accumulate(sum2, i, twos)


@inlined
def add_moments(n, x, stride, rows, shift, sums):
    """Add the sums of x - shift and of its square: over a strip in the type of the arithmetic."""
    end = whole(x, n)
    for i in range(0, end, width(x)):
        _moments_at(i, None, x, stride, rows, shift, sums)
    if end < n:
        _moments_at(end, first(x, n - end), x, stride, rows, shift, sums)


@inlined
def _products_at(i, mask, stride, rows, line, places, dy, sums, tail):
    x, (sum1, sum2) = places.x, sums
    ones, twos = splat(x, 0.0), splat(x, 0.0)
    known = line_at(i, line)
    for row in range(rows):
        step = row * stride
        prefetch(x, step + i + width(x))
        prefetch(dy, step + i + width(x))
        here = moved(places, step, row * words(stride))
        g, d = gradient_at(i, mask, known, here, offset(dy, step), tail)
        ones, twos = ones + g, fma(g, d, twos)
    accumulate(sum1, i, ones)
    accumulate(sum2, i, twos)


@inlined
def add_products(n, stride, rows, line, places, dy, sums, tail):
    """Add the sums of g and of g times the centred input."""
    end = whole(places.x, n)
    for i in range(0, end, width(places.x)):
        _products_at(i, None, stride, rows, line, places, dy, sums, tail)
    if end < n:
        _products_at(end, first(places.x, n - end), stride, rows, line, places, dy, sums, tail)


@njit(fastmath=SUMS, error_model="numpy")
def exact_moments(c, x, channel, shift):
    """Return the two sums of a channel, all in float64: for squares that float32 cannot hold."""
    sum1, sum2 = 0.0, 0.0
    length, channels = c[at.LENGTH], c[at.CHANNELS]
    for position in range(c[at.COUNT] // length):
        start = (position * channels + channel) * length
        for i in range(start, start + length):
            d = np.float64(get(x, i)) - shift
            sum1 += d
            sum2 += d * d
    return sum1, sum2


@njit(error_model="numpy")
def exact_products(c, channel, line, places, dy, tail):
    """Return the two sums of a channel's gradient, with their products and sums in float64."""
    x = places.x
    sum1, sum2 = wide(splat(x, 0.0)), wide(splat(x, 0.0))
    length, columns = c[at.LENGTH], c[at.COLUMNS]
    for position in range(c[at.COUNT] // length):
        start = (position * c[at.CHANNELS] + channel) * length
        row, end = start // columns, start % columns + length
        here = moved(places, row * columns, row * words(columns))
        gradient = offset(dy, row * columns)
        for i in range(end - length, end):
            # With all values since the last word of the mask began, of which only this one counts.
            lane = i % WORD
            g, d = gradient_at(i - lane, first(x, lane + 1), line, here, gradient, tail)
            g = where(first(x, lane), like(g, 0.0), g)
            sum1, sum2 = sum1 + wide(g), fma(wide(g), wide(d), sum2)
    return total(sum1), total(sum2)


@inlined
def normalize(n, line, places, y, tail):
    """Write a row of y."""
    x = places.x
    end = whole(x, n)
    for i in range(0, end, width(x)):
        normalize_at(i, None, line_at(i, line), places, y, tail)
    if end < n:
        last = last_vector(x, n, tail)
        if last >= 0:
            normalize_at(last, None, line_at(last, line), places, y, tail)
        else:
            normalize_at(end, first(x, n - end), line_at(end, line), places, y, tail)


@inlined
def input_gradient(n, line, factors, flows, places, dy, targets, tail):
    """Write a row of dx, and of dresidual where there is a residual."""
    x = places.x
    end = whole(x, n)
    for i in range(0, end, width(x)):
        known, known_factors = line_at(i, line), line_at(i, factors)
        input_gradient_at(i, None, known, known_factors, flows, places, dy, targets, tail)
    if end < n:
        last = last_vector(x, n, tail)
        if last >= 0:
            known, known_factors = line_at(last, line), line_at(last, factors)
            input_gradient_at(last, None, known, known_factors, flows, places, dy, targets, tail)
        else:
            known, known_factors = line_at(end, line), line_at(end, factors)
            mask = first(x, n - end)
            input_gradient_at(end, mask, known, known_factors, flows, places, dy, targets, tail)


@inlined
def _sample_at(i, mask, x, stride, samples, part, shift):
    mean, share = splat(x, 0.0), splat(x, part)
    for sample in range(samples):
        mean = fma(load(offset(x, sample * stride), i, mask, mean), share, mean)
    store(shift, i, mask, mean)


@inlined
def find_shift(c, x, begin, end, first_column, shift):
    """Write what the sums of the channels from `begin` to `end` are taken around, a column each.

    It is the mean over a few rows, spread evenly. One value would do in exact arithmetic; the mean
    of several keeps a single outlier from costing digits.
    """
    rows, length = max(c[at.ROWS], 1), c[at.LENGTH]
    samples = min(max(rows // (4 if length == 1 else 16), 1), 16)
    stride = rows // samples * c[at.COLUMNS]
    channels = end - begin
    if length == 1:
        source, part = offset(x, first_column), 1.0 / samples
        even = whole(x, channels)
        for i in range(0, even, width(x)):
            _sample_at(i, None, source, stride, samples, part, shift)
        if even < channels:
            mask = first(x, channels - even)
            _sample_at(even, mask, source, stride, samples, part, shift)
    else:
        part = splat(x, 1.0 / (samples * length))
        for channel in range(begin, end):
            mean = splat(x, 0.0)
            for sample in range(samples):
                row = offset(x, sample * stride + channel * length)
                for i in range(0, length, width(x)):
                    value = load(row, i, first(x, length - i), splat(x, 0.0))
                    mean = fma(value, part, mean)
            put(shift, channel - begin, rounded(shift, total(mean)))


@inlined
def spread(c, target, value, n, channel, first_column):
    """Write a channel's value into all its columns."""
    length, step = c[at.LENGTH], c[at.CHANNELS] * c[at.LENGTH]
    column = channel * length - first_column
    if length == 1 and step >= n:
        put(target, column, value)
        return
    while column < n:
        for i in range(column, column + length):
            put(target, i, value)
        column += step


@njit(forceinline=True, fastmath=SUMS, error_model="numpy")
def fold(c, sums, padded, n, channel, first_column):
    """Return the two sums of a channel over its columns and over all shares of the rows."""
    length, step = c[at.LENGTH], c[at.CHANNELS] * c[at.LENGTH]
    sum1, sum2 = 0.0, 0.0
    for share in range(c[at.SHARES]):
        part = offset(sums, 2 * share * padded)
        column = channel * length - first_column
        while column < n:
            for i in range(column, column + length):
                sum1 += get(part, i)
                sum2 += get(part, padded + i)
            column += step
    return sum1, sum2
