"""Context of a kernel: an array of 8-byte words, by position.

Addresses and sizes are integers; `EPS` and `ALPHA` are the bits of a float64. First come the words
of a call, then those of a plan, which is made once for a shape, then those of `_running`.
"""

import struct

CALL = (
    X,
    OUTPUT,  # y, or dx
    GRADIENT,  # dy
    RESIDUAL,
    DRESIDUAL,
    MASK,  # one bit a value, in words of 8
    WEIGHT,
    WEIGHT_STORED,
    BIAS,
    BIAS_STORED,
    MEAN_GIVEN,
    MEAN_STORED,
    VAR_GIVEN,
    VAR_STORED,
    MEAN,
    VAR,
    INVSTD,
    DWEIGHT,
    DBIAS,
    GRADIENTS_STORED,
    SCRATCH,
    BATCH_STATISTICS,
    UPDATE,  # address of the kernel that updates the running statistics; 0 where this one does not
    EPS,
    ALPHA,  # parameter of the activation
) = tuple(range(25))

PLAN = (
    PHASE,
    ROWS,
    CHANNELS,
    LENGTH,
    COLUMNS,
    TAIL,
    SHARES,
    WIDTH,
    COUNT,  # values a channel
    GROUP,  # channels a task
    CHUNK,  # values of a plane that are taken at once
    PIECES,  # chunks of a plane
    STRIP,  # rows that are taken at once
) = tuple(range(25, 38))

RUNNING = len(CALL) + len(PLAN)  # where the words of `_running` begin

# A kernel may be run in two phases, with all threads waiting between them.
SUM, APPLY = 1, 2

pack_call = struct.Struct(f"{len(CALL) - 2}q2d").pack
pack_plan = struct.Struct(f"{len(PLAN)}q").pack
