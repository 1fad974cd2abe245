"""Kernels for contiguous ``(N, C, S)`` with long runs of S values: images.

A task is one channel, or one of its `SHARES` where channels are fewer than threads. The values of a
channel are read from memory once: the second pass finds them in the cache.
"""

from typing import Any

import numpy as np
from numba import njit

from . import _context as at
from ._chunks import CHUNK, WORD, flush, keep, pack, words
from ._memory import (
    BFLOAT16,
    FLOAT64,
    get,
    like,
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
    distance,
    moments_of,
    parameter,
    scale_of,
    slope_at,
    split,
)


@njit(forceinline=True, fastmath=SUMS)
def _total(x, n):
    total = like(load(x, 0), 0.0)
    for i in range(n):
        total += load(x, i)
    return total


@njit(forceinline=True, fastmath=VALUES)
def _centre(x, n):
    """Return about the mean; any value will do, and a value it is where the sum overflows."""
    centre = _total(x, n) / like(load(x, 0), n)
    return centre if abs(np.float64(centre)) < HUGE else load(x, 0)


@njit(forceinline=True, fastmath=SUMS)
def _around(x, n, centre):
    """Return the sums of x - centre and of its square, in the type of the arithmetic."""
    sum1 = like(centre, 0.0)
    sum2 = like(centre, 0.0)
    for i in range(n):
        d = distance(load(x, i), centre)
        sum1 += d
        sum2 += d * d
    return sum1, sum2


@njit(fastmath=SUMS)
def _around_in_float64(x, n, centre):
    """Return the same in float64: for squares that float32 cannot hold."""
    sum1, sum2 = 0.0, 0.0
    for i in range(n):
        d = np.float64(load(x, i)) - np.float64(centre)
        sum1 += d
        sum2 += d * d
    return sum1, sum2


@njit(forceinline=True)
def _constant(x, n, centre, sum1, sum2):
    """Whether both sums are zero because all values are equal, and not because squares vanished."""
    return sum1 == 0.0 and sum2 == 0.0 and load(x, 0) == centre and load(x, n - 1) == centre


@njit(fastmath=VALUES)
def _moments_again(x, n):
    """Return the sums around the chunk's own mean, and that mean: for a chunk unlike the last.

    The chunk lies in the first-level cache, so it is cheap to go over it again.
    """
    centre = _centre(x, n)
    sum1, sum2 = _around(x, n, centre)
    wide1, wide2 = np.float64(sum1), np.float64(sum2)
    if not TINY < wide2 < HUGE and not _constant(x, n, centre, wide1, wide2):
        wide1, wide2 = _around_in_float64(x, n, centre)
    return wide1, wide2, centre


@njit(forceinline=True, fastmath=VALUES)
def _moments(x, n, shift, centre):
    """Return the sums of x - shift and of its square over a chunk, and a centre for the next.

    Taken around `centre` in the type of the arithmetic, which is exact enough while the chunk's
    mean lies within three of its standard deviations from it.
    """
    sum1, sum2 = _around(x, n, centre)
    wide1, wide2 = np.float64(sum1), np.float64(sum2)
    near = wide1 * wide1 <= 0.9 * n * wide2 and TINY < wide2 < HUGE
    if not near and not _constant(x, n, centre, wide1, wide2):
        wide1, wide2, centre = _moments_again(x, n)
    step = np.float64(centre) - shift
    return wide1 + n * step, wide2 + step * (2.0 * wide1 + n * step), centre


@njit(forceinline=True, fastmath=VALUES)
def _normalize(x, residual, y, n, mean, affine, has_residual, activation, alpha):
    high, low = mean
    scale, bias = affine
    for i in range(n):
        z = affine_of(centred(load(x, i), high, low), scale, bias)
        if has_residual:
            z = z + load(residual, i)
        store(y, i, activate(z, activation, alpha))


@njit(forceinline=True, fastmath=VALUES)
def _gradient(g, d, residual, i, affine, added, activation, alpha):
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
def _products(g, x, residual, n, mean, affine, added, activation, alpha):
    """Return the sums of g and of g times the centred input, in the type of the arithmetic."""
    high, low = mean
    sum1, sum2 = like(high, 0.0), like(high, 0.0)
    for i in range(n):
        d = centred(load(x, i), high, low)
        value = _gradient(g, d, residual, i, affine, added, activation, alpha)
        sum1 += value
        sum2 += value * d
    return sum1, sum2


@njit(fastmath=SUMS)
def _products_in_float64(g, x, residual, n, mean, affine, added, activation, alpha):
    high, low = mean
    sum1, sum2 = 0.0, 0.0
    for i in range(n):
        d = centred(load(x, i), high, low)
        value = _gradient(g, d, residual, i, affine, added, activation, alpha)
        sum1 += np.float64(value)
        sum2 += np.float64(value) * np.float64(d)
    return sum1, sum2


@njit(forceinline=True, fastmath=VALUES)
def _gradient_sums(g, x, residual, n, mean, affine, added, activation, alpha):
    sum1, sum2 = _products(g, x, residual, n, mean, affine, added, activation, alpha)
    wide1, wide2 = np.float64(sum1), np.float64(sum2)
    if not (abs(wide1) < HUGE and abs(wide2) < HUGE):
        return _products_in_float64(g, x, residual, n, mean, affine, added, activation, alpha)
    return wide1, wide2


@njit(forceinline=True, fastmath=VALUES)
def _input_gradient(
    g, x, residual, dx, dresidual, n, mean, affine, factors, flows, added, activation, alpha
):
    """Write dx, and dresidual where it is not known yet; `flows` through the statistics or not."""
    high, low = mean
    of_g, of_x, constant = factors
    for i in range(n):
        d = centred(load(x, i), high, low)
        value = _gradient(g, d, residual, i, affine, added, activation, alpha)
        if added:
            store(dresidual, i, value)
        if flows:
            store(dx, i, of_g * value + (of_x * d + constant))
        else:
            store(dx, i, of_g * value)


@njit(forceinline=True)
def _share(c, task):
    """Return the channel of a task, and its first and last chunk."""
    shares = c[at.SHARES]
    chunks = c[at.ROWS] * ((c[at.LENGTH] + CHUNK - 1) // CHUNK)
    share = task % shares
    return task // shares, chunks * share // shares, chunks * (share + 1) // shares


@njit(forceinline=True)
def _chunk(c, channel, number):
    """Return where a chunk starts, its length, and where its mask starts."""
    length = c[at.LENGTH]
    per_plane = (length + CHUNK - 1) // CHUNK
    plane = (number // per_plane) * c[at.CHANNELS] + channel
    start = (number % per_plane) * CHUNK
    return (
        plane * length + start,
        min(CHUNK, length - start),
        plane * words(length) + start // WORD,
    )


@njit(forceinline=True)
def _shift(c, x, channel):
    """Return the number that a channel's sums are taken around: the mean of its first chunk."""
    start, n, _ = _chunk(c, channel, 0)
    return np.float64(_centre(offset(x, start), n))


@njit(forceinline=True)
def _gathered(c, channel):
    """Return the two sums of a channel over all its shares."""
    scratch = pointer(c[at.SCRATCH], FLOAT64)
    sum1, sum2 = 0.0, 0.0
    for task in range(channel * c[at.SHARES], (channel + 1) * c[at.SHARES]):
        sum1 += get(scratch, 2 * task)
        sum2 += get(scratch, 2 * task + 1)
    return sum1, sum2


def forward(storage: Any, activation: int, has_residual: bool, streamed: bool, version: int) -> Any:
    """Return the forward kernel for one kind of values, activation and way of storing."""
    masked = has_residual and activation == RELU
    size = storage.bitwidth // 8

    def planes_forward(begin, end, c):
        x, residual, y = (
            pointer(c[at.X], storage),
            pointer(c[at.RESIDUAL], storage),
            pointer(c[at.OUTPUT], storage),
        )
        bits = pointer(c[at.MASK], BFLOAT16)
        scratch = pointer(c[at.SCRATCH], FLOAT64)
        room = np.empty(CHUNK + 2 * WORD, np.float64)
        spare = pointer(room.ctypes.data, storage)
        buffer = pointer((room.ctypes.data + 8 * WORD + 63) // 64 * 64, storage)
        alpha = real(c[at.ALPHA])
        count = c[at.ROWS] * c[at.LENGTH]
        for task in range(begin, end):
            channel, first, last = _share(c, task)
            shift = _shift(c, x, channel) if c[at.BATCH_STATISTICS] else 0.0
            if c[at.PHASE] & at.SUM and c[at.BATCH_STATISTICS]:
                sum1, sum2 = 0.0, 0.0
                centre = rounded(x, shift)
                for number in range(first, last):
                    start, n, _ = _chunk(c, channel, number)
                    part1, part2, centre = _moments(offset(x, start), n, shift, centre)
                    sum1 += part1
                    sum2 += part2
                put(scratch, 2 * task, sum1)
                put(scratch, 2 * task + 1, sum2)
            if not c[at.PHASE] & at.APPLY:
                continue
            if c[at.BATCH_STATISTICS]:
                sum1, sum2 = _gathered(c, channel)
                mean, var = moments_of(sum1, sum2, shift, count)
            else:
                mean = parameter(c[at.MEAN_GIVEN], c[at.MEAN_STORED], channel, 0.0)
                var = parameter(c[at.VAR_GIVEN], c[at.VAR_STORED], channel, 1.0)
            weight = parameter(c[at.WEIGHT], c[at.WEIGHT_STORED], channel, 1.0)
            bias = parameter(c[at.BIAS], c[at.BIAS_STORED], channel, 0.0)
            invstd, scale = scale_of(var, weight, real(c[at.EPS]))
            if task % c[at.SHARES] == 0:
                store(pointer(c[at.MEAN], FLOAT64), channel, mean)
                store(pointer(c[at.VAR], FLOAT64), channel, var)
                store(pointer(c[at.INVSTD], FLOAT64), channel, invstd)
            parts, affine = split(x, mean), (rounded(x, scale), rounded(x, bias))
            for number in range(first, last):
                start, n, word = _chunk(c, channel, number)
                place = offset(y, start)
                target = buffer if streamed else place
                source, added = offset(x, start), offset(residual, start)
                _normalize(source, added, target, n, parts, affine, has_residual, activation, alpha)
                if masked:
                    pack(offset(bits, word), target, n, spare)
                if streamed:
                    flush(place, buffer, n, size)
        return version  # part of the key of the compiled code on disk

    return planes_forward


def backward(
    storage: Any, activation: int, has_residual: bool, streamed: bool, version: int
) -> Any:
    """Return the backward kernel for one kind of values, activation and way of storing."""
    masked = has_residual and activation == RELU
    added = has_residual and not masked
    inner = IDENTITY if masked else activation  # the mask is applied first, once
    size = storage.bitwidth // 8

    def planes_backward(begin, end, c):
        x, residual, dy = (
            pointer(c[at.X], storage),
            pointer(c[at.RESIDUAL], storage),
            pointer(c[at.GRADIENT], storage),
        )
        dx, dresidual = pointer(c[at.OUTPUT], storage), pointer(c[at.DRESIDUAL], storage)
        bits = pointer(c[at.MASK], BFLOAT16)
        scratch = pointer(c[at.SCRATCH], FLOAT64)
        room = np.empty(CHUNK + 2 * WORD, np.float64)
        spare = pointer(room.ctypes.data, storage)
        buffer = pointer((room.ctypes.data + 8 * WORD + 63) // 64 * 64, storage)
        alpha = real(c[at.ALPHA])
        count = c[at.ROWS] * c[at.LENGTH]
        g = dresidual if masked else dy
        for task in range(begin, end):
            channel, first, last = _share(c, task)
            mean = load(pointer(c[at.MEAN], FLOAT64), channel)
            invstd = load(pointer(c[at.INVSTD], FLOAT64), channel)
            weight = parameter(c[at.WEIGHT], c[at.WEIGHT_STORED], channel, 1.0)
            bias = parameter(c[at.BIAS], c[at.BIAS_STORED], channel, 0.0)
            parts, affine = split(x, mean), (rounded(x, weight * invstd), rounded(x, bias))
            if c[at.PHASE] & at.SUM:
                sum1, sum2 = 0.0, 0.0
                for number in range(first, last):
                    start, n, word = _chunk(c, channel, number)
                    if masked:
                        kept = offset(dresidual, start)
                        keep(kept, offset(dy, start), offset(bits, word), n, spare)
                    source, other = offset(x, start), offset(residual, start)
                    part1, part2 = _gradient_sums(
                        offset(g, start), source, other, n, parts, affine, added, inner, alpha
                    )
                    sum1 += part1
                    sum2 += part2
                put(scratch, 2 * task, sum1)
                put(scratch, 2 * task + 1, sum2)
            if not c[at.PHASE] & at.APPLY:
                continue
            sum1, sum2 = _gathered(c, channel)
            if task % c[at.SHARES] == 0:
                store(pointer(c[at.DBIAS], FLOAT64), channel, sum1)
                store(pointer(c[at.DWEIGHT], FLOAT64), channel, sum2 * invstd)
            of_g = weight * invstd
            of_x = -of_g * invstd * invstd * sum2 / count
            factors = (rounded(x, of_g), rounded(x, of_x), rounded(x, -of_g * sum1 / count))
            for number in range(first, last):
                start, n, _ = _chunk(c, channel, number)
                place = offset(dx, start)
                target = buffer if streamed else place
                source, gradient = offset(x, start), offset(g, start)
                other, kept = offset(residual, start), offset(dresidual, start)
                if c[at.BATCH_STATISTICS]:
                    _input_gradient(
                        gradient, source, other, target, kept, n, parts, affine, factors, True,
                        added, inner, alpha,
                    )  # fmt: skip
                else:
                    _input_gradient(
                        gradient, source, other, target, kept, n, parts, affine, factors, False,
                        added, inner, alpha,
                    )  # fmt: skip
                if streamed:
                    flush(place, buffer, n, size)
        return version  # part of the key of the compiled code on disk

    return planes_backward
