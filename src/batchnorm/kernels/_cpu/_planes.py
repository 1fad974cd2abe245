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
    load,
    offset,
    pointer,
    put,
    real,
    rounded,
    store,
)
from ._plane_loops import centre_of, gradient_sums, input_gradient, moments, normalize
from ._values import (
    IDENTITY,
    RELU,
    moments_of,
    parameter,
    scale_of,
    split,
)


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
    return np.float64(centre_of(offset(x, start), n))


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
                    part1, part2, centre = moments(offset(x, start), n, shift, centre)
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
                normalize(source, added, target, n, parts, affine, has_residual, activation, alpha)
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
                    part1, part2 = gradient_sums(
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
                    input_gradient(
                        gradient, source, other, target, kept, n, parts, affine, factors, True,
                        added, inner, alpha,
                    )  # fmt: skip
                else:
                    input_gradient(
                        gradient, source, other, target, kept, n, parts, affine, factors, False,
                        added, inner, alpha,
                    )  # fmt: skip
                if streamed:
                    flush(place, buffer, n, size)
        return version  # part of the key of the compiled code on disk

    return planes_backward
