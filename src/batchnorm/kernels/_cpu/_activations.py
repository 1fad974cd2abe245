"""Activations of vectors, and the gradients before them, in the arithmetic of a kernel."""

import math
from typing import Any

from numba import types
from numba.extending import overload

from batchnorm.kernels._cpu._masks import at_most, where
from batchnorm.kernels._cpu._memory import inlined
from batchnorm.kernels._cpu._vectors import (
    erfc_in_float64,
    expm1_in_float64,
    exponential_in_float64,
    fma,
    like,
    power_of_two,
)

IDENTITY, RELU, LEAKY_RELU, RELU6, ELU, SILU, GELU, GELU_TANH, HARDSWISH = range(9)
SIGMOID, HARDSIGMOID, TANH = range(9, 12)
NUMBERS = {
    "identity": IDENTITY,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "relu6": RELU6,
    "elu": ELU,
    "silu": SILU,
    "gelu": GELU,
    "gelu_tanh": GELU_TANH,
    "hardswish": HARDSWISH,
    "sigmoid": SIGMOID,
    "hardsigmoid": HARDSIGMOID,
    "tanh": TANH,
}
_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1 / math.sqrt(2 * math.pi)  # of the normal distribution at 0
_FACTOR, _CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715  # Hendrycks and Gimpel (2016)


@inlined
def activate(z, activation, slope):
    """Return the activation of `z`; NaN stays NaN."""
    if activation == RELU:
        return where(at_most(z, like(z, 0.0)), like(z, 0.0), z)
    if activation == LEAKY_RELU:
        return where(at_most(z, like(z, 0.0)), z * like(z, slope), z)
    if activation == RELU6:
        return _between(z, 0.0, 6.0)
    if activation == ELU:
        return where(at_most(z, like(z, 0.0)), _expm1(z), z)
    if activation == SILU:
        return z * _sigmoid(z)
    if activation == GELU:
        return z * _normal(z)
    if activation == GELU_TANH:
        return z * _sigmoid(_bent(_between(z, -10.0, 10.0)))
    if activation == HARDSWISH:
        return z * _between(z + like(z, 3.0), 0.0, 6.0) * like(z, 1 / 6)
    if activation == SIGMOID:
        return _sigmoid(z)
    if activation == HARDSIGMOID:
        return _between(z + like(z, 3.0), 0.0, 6.0) * like(z, 1 / 6)
    if activation == TANH:
        return _tanh(z)
    return z


@inlined
def backed(g, z, activation, slope):
    """Return the gradient before the activation, from the one behind it."""
    one = like(z, 1.0)
    if activation == RELU:
        return where(at_most(z, like(z, 0.0)), like(z, 0.0), g)
    if activation == LEAKY_RELU:
        return where(at_most(z, like(z, 0.0)), g * like(z, slope), g)
    if activation == RELU6:
        return _inside(z, 0.0, 6.0, g)
    if activation == ELU:
        return where(at_most(z, like(z, 0.0)), g * (_expm1(z) + one), g)
    if activation == SILU:
        s = _sigmoid(z)
        return g * (s * fma(z, one - s, one))
    if activation == GELU:
        density = _exponential_of(like(z, -0.5) * z * z) * like(z, _DENSITY)
        return g * fma(z, density, _normal(z))
    if activation == GELU_TANH:
        u = _between(z, -10.0, 10.0)  # beyond, it is 0 or 1, and powers would overflow
        s = _sigmoid(_bent(u))
        steep = like(z, _FACTOR) * fma(like(z, 3 * _CUBIC), u * u, one)
        return g * (s * fma(u * (one - s), steep, one))
    if activation == HARDSWISH:
        risen = where(at_most(like(z, 3.0), z), g, g * fma(z, like(z, 1 / 3), like(z, 0.5)))
        return where(at_most(z, like(z, -3.0)), like(z, 0.0), risen)
    if activation == SIGMOID:
        s = _sigmoid(z)
        return g * (s * (one - s))
    if activation == HARDSIGMOID:
        return _inside(z, -3.0, 3.0, g * like(z, 1 / 6))
    if activation == TANH:
        t = _tanh(z)
        return g * fma(like(z, 0.0) - t, t, one)
    return g


@inlined
def _between(z, low, high):
    """Return `z` cut off at both ends; NaN stays NaN."""
    above = where(at_most(like(z, high), z), like(z, high), z)
    return where(at_most(z, like(z, low)), like(z, low), above)


@inlined
def _inside(z, low, high, g):
    """Return `g` between the ends and for NaN, and 0 elsewhere."""
    below = where(at_most(like(z, high), z), like(z, 0.0), g)
    return where(at_most(z, like(z, low)), like(z, 0.0), below)


@inlined
def _bent(z):
    """Return what the sigmoid takes in the approximation of GELU by a hyperbolic tangent."""
    return like(z, _FACTOR) * z * fma(like(z, _CUBIC), z * z, like(z, 1.0))


@inlined
def _tanh(z):
    """Return the hyperbolic tangent, with its relative accuracy near 0."""
    below = _expm1(like(z, -2.0) * z)
    return (like(z, 0.0) - below) / (like(z, 2.0) + below)


def _sigmoid(z):
    raise NotImplementedError("compiled only")


def _normal(z):
    raise NotImplementedError("compiled only")


def _expm1(z):
    raise NotImplementedError("compiled only")


def _exponential_of(z):
    raise NotImplementedError("compiled only")


_COMPILED: Any = {"forceinline": True, "error_model": "numpy"}


@overload(_exponential_of, jit_options=_COMPILED)
def _compiled_exponential(z):
    if z.element is types.float64:
        return lambda z: exponential_in_float64(z)  # noqa: PLW0108 -- numba wants this name
    return lambda z: _exponential(z)  # noqa: PLW0108


@overload(_sigmoid, jit_options=_COMPILED)
def _compiled_sigmoid(z):
    if z.element is types.float64:
        return lambda z: like(z, 1.0) / (like(z, 1.0) + exponential_in_float64(like(z, 0.0) - z))
    return lambda z: _logistic(z)  # noqa: PLW0108


@overload(_expm1, jit_options=_COMPILED)
def _compiled_expm1(z):
    if z.element is types.float64:
        return lambda z: expm1_in_float64(z)  # noqa: PLW0108
    return lambda z: _one_less(z)  # noqa: PLW0108


@overload(_normal, jit_options=_COMPILED)
def _compiled_normal(z):
    if z.element is types.float64:
        return lambda z: like(z, 0.5) * erfc_in_float64(like(z, -_ROOT_HALF) * z)
    return lambda z: _distribution(z)  # noqa: PLW0108


@inlined
def _reduced(x):
    """Return a whole number n and e to the x less n ln 2, minus 1, in float32.

    Cody and Waite (1980): subtract a whole multiple of ln 2 in two parts, then a polynomial on what
    is left.
    """
    shift = like(x, 12582912.0)  # 1.5 * 2**23: adding it rounds to a whole number
    low, high = like(x, -87.0), like(x, 88.0)
    # NaN, for which no comparison holds, passes through the first one; the second keeps it.
    clipped = where(at_most(x, low), low, x)
    clipped = where(at_most(high, clipped), high, clipped)
    whole = fma(clipped, like(x, 1.4426950408889634), shift) - shift
    rest = fma(whole, like(x, -0.693359375), clipped)
    rest = fma(whole, like(x, 2.12194440e-4), rest)
    series = fma(like(x, 1.9875691500e-4), rest, like(x, 1.3981999507e-3))
    series = fma(series, rest, like(x, 8.3334519073e-3))
    series = fma(series, rest, like(x, 4.1665795894e-2))
    series = fma(series, rest, like(x, 1.6666665459e-1))
    series = fma(series, rest, like(x, 5.0000001201e-1))
    return whole, fma(series, rest * rest, rest)


@inlined
def _exponential(x):
    """Return e to the `x` in float32, within 2 units in the last place; 0 where it is below 1e-37.

    The library function is not vectorized.
    """
    whole, less = _reduced(x)
    return _or_nothing(x, (less + like(x, 1.0)) * power_of_two(whole))


@inlined
def _logistic(z):
    """Return the logistic function in float32; 0 where it is below 1e-37, at any size of `z`."""
    return _or_nothing(z, like(z, 1.0) / (like(z, 1.0) + _exponential(like(z, 0.0) - z)))


@inlined
def _or_nothing(x, value):
    return where(at_most(x, like(x, -87.0)), like(x, 0.0), value)


@inlined
def _one_less(x):
    """Return e to the `x`, minus 1, in float32, with its relative accuracy near 0."""
    whole, less = _reduced(x)
    power = power_of_two(whole)
    return fma(less, power, power - like(x, 1.0))


@inlined
def _distribution(z):
    """Return the normal distribution function in float32.

    From erfc in a relative error of 1.2e-7: Press et al., Numerical Recipes, section 6.2.
    """
    u = z * like(z, _ROOT_HALF)
    u = where(at_most(u, like(z, 0.0)), like(z, 0.0) - u, u)
    t = like(z, 1.0) / fma(like(z, 0.5), u, like(z, 1.0))
    series = fma(like(z, 0.17087277), t, like(z, -0.82215223))
    series = fma(series, t, like(z, 1.48851587))
    series = fma(series, t, like(z, -1.13520398))
    series = fma(series, t, like(z, 0.27886807))
    series = fma(series, t, like(z, -0.18628806))
    series = fma(series, t, like(z, 0.09678418))
    series = fma(series, t, like(z, 0.37409196))
    series = fma(series, t, like(z, 1.00002368))
    series = fma(series, t, like(z, -1.26551223))
    tail = like(z, 0.5) * t * _exponential(fma(like(z, 0.0) - u, u, series))
    return where(at_most(z, like(z, 0.0)), tail, like(z, 1.0) - tail)
