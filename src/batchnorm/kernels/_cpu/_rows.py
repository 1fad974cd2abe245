"""Kernels for rows of columns: channels_last, dense ``(N, C)``, and images of few positions.

A contiguous matrix of `ROWS` rows and `COLUMNS` columns, each column belonging to one channel:
``channel = (column // LENGTH) % CHANNELS``. Three layouts are such a matrix:

- channels_last and dense: a row is a position, a column a channel (`LENGTH` 1);
- ``(N, C, S)`` with small S: a row is a sample, and S columns make a channel (`LENGTH` S);
- few columns: several such rows side by side make one long enough for vectors; what is left
  over at the end is a shorter row of `TAIL` columns.

A task is a block of `WIDTH` columns, read from memory once, or, when the rows are many, one of
`SHARES` of the rows, in two phases. Rows are taken in strips of `STRIP`.
"""

from typing import Any

import numpy as np

from batchnorm.kernels._cpu import _context as at
from batchnorm.kernels._cpu._activations import RELU
from batchnorm.kernels._cpu._channels import population, settle, settle_gradients, settled_line
from batchnorm.kernels._cpu._chunks import Places, Tail, Targets, flush, moved, targets_at, words
from batchnorm.kernels._cpu._masks import WORD
from batchnorm.kernels._cpu._memory import (
    BITS,
    FLOAT32,
    FLOAT64,
    get,
    inlined,
    offset,
    pointer,
    put,
    real,
    rounded,
    run_kernel,
)
from batchnorm.kernels._cpu._row_loops import (
    add_moments,
    add_products,
    exact_moments,
    exact_products,
    find_shift,
    fold,
    input_gradient,
    normalize,
    spread,
)
from batchnorm.kernels._cpu._values import FAR, HUGE, TINY, moments_of
from batchnorm.kernels._cpu._vectors import MOST, splat

RUN = 16  # strips that the second pass takes in their order


@inlined
def _block(c, task):
    """Return the columns and the rows of a task, the last row being the tail where it has one."""
    shares, rows = c[at.SHARES], c[at.ROWS] + (c[at.TAIL] > 0)
    if shares > 1:
        return 0, c[at.COLUMNS], rows * task // shares, rows * (task + 1) // shares
    first = task * c[at.WIDTH]
    return first, min(c[at.WIDTH], c[at.COLUMNS] - first), 0, rows


@inlined
def _strip(c, number, n, row0, row1):
    """Return the first row of a strip, its rows and its columns; strip 0 is the tail's, if any."""
    full = min(row1, c[at.ROWS])
    if number == 0:
        return full, row1 - full, c[at.TAIL]
    row = row0 + (number - 1) * c[at.STRIP]
    return row, min(c[at.STRIP], full - row), n


@inlined
def _strips(c, row0, row1):
    """Return the number of strips, with the one for the tail."""
    return 1 + max(min(row1, c[at.ROWS]) - row0 + c[at.STRIP] - 1, 0) // c[at.STRIP]


@inlined
def _backwards(turn, strips):
    """Return the strip of a turn that goes through short runs of strips from the last to the first.

    So that the second pass begins with what the first one left in the cache.
    """
    end = strips - turn // RUN * RUN
    return max(end - RUN, 0) + turn % RUN


@inlined
def _padded(columns):
    """Return the room that so many columns take: whole vectors."""
    return (columns + MOST - 1) // MOST * MOST


@inlined
def _channels(c, first, n):
    """Return the range of channels in a block of columns."""
    length = c[at.LENGTH]
    return first // length, min(c[at.CHANNELS], (first + n) // length)


@inlined
def _spread_three(c, targets, values, n, channel, first):
    one, two, three = targets
    a, b, d = values
    spread(c, one, rounded(one, a), n, channel, first)
    spread(c, two, rounded(two, b), n, channel, first)
    spread(c, three, rounded(three, d), n, channel, first)


@inlined
def _zero(sums, count):
    for i in range(count):
        put(sums, i, 0.0)


def forward(storage: Any, activation: int, has_residual: bool, streamed: bool, version: int) -> Any:
    """Return the forward kernel for one kind of values, activation and way of storing."""
    masked = has_residual and activation == RELU
    size = storage.bitwidth // 8
    kind = FLOAT64 if storage is FLOAT64 else FLOAT32

    def rows_forward(begin, end, c):
        x, y = pointer(c[at.X], storage), pointer(c[at.OUTPUT], storage)
        places = Places(x, pointer(c[at.RESIDUAL], storage), pointer(c[at.MASK], BITS))
        tail, columns = Tail(has_residual, masked, activation, real(c[at.ALPHA])), c[at.COLUMNS]
        padded = _padded(columns if c[at.SHARES] > 1 else c[at.WIDTH])
        room = np.empty((8 if streamed else 7) * padded, np.float64)
        base = room.ctypes.data
        own = pointer(base, FLOAT64)
        shift = pointer(base + 16 * padded, kind)
        shifts = pointer(base + 24 * padded, kind)
        line = (
            pointer(base + 32 * padded, kind),
            pointer(base + 40 * padded, kind),
            pointer(base + 48 * padded, kind),
        )
        buffer = pointer(base + 56 * padded, storage)
        for task in range(begin, end):
            first, n, row0, row1 = _block(c, task)
            shared = c[at.SHARES] > 1
            sums = pointer(c[at.SCRATCH], FLOAT64) if shared else own
            channel0, channel1 = _channels(c, first, n)
            strips = _strips(c, row0, row1)
            if c[at.BATCH_STATISTICS]:
                find_shift(c, x, channel0, channel1, first, shift)
            if c[at.PHASE] & at.SUM and c[at.BATCH_STATISTICS]:
                for channel in range(channel0, channel1):
                    spread(c, shifts, get(shift, channel - channel0), n, channel, first)
                mine = offset(sums, 2 * task * padded) if shared else own
                _zero(mine, 2 * padded)
                pair = mine, offset(mine, padded)
                for number in range(strips):
                    row, rows, count = _strip(c, number, n, row0, row1)
                    add_moments(
                        count, offset(x, row * columns + first), columns, rows, shifts, pair
                    )
            if not c[at.PHASE] & at.APPLY:
                continue
            for channel in range(channel0, channel1):
                if c[at.BATCH_STATISTICS]:
                    origin = np.float64(get(shift, channel - channel0))
                    one, two = fold(c, sums, padded, n, channel, first)
                    value = np.float64(get(x, channel * c[at.LENGTH]))
                    constant = one == 0.0 and two == 0.0 and value == origin
                    near = one * one <= FAR * c[at.COUNT] * two and TINY < two < HUGE
                    if not near and not constant:
                        one, two = exact_moments(c, x, channel, origin)
                    mean, var = moments_of(one, two, origin, c[at.COUNT])
                else:
                    mean, var = population(c, channel)
                found = settle(c, x, channel, mean, var, row0 == 0)
                _spread_three(c, line, found, n, channel, first)
            for turn in range(strips):
                number = _backwards(turn, strips) if streamed else turn
                row, rows, count = _strip(c, number, n, row0, row1)
                start, word = row * columns + first, row * words(columns) + first // WORD
                for i in range(rows):
                    step = start + i * columns
                    here, place = moved(places, step, word + i * words(columns)), offset(y, step)
                    normalize(count, line, here, buffer if streamed else place, tail)
                    if streamed:
                        flush(place, buffer, count, size)
        if c[at.UPDATE]:
            run_kernel(c[at.UPDATE], offset(c, at.RUNNING))
        return version  # part of the key of the compiled code on disk

    return rows_forward


def backward(
    storage: Any, activation: int, has_residual: bool, streamed: bool, version: int
) -> Any:
    """Return the backward kernel for one kind of values, activation and way of storing."""
    masked = has_residual and activation == RELU
    size = storage.bitwidth // 8
    kind = FLOAT64 if storage is FLOAT64 else FLOAT32

    def rows_backward(begin, end, c):
        x, dy = pointer(c[at.X], storage), pointer(c[at.GRADIENT], storage)
        places = Places(x, pointer(c[at.RESIDUAL], storage), pointer(c[at.MASK], BITS))
        targets = Targets(pointer(c[at.OUTPUT], storage), pointer(c[at.DRESIDUAL], storage))
        tail = Tail(has_residual, masked, activation, real(c[at.ALPHA]))
        columns, flows = c[at.COLUMNS], c[at.BATCH_STATISTICS] != 0
        padded = _padded(columns if c[at.SHARES] > 1 else c[at.WIDTH])
        room = np.empty((10 if streamed else 8) * padded, np.float64)
        base = room.ctypes.data
        own = pointer(base, FLOAT64)
        line = (
            pointer(base + 16 * padded, kind),
            pointer(base + 24 * padded, kind),
            pointer(base + 32 * padded, kind),
        )
        factors = (
            pointer(base + 40 * padded, kind),
            pointer(base + 48 * padded, kind),
            pointer(base + 56 * padded, kind),
        )
        buffers = Targets(
            pointer(base + 64 * padded, storage), pointer(base + 72 * padded, storage)
        )
        for task in range(begin, end):
            first, n, row0, row1 = _block(c, task)
            shared = c[at.SHARES] > 1
            sums = pointer(c[at.SCRATCH], FLOAT64) if shared else own
            channel0, channel1 = _channels(c, first, n)
            strips = _strips(c, row0, row1)
            for channel in range(channel0, channel1):
                _spread_three(c, line, settled_line(c, x, channel), n, channel, first)
            if c[at.PHASE] & at.SUM:
                mine = offset(sums, 2 * task * padded) if shared else own
                _zero(mine, 2 * padded)
                pair = mine, offset(mine, padded)
                for number in range(strips):
                    row, rows, count = _strip(c, number, n, row0, row1)
                    start, word = row * columns + first, row * words(columns) + first // WORD
                    here, gradient = moved(places, start, word), offset(dy, start)
                    add_products(count, columns, rows, line, here, gradient, pair, tail)
            if not c[at.PHASE] & at.APPLY:
                continue
            for channel in range(channel0, channel1):
                centre, scale, shift = settled_line(c, x, channel)
                one, two = fold(c, sums, padded, n, channel, first)
                if not (abs(one) < HUGE and abs(two) < HUGE):
                    known = splat(x, centre), splat(x, scale), splat(x, shift)
                    one, two = exact_products(c, channel, known, places, dy, tail)
                found = settle_gradients(c, channel, centre, one, two, row0 == 0)
                _spread_three(c, factors, found, n, channel, first)
            for turn in range(strips):
                number = _backwards(turn, strips) if streamed else turn
                row, rows, count = _strip(c, number, n, row0, row1)
                start, word = row * columns + first, row * words(columns) + first // WORD
                for i in range(rows):
                    step = start + i * columns
                    here, goal = (
                        moved(places, step, word + i * words(columns)),
                        targets_at(targets, step),
                    )
                    to, gradient = buffers if streamed else goal, offset(dy, step)
                    input_gradient(count, line, factors, flows, here, gradient, to, tail)
                    if streamed:
                        flush(goal.dx, buffers.dx, count, size)
                        if has_residual:
                            flush(goal.dresidual, buffers.dresidual, count, size)
        return version  # part of the key of the compiled code on disk

    return rows_backward
