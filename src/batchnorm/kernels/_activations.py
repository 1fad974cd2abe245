"""Activations that follow a normalization in the same pass: names, values and derivatives.

At a kink the derivative is torch's, and where the input is NaN the gradient of a function in pieces
passes, so that it is not lost.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_Formula = Callable[[Tensor, float], Tensor]


class Activation(NamedTuple):
    """One activation in torch's operations.

    Attributes:
        value: of the input and of `alpha`, differentiable.
        slope: the derivative, itself differentiable.
        constant_in_pieces: whether a bit a value, whether the output is above zero, gives the
            derivative.
    """

    value: _Formula
    slope: _Formula
    constant_in_pieces: bool = False


def _in_pieces(z: Tensor, low: float, high: float, between: Tensor, above: float) -> Tensor:
    """Return 0 up to `low`, `above` from `high` on, and what is given `between` and for NaN."""
    ends = torch.where(z >= high, torch.full_like(z, above), between)
    return torch.where(z <= low, torch.zeros_like(z), ends)


def _silu_slope(z: Tensor, _: float) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 + z * (1 - s))


def _elu_slope(z: Tensor, _: float) -> Tensor:
    # Clamped, since the exponential of what is not taken must not become infinite.
    return torch.where(z <= 0, z.clamp(max=0.0).exp(), torch.ones_like(z))


def _sigmoid_slope(z: Tensor, _: float) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 - s)


def _gelu_slope(z: Tensor, _: float) -> Tensor:
    density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    below: Tensor = torch.special.ndtr(z)
    return below + z * density


def _gelu_tanh_slope(z: Tensor, _: float) -> Tensor:
    factor, cubic = 2 * math.sqrt(2 / math.pi), 0.044715
    z = z.clamp(-10.0, 10.0)  # beyond, the derivative is 0 or 1, and powers of z would overflow
    s = torch.sigmoid(factor * (z + cubic * z * z * z))
    return s + z * s * (1 - s) * factor * (1 + 3 * cubic * z * z)


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(lambda z, _: z, lambda z, _: torch.ones_like(z)),
    "relu": Activation(
        lambda z, _: torch.relu(z),
        lambda z, _: (z <= 0).logical_not().to(z.dtype),
        constant_in_pieces=True,
    ),
    "leaky_relu": Activation(
        F.leaky_relu,
        lambda z, a: torch.where(z <= 0, torch.full_like(z, a), torch.ones_like(z)),
    ),
    "relu6": Activation(
        lambda z, _: F.relu6(z), lambda z, _: _in_pieces(z, 0.0, 6.0, torch.ones_like(z), 0.0)
    ),
    "elu": Activation(lambda z, _: F.elu(z), _elu_slope),
    "silu": Activation(lambda z, _: F.silu(z), _silu_slope),
    "gelu": Activation(lambda z, _: F.gelu(z), _gelu_slope),
    "gelu_tanh": Activation(lambda z, _: F.gelu(z, approximate="tanh"), _gelu_tanh_slope),
    "hardswish": Activation(
        lambda z, _: F.hardswish(z), lambda z, _: _in_pieces(z, -3.0, 3.0, z / 3 + 0.5, 1.0)
    ),
    "sigmoid": Activation(lambda z, _: torch.sigmoid(z), _sigmoid_slope),
    "hardsigmoid": Activation(
        lambda z, _: F.relu6(z + 3) / 6,  # the derivative of torch's own has 32 bits in float64
        lambda z, _: _in_pieces(z, -3.0, 3.0, torch.full_like(z, 1 / 6), 0.0),
    ),
    "tanh": Activation(lambda z, _: torch.tanh(z), lambda z, _: 1 - torch.tanh(z).square()),
}
NAMES = tuple(name for name in ACTIVATIONS if name != "identity")  # as users give them


def needs_residual(activation: str) -> bool:
    """Return whether the derivative behind a residual is recomputed, and so needs the residual."""
    return activation != "identity" and not ACTIVATIONS[activation].constant_in_pieces


def activate(z: Tensor, activation: str, alpha: float) -> Tensor:
    """Return the activation of `z`: torch's own, differentiable."""
    return ACTIVATIONS[activation].value(z, alpha)


def slope_at(z: Tensor, activation: str, alpha: float) -> Tensor:
    """Return the derivative of the activation at `z`, itself differentiable."""
    return ACTIVATIONS[activation].slope(z, alpha)
