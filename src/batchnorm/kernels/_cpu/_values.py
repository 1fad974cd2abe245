"""What happens to one value and to one channel: the formulas that both layouts share."""

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

from ._memory import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    like,
    load,
    pointer,
    power_of_two,
    rounded,
)

# Reassociation lets sums be vectorized. Elsewhere operations stay as they are written, so that
# (x - high) - low keeps its meaning. NaN and infinity survive both.
SUMS = {"reassoc", "contract", "nsz"}
VALUES = {"contract"}

# Sums of squares that float32 holds with all its digits lie between these.
TINY, HUGE = 1e-30, 1e38

IDENTITY, RELU, LEAKY_RELU, SILU = range(4)

# How a per-channel tensor is stored; ABSENT gives the default.
ABSENT, AS_FLOAT64, AS_FLOAT32, AS_BFLOAT16, AS_FLOAT16 = range(5)


@njit(forceinline=True, fastmath=VALUES)
def parameter(address, stored, index, default):
    """Return one value of a per-channel tensor as float64."""
    if stored == AS_FLOAT32:
        return np.float64(load(pointer(address, FLOAT32), index))
    if stored == AS_FLOAT64:
        return load(pointer(address, FLOAT64), index)
    if stored == AS_BFLOAT16:
        return np.float64(load(pointer(address, BFLOAT16), index))
    if stored == AS_FLOAT16:
        return np.float64(load(pointer(address, FLOAT16), index))
    return default


@njit(forceinline=True, fastmath=VALUES)
def distance(x, centre):
    """Return ``x - centre``, which no sum around it may take apart."""
    return x - centre


@njit(forceinline=True, fastmath=VALUES)
def centred(x, high, low):
    """Return ``x - mean``, the mean given as two parts."""
    return (x - high) - low


@njit(forceinline=True, fastmath=VALUES)
def affine_of(x, scale, bias):
    """Return ``x * scale + bias``."""
    return x * scale + bias


@njit(forceinline=True, fastmath=VALUES)
def activate(z, activation, slope):
    """Return the activation of `z`; NaN stays NaN."""
    if activation == RELU:
        return like(z, 0.0) if z <= like(z, 0.0) else z
    if activation == LEAKY_RELU:
        return z * like(z, slope) if z <= like(z, 0.0) else z
    if activation == SILU:
        return z * _sigmoid(z)
    return z


@njit(forceinline=True, fastmath=VALUES)
def slope_at(z, activation, slope):
    """Return the derivative of the activation at `z`."""
    if activation == RELU:
        return like(z, 0.0) if z <= like(z, 0.0) else like(z, 1.0)
    if activation == LEAKY_RELU:
        return like(z, slope) if z <= like(z, 0.0) else like(z, 1.0)
    if activation == SILU:
        s = _sigmoid(z)
        return s * (like(z, 1.0) + z * (like(z, 1.0) - s))
    return like(z, 1.0)


def _sigmoid(z):
    raise NotImplementedError("compiled only")


@overload(_sigmoid, jit_options={"forceinline": True, "fastmath": VALUES})
def _compiled_sigmoid(z):
    if z is types.float64:
        return lambda z: 1.0 / (1.0 + math.exp(-z))
    return lambda z: like(z, 1.0) / (like(z, 1.0) + _exponential(-z))


@njit(forceinline=True, fastmath=VALUES)
def _exponential(x):
    """Return e to the `x` in float32, within 2 units in the last place.

    The library function is not vectorized. Cody and Waite (1980): subtract a whole multiple of
    ln 2 in two parts, then a polynomial on what is left.
    """
    shift = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to a whole number
    clipped = min(max(x, np.float32(-87.0)), np.float32(88.0))
    whole = (clipped * np.float32(1.4426950408889634) + shift) - shift
    rest = clipped - whole * np.float32(0.693359375)
    rest = rest - whole * np.float32(-2.12194440e-4)
    series = np.float32(1.9875691500e-4)
    series = series * rest + np.float32(1.3981999507e-3)
    series = series * rest + np.float32(8.3334519073e-3)
    series = series * rest + np.float32(4.1665795894e-2)
    series = series * rest + np.float32(1.6666665459e-1)
    series = series * rest + np.float32(5.0000001201e-1)
    value = (series * rest * rest + rest + np.float32(1.0)) * power_of_two(whole)
    return value if x == x else x  # noqa: PLR0124 -- min and max lose NaN


@njit(forceinline=True, fastmath=VALUES)
def moments_of(sum1, sum2, shift, count):
    """Return mean and biased variance from the shifted sums of x and x²."""
    distance = sum1 / count
    var = sum2 / count - distance * distance
    # Rounding can leave a constant channel a hair below zero; NaN has to pass.
    return shift + distance, 0.0 if var < 0.0 else var


@njit(forceinline=True, fastmath=VALUES)
def scale_of(var, weight, eps):
    """Return invstd, and weight times invstd."""
    invstd = 1.0 / math.sqrt(var + eps)
    return invstd, weight * invstd


@njit(forceinline=True, fastmath=VALUES)
def split(base, mean):
    """Return the mean as two parts in the type of the arithmetic."""
    high = rounded(base, mean)
    return high, rounded(base, mean - np.float64(high))
