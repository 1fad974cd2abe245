"""Kernels for contiguous ``(N, C, S)`` with runs of S values: images.

A task is a group of neighbouring channels, whose values stay in a core's own cache between the two
passes; or one of the `SHARES` of a group, in two phases: of all channels, where all that is touched
stays in the last-level cache, or of one, where channels are few. Memory is taken in its order. Long
planes are taken in chunks, short ones in strips of several rows.
"""

from typing import Any

import numpy as np

from batchnorm.kernels._cpu import _context as at
from batchnorm.kernels._cpu._activations import RELU
from batchnorm.kernels._cpu._channels import population, settle, settle_gradients, settled_line
from batchnorm.kernels._cpu._chunks import Places, Tail, Targets, flush, moved, targets_at, words
from batchnorm.kernels._cpu._masks import WORD, first
from batchnorm.kernels._cpu._memory import (
    BITS,
    FLOAT64,
    address,
    get,
    inlined,
    offset,
    pointer,
    put,
    real,
    rounded,
    run_kernel,
)
from batchnorm.kernels._cpu._plane_loops import (
    centre_of,
    gradient_sums,
    gradient_sums_in_float64,
    input_gradient,
    moments,
    normalize,
)
from batchnorm.kernels._cpu._values import HUGE, moments_of
from batchnorm.kernels._cpu._vectors import splat, width

CHUNK = 2048  # values that stay in the first-level cache between two steps, at most


@inlined
def _task(c, task):
    """Return a task's first channel, how many it has, and which share of them it is."""
    shares, group = c[at.SHARES], c[at.GROUP]
    channel = task // shares * group
    return channel, min(group, c[at.CHANNELS] - channel), task % shares


@inlined
def _range(c, rows, channels, share):
    """Return the first and the last of the pieces of a task: each a chunk of a plane."""
    pieces = rows * channels * c[at.PIECES]
    return pieces * share // c[at.SHARES], pieces * (share + 1) // c[at.SHARES]


@inlined
def _piece(c, channels, number):
    """Return the row, the channel within the group and the chunk of a piece."""
    pieces = c[at.PIECES]
    plane = number // pieces
    return plane // channels, plane % channels, number % pieces


@inlined
def _next(c, channels, row, k, chunk):
    """Return the piece that follows in memory: the same without divisions."""
    chunk += 1
    if chunk == c[at.PIECES]:
        chunk = 0
        k += 1
        if k == channels:
            k = 0
            row += 1
    return row, k, chunk


@inlined
def _ahead(c, channels, k):
    """Return how far behind a strip of rows the next channel's begins; 0 where there is none."""
    return c[at.LENGTH] if c[at.STRIP] > 1 and k + 1 < channels else 0


@inlined
def _place(c, channel, row, chunk):
    """Return where a chunk starts, its length, and where its mask starts."""
    length = c[at.LENGTH]
    start = chunk * c[at.CHUNK]
    plane = row * c[at.CHANNELS] + channel
    return (
        plane * length + start,
        min(c[at.CHUNK], length - start),
        plane * words(length) + start // WORD,
    )


@inlined
def _sums(c, own, task):
    """Return where a task's sums are, two for each of its channels."""
    if c[at.SHARES] == 1:
        return own
    return offset(pointer(c[at.SCRATCH], FLOAT64), 2 * c[at.GROUP] * task)


@inlined
def _gathered(c, own, task, k):
    """Return the two sums of a channel, over all its shares."""
    sum1, sum2 = 0.0, 0.0
    first_share = task - task % c[at.SHARES]
    for share in range(c[at.SHARES]):
        sums = _sums(c, own, first_share + share)
        sum1 += get(sums, 2 * k)
        sum2 += get(sums, 2 * k + 1)
    return sum1, sum2


@inlined
def _full(c, held, place, following, n):
    """Whether the buffer has to go before `n` more values, or values elsewhere, come into it."""
    return held > 0 and (held + n > CHUNK or address(following) != address(offset(place, held)))


@inlined
def _vectors(x, values, k):
    """Return three numbers of a channel as vectors."""
    return (
        splat(x, get(values, 3 * k)),
        splat(x, get(values, 3 * k + 1)),
        splat(x, get(values, 3 * k + 2)),
    )


@inlined
def _keep(values, k, numbers):
    a, b, c = numbers
    put(values, 3 * k, a)
    put(values, 3 * k + 1, b)
    put(values, 3 * k + 2, c)


def forward(storage: Any, activation: int, has_residual: bool, streamed: bool, version: int) -> Any:
    """Return the forward kernel for one kind of values, activation and way of storing."""
    masked = has_residual and activation == RELU
    size = storage.bitwidth // 8

    def planes_forward(begin, end, c):
        x, y = pointer(c[at.X], storage), pointer(c[at.OUTPUT], storage)
        places = Places(x, pointer(c[at.RESIDUAL], storage), pointer(c[at.MASK], BITS))
        tail = Tail(has_residual, masked, activation, real(c[at.ALPHA]))
        last = first(x, c[at.LENGTH] % width(x))
        stride, strips = c[at.CHANNELS] * c[at.LENGTH], -(-c[at.ROWS] // c[at.STRIP])
        group = c[at.GROUP]
        room = np.empty(7 * group + (CHUNK if streamed else 0), np.float64)
        shifts = pointer(room.ctypes.data, FLOAT64)
        centres, own, lines = (
            offset(shifts, group),
            offset(shifts, 2 * group),
            offset(shifts, 4 * group),
        )
        buffer = pointer(room.ctypes.data + 8 * 7 * group, storage)
        for task in range(begin, end):
            channel0, channels, share = _task(c, task)
            sums = _sums(c, own, task)
            if c[at.BATCH_STATISTICS]:
                for k in range(channels):
                    start, n, _ = _place(c, channel0 + k, 0, 0)
                    shift = np.float64(
                        rounded(x, centre_of(offset(x, start), min(n, width(x)), 1, 0))
                    )
                    put(shifts, k, shift)
            if c[at.PHASE] & at.SUM and c[at.BATCH_STATISTICS]:
                for k in range(channels):
                    put(centres, k, get(shifts, k))
                    put(sums, 2 * k, 0.0)
                    put(sums, 2 * k + 1, 0.0)
                begins, ends = _range(c, strips, channels, share)
                strip, k, chunk = _piece(c, channels, begins)
                for _ in range(begins, ends):
                    row = strip * c[at.STRIP]
                    start, n, _ = _place(c, channel0 + k, row, chunk)
                    rows = min(c[at.STRIP], c[at.ROWS] - row)
                    ahead, shift, centre = _ahead(c, channels, k), get(shifts, k), get(centres, k)
                    sum1, sum2, centre = moments(
                        offset(x, start), n, last, rows, stride, ahead, shift, centre
                    )
                    put(centres, k, centre)
                    put(sums, 2 * k, get(sums, 2 * k) + sum1)
                    put(sums, 2 * k + 1, get(sums, 2 * k + 1) + sum2)
                    strip, k, chunk = _next(c, channels, strip, k, chunk)
            if not c[at.PHASE] & at.APPLY:
                continue
            for k in range(channels):
                channel = channel0 + k
                if c[at.BATCH_STATISTICS]:
                    sum1, sum2 = _gathered(c, own, task, k)
                    mean, var = moments_of(sum1, sum2, get(shifts, k), c[at.COUNT])
                else:
                    mean, var = population(c, channel)
                _keep(lines, k, settle(c, x, channel, mean, var, share == 0))
            begins, ends = _range(c, c[at.ROWS], channels, share)
            row, k, chunk = _piece(c, channels, begins)
            held, place = 0, offset(y, 0)  # values in the buffer, and where they go
            for _ in range(begins, ends):
                start, n, word = _place(c, channel0 + k, row, chunk)
                if streamed and _full(c, held, place, offset(y, start), n):
                    flush(place, buffer, held, size)
                    held = 0
                if held == 0:
                    place = offset(y, start)
                to = offset(buffer, held) if streamed else place
                normalize(n, last, _vectors(x, lines, k), moved(places, start, word), to, tail)
                if streamed:
                    held += n
                row, k, chunk = _next(c, channels, row, k, chunk)
            if streamed:
                flush(place, buffer, held, size)
        if c[at.UPDATE]:
            run_kernel(c[at.UPDATE], offset(c, at.RUNNING))
        return version  # part of the key of the compiled code on disk

    return planes_forward


def backward(
    storage: Any, activation: int, has_residual: bool, streamed: bool, version: int
) -> Any:
    """Return the backward kernel for one kind of values, activation and way of storing."""
    masked = has_residual and activation == RELU
    size = storage.bitwidth // 8

    def planes_backward(begin, end, c):
        x, dy = pointer(c[at.X], storage), pointer(c[at.GRADIENT], storage)
        places = Places(x, pointer(c[at.RESIDUAL], storage), pointer(c[at.MASK], BITS))
        targets = Targets(pointer(c[at.OUTPUT], storage), pointer(c[at.DRESIDUAL], storage))
        tail = Tail(has_residual, masked, activation, real(c[at.ALPHA]))
        last = first(x, c[at.LENGTH] % width(x))
        stride, strips = c[at.CHANNELS] * c[at.LENGTH], -(-c[at.ROWS] // c[at.STRIP])
        flows = c[at.BATCH_STATISTICS] != 0
        strides = stride, c[at.CHANNELS] * words(c[at.LENGTH])
        group = c[at.GROUP]
        room = np.empty(8 * group + (2 * CHUNK if streamed else 0), np.float64)
        own = pointer(room.ctypes.data, FLOAT64)
        lines, factors = offset(own, 2 * group), offset(own, 5 * group)
        buffers = Targets(
            pointer(room.ctypes.data + 8 * 8 * group, storage),
            pointer(room.ctypes.data + 8 * 8 * group + 8 * CHUNK, storage),
        )
        for task in range(begin, end):
            channel0, channels, share = _task(c, task)
            sums = _sums(c, own, task)
            for k in range(channels):
                _keep(lines, k, settled_line(c, x, channel0 + k))
            if c[at.PHASE] & at.SUM:
                for k in range(channels):
                    put(sums, 2 * k, 0.0)
                    put(sums, 2 * k + 1, 0.0)
                begins, ends = _range(c, strips, channels, share)
                strip, k, chunk = _piece(c, channels, begins)
                for _ in range(begins, ends):
                    row = strip * c[at.STRIP]
                    start, n, word = _place(c, channel0 + k, row, chunk)
                    rows = min(c[at.STRIP], c[at.ROWS] - row)
                    here, gradient = moved(places, start, word), offset(dy, start)
                    line, ahead = _vectors(x, lines, k), _ahead(c, channels, k)
                    sum1, sum2 = gradient_sums(
                        n, last, rows, strides, ahead, line, here, gradient, tail
                    )
                    if not (abs(sum1) < HUGE and abs(sum2) < HUGE):
                        sum1, sum2 = gradient_sums_in_float64(
                            n, rows, strides, line, here, gradient, tail
                        )
                    put(sums, 2 * k, get(sums, 2 * k) + sum1)
                    put(sums, 2 * k + 1, get(sums, 2 * k + 1) + sum2)
                    strip, k, chunk = _next(c, channels, strip, k, chunk)
            if not c[at.PHASE] & at.APPLY:
                continue
            for k in range(channels):
                sum1, sum2 = _gathered(c, own, task, k)
                centre, owner = get(lines, 3 * k), share == 0
                found = settle_gradients(c, channel0 + k, centre, sum1, sum2, owner)
                _keep(factors, k, found)
            begins, ends = _range(c, c[at.ROWS], channels, share)
            row, k, chunk = _piece(c, channels, begins)
            held, goal = 0, targets  # values in the buffers, and where they go
            for _ in range(begins, ends):
                start, n, word = _place(c, channel0 + k, row, chunk)
                if streamed and _full(c, held, goal.dx, offset(targets.dx, start), n):
                    flush(goal.dx, buffers.dx, held, size)
                    if has_residual:
                        flush(goal.dresidual, buffers.dresidual, held, size)
                    held = 0
                if held == 0:
                    goal = targets_at(targets, start)
                to = targets_at(buffers, held) if streamed else goal
                line, factor = _vectors(x, lines, k), _vectors(x, factors, k)
                here, gradient = moved(places, start, word), offset(dy, start)
                input_gradient(n, last, line, factor, flows, here, gradient, to, tail)
                if streamed:
                    held += n
                row, k, chunk = _next(c, channels, row, k, chunk)
            if streamed:
                flush(goal.dx, buffers.dx, held, size)
                if has_residual:
                    flush(goal.dresidual, buffers.dresidual, held, size)
        return version  # part of the key of the compiled code on disk

    return planes_backward
