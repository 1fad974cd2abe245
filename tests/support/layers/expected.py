"""What the reference says of a case: parts, masks, scales of each sample and activations.

The reference normalizes one dense batch. A part of a batch, or what a mask leaves of it, is one.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from batchnorm import reference


class Expected(NamedTuple):
    """Output and gradients, all float64; those of scale and shift for each sample, ``(N, C)``."""

    y: np.ndarray
    dx: np.ndarray
    dweight: np.ndarray
    dbias: np.ndarray
    dresidual: np.ndarray


def array(tensor):
    return None if tensor is None else tensor.detach().to("cpu").double().numpy()


def there(x, mask):
    """Return which values there are, for each sample and position."""
    positions = (x.shape[0], *x.shape[2:])
    return np.ones(positions, bool) if mask is None else array(mask).astype(bool)


def rows(x, here):
    """Return the values that are there as a dense ``(M, C)``."""
    return np.moveaxis(x, 1, -1)[here]


def put_back(values, here, x):
    found = np.zeros_like(np.moveaxis(x, 1, -1))
    found[here] = values
    return np.moveaxis(found, -1, 1)


def statistics(x, mask=None):
    """Return the statistics of the values that are there."""
    return reference.statistics(x if mask is None else rows(x, there(x, mask)))


def expected(x, dy, parts, affine, eps, running, *, activation=None, residual=None, mask=None):
    """Return what a module gives for `x`, and the gradients for `dy`.

    Args:
        x: input, an array ``(N, C, *)``.
        dy: gradient of the output, likewise.
        parts: samples that are normalized together.
        affine: scale and shift, ``(N, C)`` or None.
        eps: added to the variance.
        running: mean and variance of each part; None takes those of the batch.
        activation: name or None.
        residual: array or None.
        mask: tensor or None.
    """
    here = there(x, mask)
    weight, bias = (
        along(values, default, x) for values, default in zip(affine, (1, 0), strict=True)
    )
    xhat = np.zeros_like(x)
    for number, part in enumerate(parts):
        xhat[part] = normalized(x[part], here[part], eps, running and running[number])
    z = xhat * weight + bias + (0 if residual is None else residual)
    y = put_back(rows(ACTIVATIONS[activation](z), here), here, x)
    dz = put_back(rows(dy * SLOPES[activation](z), here), here, x)
    dx = np.zeros_like(x)
    for number, part in enumerate(parts):
        dxhat = (dz * weight)[part]
        dx[part] = differentiated(dxhat, x[part], here[part], eps, running and running[number])
    space = tuple(range(2, x.ndim))
    return Expected(y, dx, (dz * xhat).sum(space), dz.sum(space), dz)


def along(values, default, x):
    """Return values ``(N, C)`` shaped to broadcast with `x`."""
    if values is None:
        return default
    return array(values).reshape(*values.shape, *(1,) * (x.ndim - 2))


def normalized(x, here, eps, running):
    if running is not None:
        return reference.inference(x, *running, eps=eps)
    if here.all():
        return reference.forward(x, eps=eps).xhat
    return put_back(reference.forward(rows(x, here), eps=eps).xhat, here, x)


def differentiated(dxhat, x, here, eps, running):
    if running is not None:
        return reference.inference_backward(dxhat, x, *running, eps=eps).dx
    if here.all():
        return reference.backward(dxhat, x, eps=eps).dx
    dx = reference.backward(rows(dxhat, here), rows(x, here), eps=eps).dx
    return put_back(dx, here, x)


sigmoid = special.expit


def normal(z):
    return 0.5 * special.erfc(-z / math.sqrt(2))


def density(z):
    return np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def bent(z):
    return 2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)


def steep(z):
    return 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)


ACTIVATIONS = {
    None: lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "relu6": lambda z: np.clip(z, 0, 6),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "silu": lambda z: z * sigmoid(z),
    "gelu": lambda z: z * normal(z),
    "gelu_tanh": lambda z: z * sigmoid(bent(z)),
    "hardswish": lambda z: z * np.clip(z + 3, 0, 6) / 6,
    "sigmoid": sigmoid,
    "hardsigmoid": lambda z: np.clip(z + 3, 0, 6) / 6,
    "tanh": np.tanh,
}
SLOPES = {
    None: np.ones_like,
    "relu": lambda z: (z > 0) * 1.0,
    "leaky_relu": lambda z: np.where(z > 0, 1.0, 0.01),
    "relu6": lambda z: ((z > 0) & (z < 6)) * 1.0,
    "elu": lambda z: np.exp(np.minimum(z, 0)),
    "silu": lambda z: sigmoid(z) * (1 + z * (1 - sigmoid(z))),
    "gelu": lambda z: normal(z) + z * density(z),
    "gelu_tanh": lambda z: sigmoid(bent(z)) * (1 + z * (1 - sigmoid(bent(z))) * steep(z)),
    "hardswish": lambda z: np.where(z <= -3, 0, np.where(z >= 3, 1, z / 3 + 0.5)),
    "sigmoid": lambda z: sigmoid(z) * (1 - sigmoid(z)),
    "hardsigmoid": lambda z: ((z > -3) & (z < 3)) / 6,
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
}
KINKS = {"relu": (0,), "leaky_relu": (0,), "relu6": (0, 6), "hardswish": (-3, 3),
         "hardsigmoid": (-3, 3)}  # fmt: skip
