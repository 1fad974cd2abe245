"""What a kernel is told: an array of 8-byte words, by position.

Addresses and sizes are integers; `EPS` and `ALPHA` are the bits of a float64. First come the words
of a call, then those of a plan, which is made once for a shape.
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
    EPS,
    ALPHA,  # parameter of the activation
) = tuple(range(24))

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
) = tuple(range(24, 37))

# A kernel may be run in two phases, with all threads waiting between them.
SUM, APPLY = 1, 2

pack_call = struct.Struct(f"{len(CALL) - 2}q2d").pack
pack_plan = struct.Struct(f"{len(PLAN)}q").pack
