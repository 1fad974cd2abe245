"""Formulas of one value and of one channel, which both layouts share."""

import math

import numpy as np
import torch

from batchnorm.kernels._cpu._memory import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    get,
    inlined,
    pointer,
    put,
    rounded,
)
from batchnorm.kernels._cpu._vectors import fma

# Sums of squares that float32 holds with all its digits lie between these.
TINY, HUGE = 1e-30, 1e38
# And are exact enough while (mean - shift)² is at most so large a part of the mean square.
FAR = 0.9

# How a per-channel tensor is stored; ABSENT gives the default.
ABSENT, AS_FLOAT64, AS_FLOAT32, AS_BFLOAT16, AS_FLOAT16 = range(5)
STORED = {
    torch.float64: AS_FLOAT64,
    torch.float32: AS_FLOAT32,
    torch.bfloat16: AS_BFLOAT16,
    torch.float16: AS_FLOAT16,
}


@inlined
def parameter(address, stored, index, default):
    """Return one value of a per-channel tensor as float64."""
    if stored == AS_FLOAT32:
        return np.float64(get(pointer(address, FLOAT32), index))
    if stored == AS_FLOAT64:
        return get(pointer(address, FLOAT64), index)
    if stored == AS_BFLOAT16:
        return np.float64(get(pointer(address, BFLOAT16), index))
    if stored == AS_FLOAT16:
        return np.float64(get(pointer(address, FLOAT16), index))
    return default


@inlined
def give(address, stored, index, value):
    """Set one value of a per-channel tensor of float32 or float64."""
    if stored == AS_FLOAT32:
        put(pointer(address, FLOAT32), index, np.float32(value))
    else:
        put(pointer(address, FLOAT64), index, value)


@inlined
def moments_of(sum1, sum2, shift, count):
    """Return mean and biased variance from the shifted sums of x and x²."""
    distance = sum1 / count
    var = sum2 / count - distance * distance
    # Rounding can leave a constant channel a hair below zero; NaN has to pass.
    return shift + distance, 0.0 if var < 0.0 else var


@inlined
def scale_of(var, weight, eps):
    """Return invstd, and weight times invstd."""
    invstd = 1.0 / math.sqrt(var + eps)
    return invstd, weight * invstd


@inlined
def line_of(base, mean, scale, bias):
    """Return what makes ``(x - mean) * scale + bias`` of x: a centre, a scale and a shift.

    The centre is the mean as the arithmetic holds it; what is left of the mean goes into the shift,
    so that the error does not grow with the mean. Where nothing is left, an infinite scale (of a
    variance of zero, without eps) must not meet it.
    """
    centre = np.float64(rounded(base, mean))
    rest = mean - centre
    return centre, scale, bias if rest == 0.0 else bias - rest * scale


@inlined
def apply_line(x, line):
    """Return ``(x - centre) * scale + shift`` for vectors."""
    centre, scale, shift = line
    return fma(x - centre, scale, shift)


@inlined
def around_mean(sum1, sum2, rest):
    """Return the sum of g (x - mean) from that of g times the centred input.

    `rest` of the mean is missing in the centre; an infinite gradient keeps its sign.
    """
    return sum2 - rest * sum1 if abs(sum1) < math.inf else sum2


@inlined
def factors_of(weight, invstd, sum1, sum2, rest, count):
    """Return what makes dx of g and the centred input: their factors, and a constant."""
    of_g = weight * invstd
    of_d = -of_g * invstd * invstd * sum2 / count
    constant = -of_g * sum1 / count
    return of_g, of_d, constant - of_d * rest if abs(of_d) < math.inf else constant
