"""Update of the running statistics, after the kernel that has computed those of the batch.

A kernel of its own: whether a batch may enter is known when all channels have been seen. Where one
thread has seen them all, the forward kernel runs it at its end; otherwise it is a second call.
"""

import struct
from typing import Any

import numpy as np
from torch import Tensor
from torch.autograd.graph import increment_version

from batchnorm.kernels._cpu._memory import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INTEGER,
    add_to,
    get,
    inlined,
    pointer,
    put,
    real,
    rounded,
)
from batchnorm.kernels._cpu._values import AS_BFLOAT16, AS_FLOAT16, AS_FLOAT32, AS_FLOAT64, STORED
from batchnorm.kernels._running import RunningStats

(
    CHANNELS,
    MEAN,
    VAR,
    RUNNING_MEAN,
    RUNNING_MEAN_STORED,
    RUNNING_VAR,
    RUNNING_VAR_STORED,
    COUNTER,
    SKIPPED,
    SKIP,
    CUMULATIVE,
    FACTOR,  # of the variance, against its bias
    MOMENTUM,
) = range(13)
_pack = struct.Struct("11q2d").pack

# What rounds to infinity, from these magnitudes on: the largest number and half a unit of its last
# digit.
_INFINITE_FLOAT32 = float.fromhex("0x1.ffffffp+127")
_INFINITE_BFLOAT16 = float.fromhex("0x1.ffp+127")
_INFINITE_FLOAT16 = float.fromhex("0x1.ffep+15")


def context_of(running: RunningStats, first: int, channels: int, count: int) -> bytes | None:
    """Return the context of the kernel; `None` where it cannot do the update.

    Args:
        running: what is updated.
        first: address of the mean of the batch, behind which its variance is.
        channels: number of channels.
        count: values per channel.
    """
    mean, var, counter, momentum, skip, skipped, correction = running
    if isinstance(momentum, Tensor):
        return None
    if not (mean is None or mean.is_contiguous()) or not (var is None or var.is_contiguous()):
        return None
    changed = [tensor for tensor in (mean, var, counter, skipped) if tensor is not None]
    increment_version(changed)  # autograd has to see that
    return _pack(
        channels,
        first,
        first + 8 * channels,
        0 if mean is None else mean.data_ptr(),
        0 if mean is None else STORED[mean.dtype],
        0 if var is None else var.data_ptr(),
        0 if var is None else STORED[var.dtype],
        0 if counter is None else counter.data_ptr(),
        0 if skipped is None else skipped.data_ptr(),
        skip,
        momentum is None,
        count / (count - correction),
        momentum or 0.0,
    )


@inlined
def _fits(value, stored):
    if stored == AS_FLOAT32:
        return abs(value) < _INFINITE_FLOAT32
    if stored == AS_BFLOAT16:
        return abs(value) < _INFINITE_BFLOAT16
    if stored == AS_FLOAT16:
        return abs(value) < _INFINITE_FLOAT16
    if stored == AS_FLOAT64:
        return abs(value) < np.inf
    return True


@inlined
def _move(running, i, new, momentum):
    before = get(running, i) * 1.0
    # At momentum 1 nothing may be left of the old, not even an infinity.
    moved = new if momentum == 1.0 else before + momentum * (new - before)
    put(running, i, rounded(running, moved))


@inlined
def _move_stored(address, stored, i, new, momentum):
    if stored == AS_FLOAT32:
        _move(pointer(address, FLOAT32), i, new, momentum)
    elif stored == AS_FLOAT64:
        _move(pointer(address, FLOAT64), i, new, momentum)
    elif stored == AS_BFLOAT16:
        _move(pointer(address, BFLOAT16), i, new, momentum)
    elif stored == AS_FLOAT16:
        _move(pointer(address, FLOAT16), i, new, momentum)


def update(version: int) -> Any:
    """Return the kernel; `version` becomes part of the key of the compiled code on disk."""

    def running_update(begin, end, c):
        means, variances = pointer(c[MEAN], FLOAT64), pointer(c[VAR], FLOAT64)
        factor, momentum = real(c[FACTOR]), real(c[MOMENTUM])
        counter = pointer(c[COUNTER], INTEGER)
        if c[SKIP] != 0:
            for i in range(c[CHANNELS]):
                fits = _fits(get(means, i), c[RUNNING_MEAN_STORED])
                if not (fits and _fits(get(variances, i) * factor, c[RUNNING_VAR_STORED])):
                    if c[SKIPPED] != 0:
                        add_to(pointer(c[SKIPPED], INTEGER), 1)
                    return version
        if c[CUMULATIVE] != 0:
            momentum = 1.0 / (counter[0] + 1.0)
        for i in range(c[CHANNELS]):
            new, spread = get(means, i), get(variances, i) * factor
            _move_stored(c[RUNNING_MEAN], c[RUNNING_MEAN_STORED], i, new, momentum)
            _move_stored(c[RUNNING_VAR], c[RUNNING_VAR_STORED], i, spread, momentum)
        if c[COUNTER] != 0:
            add_to(counter, 1)
        return version

    return running_update
