"""Kernels for rows of columns: channels_last, dense ``(N, C)``, and images of few positions.

A contiguous matrix of `ROWS` rows and `COLUMNS` columns, each column belonging to one channel:
``channel = (column // LENGTH) % CHANNELS``. Three layouts are such a matrix:

- channels_last and dense: a row is a position, a column a channel (`LENGTH` 1);
- few channels: several positions side by side make a row long enough for vectors; what is left
  over at the end is a shorter row of `TAIL` columns;
- ``(N, C, S)`` with small S: a row is a sample, and S columns make a channel (`LENGTH` S).

A task is a block of `WIDTH` columns, read from memory once, or, when the rows are many, one of
`SHARES` of the rows, in two phases.
"""

from typing import Any

import numpy as np
from numba import njit

from . import _context as at
from ._chunks import WORD, flush, keep, pack, words
from ._memory import (
    BFLOAT16,
    FLOAT32,
    FLOAT64,
    get,
    load,
    offset,
    pointer,
    put,
    real,
    rounded,
    store,
)
from ._values import (
    HUGE,
    IDENTITY,
    RELU,
    SUMS,
    TINY,
    VALUES,
    activate,
    affine_of,
    centred,
    moments_of,
    parameter,
    scale_of,
    slope_at,
    split,
)

RUN = 16  # rows that the second pass takes in their order


@njit(forceinline=True, fastmath=VALUES)
def _add_moments(x, n, shift, sum1, sum2):
    for i in range(n):
        d = np.float64(load(x, i) - get(shift, i))
        put(sum1, i, get(sum1, i) + d)
        put(sum2, i, get(sum2, i) + d * d)


@njit(forceinline=True, fastmath=VALUES)
def _add_moments_of_eight(x, stride, n, shift, sum1, sum2):
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
def _exact_moments(c, x, channel, shift):
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
def _exact_products(c, g, x, residual, channel, affine, added, activation, alpha):
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
def _find_shift(c, x, first, n, shift):
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
def _normalize(x, residual, y, n, high, low, scale, bias, has_residual, activation, alpha):
    for i in range(n):
        z = affine_of(centred(load(x, i), get(high, i), get(low, i)), get(scale, i), get(bias, i))
        if has_residual:
            z = z + load(residual, i)
        store(y, i, activate(z, activation, alpha))


@njit(forceinline=True, fastmath=VALUES)
def _gradient(g, x, residual, i, columns, added, activation, alpha):
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
def _add_gradients(g, x, residual, n, columns, sum1, sum2, added, activation, alpha):
    for i in range(n):
        value, d = _gradient(g, x, residual, i, columns, added, activation, alpha)
        put(sum1, i, get(sum1, i) + np.float64(value))
        put(sum2, i, get(sum2, i) + np.float64(value) * np.float64(d))


@njit(forceinline=True, fastmath=VALUES)
def _add_gradients_of_four(
    g, x, residual, stride, n, columns, sum1, sum2, added, activation, alpha
):
    """Add four rows: together in the type of the arithmetic, and then to the float64 sums."""
    g1, g2, g3 = offset(g, stride), offset(g, 2 * stride), offset(g, 3 * stride)
    x1, x2, x3 = offset(x, stride), offset(x, 2 * stride), offset(x, 3 * stride)
    r1, r2, r3 = (
        offset(residual, stride),
        offset(residual, 2 * stride),
        offset(residual, 3 * stride),
    )
    for i in range(n):
        v0, d0 = _gradient(g, x, residual, i, columns, added, activation, alpha)
        v1, d1 = _gradient(g1, x1, r1, i, columns, added, activation, alpha)
        v2, d2 = _gradient(g2, x2, r2, i, columns, added, activation, alpha)
        v3, d3 = _gradient(g3, x3, r3, i, columns, added, activation, alpha)
        put(sum1, i, get(sum1, i) + np.float64((v0 + v1) + (v2 + v3)))
        put(sum2, i, get(sum2, i) + np.float64((v0 * d0 + v1 * d1) + (v2 * d2 + v3 * d3)))


@njit(forceinline=True, fastmath=VALUES)
def _input_gradient(
    g, x, residual, dx, dresidual, n, columns, factors, flows, added, activation, alpha
):
    """Write dx, and dresidual where it is not known yet; `flows` through the statistics or not."""
    of_g, of_x, constant = factors
    for i in range(n):
        value, d = _gradient(g, x, residual, i, columns, added, activation, alpha)
        if added:
            store(dresidual, i, value)
        if flows:
            store(dx, i, get(of_g, i) * value + (get(of_x, i) * d + get(constant, i)))
        else:
            store(dx, i, get(of_g, i) * value)


@njit(forceinline=True)
def _block(c, task):
    """Return the columns and the rows of a task, the last row being the tail where it has one."""
    shares, rows = c[at.SHARES], c[at.ROWS] + (c[at.TAIL] > 0)
    if shares > 1:
        return 0, c[at.COLUMNS], rows * task // shares, rows * (task + 1) // shares
    first = task * c[at.WIDTH]
    return first, min(c[at.WIDTH], c[at.COLUMNS] - first), 0, rows


@njit(forceinline=True)
def _backwards(k, row0, row1):
    """Return the row of step `k`, going through short runs of rows from the last to the first.

    So that the second pass begins with what the first one left in the cache.
    """
    end = row1 - k // RUN * RUN
    return max(end - RUN, row0) + k % RUN


@njit(forceinline=True)
def _width(c, row, n):
    return n if row < c[at.ROWS] else c[at.TAIL]


@njit(forceinline=True, fastmath=VALUES)
def _fold(c, sums, n, channel, first):
    """Return the two sums of a channel over its columns and over all shares of the rows."""
    length, step = c[at.LENGTH], c[at.CHANNELS] * c[at.LENGTH]
    sum1, sum2 = 0.0, 0.0
    for share in range(c[at.SHARES]):
        part = offset(sums, 2 * share * n)
        column = channel * length - first
        while column < n:
            for i in range(column, column + length):
                sum1 += get(part, i)
                sum2 += get(part, n + i)
            column += step
    return sum1, sum2


@njit(forceinline=True, fastmath=VALUES)
def _fold_moments(c, sums, shift, n, channel, first):
    """Return the two sums of a channel's x, moved from each column's shift to the first one's."""
    length, step = c[at.LENGTH], c[at.CHANNELS] * c[at.LENGTH]
    sum1, sum2 = 0.0, 0.0
    column = channel * length - first
    origin = np.float64(get(shift, column))
    while column < n:
        for i in range(column, column + length):
            part1, part2 = 0.0, 0.0
            for share in range(c[at.SHARES]):
                part = offset(sums, 2 * share * n)
                part1 += get(part, i)
                part2 += get(part, n + i)
            distance = np.float64(get(shift, i)) - origin
            count = c[at.ROWS] + (i < c[at.TAIL])
            sum1 += part1 + count * distance
            sum2 += part2 + distance * (2.0 * part1 + count * distance)
        column += step
    return sum1, sum2, origin


@njit(forceinline=True)
def _spread(c, target, value, n, channel, first):
    """Write a channel's value into all its columns."""
    length, step = c[at.LENGTH], c[at.CHANNELS] * c[at.LENGTH]
    column = channel * length - first
    if length == 1 and step >= n:
        put(target, column, value)
        return
    while column < n:
        for i in range(column, column + length):
            put(target, i, value)
        column += step


@njit(forceinline=True)
def _channels(c, first, n):
    """Return the range of channels in a block of columns."""
    length = c[at.LENGTH]
    return first // length, min(c[at.CHANNELS], (first + n) // length)


def forward(storage: Any, activation: int, has_residual: bool, streamed: bool, version: int) -> Any:
    """Return the forward kernel for one kind of values, activation and way of storing."""
    masked = has_residual and activation == RELU
    size = storage.bitwidth // 8
    wide = FLOAT64 if storage is FLOAT64 else FLOAT32

    def rows_forward(begin, end, c):
        x, residual, y = (
            pointer(c[at.X], storage),
            pointer(c[at.RESIDUAL], storage),
            pointer(c[at.OUTPUT], storage),
        )
        bits = pointer(c[at.MASK], BFLOAT16)
        alpha, columns = real(c[at.ALPHA]), c[at.COLUMNS]
        widest = columns if c[at.SHARES] > 1 else c[at.WIDTH]
        # Float64 sums and shift, and four float32 or float64 values a column.
        room = np.empty(7 * widest + (widest if streamed else 0) + 2 * WORD, np.float64)
        base = room.ctypes.data
        shift = pointer(base, wide)
        high, low, scale, bias = (
            pointer(base + 8 * widest, wide),
            pointer(base + 16 * widest, wide),
            pointer(base + 24 * widest, wide),
            pointer(base + 32 * widest, wide),
        )
        own = pointer(base + 40 * widest, FLOAT64)
        spare = pointer(base + 56 * widest, storage)
        buffer = pointer((base + 56 * widest + 8 * WORD + 63) // 64 * 64, storage)
        for task in range(begin, end):
            first, n, row0, row1 = _block(c, task)
            sums = pointer(c[at.SCRATCH], FLOAT64) if c[at.SHARES] > 1 else own
            channel0, channel1 = _channels(c, first, n)
            if c[at.BATCH_STATISTICS]:
                _find_shift(c, x, first, n, shift)
            if c[at.PHASE] & at.SUM and c[at.BATCH_STATISTICS]:
                sum1 = offset(sums, 2 * task * n) if c[at.SHARES] > 1 else own
                sum2 = offset(sum1, n)
                for i in range(2 * n):
                    put(sum1, i, 0.0)
                row = row0
                while row + 8 <= min(row1, c[at.ROWS]):
                    source = offset(x, row * columns + first)
                    _add_moments_of_eight(source, columns, n, shift, sum1, sum2)
                    row += 8
                while row < row1:
                    source = offset(x, row * columns + first)
                    _add_moments(source, _width(c, row, n), shift, sum1, sum2)
                    row += 1
            if not c[at.PHASE] & at.APPLY:
                continue
            for channel in range(channel0, channel1):
                if c[at.BATCH_STATISTICS]:
                    one, two, origin = _fold_moments(c, sums, shift, n, channel, first)
                    value = np.float64(load(x, channel * c[at.LENGTH]))
                    constant = one == 0.0 and two == 0.0 and value == origin
                    if not TINY < two < HUGE and not constant:
                        one, two = _exact_moments(c, x, channel, origin)
                    mean, var = moments_of(one, two, origin, c[at.COUNT])
                else:
                    mean = parameter(c[at.MEAN_GIVEN], c[at.MEAN_STORED], channel, 0.0)
                    var = parameter(c[at.VAR_GIVEN], c[at.VAR_STORED], channel, 1.0)
                factor = parameter(c[at.WEIGHT], c[at.WEIGHT_STORED], channel, 1.0)
                invstd, factor = scale_of(var, factor, real(c[at.EPS]))
                if row0 == 0:
                    store(pointer(c[at.MEAN], FLOAT64), channel, mean)
                    store(pointer(c[at.VAR], FLOAT64), channel, var)
                    store(pointer(c[at.INVSTD], FLOAT64), channel, invstd)
                added = parameter(c[at.BIAS], c[at.BIAS_STORED], channel, 0.0)
                part, rest = split(x, mean)
                _spread(c, high, part, n, channel, first)
                _spread(c, low, rest, n, channel, first)
                _spread(c, scale, rounded(x, factor), n, channel, first)
                _spread(c, bias, rounded(x, added), n, channel, first)
            for step in range(row1 - row0):
                row = _backwards(step, row0, row1)
                start, count = row * columns + first, _width(c, row, n)
                place = offset(y, start)
                target = buffer if streamed else place
                source, added_row = offset(x, start), offset(residual, start)
                _normalize(
                    source, added_row, target, count, high, low, scale, bias,
                    has_residual, activation, alpha,
                )  # fmt: skip
                if masked:
                    pack(offset(bits, row * words(columns) + first // WORD), target, count, spare)
                if streamed:
                    flush(place, buffer, count, size)
        return version  # part of the key of the compiled code on disk

    return rows_forward


def backward(
    storage: Any, activation: int, has_residual: bool, streamed: bool, version: int
) -> Any:
    """Return the backward kernel for one kind of values, activation and way of storing."""
    masked = has_residual and activation == RELU
    added = has_residual and not masked
    inner = IDENTITY if masked else activation  # the mask is applied first, once
    size = storage.bitwidth // 8
    wide = FLOAT64 if storage is FLOAT64 else FLOAT32

    def rows_backward(begin, end, c):
        x, residual, dy = (
            pointer(c[at.X], storage),
            pointer(c[at.RESIDUAL], storage),
            pointer(c[at.GRADIENT], storage),
        )
        dx, dresidual = pointer(c[at.OUTPUT], storage), pointer(c[at.DRESIDUAL], storage)
        g = dresidual if masked else dy
        bits = pointer(c[at.MASK], BFLOAT16)
        alpha, columns = real(c[at.ALPHA]), c[at.COLUMNS]
        widest = columns if c[at.SHARES] > 1 else c[at.WIDTH]
        room = np.empty(9 * widest + (widest if streamed else 0) + 2 * WORD, np.float64)
        base = room.ctypes.data
        high, low, scale, bias = (
            pointer(base, wide),
            pointer(base + 8 * widest, wide),
            pointer(base + 16 * widest, wide),
            pointer(base + 24 * widest, wide),
        )
        of_g, of_x, constant = (
            pointer(base + 32 * widest, wide),
            pointer(base + 40 * widest, wide),
            pointer(base + 48 * widest, wide),
        )
        known, factors = (high, low, scale, bias), (of_g, of_x, constant)
        own = pointer(base + 56 * widest, FLOAT64)
        spare = pointer(base + 72 * widest, storage)
        buffer = pointer((base + 72 * widest + 8 * WORD + 63) // 64 * 64, storage)
        for task in range(begin, end):
            first, n, row0, row1 = _block(c, task)
            sums = pointer(c[at.SCRATCH], FLOAT64) if c[at.SHARES] > 1 else own
            channel0, channel1 = _channels(c, first, n)
            for channel in range(channel0, channel1):
                invstd = load(pointer(c[at.INVSTD], FLOAT64), channel)
                factor = invstd * parameter(c[at.WEIGHT], c[at.WEIGHT_STORED], channel, 1.0)
                shifted = parameter(c[at.BIAS], c[at.BIAS_STORED], channel, 0.0)
                part, rest = split(x, load(pointer(c[at.MEAN], FLOAT64), channel))
                _spread(c, high, part, n, channel, first)
                _spread(c, low, rest, n, channel, first)
                _spread(c, scale, rounded(x, factor), n, channel, first)
                _spread(c, bias, rounded(x, shifted), n, channel, first)
            if c[at.PHASE] & at.SUM:
                sum1 = offset(sums, 2 * task * n) if c[at.SHARES] > 1 else own
                sum2 = offset(sum1, n)
                for i in range(2 * n):
                    put(sum1, i, 0.0)
                if masked:
                    for row in range(row0, row1):
                        start, count = row * columns + first, _width(c, row, n)
                        word = row * words(columns) + first // WORD
                        kept, gradient = offset(dresidual, start), offset(dy, start)
                        keep(kept, gradient, offset(bits, word), count, spare)
                row = row0
                while row + 4 <= min(row1, c[at.ROWS]):
                    start = row * columns + first
                    source, gradient = offset(x, start), offset(g, start)
                    _add_gradients_of_four(
                        gradient, source, offset(residual, start), columns, n, known, sum1, sum2,
                        added, inner, alpha,
                    )  # fmt: skip
                    row += 4
                while row < row1:
                    start, count = row * columns + first, _width(c, row, n)
                    source, gradient = offset(x, start), offset(g, start)
                    _add_gradients(
                        gradient, source, offset(residual, start), count, known, sum1, sum2,
                        added, inner, alpha,
                    )  # fmt: skip
                    row += 1
            if not c[at.PHASE] & at.APPLY:
                continue
            for channel in range(channel0, channel1):
                one, two = _fold(c, sums, n, channel, first)
                invstd = load(pointer(c[at.INVSTD], FLOAT64), channel)
                if not (abs(one) < HUGE and abs(two) < HUGE):
                    column = channel * c[at.LENGTH] - first
                    affine = get(scale, column), get(bias, column)
                    one, two = _exact_products(
                        c, g, x, residual, channel, affine, added, inner, alpha
                    )
                if row0 == 0:
                    store(pointer(c[at.DBIAS], FLOAT64), channel, one)
                    store(pointer(c[at.DWEIGHT], FLOAT64), channel, two * invstd)
                factor = invstd * parameter(c[at.WEIGHT], c[at.WEIGHT_STORED], channel, 1.0)
                slope = -factor * invstd * invstd * two / c[at.COUNT]
                _spread(c, of_g, rounded(x, factor), n, channel, first)
                _spread(c, of_x, rounded(x, slope), n, channel, first)
                _spread(c, constant, rounded(x, -factor * one / c[at.COUNT]), n, channel, first)
            for step in range(row1 - row0):
                row = _backwards(step, row0, row1)
                start, count = row * columns + first, _width(c, row, n)
                place = offset(dx, start)
                target = buffer if streamed else place
                source, gradient = offset(x, start), offset(g, start)
                other, kept = offset(residual, start), offset(dresidual, start)
                if c[at.BATCH_STATISTICS]:
                    _input_gradient(
                        gradient, source, other, target, kept, count, known, factors, True,
                        added, inner, alpha,
                    )  # fmt: skip
                else:
                    _input_gradient(
                        gradient, source, other, target, kept, count, known, factors, False,
                        added, inner, alpha,
                    )  # fmt: skip
                if streamed:
                    flush(place, buffer, count, size)
        return version  # part of the key of the compiled code on disk

    return rows_backward
