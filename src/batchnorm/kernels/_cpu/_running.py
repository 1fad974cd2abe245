"""The kernel that moves the running statistics: one call instead of five small operations."""

import functools
import struct
from typing import Any

from numba import types

from ._memory import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    get,
    inlined,
    pointer,
    put,
    real,
    rounded,
)
from ._values import AS_BFLOAT16, AS_FLOAT16, AS_FLOAT32, AS_FLOAT64

MEAN, MEAN_STORED, VAR, VAR_STORED, BATCH_MEAN, BATCH_VAR, UNBIASED, MOMENTUM = range(8)

pack_update = struct.Struct("6q2d").pack


@inlined
def _move(running, batch, factor, momentum, begin, end):
    for i in range(begin, end):
        before = types.float64(get(running, i))
        new = get(batch, i) * factor
        # At momentum 1 nothing may be left of the old, not even an infinity.
        value = new if momentum == 1.0 else before + momentum * (new - before)
        put(running, i, rounded(running, value))


@inlined
def _move_stored(address, stored, batch, factor, momentum, begin, end):
    if stored == AS_FLOAT32:
        _move(pointer(address, FLOAT32), batch, factor, momentum, begin, end)
    elif stored == AS_FLOAT64:
        _move(pointer(address, FLOAT64), batch, factor, momentum, begin, end)
    elif stored == AS_BFLOAT16:
        _move(pointer(address, BFLOAT16), batch, factor, momentum, begin, end)
    elif stored == AS_FLOAT16:
        _move(pointer(address, FLOAT16), batch, factor, momentum, begin, end)


def update(version: int) -> Any:
    """Return the kernel; `version` is part of the key of the compiled code on disk."""

    def running_update(begin, end, c):
        momentum, unbiased = real(c[MOMENTUM]), real(c[UNBIASED])
        mean, var = pointer(c[BATCH_MEAN], FLOAT64), pointer(c[BATCH_VAR], FLOAT64)
        _move_stored(c[MEAN], c[MEAN_STORED], mean, 1.0, momentum, begin, end)
        _move_stored(c[VAR], c[VAR_STORED], var, unbiased, momentum, begin, end)
        return version

    return running_update


@functools.cache
def update_kernel() -> int:
    """Return the address of the kernel, compiled for this processor."""
    from ._compile import compiled

    return int(compiled(update, (), "running statistics").address)
