"""Per-channel step between the two passes, the same for planes and rows.

Where several tasks share a channel, one of them is its owner and writes what is found.
"""

from batchnorm.kernels._cpu import _context as at
from batchnorm.kernels._cpu._memory import FLOAT64, get, inlined, pointer, put, real
from batchnorm.kernels._cpu._values import (
    around_mean,
    factors_of,
    give,
    line_of,
    parameter,
    scale_of,
)


@inlined
def population(c, channel):
    """Return the mean and the variance that were given."""
    return (
        parameter(c[at.MEAN_GIVEN], c[at.MEAN_STORED], channel, 0.0),
        parameter(c[at.VAR_GIVEN], c[at.VAR_STORED], channel, 1.0),
    )


@inlined
def settle(c, x, channel, mean, var, owner):
    """Return a channel's line; write its statistics."""
    weight = parameter(c[at.WEIGHT], c[at.WEIGHT_STORED], channel, 1.0)
    bias = parameter(c[at.BIAS], c[at.BIAS_STORED], channel, 0.0)
    invstd, scale = scale_of(var, weight, real(c[at.EPS]))
    if owner:
        put(pointer(c[at.MEAN], FLOAT64), channel, mean)
        put(pointer(c[at.VAR], FLOAT64), channel, var)
        put(pointer(c[at.INVSTD], FLOAT64), channel, invstd)
    return line_of(x, mean, scale, bias)


@inlined
def settled_line(c, x, channel):
    """Return the line that the forward settled on."""
    mean = get(pointer(c[at.MEAN], FLOAT64), channel)
    invstd = get(pointer(c[at.INVSTD], FLOAT64), channel)
    weight = parameter(c[at.WEIGHT], c[at.WEIGHT_STORED], channel, 1.0)
    bias = parameter(c[at.BIAS], c[at.BIAS_STORED], channel, 0.0)
    return line_of(x, mean, weight * invstd, bias)


@inlined
def settle_gradients(c, channel, centre, sum1, sum2, owner):
    """Return a channel's factors from its two sums; write the gradients of its parameters."""
    invstd = get(pointer(c[at.INVSTD], FLOAT64), channel)
    weight = parameter(c[at.WEIGHT], c[at.WEIGHT_STORED], channel, 1.0)
    rest = get(pointer(c[at.MEAN], FLOAT64), channel) - centre
    sum2 = around_mean(sum1, sum2, rest)
    if owner:
        give(c[at.DBIAS], c[at.GRADIENTS_STORED], channel, sum1)
        give(c[at.DWEIGHT], c[at.GRADIENTS_STORED], channel, sum2 * invstd)
    return factors_of(weight, invstd, sum1, sum2, rest, c[at.COUNT])
