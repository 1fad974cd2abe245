"""Kernels for rows of columns: channels_last, dense ``(N, C)``, and images of few positions.

A contiguous matrix of `ROWS` rows and `COLUMNS` columns, each column belonging to one channel:
``channel = (column // LENGTH) % CHANNELS``. Three layouts are such a matrix:

- channels_last and dense: a row is a position, a column a channel (`LENGTH` 1);
- ``(N, C, S)`` with small S: a row is a sample, and S columns make a channel (`LENGTH` S);
- few columns: several such rows side by side make one long enough for vectors; what is left
  over at the end is a shorter row of `TAIL` columns.

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
from ._row_loops import (
    add_gradients,
    add_gradients_of_four,
    add_moments,
    add_moments_of_eight,
    exact_moments,
    exact_products,
    find_shift,
    input_gradient,
    normalize,
)
from ._values import (
    HUGE,
    IDENTITY,
    RELU,
    TINY,
    VALUES,
    moments_of,
    parameter,
    scale_of,
    split,
)

RUN = 16  # rows that the second pass takes in their order


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
                find_shift(c, x, first, n, shift)
            if c[at.PHASE] & at.SUM and c[at.BATCH_STATISTICS]:
                sum1 = offset(sums, 2 * task * n) if c[at.SHARES] > 1 else own
                sum2 = offset(sum1, n)
                for i in range(2 * n):
                    put(sum1, i, 0.0)
                row = row0
                while row + 8 <= min(row1, c[at.ROWS]):
                    source = offset(x, row * columns + first)
                    add_moments_of_eight(source, columns, n, shift, sum1, sum2)
                    row += 8
                while row < row1:
                    source = offset(x, row * columns + first)
                    add_moments(source, _width(c, row, n), shift, sum1, sum2)
                    row += 1
            if not c[at.PHASE] & at.APPLY:
                continue
            for channel in range(channel0, channel1):
                if c[at.BATCH_STATISTICS]:
                    one, two, origin = _fold_moments(c, sums, shift, n, channel, first)
                    value = np.float64(load(x, channel * c[at.LENGTH]))
                    constant = one == 0.0 and two == 0.0 and value == origin
                    if not TINY < two < HUGE and not constant:
                        one, two = exact_moments(c, x, channel, origin)
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
                normalize(
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
                    add_gradients_of_four(
                        gradient, source, offset(residual, start), columns, n, known, sum1, sum2,
                        added, inner, alpha,
                    )  # fmt: skip
                    row += 4
                while row < row1:
                    start, count = row * columns + first, _width(c, row, n)
                    source, gradient = offset(x, start), offset(g, start)
                    add_gradients(
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
                    one, two = exact_products(
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
                    input_gradient(
                        gradient, source, other, target, kept, count, known, factors, True,
                        added, inner, alpha,
                    )  # fmt: skip
                else:
                    input_gradient(
                        gradient, source, other, target, kept, count, known, factors, False,
                        added, inner, alpha,
                    )  # fmt: skip
                if streamed:
                    flush(place, buffer, count, size)
        return version  # part of the key of the compiled code on disk

    return rows_backward
