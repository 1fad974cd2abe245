"""Moving the running statistics: by the kernel that has just found those of the batch."""

from . import _context as at
from ._memory import (
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
from ._values import AS_BFLOAT16, AS_FLOAT16, AS_FLOAT32, AS_FLOAT64


@inlined
def _move(running, i, new, momentum):
    before = get(running, i) * 1.0
    # At momentum 1 nothing may be left of the old, not even an infinity.
    put(
        running, i, rounded(running, new if momentum == 1.0 else before + momentum * (new - before))
    )


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


@inlined
def move(c, channel, mean, var):
    """Move a channel's running statistics, if there are any, and count the batch at the first."""
    momentum = real(c[at.MOMENTUM])
    unbiased = var * c[at.COUNT] / (c[at.COUNT] - 1)
    _move_stored(c[at.RUNNING_MEAN], c[at.RUNNING_MEAN_STORED], channel, mean, momentum)
    _move_stored(c[at.RUNNING_VAR], c[at.RUNNING_VAR_STORED], channel, unbiased, momentum)
    if channel == 0 and c[at.COUNTER] != 0:
        add_to(pointer(c[at.COUNTER], INTEGER), 1)
